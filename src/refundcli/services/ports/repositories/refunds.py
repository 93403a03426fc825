"""Refunds, records, external refunds, credit notes and closings."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import Invoice, OtherShare, Payment
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import CreditNote, Refund
from refundcli.domain.statuses import ClosingState, Provider, RefundState
from refundcli.services.ports.documents import IssuedNote
from refundcli.services.ports.provider_updates import (
    RefundUpdate,
)
from refundcli.services.ports.reads import CreditNoteFilter, PendingRefunds, RefundFilter, RefundTotal
from refundcli.services.ports.records import Record, Settlement, SucceededRefund


class RefundLookup(Protocol):
    """What the rules of a refund read."""

    def by_key(self, request_key: str) -> list[Refund]: ...


class RefundReads(RefundLookup, Protocol):
    def get(self, refund_id: str) -> Refund | None: ...
    def by_id(self, refund_ids: Sequence[str]) -> dict[str, Refund]: ...
    def by_keys(self, request_keys: Sequence[str]) -> dict[str, list[Refund]]: ...
    def in_states(self, *states: RefundState) -> list[Refund]: ...
    def pending(self, *, recent: datetime, overdue: datetime, stuck: str, limit: int) -> PendingRefunds:
        """Refunds accepted before `overdue`, or pending for the reason `stuck`, need attention."""
        ...

    def failed_since(self, since: datetime, *, limit: int) -> tuple[list[Refund], int]:
        """The newest refunds that failed since then, and how many did.

        Only those after which nothing was refunded on the same payment, so that the customer has not got the money.
        """
        ...

    def to_acknowledge(self) -> list[Refund]:
        """Refunds that failed or were reversed after they succeeded, not yet acknowledged."""
        ...

    def by_provider_references(self, provider: Provider, references: Sequence[str]) -> list[Refund]: ...
    def succeeded(
        self, provider: Provider, since: datetime, until: datetime, *, after: str, limit: int
    ) -> list[SucceededRefund]:
        """A page of the refunds that the provider reported as succeeded in this period, ordered by id."""
        ...


class RefundSearches(Protocol):
    """What `refunds list` and `refunds show` read."""

    def matching(self, filters: RefundFilter) -> list[Refund]:
        """A page, newest first."""
        ...

    def totals(self, filters: RefundFilter) -> list[RefundTotal]:
        """By currency, of all that match, on any page."""
        ...

    def named(self, name: str) -> list[Refund]:
        """Those with this id, this provider's id or this credit note number."""
        ...


class Refunds(RefundReads, Protocol):
    def add(self, refund: Refund) -> None: ...
    def claim(self, refund: Refund, *, owner: str, until: datetime, at: datetime) -> Refund | None:
        """Compare and set: lease the refund if its fence and state are unchanged; None otherwise."""
        ...

    def release_lease(self, refund: Refund) -> None:
        """Release a lease early: the outcome is unknown, and another process may look it up."""
        ...

    def settle(self, refund: Refund, settlement: Settlement) -> Refund | None:
        """Compare and set on the fence: record the outcome, the sums and the invoice's status."""
        ...

    def note_report(self, refund: Refund, report: Settlement) -> bool:
        """Store why it is pending, until when the customer may act, and its trace number. False if that is stored."""
        ...

    def note_success(self, refund: Refund, *, at: datetime | None, update_source: str) -> bool:
        """Store when a failed or recorded refund was reported as succeeded. False if that is stored already."""
        ...

    def hold_failed(self, refund: Refund, *, update_source: str) -> bool:
        """Reserve the amount of a failed refund until it is acknowledged. False if it has been used since."""
        ...

    def reverse_part(self, refund: Refund, reversed_amount: Money, *, update_source: str) -> None:
        """Record that a part of a refund was returned. The credit note stays; it needs acknowledgement (R14)."""
        ...

    def release_lapsed_holds(self, invoice: Invoice) -> bool:
        """Release the amounts of failed refunds that the provider no longer retries; true if there were any."""
        ...

    def acknowledge(self, refund: Refund, *, memo: str) -> Refund:
        """Record that a person acknowledged the failure, and free the reserved amount."""
        ...


class ExternalRefundReads(Protocol):
    def listed(self, *, adopted: bool) -> list[Refund]: ...


class ExternalRefunds(ExternalRefundReads, Protocol):
    def record(
        self, invoice: Invoice, payment: Payment, update: RefundUpdate, *, undecided: bool, update_source: str
    ) -> Refund:
        """Count an external refund. `undecided`: it may be the same as one recorded by hand."""
        ...

    def adopt(self, refund: Refund, *, reason: RefundReason, memo: str) -> Refund:
        """Give an external refund its reason and a draft credit note (R4, R7)."""
        ...

    def match(self, external: Refund, record: Refund) -> None:
        """Record that an external refund and a record are the same refund, so that it counts once (R12)."""
        ...

    def assign(self, refund: Refund, share: OtherShare) -> Refund:
        """Move an external refund of a shared payment to another of its invoices."""
        ...


class Records(Protocol):
    def add(self, records: Sequence[Record], *, on: date, credit_note_format: str) -> None:
        """Record amounts returned out of band, with credit notes, under the same guard as `Payments.reserve` (R7)."""
        ...

    def undo(self, records: Sequence[Record], *, memo: str) -> None:
        """Undo records made in error: free their amounts and void their credit notes, which keep their numbers."""
        ...

    def note_trace(self, record: Refund, report: RefundUpdate, *, update_source: str) -> bool:
        """Store the trace number of a matched refund. False if that is stored already."""
        ...

    def note_failed(self, record: Refund, update: RefundUpdate, *, update_source: str) -> bool:
        """Store that the refund matched with the record failed or was returned; False if stored already."""
        ...

    def match(self, record: Refund, update: RefundUpdate, *, update_source: str) -> None:
        """Store that the provider's refund is the one recorded by hand, so that it counts once."""
        ...


class CreditNoteReads(Protocol):
    def matching(self, filters: CreditNoteFilter) -> list[CreditNote]:
        """In the order of issue, without drafts."""
        ...

    def with_content(self, filters: CreditNoteFilter) -> list[IssuedNote]:
        """The same with what each copied when it was issued."""
        ...

    def get(self, number: str) -> CreditNote | None: ...
    def numbers_near(self, number: str) -> list[str]: ...
    def number_format(self) -> str:
        """The format of credit note numbers; empty before the first one."""
        ...


class CreditNotes(CreditNoteReads, Protocol):
    def change_number_format(self, credit_note_format: str) -> None:
        """Change the format of new credit note numbers."""
        ...

    def issue(self, refund: Refund, *, at: datetime, on: date, credit_note_format: str) -> None: ...
    def void(self, refund: Refund, *, at: datetime) -> None: ...


class ClosingReads(Protocol):
    def get(self, closing_id: str) -> Closing | None: ...
    def in_states(self, *states: ClosingState) -> list[Closing]: ...


class Closings(ClosingReads, Protocol):
    def add(self, closing: Closing) -> None: ...
    def claim(self, closing: Closing, *, owner: str, until: datetime, at: datetime) -> Closing | None:
        """As `claim` for a refund."""
        ...

    def release_lease(self, closing: Closing) -> None: ...
    def settle(self, closing: Closing, state: ClosingState, *, failure: str, evidence: str) -> Closing | None:
        """Compare and set on the fence. The invoice's own status is another statement of the same transaction."""
        ...
