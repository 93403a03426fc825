"""What a provider tells of payments, refunds and disputes: by event, when asked, or in a report.

News is the same whoever brings it, and may come twice, late, early and in any order.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from refundcli.domain.errors import Refused
from refundcli.domain.money import Money
from refundcli.domain.statuses import Dispute, Provider, RefundState


class CannotBeHeld(Refused):
    """One thing at a provider is such as the books cannot hold; what else there is may well be read."""

    code = "cannot-be-held"

    def __init__(self, provider: Provider, why: str) -> None:
        super().__init__(
            f"{provider.label} told what the books cannot hold: {why}.",
            hint="Look at it in the provider's dashboard.",
            context={"provider": provider.value},
        )


@dataclass(frozen=True, slots=True)
class RefundNews:
    """How one refund stands at the provider, ours or somebody else's; `amount` in the payment's currency.

    `refund_id` is ours, as it travelled with the refund. `is_late`: a refund that was told as successful was
    taken back, and the provider may still try by itself. `account` is empty where it was not told.
    """

    provider: Provider
    reference: str
    payment_references: tuple[str, ...]
    amount: Money
    state: RefundState
    status: str
    account: str = ""
    livemode: bool | None = None
    refund_id: str = ""
    failure: str = ""
    is_late: bool = False
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DisputeNews:
    """How the disputes of one payment stand; `amount` is what they take, None where it was not told.

    `at` is when the provider said so: of two words, the later one holds.
    """

    provider: Provider
    payment_references: tuple[str, ...]
    dispute: Dispute
    status: str
    at: datetime
    amount: Money | None = None
    account: str = ""
    livemode: bool | None = None


News: TypeAlias = RefundNews | DisputeNews


@dataclass(frozen=True, slots=True)
class PaymentTruth:
    """One payment as the provider knew it at `asked_at`, with every refund of it; amounts in its currency.

    `why_not_refundable` is the provider's own word against a refund, empty where there is none.
    """

    provider: Provider
    references: tuple[str, ...]
    captured: Money
    refunded: Money
    processing: bool
    dispute: DisputeNews | None
    refunds: tuple[RefundNews, ...]
    asked_at: datetime
    why_not_refundable: str = ""

    @property
    def told_dispute(self) -> DisputeNews:
        """What it tells of disputes; that there was none when it was asked is told, too."""
        none = DisputeNews(self.provider, self.references, Dispute.NONE, "no dispute", self.asked_at)
        return self.dispute or none


@dataclass(frozen=True, slots=True)
class UnreadablePayment:
    """A payment in a list that the books cannot hold, and why."""

    provider: Provider
    references: tuple[str, ...]
    why: str


class EventState(StrEnum):
    """What became of an event that was stored."""

    WAITING = "waiting"  # not looked at yet, or the provider could not be asked
    APPLIED = "applied"  # taken in, or dealt with by a person
    UNMATCHED = "unmatched"  # about a payment that is not in the books (yet)
    CONTRADICTS = "contradicts"  # about a refund of ours, with another amount, payment or account
    UNKNOWN = "unknown"  # of a kind that says nothing to us: kept and shown


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One event whose sender was proven. The same `key` is the same event, however often it comes.

    `about` is the provider's id of what it is about, for people; `payload` is the event as it came, as JSON text.
    """

    provider: Provider
    key: str
    kind: str
    about: str
    account: str
    livemode: bool
    occurred_at: datetime
    payload: str


@dataclass(frozen=True, slots=True)
class StoredEvent:
    id: int
    event: NewEvent
    state: EventState
    note: str
    received_at: datetime
