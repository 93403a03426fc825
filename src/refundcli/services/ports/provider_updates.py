"""Provider updates, snapshots and stored events, as plain data; and how long Adyen retries a failed refund (R14).

News is the same whoever brings it, and may come twice, late, early and in any order.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.errors import Refused
from refundcli.domain.money import Money
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.rejections import RejectionReason
from refundcli.services.ports.vocabulary import CaptureChange

# How long after REFUND_FAILED Adyen may send the refund again by itself (R14).
_RETRIED_WITHIN = timedelta(days=10)


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

    `refund_id` is ours, as it travelled with the refund. `may_be_retried`: it failed, and the provider may send it
    again by itself. `account` is empty where it was not reported. `reported_at` is the provider's date of this report.
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
    may_be_retried: bool = False
    created_at: datetime | None = None
    reported_at: datetime | None = None
    pending_reason: str = ""
    expires_at: datetime | None = None

    @property
    def may_outweigh_failure(self) -> bool:
        """Is it a success that may follow a failure? Who can be looked up makes no second try, and dates each look
        anew."""
        return self.state is RefundState.SUCCEEDED and self.provider not in CAN_LOOK_UP

    @property
    def hold_until(self) -> datetime | None:
        """Until when the provider may send a failed refund again by itself (R14); None if it does not."""
        return self.reported_at + _RETRIED_WITHIN if self.may_be_retried and self.reported_at else None


@dataclass(frozen=True, slots=True)
class DisputeNews:
    """How one dispute stands; `amount` is what it is about, None where it was not reported in the payment's currency.

    `reference` is the dispute's own id, empty where it cannot be told from the payment's. `state` None leaves the
    state as it is. `at` is the provider's date: of two reports about one dispute the later one holds.
    """

    provider: Provider
    reference: str
    payment_references: tuple[str, ...]
    state: DisputeState | None
    stage: DisputeStage
    status: str
    at: datetime
    amount: Money | None = None
    account: str = ""
    livemode: bool | None = None


@dataclass(frozen=True, slots=True)
class CaptureNews:
    """An amount of a payment was captured, or was not; `reference` is the provider's id of the capture."""

    provider: Provider
    reference: str
    payment_references: tuple[str, ...]
    change: CaptureChange
    amount: Money
    status: str
    at: datetime
    account: str = ""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What cannot be applied: a word that is not listed, an amount that cannot be read, a report that needs a person.

    `word` is the provider's own, `object_id` the provider's id of what it is about, and `why` one sentence.
    """

    provider: Provider
    payment_references: tuple[str, ...]
    word: str
    object_id: str
    why: str
    account: str = ""
    amount: Money | None = None


@dataclass(frozen=True, slots=True)
class PaymentTruth:
    """One payment as the provider knew it at `asked_at`, with every refund and dispute of it; amounts in its currency.

    `captured` is the whole payment's, whatever invoices it pays. `why_not_refundable` is the provider's own word
    against a refund, `unsupported` why it cannot be refunded from here; both empty where there is none. `doubts` are
    about objects whose status is not listed (R13). `credited`, where it was asked for, went to the
    customer's balance by credit notes of the invoice.
    """

    provider: Provider
    references: tuple[str, ...]
    captured: Money
    refunded: Money
    processing: bool
    disputes: tuple[DisputeNews, ...]
    refunds: tuple[RefundNews, ...]
    asked_at: datetime
    why_not_refundable: str = ""
    unsupported: str = ""
    credited: Money | None = None
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True, slots=True)
class UnsupportedNews:
    """Why a payment cannot be refunded from here without harm (R12)."""

    provider: Provider
    payment_references: tuple[str, ...]
    why: str


Update: TypeAlias = RefundNews | DisputeNews | CaptureNews | UnsupportedNews | Doubt
News: TypeAlias = Update | PaymentTruth


@dataclass(frozen=True, slots=True)
class UnreadablePayment:
    """A payment in a list that the books cannot hold, and why."""

    provider: Provider
    references: tuple[str, ...]
    why: str


# How the note of an event begins that a person has acknowledged.
ACKNOWLEDGED = "acknowledged by"
# In that note, where a person decided what the word does in this store.
WORD_DECIDED = "has the effect"
# In the note of an event whose word is not listed, after the word.
NOT_LISTED = "is not a known event"


class EventState(StrEnum):
    """What became of an event that was stored."""

    WAITING = "waiting"  # not looked at yet, or the provider could not be asked
    APPLIED = "applied"  # it changed or confirmed the books, or a person acknowledged it
    UNMATCHED = "unmatched"  # about a payment, or a dispute, that is not in the books (yet)
    UNREVIEWED = "unreviewed"  # it contradicts the books, or is not understood: a person must look (R13)
    NOTED = "noted"  # says nothing about refunds: stored and shown


class EventSource(StrEnum):
    """Where an event comes from."""

    WEBHOOK = "webhook"
    REPORT = "report"
    API = "api"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One event whose sender was proven. The same `key` is the same event, however often it comes.

    `about` is the provider's id of what it is about, for people; `payload` is the event as it came, as JSON text.
    `payments`: the references of the payments that it bears on; empty where it says nothing about refunds.
    `not_applied`: it is for another account or mode, or its shape is not known, so it is stored and not applied.
    """

    provider: Provider
    key: str
    kind: str
    about: str
    account: str
    livemode: bool
    occurred_at: datetime
    payload: str
    payments: tuple[str, ...] = ()
    source: EventSource = EventSource.WEBHOOK
    not_applied: RejectionReason | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    id: int
    event: NewEvent
    state: EventState
    note: str
    received_at: datetime
