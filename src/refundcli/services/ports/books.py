"""The store as the use cases see it: what can be read, what can be written, in one transaction."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import ClassVar, Protocol

from refundcli.domain.closing import Closing
from refundcli.domain.dispute import DisputeRecord
from refundcli.domain.errors import SettingsProblem
from refundcli.domain.invoice import Invoice, OtherShare, Payment
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import CreditNote, Refund
from refundcli.domain.statuses import ClosingState, InvoiceStatus, Provider, RefundState
from refundcli.services.ports.invoice_block import InvoiceBlock
from refundcli.services.ports.provider_updates import (
    CaptureNews,
    EventState,
    NewEvent,
    RefundNews,
    StoredEvent,
)
from refundcli.services.ports.records import (
    Account,
    AuditEntry,
    Beside,
    Capture,
    CreditNoteFilter,
    EventFilter,
    FailedCapture,
    ImportCounts,
    InvoiceFilter,
    NewInvoice,
    NewPayment,
    PaymentLine,
    PendingRefunds,
    Record,
    Settlement,
    SucceededRefund,
    T,
)
from refundcli.services.ports.rejections import DeliveryCount, RejectionReason
from refundcli.services.ports.runs import RunReading, RunWriting


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

    def events_to_reread(self, provider: Provider, *, after: int, limit: int) -> list[StoredEvent]:
        """Delivered events that did nothing, by the vocabulary or by what a person decided of their word.

        Also those that are still to be applied, unreviewed because of their word, or for another account or mode.
        """
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

    def link_payments(self, events: Mapping[int, NewEvent]) -> None:
        """Store the references of the payments that each stored event, by its id, is about, beside those it has."""
        ...

    def store_unreviewed(self, event: NewEvent, why: str) -> EventState:
        """Store what a report or a snapshot says and cannot be applied (R13).

        Returns its state: unreviewed, unless someone acknowledged it before.
        """
        ...

    def mark_event(self, event: StoredEvent, state: EventState, note: str) -> None: ...
    def mark_event_unchanged(self, event: StoredEvent, state: EventState, note: str) -> bool:
        """Compare and set: only while its state and its note are still those of `event`; false if they are not."""
        ...

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
