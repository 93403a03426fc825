"""The eight reasons for a refund, stored on the credit note (R4)."""

from enum import StrEnum
from functools import lru_cache

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
        """As people read it: `Returned goods`."""
        return self.value.replace("-", " ").capitalize()


class UnknownReason(Refused):
    """The reason is not one of the eight (R4)."""

    code = "unknown-reason"

    def __init__(self, typed_reason: str) -> None:
        suggestion = did_you_mean(_slug(typed_reason), list(RefundReason))
        choices = ", ".join(RefundReason)
        message = f"{typed_reason[:60]!a} is not a reason for a refund." if typed_reason else "A refund needs a reason."
        super().__init__(
            message, hint=f"{suggestion} One of: {choices}.".strip(), context={"reason": typed_reason[:60]}
        )


@lru_cache(maxsize=64)
def parse_reason(typed_reason: str) -> RefundReason:
    """A reason by its word or its label, in any case. Raises UnknownReason."""
    try:
        return RefundReason(_slug(typed_reason))
    except ValueError:
        raise UnknownReason(typed_reason) from None


def _slug(typed_reason: str) -> str:
    return "-".join(typed_reason.strip().lower().replace("_", " ").replace("-", " ").split())
