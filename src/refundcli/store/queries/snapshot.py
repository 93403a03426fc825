"""The repositories of one snapshot, for reading."""

from functools import cached_property
from typing import TYPE_CHECKING

from refundcli.store.databases.rows import Rows
from refundcli.store.queries.disputes import SqlDisputeReads
from refundcli.store.queries.invoices import SqlInvoiceReads
from refundcli.store.queries.payments import SqlPaymentReads
from refundcli.store.queries.refunds import SqlClosingReads, SqlCreditNoteReads, SqlExternalRefundReads, SqlRefundReads
from refundcli.store.queries.store_facts import SqlAccountReads, SqlAuditReads, SqlStoreReads

if TYPE_CHECKING:
    from refundcli.store.imports.conflicts import SqlImportReads
    from refundcli.store.queries.audit_entries import SqlAuditLists
    from refundcli.store.queries.events import SqlDeliveryReads, SqlEventReads, SqlWordReads
    from refundcli.store.queries.find import SqlInvoiceSearch
    from refundcli.store.queries.refund_lists import SqlRefundSearch
    from refundcli.store.queries.run_lists import SqlRunSearch
    from refundcli.store.queries.runs import SqlRunReads


class SqlReading:
    """One consistent snapshot of the books."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.invoices = SqlInvoiceReads(rows)
        self.payments = SqlPaymentReads(rows)
        self.disputes = SqlDisputeReads(rows)
        self.refunds = SqlRefundReads(rows)
        self.external_refunds = SqlExternalRefundReads(rows)
        self.credit_notes = SqlCreditNoteReads(rows)
        self.closings = SqlClosingReads(rows)
        self.audit = SqlAuditReads(rows)
        self.store = SqlStoreReads(rows)
        self.accounts = SqlAccountReads(rows)

    @cached_property
    def audit_lists(self) -> "SqlAuditLists":
        from refundcli.store.queries.audit_entries import SqlAuditLists

        return SqlAuditLists(self._rows)

    @cached_property
    def search(self) -> "SqlInvoiceSearch":
        from refundcli.store.queries.find import SqlInvoiceSearch

        return SqlInvoiceSearch(self._rows)

    @cached_property
    def refund_search(self) -> "SqlRefundSearch":
        from refundcli.store.queries.refund_lists import SqlRefundSearch

        return SqlRefundSearch(self._rows)

    @cached_property
    def events(self) -> "SqlEventReads":
        from refundcli.store.queries.events import SqlEventReads

        return SqlEventReads(self._rows)

    @cached_property
    def deliveries(self) -> "SqlDeliveryReads":
        from refundcli.store.queries.events import SqlDeliveryReads

        return SqlDeliveryReads(self._rows)

    @cached_property
    def words(self) -> "SqlWordReads":
        from refundcli.store.queries.events import SqlWordReads

        return SqlWordReads(self._rows)

    @cached_property
    def runs(self) -> "SqlRunReads":
        from refundcli.store.queries.runs import SqlRunReads

        return SqlRunReads(self._rows)

    @cached_property
    def run_search(self) -> "SqlRunSearch":
        from refundcli.store.queries.run_lists import SqlRunSearch

        return SqlRunSearch(self._rows)

    @cached_property
    def imports(self) -> "SqlImportReads":
        from refundcli.store.imports.conflicts import SqlImportReads

        return SqlImportReads(self._rows)
