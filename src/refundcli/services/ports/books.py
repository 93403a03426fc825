"""The store as the use cases see it: what one transaction reads and writes."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import ClassVar, Protocol

from refundcli.domain.closing import Closing
from refundcli.domain.dispute import DisputeRecord
from refundcli.domain.errors import StoreProblem
from refundcli.domain.invoice import Invoice, OtherShare, Payment
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import CreditNote, Refund
from refundcli.domain.statuses import ClosingState, InvoiceStatus, Provider, RefundState
from refundcli.services.ports.bulk_invoices import InvoiceBlock
from refundcli.services.ports.event_books import EventReading, EventWriting
from refundcli.services.ports.provider_updates import (
    CaptureUpdate,
    RefundUpdate,
)
from refundcli.services.ports.records import (
    Account,
    AuditEntry,
    Capture,
    CreditNoteFilter,
    FailedCapture,
    ImportConflicts,
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
from refundcli.services.ports.runs import RunReading, RunWriting


class RefundReading(Protocol):
    """The reads that the rules of a refund need."""

    def invoice(self, number: str) -> Invoice | None: ...
    def numbers_near(self, number: str) -> list[str]: ...
    def refunds_by_key(self, request_key: str) -> list[Refund]: ...
    def payments_known_as(self, provider: Provider, references: Sequence[str]) -> dict[str, tuple[str, int]]:
        """By reference, the number of the invoice and the payment that it names; the first share where it is shared."""
        ...


class Reading(RefundReading, RunReading, EventReading, Protocol):
    """One consistent view of the books."""

    def invoices(self, criteria: InvoiceFilter) -> list[Invoice]:
        """By number; without their refunds and closings."""
        ...

    def invoices_by_number(self, numbers: Sequence[str]) -> dict[str, Invoice]: ...
    def invoices_with_facts(self, numbers: Sequence[str]) -> dict[str, tuple[Invoice, int]]: ...
    def facts_by_number(self, numbers: Sequence[str]) -> dict[str, int]:
        """By invoice, a hash of all facts that the rules use; comparable within one process."""
        ...

    def changed_since(self, entry: int, *, apart_from: str) -> bool:
        """Has the store written an audit entry after this one (I10)? Entries about `apart_from` do not count."""
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
        """Refunds accepted before `overdue`, or pending for the reason `stuck`, need attention."""
        ...

    def newest_refund_of_run(self, run_id: str) -> datetime | None:
        """When the run created its newest refund or record; None before the first."""
        ...

    def failed_captures(self) -> list[FailedCapture]:
        """Those of invoices that are neither void nor uncollectible, newest first."""
        ...

    def count_invoices(self, criteria: InvoiceFilter) -> int:
        """How many match, ignoring the limit; only for filters by payment."""
        ...

    def refunds_to_acknowledge(self) -> list[Refund]:
        """Refunds that failed or were reversed after they succeeded, not yet acknowledged."""
        ...

    def external_refunds(self, *, adopted: bool) -> list[Refund]: ...
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

    def invoices_of_payments(self, provider: Provider, references: Sequence[str]) -> dict[str, Invoice]:
        """By reference of the payment, its invoice; of a shared payment the invoice with the first share."""
        ...

    def invoices_by_reference(self, references: Sequence[str]) -> dict[str, Invoice]:
        """Invoices in the books, by the provider's id."""
        ...

    def refunds_succeeded(
        self, provider: Provider, since: datetime, until: datetime, *, after: str, limit: int
    ) -> list[SucceededRefund]:
        """A page of the refunds that the provider reported as succeeded in this period, ordered by id."""
        ...

    def payment_lines(self, provider: Provider, references: Sequence[str]) -> dict[str, PaymentLine]:
        """Payments of a provider by reference, with their refunds."""
        ...

    def payment_count(self, provider: Provider) -> int:
        """The number of the provider's payments; a shared payment counts once."""
        ...

    def payment_lines_after(self, provider: Provider, after: int, *, limit: int) -> list[PaymentLine]:
        """A page of the provider's payments, without their refunds."""
        ...

    def credit_notes(self, criteria: CreditNoteFilter) -> list[CreditNote]:
        """In the order of issue, without drafts."""
        ...

    def credit_note(self, number: str) -> CreditNote | None: ...
    def credit_note_numbers_near(self, number: str) -> list[str]: ...
    def history(self, invoice: Invoice) -> list[AuditEntry]: ...
    def imported(self, invoice: Invoice) -> AuditEntry:
        """The entry of the import: when, from which file, by whom."""
        ...

    def import_conflicts(self, block: "InvoiceBlock") -> ImportConflicts:
        """Why these invoices cannot be imported beside what the books hold."""
        ...

    def newest_entry(self) -> int:
        """The number of the newest audit entry, including this transaction's; 0 before the first."""
        ...

    def number_format(self) -> str:
        """The format of credit note numbers; empty before the first one."""
        ...

    def secret(self) -> bytes:
        """The store's secret, from which idempotency keys are derived."""
        ...

    def livemode(self) -> bool | None: ...
    def accounts(self) -> list[Account]: ...
    def account(self, provider: Provider, key_fingerprint: str) -> str | None: ...


class Writing(Reading, RunWriting, EventWriting, Protocol):
    """One transaction that changes the books and writes an audit entry for each change."""

    def check_clock(self) -> None:
        """Raises StoreProblem if the clock cannot be right (DESIGN §3).

        Every start of a refund, record or lease checks it. An outcome is recorded under any clock.
        """
        ...

    def pin_timezone(self, timezone: str, *, force: bool = False) -> None:
        """Set the time zone of the books' days; stored dates do not change.

        Raises ZonePinned unless `force`, and DayTooEarly if the day of the newest credit note has not begun there.
        """
        ...

    def accept_clock(self) -> datetime | None:
        """Accept the clock in spite of the newest audit entry, and record that. Returns the time of that entry."""
        ...

    def reserve(self, payment: Payment, amount: Money) -> bool:
        """Reserve an amount for a refund; False if it exceeds what is left. One guarded statement (I1)."""
        ...

    def record(self, records: Sequence[Record], *, on: date, credit_note_format: str) -> None:
        """Record amounts returned out of band, with their credit notes, under the guard of `reserve` (R7)."""
        ...

    def undo_recorded(self, records: Sequence[Record], *, memo: str) -> None:
        """Undo records made in error: free their amounts and void their credit notes, which keep their numbers."""
        ...

    def add_refund(self, refund: Refund) -> None: ...
    def claim(self, refund: Refund, *, owner: str, until: datetime, at: datetime) -> Refund | None:
        """Compare and set: lease the refund if its fence and state are unchanged; None otherwise."""
        ...

    def release_lease(self, refund: Refund) -> None:
        """Release a lease early: the outcome is unknown, and another process may look it up."""
        ...

    def settle(self, refund: Refund, end: Settlement) -> Refund | None:
        """Compare and set on the fence: record the outcome, the sums and the invoice's status."""
        ...

    def add_closing(self, closing: Closing) -> None: ...
    def claim_closing(self, closing: Closing, *, owner: str, until: datetime, at: datetime) -> Closing | None:
        """As `claim` for a refund."""
        ...

    def release_closing_lease(self, closing: Closing) -> None: ...
    def settle_closing(self, closing: Closing, state: ClosingState, *, failure: str, evidence: str) -> Closing | None:
        """Compare and set on the fence. The invoice's own status is another statement of the same transaction."""
        ...

    def record_external(
        self, invoice: Invoice, payment: Payment, update: RefundUpdate, *, undecided: bool, update_source: str
    ) -> Refund:
        """Count an external refund. `undecided`: it may be the same as one recorded by hand."""
        ...

    def note_record_failed(self, record: Refund, update: RefundUpdate, *, update_source: str) -> bool:
        """Store that the refund matched with the record failed or was returned; False if stored already."""
        ...

    def match_record(self, record: Refund, update: RefundUpdate, *, update_source: str) -> None:
        """Store that the provider's refund is the one recorded by hand, so that it counts once."""
        ...

    def adopt(self, refund: Refund, *, reason: RefundReason, memo: str) -> Refund:
        """Give an external refund its reason and a draft credit note (R4, R7)."""
        ...

    def note_report(self, refund: Refund, report: Settlement) -> bool:
        """Store why the refund is pending, and until when the customer may act. False if that is stored already."""
        ...

    def note_success(self, refund: Refund, *, at: datetime | None, update_source: str) -> bool:
        """Store when a failed or recorded refund was reported as succeeded. False if that is stored already."""
        ...

    def hold_failed(self, refund: Refund, *, update_source: str) -> bool:
        """Reserve the amount of a failed refund until it is acknowledged. False if it has been used since."""
        ...

    def reverse_part(self, refund: Refund, amount: Money, *, update_source: str) -> None:
        """Record that a part of a refund was returned. The credit note stays; it needs acknowledgement (R14)."""
        ...

    def match_external(self, external: Refund, record: Refund) -> None:
        """Record that an external refund and a record are the same refund, so that it counts once (R12)."""
        ...

    def release_lapsed_holds(self, invoice: Invoice) -> bool:
        """Release the amounts of failed refunds that the provider no longer retries; true if there were any."""
        ...

    def acknowledge(self, refund: Refund, *, memo: str) -> Refund:
        """Record that a person acknowledged the failure, and free the reserved amount."""
        ...

    def record_dispute(self, invoice: Invoice, payment: Payment, record: DisputeRecord, *, update_source: str) -> None:
        """Write a new dispute (id 0) or its new state; the payment's state and lost amount follow from all disputes."""
        ...

    def record_capture(self, invoice: Invoice, payment: Payment, update: CaptureUpdate, *, update_source: str) -> bool:
        """Write the state of one capture of a payment; False if a later report of it is stored."""
        ...

    def note_payment(
        self, invoice: Invoice, payment: Payment, *, captured: Money, processing: bool, update_source: str
    ) -> bool:
        """Write the amount captured of the whole payment. An invoice without captured money becomes open again."""
        ...

    def add_share(
        self, invoice: Invoice, first: Payment, new: NewPayment, *, reported: Sequence[NewPayment], update_source: str
    ) -> None:
        """Add a share of the payment for this further invoice, which may have it already without its id.

        `reported`: all payments of the invoice as the provider reports them.
        """
        ...

    def join_payments(self, first: Payment, second: Payment, *, update_source: str) -> None:
        """Join two payments that are one at the provider, under two ids: they become shares of it."""
        ...

    def assign_external(self, refund: Refund, share: OtherShare) -> Refund:
        """Move an external refund of a shared payment to another of its invoices."""
        ...

    def note_share(self, invoice: Invoice, payment: Payment, share: Money) -> None:
        """Lower this invoice's share of the payment to what the provider reports."""
        ...

    def note_unsupported(self, payment: Payment, why: str) -> None:
        """Store why the payment cannot be refunded from here; empty if it can."""
        ...

    def note_credited(self, payment: Payment, amount: Money, *, update_source: str) -> None:
        """Store how much of it was credited to the customer's balance at the provider."""
        ...

    def acknowledge_loss(self, invoice: Invoice, *, memo: str) -> None:
        """Record that a person acknowledged the invoice's loss (I13)."""
        ...

    def change_number_format(self, credit_note_format: str) -> None:
        """Change the format of new credit note numbers."""
        ...

    def issue_credit_note(self, refund: Refund, *, at: datetime, on: date, credit_note_format: str) -> None: ...
    def void_credit_note(self, refund: Refund, *, at: datetime) -> None: ...
    def change_status(self, invoice: Invoice, status: InvoiceStatus, *, memo: str, evidence: str = "") -> None: ...
    def number_invoice(self, known_as: str, number: str) -> None:
        """Give its number to an invoice that was stored under its id at the provider."""
        ...

    def import_invoices(self, invoices: Sequence[NewInvoice], *, source: str) -> ImportCounts: ...

    def import_blocks(self, blocks: Iterable["InvoiceBlock"], *, source: str, all_new: bool = False) -> ImportCounts:
        """Import all blocks as one. `all_new`: the books have none of these invoices."""
        ...

    def pin_livemode(self, livemode: bool) -> bool:
        """Set the store's mode if it has none. Returns the store's mode (I12)."""
        ...

    def remember_account(self, provider: Provider, key_fingerprint: str, account: str, *, livemode: bool) -> None: ...


class Books(Protocol):
    """The store. Work is a function, because a transaction may have to be retried."""

    def read(self, work: Callable[[Reading], T]) -> T: ...
    def write(self, work: Callable[[Writing], T]) -> T: ...


class BooksUnavailable(StoreProblem):
    """The store is locked or cannot be reached; a retry may work. Nothing was changed.

    `passes_within`: seconds for which recording a provider's answer is retried.
    """

    passes_within: ClassVar[float] = 600.0


class WouldContradict(StoreProblem):
    """A constraint of the store refused a change: the last guard, behind every rule."""

    code = "store-would-contradict"

    def __init__(self, violation: str) -> None:
        super().__init__(
            f"The store refused this change: {violation}.",
            hint="refundcli store check   verifies the books; please report what you did.",
        )
