"""The history of an invoice, oldest first."""

from typing import TYPE_CHECKING

from refundcli.domain.invoice import Invoice
from refundcli.services.invoices.lookup import invoice_behind

if TYPE_CHECKING:
    from refundcli.services.ports.books import Reading
    from refundcli.services.ports.reads import AuditEntry


def history_of(reading: "Reading", number_or_id: str) -> "tuple[Invoice, list[AuditEntry]]":
    """The invoice, its import first, then each audited change of it and of its refunds (I10)."""
    invoice = invoice_behind(reading, number_or_id)
    return invoice, [reading.audit.import_of(invoice), *reading.audit.history(invoice)]
