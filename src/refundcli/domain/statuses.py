"""The states of invoices, refunds, credit notes and disputes, and the changes between them that are allowed."""

from enum import StrEnum


class InvoiceStatus(StrEnum):
    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    REFUNDED = "refunded"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"

    @property
    def label(self) -> str:
        return "Voided" if self is InvoiceStatus.VOID else self.value.title()


class Dispute(StrEnum):
    """The state of a payment's disputes taken together."""

    NONE = ""
    UNKNOWN = "unknown"  # the provider's status is not listed (R13)
    OPEN = "open"
    WON = "won"
    LOST = "lost"


class RefundState(StrEnum):
    READY = "ready"  # reserved, nothing sent
    SUBMITTED = "submitted"  # sent, or possibly sent: the outcome is unknown
    AWAITING_APPROVAL = "awaiting-approval"  # a second person must approve it at Stripe; never sent again from here
    PENDING = "pending"  # accepted by the provider, not final
    SUCCEEDED = "succeeded"
    RECORDED = "recorded"  # out of band, no provider
    FAILED = "failed"  # the provider refused it for good
    REVERSED = "reversed"  # the money was returned to us

    @property
    def holds_reservation(self) -> bool:
        return self in _RESERVED

    @property
    def counts_as_refunded(self) -> bool:
        return self in (RefundState.SUCCEEDED, RefundState.RECORDED)

    @property
    def is_accepted(self) -> bool:
        """The provider accepted it, and has not reported a failure or a reversal: pending or succeeded."""
        return self in (RefundState.PENDING, RefundState.SUCCEEDED)

    @property
    def unfinished(self) -> bool:
        """Still to be settled with the provider."""
        return self in (RefundState.READY, RefundState.SUBMITTED)


# Refunds of which the provider has neither accepted nor refused the request.
WITHOUT_OUTCOME = (RefundState.READY, RefundState.SUBMITTED, RefundState.AWAITING_APPROVAL)
_RESERVED = frozenset({*WITHOUT_OUTCOME, RefundState.PENDING})

_R = RefundState
TRANSITIONS: dict[RefundState, frozenset[RefundState]] = {
    _R.READY: frozenset({_R.SUBMITTED, _R.FAILED}),
    _R.SUBMITTED: frozenset({_R.AWAITING_APPROVAL, _R.PENDING, _R.SUCCEEDED, _R.FAILED, _R.REVERSED}),
    _R.AWAITING_APPROVAL: frozenset({_R.PENDING, _R.SUCCEEDED, _R.FAILED, _R.REVERSED}),
    _R.PENDING: frozenset({_R.SUCCEEDED, _R.FAILED, _R.REVERSED}),
    # A provider may revoke a success (Stripe: failed; Adyen: REFUND_FAILED, REFUNDED_REVERSED).
    _R.SUCCEEDED: frozenset({_R.FAILED, _R.REVERSED}),
    _R.FAILED: frozenset({_R.REVERSED}),
    _R.RECORDED: frozenset({_R.REVERSED}),
    _R.REVERSED: frozenset(),
}


def may_become(current_state: RefundState, new_state: RefundState) -> bool:
    """Is this change allowed? A later state outranks an earlier one and never reverts to it (I7)."""
    return new_state in TRANSITIONS[current_state]


class ClosingState(StrEnum):
    """The progress of a request to a provider to void an invoice or to write it off."""

    READY = "ready"  # stored, nothing sent
    SUBMITTED = "submitted"  # sent, or possibly sent: the outcome is unknown
    DONE = "done"
    FAILED = "failed"  # the provider refused it for good

    @property
    def unfinished(self) -> bool:
        """Still to be settled with the provider."""
        return self in (ClosingState.READY, ClosingState.SUBMITTED)


class CreditNoteStatus(StrEnum):
    DRAFT = "draft"
    ISSUED = "issued"
    VOID = "void"


class RefundKind(StrEnum):
    PROVIDER = "provider"
    RECORD = "record"
    EXTERNAL = "external"  # refunded externally: the provider reported it, refundcli did not send it


class Provider(StrEnum):
    STRIPE = "stripe"
    ADYEN = "adyen"

    @property
    def label(self) -> str:
        return self.value.title()
