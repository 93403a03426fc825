"""The repositories of one snapshot, for reading."""

from functools import cached_property

from sqlmodel import Session

from refundcli.store.repositories.dispute_reading import SqlDisputeReads
from refundcli.store.repositories.event_reading import SqlDeliveryReads, SqlEventReads, SqlWordReads
from refundcli.store.repositories.invoice_reading import SqlInvoiceReads
from refundcli.store.repositories.payment_reading import SqlPaymentReads
from refundcli.store.repositories.refund_reading import (
    SqlClosingReads,
    SqlCreditNoteReads,
    SqlExternalRefundReads,
    SqlRefundReads,
)
from refundcli.store.repositories.run_reading import SqlRunReads
from refundcli.store.repositories.store_reading import SqlAccountReads, SqlAuditReads, SqlImportReads, SqlStoreReads


class SqlReading:
    """One consistent snapshot of the books."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @cached_property
    def invoices(self) -> SqlInvoiceReads:
        return SqlInvoiceReads(self.session)

    @cached_property
    def payments(self) -> SqlPaymentReads:
        return SqlPaymentReads(self.session)

    @cached_property
    def disputes(self) -> SqlDisputeReads:
        return SqlDisputeReads(self.session)

    @cached_property
    def refunds(self) -> SqlRefundReads:
        return SqlRefundReads(self.session)

    @cached_property
    def external_refunds(self) -> SqlExternalRefundReads:
        return SqlExternalRefundReads(self.session)

    @cached_property
    def credit_notes(self) -> SqlCreditNoteReads:
        return SqlCreditNoteReads(self.session)

    @cached_property
    def closings(self) -> SqlClosingReads:
        return SqlClosingReads(self.session)

    @cached_property
    def events(self) -> SqlEventReads:
        return SqlEventReads(self.session)

    @cached_property
    def deliveries(self) -> SqlDeliveryReads:
        return SqlDeliveryReads(self.session)

    @cached_property
    def words(self) -> SqlWordReads:
        return SqlWordReads(self.session)

    @cached_property
    def runs(self) -> SqlRunReads:
        return SqlRunReads(self.session)

    @cached_property
    def imports(self) -> SqlImportReads:
        return SqlImportReads(self.session)

    @cached_property
    def audit(self) -> SqlAuditReads:
        return SqlAuditReads(self.session)

    @cached_property
    def store(self) -> SqlStoreReads:
        return SqlStoreReads(self.session)

    @cached_property
    def accounts(self) -> SqlAccountReads:
        return SqlAccountReads(self.session)
