"""Write what providers report about payments: captures and credits."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Row, insert, select, update

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.statuses import InvoiceStatus
from refundcli.services.ports.provider_updates import CaptureUpdate
from refundcli.services.ports.vocabulary import CaptureChange
from refundcli.store.queries.invoices import SqlInvoiceReads
from refundcli.store.queries.payments import SqlPaymentReads
from refundcli.store.repositories.sums import RESERVE, RESERVE_SHARE, SummingWrites, number_of_payment
from refundcli.store.tables import CAPTURE, INVOICE, PAYMENT


class SqlPayments(SummingWrites, SqlPaymentReads):
    """Payments in a transaction that changes the books."""

    def reserve(self, payment: Payment, amount: Money) -> bool:
        """Reserve an amount. The statement prevents over-refunding whatever other programs do (I1)."""
        if payment.share_of is None:
            return self._hits(RESERVE, of_id=payment.id, amount=amount.minor)
        return self._hits(RESERVE_SHARE, of_id=payment.id, of_first=payment.share_of, amount=amount.minor)

    def record_capture(self, invoice: Invoice, payment: Payment, report: CaptureUpdate, *, update_source: str) -> bool:
        stored_capture = self._connection.execute(
            select(CAPTURE).where(
                CAPTURE.c.payment_id == payment.home_id,
                CAPTURE.c.provider == report.provider,
                CAPTURE.c.account == report.account,
                CAPTURE.c.reference == report.reference,
            )
        ).first()
        stored_order = stored_capture and (stored_capture.reported_at, _rank(CaptureChange(stored_capture.state)))
        if stored_order and (report.at, _rank(report.change)) <= stored_order:
            return False
        columns = {"state": report.change.value, "amount": report.amount.minor, "reported_at": report.at}
        if stored_capture:
            self._hits(update(CAPTURE).where(CAPTURE.c.id == stored_capture.id).values(**columns))
        else:
            key_columns = {"payment_id": payment.home_id, "provider": report.provider, "account": report.account}
            self._connection.execute(insert(CAPTURE).values(**key_columns, reference=report.reference, **columns))
        captured_amount = self._captured_by_records(payment)
        if captured_amount != payment.provider_captured:
            self._write_captured(
                invoice, payment, captured_amount, payment.processing, f"{report.status}, {update_source}"
            )
        return True

    def note_captured(
        self, invoice: Invoice, payment: Payment, *, captured: Money, processing: bool, update_source: str
    ) -> bool:
        """`captured`, `processing`: of the whole payment, as the provider reported it in `update_source`."""
        if (captured, processing) == (payment.provider_captured, payment.processing):
            return False
        is_first_report = payment.provider_captured is None and processing == payment.processing
        if is_first_report and captured == payment.allocated_in_all:
            # It confirms the books, so there is nothing to audit.
            self._update_shares(payment, captured=captured.minor)
            return False
        self._write_captured(invoice, payment, captured, processing, update_source)
        return True

    def _captured_by_records(self, payment: Payment) -> Money | None:
        """The captured amount by the reported captures; None if they are incomplete and none failed."""
        capture_rows = self._connection.execute(select(CAPTURE).where(CAPTURE.c.payment_id == payment.home_id)).all()
        captured_minor = sum(
            capture_row.amount for capture_row in capture_rows if capture_row.state == CaptureChange.ADDED
        )
        missing_minor = sum(
            capture_row.amount for capture_row in capture_rows if capture_row.state != CaptureChange.ADDED
        )
        allocated = payment.allocated_in_all
        if not missing_minor:
            return Money(captured_minor, allocated.currency) if captured_minor >= allocated.minor else None
        return Money(max(captured_minor, allocated.minor - missing_minor, 0), allocated.currency)

    def _write_captured(
        self, invoice: Invoice, payment: Payment, captured_amount: Money | None, is_processing: bool, update_source: str
    ) -> None:
        captured_minor = captured_amount.minor if captured_amount is not None else None
        self._update_shares(payment, captured=captured_minor, processing=is_processing)
        facts_before = {"captured": str(payment.provider_captured or ""), "processing": payment.processing}
        facts_after: dict[str, object] = {
            "captured": str("" if captured_amount is None else captured_amount),
            "processing": is_processing,
        }
        facts_after |= {"payment": payment.reference, "evidence": update_source}
        self._audit.write("payment corrected", invoice.number, facts_before, facts_after)
        self._sums.update_invoice(invoice.id)
        self._reopen_or_pay(invoice)
        for other_share in payment.other_shares:
            other_invoice = SqlInvoiceReads(self._rows).get(other_share.invoice_number)
            if other_invoice and other_invoice.id != invoice.id:
                self._audit.write("payment corrected", other_invoice.number, facts_before, facts_after)
                self._sums.update_invoice(other_invoice.id)
                self._reopen_or_pay(_as_before(other_invoice, payment))

    def _update_shares(self, payment: Payment, **columns: int | None) -> None:
        """Write what was reported of a provider's payment, by column, to all its shares."""
        condition = PAYMENT.c.id == payment.id
        if payment.share_of is not None:
            condition = PAYMENT.c.share_of == payment.share_of
        self._hits(update(PAYMENT).where(condition).values(**columns))

    def _reopen_or_pay(self, invoice: Invoice) -> None:
        """Reopen a paid invoice if nothing was captured after all; mark it paid again if it was captured later (R9)."""
        invoice_row = self._connection.execute(select(INVOICE).where(INVOICE.c.id == invoice.id)).one()
        status = InvoiceStatus(invoice_row.status)
        if status is InvoiceStatus.PAID and not invoice_row.paid and invoice_row.total and not invoice_row.returned:
            self._set_status(invoice_row, InvoiceStatus.OPEN)
        elif status is InvoiceStatus.OPEN and not invoice.paid and invoice_row.paid >= invoice_row.total > 0:
            self._set_status(invoice_row, InvoiceStatus.PAID)

    def _set_status(self, invoice_row: Row[Any], status: InvoiceStatus) -> None:
        invoice_number, status_before = invoice_row.number, invoice_row.status
        self._hits(
            update(INVOICE).where(INVOICE.c.id == invoice_row.id).values(status=status.value, updated_at=self._audit.at)
        )
        self._audit.write(f"invoice {status}", invoice_number, {"status": status_before}, {"status": status})

    def note_unsupported(self, payment: Payment, reason: str) -> None:
        if payment.unsupported != reason:
            self._hits(update(PAYMENT).where(PAYMENT.c.id == payment.id).values(unsupported=reason))

    def note_credited(self, payment: Payment, credited_amount: Money, *, update_source: str) -> None:
        if payment.credited == credited_amount:
            return
        statement = update(PAYMENT).where(PAYMENT.c.id == payment.id)
        self._hits(statement.values(credited=credited_amount.minor))
        invoice_number = number_of_payment(self._connection, payment.id)
        facts_after = {"credited": str(credited_amount), "payment": payment.reference, "evidence": update_source}
        self._audit.write("credit at the provider", invoice_number, {"credited": str(payment.credited)}, facts_after)


def _as_before(invoice: Invoice, reported_payment: Payment) -> Invoice:
    """The invoice as it was before the reported capture of a payment that it has a share of."""
    captured_before, home_id = reported_payment.provider_captured, reported_payment.home_id
    payments = (
        replace(payment, provider_captured=captured_before) if payment.home_id == home_id else payment
        for payment in invoice.payments
    )
    return replace(invoice, payments=tuple(payments))


def _rank(change: CaptureChange) -> int:
    """Of two reports with the same date, the one that says not captured wins."""
    return (CaptureChange.ADDED, CaptureChange.CANCELLED, CaptureChange.FAILED).index(change)
