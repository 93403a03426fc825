"""What the use cases need from the world. The store and the providers fit these shapes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias, TypeVar

from refundcli.domain.closing import Closing
from refundcli.domain.dispute import DisputeRecord
from refundcli.domain.errors import SettingsProblem
from refundcli.domain.invoice import Invoice, OtherShare, Payment
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import CreditNote, Refund, WireRequest
from refundcli.domain.statuses import ClosingState, Dispute, InvoiceStatus, Provider, RefundState
from refundcli.services.bad_rows import Problem
from refundcli.services.deliveries import DeliveryCount, Rejection, RejectionReason
from refundcli.services.provider_news import (
    CaptureNews,
    EventState,
    NewEvent,
    News,
    PaymentTruth,
    RefundNews,
    StoredEvent,
    UnreadablePayment,
)
from refundcli.services.rate_limit import Pace
from refundcli.services.run_ports import RunReading, RunWriting
from refundcli.services.vocabulary import CaptureChange

if TYPE_CHECKING:
    from refundcli.services.invoice_block import InvoiceBlock

T = TypeVar("T")

# The last check before the first byte of a request: does this process still hold the lease?
MaySend: TypeAlias = Callable[[], bool]


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...

    def today(self) -> date:
        """The date in the store's time zone, which is the books' date."""
        ...


# --- the books ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuditEntry:
    seq: int
    at: datetime
    operator: str
    host: str
    action: str
    subject: str
    before: dict[str, object]
    after: dict[str, object]


@dataclass(frozen=True, slots=True)
class Account:
    """Whose account the store was used with."""

    provider: Provider
    account: str
    livemode: bool


@dataclass(frozen=True, slots=True)
class InvoiceFilter:
    status: InvoiceStatus | None = None
    provider: Provider | None = None
    customer: str = ""
    refundable: bool = False
    disputed: bool = False
    processing: bool = False
    after: str = ""
    limit: int = 50


@dataclass(frozen=True, slots=True)
class CreditNoteFilter:
    invoice: str = ""
    reason: RefundReason | None = None
    since: date | None = None
    until: date | None = None
    after: CreditNote | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class NewPayment:
    """A payment as an import tells it; amounts in ISO 4217 minor units of the invoice's currency.

    `auto_refundable_is_told`: the import says so itself, and it is not the default. `charge`: the other id of a
    Stripe payment whose `reference` is its intent.
    """

    captured: int
    provider: Provider | None = None
    method: str = ""
    reference: str = ""
    charge: str = ""
    returned_elsewhere: int = 0
    auto_refundable: bool = False
    auto_refundable_is_told: bool = False
    processing: bool = False
    dispute: Dispute = Dispute.NONE
    dispute_amount: int | None = None
    paid_on: date | None = None


@dataclass(frozen=True, slots=True)
class NewInvoice:
    """An invoice as an import tells it; `line` is where it stood in the file, `original` how."""

    line: int
    number: str
    customer: str
    currency: str
    total: int
    status: InvoiceStatus
    issued_on: date
    customer_name: str = ""
    due_on: date | None = None
    paid_on: date | None = None
    invoice_reference: str = ""
    products: tuple[str, ...] = ()
    subscription: str = ""
    payments: tuple[NewPayment, ...] = ()
    original: tuple[str, ...] | str = ()


@dataclass(slots=True)
class ImportCounts:
    """What an import did. `kept` tells by line where store and file disagree, and what came of it."""

    new: int = 0
    changed: int = 0
    same: int = 0
    kept: list[tuple[int, str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Beside:
    """What is against new invoices in the books, how many of them are known already, and as of which audit entry."""

    problems: list[Problem]
    known: int
    as_of: int


@dataclass(frozen=True, slots=True)
class Record:
    """A refund made elsewhere, as it is written down; `charged_back`: it is what a lost dispute took (R11)."""

    refund: Refund
    charged_back: bool


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a refund ends, or how it stands now, and who says so: `evidence` is the event, the report or the person.

    `reported_at` is the provider's date of it. `may_be_retried`: it failed, and the provider may send it again by
    itself; until `hold_until` its amount stays reserved. `failure_code`: the signal of the answer that it failed by.
    """

    state: RefundState
    reference: str = ""
    status: str = ""
    failure: str = ""
    evidence: str = ""
    may_be_retried: bool = False
    reported_at: datetime | None = None
    hold_until: datetime | None = None
    failure_code: str = ""
    pending_reason: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RefundLine:
    """A refund as little as is needed to compare it. `came_back_at`: its success was told, and taken back then.

    `is_record`: it was recorded by hand; `succeeded_at` and `failed_at` are then those of the provider's own refund.
    """

    id: str
    provider_reference: str
    amount: Money
    state: RefundState
    came_back_at: datetime | None = None
    is_unadopted: bool = False
    is_record: bool = False
    succeeded_at: datetime | None = None
    failed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PaymentLine:
    """A provider's payment as little as is needed to compare it: a million of them pass by."""

    id: int
    invoice: str
    reference: str
    captured: Money
    paid_on: date | None
    refunds: tuple[RefundLine, ...] = ()


@dataclass(frozen=True, slots=True)
class SucceededRefund:
    """A refund that succeeded, as little as is needed to look it up in a report. `payment`: its reference there."""

    id: str
    provider_reference: str
    amount: Money
    invoice: str
    payment: str


@dataclass(frozen=True, slots=True)
class Capture:
    """One capture of a payment as it was reported last."""

    change: CaptureChange
    amount: Money
    at: datetime


@dataclass(frozen=True, slots=True)
class FailedCapture:
    """Money that was not captured after all, and was not captured again: less is paid than the invoice says."""

    provider: Provider
    invoice: str
    reference: str
    amount: Money
    at: datetime


@dataclass(frozen=True, slots=True)
class PendingRefunds:
    """The first accepted refunds, of `count`, those that need someone first; `attention`: how many of all do."""

    first: Sequence[Refund]
    count: int
    attention: int


@dataclass(frozen=True, slots=True)
class EventFilter:
    state: EventState | None = None
    provider: Provider | None = None
    about: str = ""
    limit: int = 50


class RefundReading(Protocol):
    """What the rules of a refund are asked of."""

    def invoice(self, number: str) -> Invoice | None: ...
    def numbers_near(self, number: str) -> list[str]: ...
    def refunds_by_key(self, request_key: str) -> list[Refund]: ...
    def payments_known_as(self, provider: Provider, references: Sequence[str]) -> dict[str, tuple[str, int]]:
        """By reference, the number of the invoice and the payment that it names; the first share where it is shared."""
        ...


class Reading(RefundReading, RunReading, Protocol):
    """One consistent look at the books."""

    def invoices(self, wanted: InvoiceFilter) -> list[Invoice]:
        """By number; without their refunds and closings."""
        ...

    def invoices_by_number(self, numbers: Sequence[str]) -> dict[str, Invoice]: ...
    def invoices_with_facts(self, numbers: Sequence[str]) -> dict[str, tuple[Invoice, int]]: ...
    def facts_by_number(self, numbers: Sequence[str]) -> dict[str, int]:
        """A number for all that the rules look at of each invoice: the same facts, the same number (in one process)."""
        ...

    def changed_since(self, entry: int, *, apart_from: str) -> bool:
        """Has anything changed since that entry was the newest? Every change leaves one (I10).

        Entries about `apart_from` do not count.
        """
        ...

    def numbers_behind(self, reference: str) -> list[str]:
        """Invoices that a provider's id, a refund's id or a credit note's number belongs to."""
        ...

    def refund(self, refund_id: str) -> Refund | None: ...
    def refunds_by_id(self, refund_ids: Sequence[str]) -> dict[str, Refund]: ...
    def refunds_by_keys(self, request_keys: Sequence[str]) -> dict[str, list[Refund]]: ...
    def refunds_in(self, *states: RefundState) -> list[Refund]: ...
    def closing(self, closing_id: str) -> Closing | None: ...
    def closings_in(self, *states: ClosingState) -> list[Closing]: ...
    def pending_refunds(self, *, overdue: datetime, stuck: str, limit: int) -> PendingRefunds:
        """Those that need someone were accepted before `overdue`, or are pending for the reason `stuck`."""
        ...

    def newest_refund_of_run(self, run_id: str) -> datetime | None:
        """When the run made its newest refund or record; None before the first."""
        ...

    def failed_captures(self) -> list[FailedCapture]:
        """Of invoices that are neither voided nor written off, the newest first."""
        ...

    def count_invoices(self, wanted: InvoiceFilter) -> int:
        """How many there are, whatever its limit; for the filters by payments alone."""
        ...

    def refunds_to_acknowledge(self) -> list[Refund]:
        """Those that failed after their success, or came back, and no person has said that they know."""
        ...

    def refunds_made_elsewhere(self, *, adopted: bool) -> list[Refund]: ...
    def refunds_by_provider_references(self, provider: Provider, references: Sequence[str]) -> list[Refund]: ...
    def payment_of_dispute(self, provider: Provider, account: str, reference: str) -> tuple[Invoice, Payment] | None:
        """The payment of the stored dispute with this reference."""
        ...

    def captures(self, payment: Payment) -> dict[str, Capture]:
        """The stored captures of the payment, by reference."""
        ...

    def losses(self) -> list[Invoice]:
        """Invoices with a loss that nobody has acknowledged (I13)."""
        ...

    def unreviewed_events(self, *, limit: int) -> list[StoredEvent]:
        """Those that block a refund until a person acknowledges them, the oldest first."""
        ...

    def payments_of_event(self, number: int) -> list[str]:
        """The references of the payments that an event is about."""
        ...

    def unreviewed_count(self, provider: Provider) -> int:
        """How many of the provider's updates are unreviewed."""
        ...

    def decided_words(self, provider: Provider) -> dict[str, str]:
        """The decided effect of each unlisted code."""
        ...

    def invoices_of_payments(self, provider: Provider, references: Sequence[str]) -> dict[str, Invoice]:
        """The invoices that these payments at a provider belong to, by each payment's reference.

        Of a payment that pays several invoices, the one with its first share.
        """
        ...

    def invoices_by_reference(self, references: Sequence[str]) -> dict[str, Invoice]:
        """By the provider's id of the invoice, those that are in the books."""
        ...

    def refunds_succeeded(
        self, provider: Provider, since: datetime, until: datetime, *, after: str, limit: int
    ) -> list[SucceededRefund]:
        """A page of the refunds that the provider reported as successful in that time, by their ids."""
        ...

    def payment_lines(self, provider: Provider, references: Sequence[str]) -> dict[str, PaymentLine]:
        """Payments at a provider by its reference, with their refunds there."""
        ...

    def payment_count(self, provider: Provider) -> int:
        """How many payments of the provider there are; one that several invoices share is one."""
        ...

    def payment_lines_after(self, provider: Provider, after: int, *, limit: int) -> list[PaymentLine]:
        """A page of the provider's payments, without their refunds."""
        ...

    def events(self, wanted: EventFilter) -> list[StoredEvent]:
        """The newest first."""
        ...

    def event(self, number: int) -> StoredEvent | None: ...
    def events_to_apply(self, *, after: int, limit: int) -> list[StoredEvent]:
        """What waits, or was about a payment that was not here yet; the oldest first."""
        ...

    def events_of_known_payments(self, provider: Provider, *, after: int, limit: int) -> list[StoredEvent]:
        """Events that are waiting, unmatched or not applied and whose payment is in the books by now, oldest first."""
        ...

    def ignored_events(self, provider: Provider, *, after: int, limit: int) -> list[StoredEvent]:
        """Delivered events that did nothing, by the vocabulary or by what a person decided of their word."""
        ...

    def event_counts_of_known_payments(self) -> dict[str, int]:
        """How many of those events there are in each state, of all providers."""
        ...

    def oldest_event(self, state: EventState) -> datetime | None:
        """When the oldest of those in this state was received; None if there is none."""
        ...

    def last_delivery(self, provider: Provider) -> datetime | None:
        """When the newest event came by webhook, or from a file of deliveries; None if none ever did."""
        ...

    def event_counts(self) -> dict[str, int]:
        """How many events there are in each state."""
        ...

    def delivery_counts(self) -> list[DeliveryCount]:
        """Deliveries that were rejected, and events that are stored and not applied, by provider and reason."""
        ...

    def sync_state(self, name: str) -> tuple[str, datetime] | None: ...
    def credit_notes(self, wanted: CreditNoteFilter) -> list[CreditNote]:
        """In the order of their issue, those without a number left out."""
        ...

    def credit_note(self, number: str) -> CreditNote | None: ...
    def credit_note_numbers_near(self, number: str) -> list[str]: ...
    def history(self, invoice: Invoice) -> list[AuditEntry]: ...
    def imported(self, invoice: Invoice) -> AuditEntry:
        """When the invoice came into the store, from which file, by whom."""
        ...

    def beside(self, block: "InvoiceBlock") -> Beside:
        """What the books hold beside these new invoices."""
        ...

    def newest_entry(self) -> int:
        """The number of the newest audit entry, with those that this transaction will write; 0 before the first."""
        ...

    def number_format(self) -> str:
        """How these books number credit notes; empty before the first one."""
        ...

    def secret(self) -> bytes:
        """The store's own secret, from which idempotency keys are made."""
        ...

    def livemode(self) -> bool | None: ...
    def accounts(self) -> list[Account]: ...
    def account(self, provider: Provider, key_fingerprint: str) -> str | None: ...


class Writing(Reading, RunWriting, Protocol):
    """One transaction that changes the books, and writes an audit entry for each change."""

    def check_clock(self) -> None:
        """Before anything is begun. Raises SettingsProblem under a clock that cannot be right (DESIGN §3).

        What begins a refund, a record or a lease does it by itself. An outcome is recorded under any clock.
        """
        ...

    def pin_timezone(self, timezone: str, *, force: bool = False) -> None:
        """The zone of the books' days, from now on. It changes no date.

        Raises ZonePinned, unless `force`, and DayTooEarly where the day of the newest credit note has not begun.
        """
        ...

    def accept_clock(self) -> datetime | None:
        """Believe the clock whatever the newest audit entry says, and write that down; the time of that entry."""
        ...

    def reserve(self, payment: Payment, amount: Money) -> bool:
        """Promise an amount to a refund, or say no: one statement that cannot over-refund (I1)."""
        ...

    def record(self, records: Sequence[Record], *, on: date, number_format: str) -> None:
        """Count amounts as returned out of band, under the same guard: refunds, issued credit notes, invoices (R7)."""
        ...

    def take_back_records(self, records: Sequence[Record], *, memo: str) -> None:
        """Records made in error: their amounts are free again, their credit notes void with their numbers kept."""
        ...

    def add_refund(self, refund: Refund) -> None: ...
    def claim(self, refund: Refund, *, owner: str, until: datetime, at: datetime) -> Refund | None:
        """Compare and set: only the caller that finds fence and state as it knew them gets the refund."""
        ...

    def let_go(self, refund: Refund) -> None:
        """Give up a lease early: the outcome is not known and others may look."""
        ...

    def settle(self, refund: Refund, end: Settlement) -> Refund | None:
        """Compare and set on the fence: the outcome, the sums and the invoice's status in one transaction."""
        ...

    def add_closing(self, closing: Closing) -> None: ...
    def claim_closing(self, closing: Closing, *, owner: str, until: datetime, at: datetime) -> Closing | None:
        """As `claim` for a refund."""
        ...

    def let_go_of_closing(self, closing: Closing) -> None: ...
    def settle_closing(self, closing: Closing, state: ClosingState, *, failure: str, evidence: str) -> Closing | None:
        """Compare and set on the fence. The invoice's own status is another step of the same transaction."""
        ...

    def see_elsewhere(
        self, invoice: Invoice, payment: Payment, news: RefundNews, *, undecided: bool, evidence: str
    ) -> Refund:
        """Count an external refund from now on. `undecided`: it may be one that was recorded by hand."""
        ...

    def note_record_failed(self, record: Refund, news: RefundNews, *, evidence: str) -> bool:
        """The provider's refund that the record was matched with has failed, or was returned; false if known."""
        ...

    def match_record(self, record: Refund, news: RefundNews, *, evidence: str) -> None:
        """The provider's refund is the one that was recorded here by hand: it is counted once."""
        ...

    def adopt(self, refund: Refund, *, reason: RefundReason, memo: str) -> Refund:
        """A refund made elsewhere gets its reason, and a draft credit note (R4, R7)."""
        ...

    def note_report(self, refund: Refund, report: Settlement) -> bool:
        """Store why the refund is pending, and until when the customer may act. False if that is stored already."""
        ...

    def note_success(self, refund: Refund, *, at: datetime | None, evidence: str) -> bool:
        """Store when a failed or recorded refund was reported as successful. False if that is stored already."""
        ...

    def hold_failed(self, refund: Refund, *, evidence: str) -> bool:
        """Reserve the amount of a failed refund until it is acknowledged. False if it has been used since."""
        ...

    def reverse_part(self, refund: Refund, amount: Money, *, evidence: str) -> None:
        """Record that a part of a refund was returned. The credit note stays; it needs acknowledgement (R14)."""
        ...

    def match_external(self, external: Refund, record: Refund) -> None:
        """Record that an external refund and a record are the same refund, so that it counts once (R12)."""
        ...

    def release_lapsed_holds(self, invoice: Invoice) -> bool:
        """Release the amounts of failed refunds that the provider no longer retries; true if there were any."""
        ...

    def acknowledge(self, refund: Refund, *, memo: str) -> Refund:
        """A person knows that it came back; what was held for it is free."""
        ...

    def record_dispute(self, invoice: Invoice, payment: Payment, record: DisputeRecord, *, evidence: str) -> None:
        """Write a new dispute (id 0) or the new state of one; the payment's state and lost amount follow from all."""
        ...

    def record_capture(self, invoice: Invoice, payment: Payment, news: CaptureNews, *, evidence: str) -> bool:
        """Write the state of one capture of a payment; false if a later report of it is stored already."""
        ...

    def note_payment(
        self, invoice: Invoice, payment: Payment, *, captured: Money, processing: bool, evidence: str
    ) -> bool:
        """Write what the provider captured of the whole payment. An invoice without captured money is open again."""
        ...

    def add_share(
        self, invoice: Invoice, first: Payment, new: NewPayment, *, told: Sequence[NewPayment], evidence: str
    ) -> None:
        """The provider's payment pays this invoice too: a further share of it.

        The invoice may have it already, without its id. `told`: all that is told of the invoice's payments.
        """
        ...

    def join_payments(self, first: Payment, other: Payment, *, evidence: str) -> None:
        """Two payments that were known by two ids are one at the provider: from now on they are shares of it."""
        ...

    def assign_external(self, refund: Refund, share: OtherShare) -> Refund:
        """An external refund of a shared payment is about another of its invoices."""
        ...

    def note_share(self, invoice: Invoice, payment: Payment, share: Money) -> None:
        """The provider reports that less of the payment is for this invoice than the books counted."""
        ...

    def note_unsupported(self, payment: Payment, why: str) -> None:
        """Why the provider's payment cannot be refunded from here; empty where it can."""
        ...

    def note_credited(self, payment: Payment, amount: Money, *, evidence: str) -> None:
        """What of it was given to the customer's balance at the provider."""
        ...

    def acknowledge_loss(self, invoice: Invoice, *, memo: str) -> None:
        """Record that a person acknowledged the invoice's loss (I13)."""
        ...

    def store_events(self, events: Sequence[NewEvent]) -> int:
        """Keep what is new; how many were. An event that is known by its key is left as it is."""
        ...

    def store_unreviewed(self, event: NewEvent, why: str) -> EventState:
        """Store what a report or a snapshot says and cannot be applied (R13).

        Returns its state: unreviewed, unless someone acknowledged it before.
        """
        ...

    def mark_event(self, event: StoredEvent, state: EventState, note: str) -> None: ...
    def acknowledge_event(self, event: StoredEvent, *, memo: str) -> None:
        """A person dealt with an event that contradicts the books; what it said stays in its note."""
        ...

    def decide_word(self, provider: Provider, word: str, effect: str) -> int:
        """Decide the effect of an unlisted code; returns how many unreviewed events that acknowledged."""
        ...

    def end_decision(self, provider: Provider, word: str) -> None:
        """The code is listed by now: what a person decided of it holds no more."""
        ...

    def change_number_format(self, number_format: str) -> None:
        """Number new credit notes like this from now on, with an entry in the audit trail."""
        ...

    def count_rejected_deliveries(self, counts: Mapping[tuple[Provider | None, RejectionReason], int]) -> None: ...
    def set_sync_state(self, name: str, value: str) -> None: ...
    def issue_credit_note(self, refund: Refund, *, at: datetime, on: date, number_format: str) -> None: ...
    def void_credit_note(self, refund: Refund, *, at: datetime) -> None: ...
    def change_status(self, invoice: Invoice, status: InvoiceStatus, *, memo: str, evidence: str = "") -> None: ...
    def number_invoice(self, known_as: str, number: str) -> None:
        """An invoice that was known by its id at the provider got its number there."""
        ...

    def import_invoices(self, invoices: Sequence[NewInvoice], *, source: str) -> ImportCounts: ...

    def import_blocks(self, blocks: Iterable["InvoiceBlock"], *, source: str, all_new: bool = False) -> ImportCounts:
        """One import of them all. `all_new`: it is known that the books have none of these invoices."""
        ...

    def pin_livemode(self, livemode: bool) -> bool:
        """The store's mode, which this one becomes if it has none yet (I12)."""
        ...

    def remember_account(self, provider: Provider, key_fingerprint: str, account: str, *, livemode: bool) -> None: ...


class Books(Protocol):
    """The store. Work is given as a function, because a transaction may have to run again whole."""

    def read(self, work: Callable[[Reading], T]) -> T: ...
    def write(self, work: Callable[[Writing], T]) -> T: ...


# --- the providers -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """What the provider is to be asked for, in the books' words."""

    refund_id: str
    invoice_number: str
    payment_reference: str
    amount: Money
    reason: RefundReason
    full: bool = False


@dataclass(frozen=True, slots=True)
class RefundAnswer:
    """What came back from one call, before anyone decides what it means.

    `signal` is the provider's answer in the words of `services.outcomes`; `state` is set when it told one.
    `pending_reason` says why the provider has not finished it, `expires_at` until when the customer may act.
    """

    signal: str
    state: RefundState | None = None
    reference: str = ""
    status: str = ""
    message: str = ""
    retry_after: float | None = None
    replayed: bool = False
    pending_reason: str = ""
    expires_at: datetime | None = None


class Answer(Protocol):
    """What every answer tells, whatever was asked for."""

    @property
    def signal(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def retry_after(self) -> float | None: ...
    @property
    def replayed(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class ClosingAnswer:
    """What came back when an invoice was to be closed, as `RefundAnswer` for a refund."""

    signal: str
    message: str = ""
    retry_after: float | None = None
    replayed: bool = False


class PaymentProvider(Protocol):
    name: Provider
    livemode: bool
    account: str
    base_url: str

    def prepare(self, order: RefundOrder) -> WireRequest:
        """The exact request, without sending it. Raises where the provider cannot take the amount."""
        ...

    def refund(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> RefundAnswer:
        """One HTTP call, or none while the provider is rate limiting. Provider and network errors are answers.

        `may_send` is asked once the connection is open; if it returns False, nothing is sent.
        """
        ...

    def find_refund(self, request: WireRequest, refund_id: str) -> RefundAnswer | None:
        """Look a sent refund up; None when the provider has none."""
        ...

    def ended_approval(self, request: WireRequest, status: str) -> RefundAnswer | None:
        """Look up the approval that a refund waits for; `status` is the refund's status at the provider.

        None while it may still be approved, or cannot be looked up.
        """
        ...


class InvoiceCloser(Protocol):
    """A provider that keeps invoices, and voids them or writes them off when it is asked to."""

    name: Provider
    livemode: bool
    account: str
    base_url: str

    def prepare(self, reference: str, wanted: InvoiceStatus) -> WireRequest:
        """The exact request, without sending it."""
        ...

    def close(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> ClosingAnswer:
        """One HTTP call, or none while the provider is rate limiting. Provider and network errors are answers.

        `may_send` as for a refund.
        """
        ...


class BooksUnavailable(SettingsProblem):
    """The store is used by others or cannot be reached now; it may pass by itself. Nothing was changed.

    `passes_within`: seconds for which a provider's answer waits for it.
    """

    passes_within: ClassVar[float] = 600.0


class WouldContradict(SettingsProblem):
    """The store refused a change by one of its own constraints: the last guard, behind every rule."""

    code = "store-would-contradict"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The store does not take this change: {what}.",
            hint="refundcli store check   tells whether its books are sound; please report what was to be done.",
        )


class Providers(Protocol):
    def of(self, provider: Provider) -> PaymentProvider: ...
    def records(self, provider: Provider) -> "ProviderRecords":
        """What the provider keeps, where it can be asked. Raises SettingsProblem."""
        ...

    def closer(self, provider: Provider) -> InvoiceCloser:
        """Who closes the invoices that the provider keeps. Raises SettingsProblem."""
        ...

    def pace(self, provider: Provider) -> Pace:
        """What every request to it keeps to."""
        ...


@dataclass(frozen=True, slots=True)
class ToldInvoice:
    """An invoice as the provider keeps it, with the truth about each of its payments; `reference` is its id there.

    `credited` went to the customer's balance by its credit notes.
    """

    reference: str
    invoice: NewInvoice
    payments: tuple[PaymentTruth, ...]
    credited: Money


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An invoice at the provider that the books cannot hold, and why: a credit, say, has a negative total."""

    reference: str
    number: str
    why: str


class ProviderRecords(Protocol):
    """What a provider keeps and tells when asked. Only reads.

    Every method may raise ProviderUnreachable; those that are asked for one thing also CannotBeHeld.
    """

    name: Provider
    livemode: bool
    account: str

    def payment(self, reference: str, *, of_invoice: str = "") -> PaymentTruth | None:
        """The payment with every refund and dispute of it; None when the provider has none of that id.

        `of_invoice`: the provider's id of its invoice, where it keeps one; its credit notes are asked for too.
        """
        ...

    def payments(self, *, since: date | None) -> Iterator[PaymentTruth | UnreadablePayment]:
        """Every payment made since then, newest first, many in one request (Stripe: its charges with their refunds)."""
        ...

    def refund(self, reference: str) -> RefundNews | None: ...
    def refunds(self, *, since: date | None) -> Iterator[RefundNews]:
        """Every refund made since then, newest first."""
        ...

    def credited(self, invoice_reference: str) -> Money | None:
        """What credit notes of the invoice gave to the customer's balance; None where there is no such invoice."""
        ...

    def credits(self) -> Mapping[str, Money | None]:
        """By each invoice with credit notes, what all of them gave to the customer's balance; None if they do not say.

        Complete: voided notes are listed too, so an invoice that is not in it has no credit.
        """
        ...

    def invoices(self, *, since: date | None, after: str) -> Iterator[ToldInvoice | LeftOut]:
        """Every invoice made since then, newest first; `after` is the reference of one to go on after."""
        ...

    def invoice(self, name: str) -> ToldInvoice | None:
        """One invoice, by its reference at the provider or by its number."""
        ...


@dataclass(frozen=True, slots=True)
class VerifiedDelivery:
    """The verified events of one delivery, and why other items of it were rejected."""

    events: Sequence[NewEvent]
    rejected: Sequence[Rejection] = ()


class DeliveryReader(Protocol):
    """Verifies the deliveries of one provider."""

    livemode: bool

    def read(self, body: bytes, headers: Mapping[str, str]) -> VerifiedDelivery:
        """Judge each item of one delivery by itself. Raises DeliveryRejected if none of it is verified."""
        ...


class EventReader(Protocol):
    """What the events of one provider mean."""

    def news_in(self, event: NewEvent) -> Sequence[News] | None:
        """What the event tells, asked for anew where the provider can be asked; None when it says nothing to us.

        Raises ProviderUnreachable: then the event waits.
        """
        ...

    def amount_in(self, event: NewEvent) -> Money | None:
        """The amount that the event is about; None if it has none or it cannot be read."""
        ...
