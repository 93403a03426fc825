"""Imports, the audit trail, and what the store knows about itself."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import Provider
from refundcli.services.ports.bulk_invoices import InvoiceBlock
from refundcli.services.ports.reads import Account, AuditEntry, AuditFilter
from refundcli.services.ports.records import ImportConflicts, ImportCounts, NewInvoice


class ImportReads(Protocol):
    def conflicts(self, block: "InvoiceBlock") -> ImportConflicts:
        """Why these invoices cannot be imported beside what the books hold."""
        ...


class Imports(ImportReads, Protocol):
    def add_invoices(self, invoices: Sequence[NewInvoice], *, source: str) -> ImportCounts: ...
    def add_blocks(self, blocks: Iterable["InvoiceBlock"], *, source: str, all_new: bool = False) -> ImportCounts:
        """Import all blocks as one. `all_new`: the books have none of these invoices."""
        ...


class AuditReads(Protocol):
    def changed_since(self, entry_number: int, *, apart_from: str) -> bool:
        """Has the store written an audit entry after this one (I10)? Entries about `apart_from` do not count."""
        ...

    def history(self, invoice: Invoice) -> list[AuditEntry]: ...
    def about(self, subjects: Sequence[str]) -> list[AuditEntry]:
        """All entries about these subjects, oldest first."""
        ...

    def import_of(self, invoice: Invoice) -> AuditEntry:
        """The entry of the import: when, from which file, by whom."""
        ...

    def newest_entry(self) -> int:
        """The number of the newest audit entry, including this transaction's; 0 before the first."""
        ...

    def newest_at(self) -> datetime | None:
        """The time of the newest stored audit entry; None before the first."""
        ...


class AuditLists(Protocol):
    def matching(self, criteria: AuditFilter) -> list[AuditEntry]: ...
    def exported(self, *, after: int, limit: int) -> list[dict[str, object]]: ...
    def hashes(self, seqs: Sequence[int]) -> dict[int, str]:
        """The hashes of these entries, by number; those that are missing are left out."""
        ...

    def head(self) -> tuple[int, str, datetime] | None:
        """Number, hash and time of the newest entry."""
        ...


class Audit(AuditReads, Protocol):
    def check_clock(self) -> None:
        """Raises StoreProblem if the clock cannot be right (DESIGN §3).

        Every start of a refund, record or lease checks it. An outcome is recorded under any clock.
        """
        ...

    def accept_clock(self) -> datetime | None:
        """Accept the clock in spite of the newest audit entry, and record that. Returns the time of that entry."""
        ...


class StoreReads(Protocol):
    def secret(self) -> bytes:
        """The store's secret, from which idempotency keys are derived."""
        ...

    def livemode(self) -> bool | None: ...
    def sync_state(self, name: str) -> tuple[str, datetime] | None: ...


class Store(StoreReads, Protocol):
    def pin_timezone(self, timezone: str, *, force: bool = False) -> None:
        """Set the time zone of the books' days; stored dates do not change.

        Raises ZonePinned unless `force`, and DayTooEarly if the day of the newest credit note has not begun there.
        """
        ...

    def pin_livemode(self, livemode: bool) -> bool:
        """Set the store's mode if it has none. Returns the store's mode (I12)."""
        ...

    def set_sync_state(self, name: str, value: str) -> None: ...


class AccountReads(Protocol):
    def known(self) -> list[Account]: ...
    def of_key(self, provider: Provider, key_fingerprint: str) -> str | None: ...


class Accounts(AccountReads, Protocol):
    def remember(self, provider: Provider, key_fingerprint: str, account: str, *, livemode: bool) -> None: ...
