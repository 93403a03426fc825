"""The repositories of one snapshot, for reading."""

from functools import cached_property

from refundcli.store.queries.disputes import DisputeReads
from refundcli.store.queries.events import DeliveryReads, EventReads, WordReads
from refundcli.store.queries.invoices import InvoiceReads
from refundcli.store.queries.payments import PaymentReads
from refundcli.store.queries.refunds import ClosingReads, CreditNoteReads, ExternalRefundReads, RefundReads
from refundcli.store.queries.runs import RunReads
from refundcli.store.queries.store_facts import AccountReads, AuditReads, StoreReads
from refundcli.store.rows import Rows


class Snapshot:
    """One consistent snapshot of the books."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    @cached_property
    def invoices(self) -> InvoiceReads:
        return InvoiceReads(self._rows)
