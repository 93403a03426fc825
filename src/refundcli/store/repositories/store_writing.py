"""Write the store's own facts and the status of invoices, each change with one audit entry (I10)."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import CursorResult, Executable, Update, bindparam, func, select, update
from sqlmodel import Session, SQLModel, col

from refundcli.domain.currencies import currency
from refundcli.domain.invoice import Invoice, status_after
from refundcli.domain.money import Money
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.services.ports.bulk_invoices import InvoiceBlock, block_of
from refundcli.services.ports.records import ImportCounts, NewInvoice
from refundcli.store.audit import AuditTrail
from refundcli.store.errors import DayTooEarly, ZonePinned
from refundcli.store.imports.upsert import Importer
from refundcli.store.repositories.delivery_counts import name_account_of_events
from refundcli.store.repositories.reading import SqlReading
from refundcli.store.schema import CAPTURED_SHARE, InvoiceRow, ProviderAccountRow


class SqlStoreWriting(SqlReading):
    """A transaction that changes the books."""

    def __init__(self, session: Session, audit: AuditTrail) -> None:
        super().__init__(session)
        self._audit = audit

    def check_clock(self) -> None:
        self._audit.check_clock()

    def accept_clock(self) -> datetime | None:
        return self._audit.accept_clock()

    def pin_timezone(self, timezone: str, *, force: bool = False) -> None:
        store_info = self._info()
        if store_info.timezone != timezone:
            if store_info.timezone and not force:
                raise ZonePinned(store_info.timezone, timezone)
            newest_issue_date = self._session.execute(select(func.max(_NOTE.c.issued_on))).scalar()
            if newest_issue_date and self._audit.at.astimezone(ZoneInfo(timezone)).date() < newest_issue_date:
                raise DayTooEarly(timezone, newest_issue_date)
            previous_timezone, store_info.timezone = store_info.timezone, timezone
            self._session.add(store_info)
            self._audit.write(
                "store timezone changed", "store", {"timezone": previous_timezone}, {"timezone": timezone}
            )

    def pin_livemode(self, livemode: bool) -> bool:
        store_info = self._info()
        if store_info.livemode is None:
            store_info.livemode = livemode
            self._session.add(store_info)
            self._audit.write("store mode pinned", "store", {}, {"livemode": livemode})
        return store_info.livemode

    def remember_account(self, provider: Provider, key_fingerprint: str, account: str, *, livemode: bool) -> None:
        # Another process may have asked the provider at the same time.
        if self.account(provider, key_fingerprint) is not None:
            return
        account_row = ProviderAccountRow(
            provider=provider, key_fingerprint=key_fingerprint, account=account, livemode=livemode
        )
        self._session.add(account_row)
        self._audit.write("provider account seen", provider, {}, {"account": account, "livemode": livemode})
        name_account_of_events(self._session, provider, account)

    def change_status(self, invoice: Invoice, status: InvoiceStatus, *, memo: str, evidence: str = "") -> None:
        statement = (
            update(InvoiceRow)
            .where(col(InvoiceRow.id) == invoice.id, col(InvoiceRow.status) == invoice.status)
            .values(status=status, updated_at=self._audit.at)
        )
        assert self._hits(statement), "the invoice was read in this transaction"
        facts = {"status": status, "memo": memo, "evidence": evidence}
        facts_after = {name: fact for name, fact in facts.items() if fact}
        self._audit.write(f"invoice {status}", invoice.number, {"status": invoice.status}, facts_after)

    def number_invoice(self, old_number: str, new_number: str) -> None:
        statement = update(InvoiceRow).where(col(InvoiceRow.number) == old_number)
        assert self._hits(statement.values(number=new_number, updated_at=self._audit.at)), (
            "it was read in this transaction"
        )
        self._audit.write("invoice numbered", new_number, {"number": old_number}, {"number": new_number})

    def import_invoices(self, invoices: Sequence[NewInvoice], *, source: str) -> ImportCounts:
        return self.import_blocks([block_of(invoices)] if invoices else [], source=source)

    def import_blocks(self, blocks: Iterable[InvoiceBlock], *, source: str, all_new: bool = False) -> ImportCounts:
        return Importer(self._session, self._audit, source=source).import_blocks(blocks, all_new=all_new)

    def newest_entry(self) -> int:
        return self._audit.head[0] if self._audit.head else super().newest_entry()

    def _update_invoice(self, invoice_id: int) -> None:
        """Update sums and status in one UPDATE, so that the CHECK on Refunded always holds (R6)."""
        sums_row = self._run(_SUMS_OF_INVOICE, {"of_id": invoice_id}).one()
        unit, status_before = currency(sums_row.currency), InvoiceStatus(sums_row.status)
        paid, returned = int(sums_row.paid), int(sums_row.returned)
        status = status_after(status_before, paid=Money(paid, unit), returned=Money(returned, unit))
        self._changes(
            _INVOICE_OF, of_id=invoice_id, paid=paid, returned=returned, status=status.value, updated_at=self._audit.at
        )
        if status is not status_before:
            self._audit.write(f"invoice {status}", sums_row.number, {"status": status_before}, {"status": status})

    def _hits(self, statement: Update) -> bool:
        """Run a guarded statement; true if it matched its row."""
        cursor = self._session.exec(statement, execution_options={"synchronize_session": False})
        assert isinstance(cursor, CursorResult)
        self._session.expire_all()
        return cursor.rowcount == 1

    def _changes(self, statement: Update, **parameters: Any) -> bool:
        """The same with one of the statements below, which are built once. Values without a parameter there are set."""
        is_row_changed = self._run(statement, parameters).rowcount == 1
        self._session.expire_all()
        return is_row_changed

    def _run(self, statement: Executable, parameters: dict[str, Any]) -> CursorResult[Any]:
        self._session.flush()
        return self._session.connection().execute(statement, parameters)


# --- statements that every refund needs ---

_INVOICE, _PAYMENT, _NOTE = (SQLModel.metadata.tables[name] for name in ("invoice", "payment", "credit_note"))
_RETURNED: Any = _PAYMENT.c.refunded + _PAYMENT.c.returned_elsewhere
_INVOICE_OF = update(_INVOICE).where(_INVOICE.c.id == bindparam("of_id"))
_OF_INVOICE = (_INVOICE.c.number, _INVOICE.c.status, _INVOICE.c.currency)
_SUMS_OF_INVOICE = (
    select(*_OF_INVOICE, func.sum(CAPTURED_SHARE).label("paid"), func.sum(_RETURNED).label("returned"))
    .select_from(_INVOICE.join(_PAYMENT, _PAYMENT.c.invoice_id == _INVOICE.c.id))
    .where(_INVOICE.c.id == bindparam("of_id"))
    .group_by(*_OF_INVOICE)
)
