"""The history of an invoice, oldest first."""

from typing import TYPE_CHECKING

from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund
from refundcli.services.invoices.lookup import invoice_behind, refund_named

if TYPE_CHECKING:
    from refundcli.services.ports.books import Reading
    from refundcli.services.ports.reads import AuditEntry


def history_of(reading: "Reading", number_or_id: str) -> "tuple[Invoice, list[AuditEntry]]":
    """The invoice, its import first, then each audited change of it and of its refunds (I10)."""
    invoice = invoice_behind(reading, number_or_id)
    return invoice, [reading.audit.import_of(invoice), *reading.audit.history(invoice)]


def history_of_refund(reading: "Reading", name: str) -> "tuple[Refund, list[AuditEntry]]":
    """The refund, and each audited change of it and of its credit note. Raises RefundNotFound, SeveralRefunds."""
    refund = refund_named(reading, name)
    return refund, reading.audit.about([refund.id])
