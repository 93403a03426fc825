"""Provider updates, snapshots and stored events, as plain data; and how long Adyen retries a failed refund (R14).

An update reads the same from every source, and may arrive twice, late, early and in any order.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.errors import Refused
from refundcli.domain.money import Money
from refundcli.domain.refund import TraceNumber
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.rejection_reasons import RejectionReason
from refundcli.services.ports.vocabulary import CaptureChange

# For this long after REFUND_FAILED, Adyen may retry the refund by itself (R14).
_RETRIED_WITHIN = timedelta(days=10)


class CannotBeHeld(Refused):
    """The books cannot store one object of a provider; others can still be read."""

    code = "cannot-be-held"

    def __init__(self, provider: Provider, why: str) -> None:
        super().__init__(
            f"{provider.label} returned an object that the books cannot store: {why}.",
            hint="Check it in the provider's dashboard.",
            context={"provider": provider.value},
        )


@dataclass(frozen=True, slots=True)
class RefundUpdate:
    """The state of one refund at the provider, ours or external; `amount` in the payment's currency.

    `refund_id` is ours, sent along with the refund. `may_be_retried`: it failed, and the provider may retry it.
    `account` is empty if it was not reported. `reported_at` is the provider's date of this report.
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
    trace: TraceNumber | None = None

    @property
    def may_outweigh_failure(self) -> bool:
        """Is it a success that may follow a failure? A provider with look-ups never retries by itself."""
        return self.state is RefundState.SUCCEEDED and self.provider not in CAN_LOOK_UP

    @property
    def hold_until(self) -> datetime | None:
        """Until when the provider may retry a failed refund (R14); None if it does not."""
        return self.reported_at + _RETRIED_WITHIN if self.may_be_retried and self.reported_at else None


@dataclass(frozen=True, slots=True)
class DisputeUpdate:
    """The state of one dispute; `amount` is None unless it was reported in the payment's currency.

    `reference` is the dispute's own id, empty if it is the payment's. `state` None leaves the state as it is. `at` is
    the provider's date: of two updates about one dispute the later one wins.
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
class CaptureUpdate:
    """An amount of a payment was captured, failed or was cancelled; `reference` is the provider's id of the capture."""

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
    """An update that cannot be applied: an unlisted code, an unreadable amount, a report that needs a person.

    `word` is the provider's code, `object_id` the provider's id of its object, `why` one sentence.
    """

    provider: Provider
    payment_references: tuple[str, ...]
    word: str
    object_id: str
    why: str
    account: str = ""
    amount: Money | None = None


@dataclass(frozen=True, slots=True)
class PaymentSnapshot:
    """One payment at the provider as of `asked_at`, with all its refunds and disputes; amounts in its currency.

    `captured` is the whole payment's, for all its invoices. `why_not_refundable` is the provider's reason against a
    refund, `unsupported` why it cannot be refunded from here; empty without one. `doubts` are about objects with an
    unlisted status (R13). `credited`, if looked up, is what credit notes of the invoice gave to the customer's balance.
    """

    provider: Provider
    references: tuple[str, ...]
    captured: Money
    refunded: Money
    processing: bool
    disputes: tuple[DisputeUpdate, ...]
    refunds: tuple[RefundUpdate, ...]
    asked_at: datetime
    why_not_refundable: str = ""
    unsupported: str = ""
    credited: Money | None = None
    doubts: tuple[Doubt, ...] = ()
    card_last4: str = ""
    card_brand: str = ""


@dataclass(frozen=True, slots=True)
class UnsupportedUpdate:
    """Why a payment cannot be refunded from here without harm (R12)."""

    provider: Provider
    payment_references: tuple[str, ...]
    why: str


Update: TypeAlias = RefundUpdate | DisputeUpdate | CaptureUpdate | UnsupportedUpdate | Doubt
ProviderUpdate: TypeAlias = Update | PaymentSnapshot


@dataclass(frozen=True, slots=True)
class UnreadablePayment:
    """A listed payment that the books cannot store, and why."""

    provider: Provider
    references: tuple[str, ...]
    why: str


# How the note of an acknowledged event begins.
ACKNOWLEDGED = "acknowledged by"
# Part of that note if a person decided the effect of the code in this store.
WORD_DECIDED = "has the effect"
# In the note of an event whose word is not listed, after the word.
NOT_LISTED = "is not a known event"


class EventState(StrEnum):
    """The state of a stored event."""

    WAITING = "waiting"  # not applied yet, or the provider could not be reached
    APPLIED = "applied"  # it changed or confirmed the books, or a person acknowledged it
    UNMATCHED = "unmatched"  # its payment or dispute is not in the books (yet)
    UNREVIEWED = "unreviewed"  # it contradicts the books or is unknown: a person must review it (R13)
    NOTED = "noted"  # does not concern refunds: stored and shown


class EventSource(StrEnum):
    """The source of an event."""

    WEBHOOK = "webhook"
    REPORT = "report"
    API = "api"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One verified event. Events with the same `key` are the same event.

    `about` is the provider's id of its object, for people; `payload` is the event as received, as JSON text.
    `payments`: the references of the payments it concerns; empty if it does not concern refunds.
    `not_applied`: why it is stored without being applied: another account or mode, or an unknown format.
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
