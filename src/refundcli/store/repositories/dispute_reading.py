"""Read the payments of disputes."""

from sqlmodel import Session, col, select

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.statuses import Provider
from refundcli.store.repositories.invoice_reading import SqlInvoiceReads
from refundcli.store.schema import (
    DisputeRow,
    InvoiceRow,
    PaymentRow,
)


class SqlDisputeReads:
    """Reads which payment a dispute is about."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def payment_of(self, provider: Provider, account: str, reference: str) -> tuple[Invoice, Payment] | None:
        query = (
            select(InvoiceRow.number, DisputeRow.payment_id)
            .join(PaymentRow, col(PaymentRow.invoice_id) == col(InvoiceRow.id))
            .join(DisputeRow, col(DisputeRow.payment_id) == col(PaymentRow.id))
            .where(DisputeRow.provider == provider, DisputeRow.reference == reference)
            .where(col(DisputeRow.account).in_((account, "")))
        )
        number_and_payment = self._session.exec(query).first()
        invoice = SqlInvoiceReads(self._session).get(number_and_payment[0]) if number_and_payment else None
        payments = (
            [payment for payment in invoice.payments if number_and_payment and payment.id == number_and_payment[1]]
            if invoice
            else []
        )
        return (invoice, payments[0]) if invoice and payments else None
