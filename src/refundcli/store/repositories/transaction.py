"""The repositories of one transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from sqlalchemy import Connection

from refundcli.store.audit import AuditTrail
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.queries.audit_entries import SqlAuditLists
from refundcli.store.queries.find import SqlInvoiceSearch
from refundcli.store.queries.refund_lists import SqlRefundSearch
from refundcli.store.queries.run_lists import SqlRunSearch
from refundcli.store.repositories.closing_writing import SqlClosings
from refundcli.store.repositories.credit_note_writing import SqlCreditNotes
from refundcli.store.repositories.dispute_writing import SqlDisputes
from refundcli.store.repositories.event_writing import SqlDeliveries, SqlEvents, SqlWords
from refundcli.store.repositories.external_refund_writing import SqlExternalRefunds
from refundcli.store.repositories.invoice_writing import SqlImports, SqlInvoices
from refundcli.store.repositories.note_contents import SellerText
from refundcli.store.repositories.payment_writing import SqlPayments
from refundcli.store.repositories.record_writing import SqlRecords
from refundcli.store.repositories.refund_writing import SqlRefunds
from refundcli.store.repositories.run_writing import SqlRuns
from refundcli.store.repositories.share_writing import SqlShares
from refundcli.store.repositories.store_writing import SqlAccounts, SqlAudit, SqlStore


class SqlWriting:
    """A transaction that changes the books. Its repositories share one connection and one audit trail.

    `seller`: of the settings, for the credit notes that are issued.
    """

    def __init__(self, connection: Connection, audit_trail: AuditTrail, seller: SellerText) -> None:
        self.connection, self.audit_trail, self._seller = connection, audit_trail, seller

    @cached_property
    def invoices(self) -> SqlInvoices:
        return SqlInvoices(self.connection, self.audit_trail)

    @cached_property
    def audit_lists(self) -> SqlAuditLists:
        return SqlAuditLists(ConnectionRows(self.connection))

    @cached_property
    def search(self) -> SqlInvoiceSearch:
        return SqlInvoiceSearch(ConnectionRows(self.connection))

    @cached_property
    def refund_search(self) -> SqlRefundSearch:
        return SqlRefundSearch(ConnectionRows(self.connection))

    @cached_property
    def payments(self) -> SqlPayments:
        return SqlPayments(self.connection, self.audit_trail)

    @cached_property
    def shares(self) -> SqlShares:
        return SqlShares(self.connection, self.audit_trail)

    @cached_property
    def disputes(self) -> SqlDisputes:
        return SqlDisputes(self.connection, self.audit_trail)

    @cached_property
    def refunds(self) -> SqlRefunds:
        return SqlRefunds(self.connection, self.audit_trail)

    @cached_property
    def external_refunds(self) -> SqlExternalRefunds:
        return SqlExternalRefunds(self.connection, self.audit_trail)

    @cached_property
    def records(self) -> SqlRecords:
        return SqlRecords(self.connection, self.audit_trail, self._seller)

    @cached_property
    def credit_notes(self) -> SqlCreditNotes:
        return SqlCreditNotes(self.connection, self.audit_trail, self._seller)

    @cached_property
    def closings(self) -> SqlClosings:
        return SqlClosings(self.connection, self.audit_trail)

    @cached_property
    def events(self) -> SqlEvents:
        return SqlEvents(self.connection, self.audit_trail)

    @cached_property
    def deliveries(self) -> SqlDeliveries:
        return SqlDeliveries(self.connection, self.audit_trail)

    @cached_property
    def words(self) -> SqlWords:
        return SqlWords(self.connection, self.audit_trail)

    @cached_property
    def runs(self) -> SqlRuns:
        return SqlRuns(self.connection, self.audit_trail)

    @cached_property
    def run_search(self) -> SqlRunSearch:
        return SqlRunSearch(ConnectionRows(self.connection))

    @cached_property
    def imports(self) -> SqlImports:
        return SqlImports(self.connection, self.audit_trail)

    @cached_property
    def audit(self) -> SqlAudit:
        return SqlAudit(self.connection, self.audit_trail)

    @cached_property
    def store(self) -> SqlStore:
        return SqlStore(self.connection, self.audit_trail)

    @cached_property
    def accounts(self) -> SqlAccounts:
        return SqlAccounts(self.connection, self.audit_trail)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        audit_mark, savepoint = self.audit_trail.mark(), self.connection.begin_nested()
        try:
            yield
        except BaseException:
            savepoint.rollback()
            self.audit_trail.back_to(audit_mark)
            raise
        savepoint.commit()
