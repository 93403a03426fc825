"""The schema. Amounts are ISO 4217 minor units of the row's currency; times are UTC.

Invariants are constraints here, so that no bug in the program can break them (I1, I4, I9). The migrations create the
tables. A partial index is declared here for SQLite only, because PostgreSQL's option would load its whole dialect at
every start; a test checks that PostgreSQL has the same index.
"""

from refundcli.store.schema.books import AuditEntryRow, CounterRow, ProviderAccountRow, StoreInfo
from refundcli.store.schema.columns import UtcDateTime
from refundcli.store.schema.events import (
    DeliveryRejectionRow,
    EventPaymentRow,
    ProviderEventRow,
    SyncStateRow,
    WordDecisionRow,
)
from refundcli.store.schema.invoices import CAPTURED_SHARE, CaptureRow, DisputeRow, InvoiceRow, PaymentRow
from refundcli.store.schema.refunds import ClosingRow, CreditNoteRow, RefundRow
from refundcli.store.schema.runs import BulkItemRow, BulkRunRow

__all__ = [
    "CAPTURED_SHARE",
    "AuditEntryRow",
    "BulkItemRow",
    "BulkRunRow",
    "CaptureRow",
    "ClosingRow",
    "CounterRow",
    "CreditNoteRow",
    "DeliveryRejectionRow",
    "DisputeRow",
    "EventPaymentRow",
    "InvoiceRow",
    "PaymentRow",
    "ProviderAccountRow",
    "ProviderEventRow",
    "RefundRow",
    "StoreInfo",
    "SyncStateRow",
    "UtcDateTime",
    "WordDecisionRow",
]
