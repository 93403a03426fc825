"""Disputes of a payment: each is a record of its own, and a payment may have several at once (R11)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from refundcli.domain.money import Money
from refundcli.domain.statuses import Provider


class DisputeState(StrEnum):
    """How a dispute stands. Only a lost one has taken money for good."""

    UNKNOWN = "unknown"  # the provider uses a word that is not listed (R13)
    OPEN = "open"
    LOST = "lost"
    WON = "won"
    CLOSED = "closed"  # an inquiry that ended without a chargeback


class DisputeStage(StrEnum):
    INQUIRY = "inquiry"  # no money moved yet: Adyen's request for information, Stripe's warning_*
    ANSWERED_INQUIRY = "answered-inquiry"
    CHARGEBACK = "chargeback"


# The first of these that a payment has is how its disputes stand (R11).
SEVERITY = (DisputeState.UNKNOWN, DisputeState.OPEN, DisputeState.LOST, DisputeState.WON)


@dataclass(frozen=True, slots=True)
class Dispute:
    """One dispute at a provider. `amount` is in the payment's currency; None where the provider did not report it.

    One without a `reference` is a placeholder, from an import or an older store: the first report of a dispute of that
    payment with a compatible amount fills it in. `status` is the provider's own word.
    """

    id: int
    payment_id: int
    provider: Provider
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


def most_severe(disputes: Iterable[Dispute]) -> DisputeState | None:
    """How the disputes of one payment stand together; None where there is none that matters."""
    found = {dispute.state for dispute in disputes}
    return next((state for state in SEVERITY if state in found), None)
