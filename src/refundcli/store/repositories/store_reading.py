"""Read the audit trail, and what the store knows about itself: settings, accounts."""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sql
from sqlalchemy import func
from sqlmodel import Session, SQLModel, col, select

from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import Provider
from refundcli.store.repositories.event_rows import audit_entry_of
from refundcli.store.schema import AuditEntryRow, InvoiceRow, ProviderAccountRow, StoreInfo, SyncStateRow

if TYPE_CHECKING:
    from refundcli.services.ports.bulk_invoices import InvoiceBlock
    from refundcli.services.ports.records import Account, AuditEntry, ImportConflicts

_INFO = SQLModel.metadata.tables["store_info"]


class SqlAuditReads:
    """Reads the audit trail."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def changed_since(self, entry_number: int, *, apart_from: str) -> bool:
        """`apart_from`: the subject whose entries do not count."""
        query = select(AuditEntryRow.seq).where(
            col(AuditEntryRow.seq) > entry_number, AuditEntryRow.subject != apart_from
        )
        return self._session.exec(query.limit(1)).first() is not None

    def history(self, invoice: Invoice) -> "list[AuditEntry]":
        subjects = [
            invoice.number,
            *(refund.id for refund in invoice.refunds),
            *(closing.id for closing in invoice.closings),
        ]
        query = select(AuditEntryRow).where(col(AuditEntryRow.subject).in_(subjects)).order_by(col(AuditEntryRow.seq))
        return [audit_entry_of(row) for row in self._session.exec(query)]

    def import_of(self, invoice: Invoice) -> "AuditEntry":
        invoice_row = self._session.exec(select(InvoiceRow).where(InvoiceRow.number == invoice.number)).one()
        import_query = select(AuditEntryRow).where(
            AuditEntryRow.subject == invoice_row.source, AuditEntryRow.at == invoice_row.created_at
        )
        entry = audit_entry_of(self._session.exec(import_query.order_by(col(AuditEntryRow.seq)).limit(1)).one())
        return replace(entry, action="invoice imported", subject=invoice_row.number, after={"file": invoice_row.source})

    def newest_entry(self) -> int:
        newest: int = self._session.exec(select(func.coalesce(func.max(AuditEntryRow.seq), 0))).one()
        return newest


class SqlStoreReads:
    """Reads what is pinned in the store, and how far a comparison or pull has come."""

    _secret = b""

    def __init__(self, session: Session) -> None:
        self._session = session

    def secret(self) -> bytes:
        self._secret = self._secret or bytes.fromhex(store_info(self._session).secret)
        return self._secret

    def livemode(self) -> bool | None:
        # A bare column: `invoice show` needs it, and otherwise no ORM objects.
        livemode: bool | None = self._session.execute(
            sql.select(SQLModel.metadata.tables["store_info"].c.livemode)
        ).scalar_one()
        return livemode

    def sync_state(self, name: str) -> tuple[str, datetime] | None:
        row = self._session.get(SyncStateRow, name)
        return (row.value, row.at) if row else None


class SqlAccountReads:
    """Reads the accounts of API keys."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def known(self) -> "list[Account]":
        from refundcli.services.ports.records import Account

        rows = self._session.exec(select(ProviderAccountRow).order_by(col(ProviderAccountRow.provider)))
        return sorted({Account(Provider(row.provider), row.account, row.livemode) for row in rows}, key=str)

    def of_key(self, provider: Provider, key_fingerprint: str) -> str | None:
        row = self._session.get(ProviderAccountRow, (provider.value, key_fingerprint))
        return row.account if row else None


class SqlImportReads:
    """Reads what an import must agree with."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def conflicts(self, block: "InvoiceBlock") -> "ImportConflicts":
        from refundcli.store.imports.conflicts import import_conflicts

        return import_conflicts(self._session, block)


def store_info(session: Session) -> StoreInfo:
    return session.exec(select(StoreInfo)).one()
