"""The eight reasons for a refund, stored on the credit note (R4)."""

from enum import StrEnum

from refundcli.domain.errors import Refused, did_you_mean


class RefundReason(StrEnum):
    OTHER = "other"
    CHARGEBACK = "chargeback"
    RETURNED_GOODS = "returned-goods"
    PRODUCT_UNSATISFACTORY = "product-unsatisfactory"
    OVERCHARGED = "overcharged"
    DUPLICATE = "duplicate"
    BILLING_ERROR = "billing-error"
    FRAUDULENT_CHARGE = "fraudulent-charge"

    @property
    def label(self) -> str:
        """As people read it: `Returned Goods`."""
        return self.value.replace("-", " ").title()


class UnknownReason(Refused):
    """The reason is not one of the eight (R4)."""

    code = "unknown-reason"

    def __init__(self, word: str) -> None:
        near = did_you_mean(_slug(word), list(RefundReason))
        choices = ", ".join(RefundReason)
        what = f"{word[:60]!a} is not a reason for a refund." if word else "A refund needs a reason."
        super().__init__(what, hint=f"{near} One of: {choices}.".strip(), context={"reason": word[:60]})


def parse_reason(word: str) -> RefundReason:
    """A reason by its word or its label, in any case. Raises UnknownReason."""
    try:
        return RefundReason(_slug(word))
    except ValueError:
        raise UnknownReason(word) from None


def _slug(word: str) -> str:
    return "-".join(word.strip().lower().replace("_", " ").replace("-", " ").split())
