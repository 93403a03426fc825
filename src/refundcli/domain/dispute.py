"""Disputes of a payment: each is its own record, and a payment may have several at once (R11)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from refundcli.domain.money import Money
from refundcli.domain.statuses import Dispute, Provider


class DisputeState(StrEnum):
    """The state of a dispute. Only a lost one took the money."""

    UNKNOWN = "unknown"  # the provider's status is not listed (R13)
    OPEN = "open"
    LOST = "lost"
    WON = "won"
    CLOSED = "closed"  # an inquiry that ended without a chargeback


class DisputeStage(StrEnum):
    INQUIRY = "inquiry"  # no money moved yet: Adyen's request for information, Stripe's warning_*
    ANSWERED_INQUIRY = "answered-inquiry"
    CHARGEBACK = "chargeback"


@dataclass(frozen=True, slots=True)
class DisputeRecord:
    """One dispute of one payment. `amount` is in the payment's currency; None where the provider did not report it.

    One without a `reference` is a placeholder, from an import or an older store: the first report of a dispute of that
    payment with a compatible amount fills it in. `status` is the provider's own word.
    """

    id: int
    payment_id: int
    provider: Provider | None
    account: str
    reference: str
    stage: DisputeStage
    state: DisputeState
    status: str
    amount: Money | None
    reported_at: datetime | None

    @property
    def is_placeholder(self) -> bool:
        return not self.reference

    @property
    def is_decidable(self) -> bool:
        """May a person decide to refund it? At Stripe any inquiry; at Adyen an inquiry that was answered.

        Adyen's INFORMATION_SUPPLIED alone is not enough, because it is also sent for chargebacks.
        """
        is_stripe_inquiry = self.provider is Provider.STRIPE and self.stage is DisputeStage.INQUIRY
        return is_stripe_inquiry or (self.stage is DisputeStage.ANSWERED_INQUIRY and self.reported_at is not None)


# The dispute state of a payment is the first of these that one of its disputes has (R11).
_SEVERITY = (
    (DisputeState.UNKNOWN, Dispute.UNKNOWN),
    (DisputeState.OPEN, Dispute.OPEN),
    (DisputeState.LOST, Dispute.LOST),
    (DisputeState.WON, Dispute.WON),
)


def most_severe(disputes: Iterable[DisputeRecord]) -> Dispute:
    """The dispute state of a payment: the most severe of its disputes, NONE without any (R11)."""
    dispute_states = {dispute.state for dispute in disputes}
    return next(
        (payment_state for dispute_state, payment_state in _SEVERITY if dispute_state in dispute_states), Dispute.NONE
    )


def was_won(disputes: Iterable[DisputeRecord]) -> bool:
    """Was any of them won? Then a refund needs a person's decision, even if another was lost (R11)."""
    return any(dispute.state is DisputeState.WON for dispute in disputes)


def is_inquiry(disputes: Iterable[DisputeRecord]) -> bool:
    """Are all open disputes inquiries that a person may decide to refund (R11)? False if none is open."""
    unsettled = [dispute for dispute in disputes if dispute.state in (DisputeState.OPEN, DisputeState.UNKNOWN)]
    return bool(unsettled) and all(dispute.state is DisputeState.OPEN and dispute.is_decidable for dispute in unsettled)


_OF_DISPUTES = ("dispute", "chargeback", "arbitration", "retrieval", "request_for_information")


def is_about_a_dispute(code: str) -> bool:
    """Does the name of an unlisted code say that it is about a dispute? Then a person decides its state (R13)."""
    return any(code_part in code.lower() for code_part in _OF_DISPUTES)


def review_command(event_id: int, event_code: str) -> str:
    """The command that acknowledges an unreviewed event with this word."""
    decision_option = " --as open|won|lost" if is_about_a_dispute(event_code) else ""
    return f"refundcli events acknowledge {event_id}{decision_option}"
