"""Read which payment a dispute is about."""

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.statuses import Provider
from refundcli.store.databases.rows import Reads
from refundcli.store.queries.invoices import SqlInvoiceReads

_DISPUTED = """
    SELECT invoice.number, dispute.payment_id FROM dispute
    JOIN payment ON payment.id = dispute.payment_id JOIN invoice ON invoice.id = payment.invoice_id
    WHERE dispute.provider = :provider AND dispute.reference = :reference AND dispute.account IN (:account, '')
"""


class SqlDisputeReads(Reads):
    """Reads which payment a dispute is about."""

    def payment_of(self, provider: Provider, account: str, reference: str) -> tuple[Invoice, Payment] | None:
        number_and_id = self._rows.first(_DISPUTED, provider=provider, account=account, reference=reference)
        invoice = SqlInvoiceReads(self._rows).get(number_and_id[0]) if number_and_id else None
        payments = (
            [payment for payment in invoice.payments if number_and_id and payment.id == number_and_id[1]]
            if invoice
            else []
        )
        return (invoice, payments[0]) if invoice and payments else None
