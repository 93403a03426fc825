"""Write what providers report about payments: disputes, captures, credits, and the sums that follow from them."""

from dataclasses import replace
from typing import Any

import sqlalchemy as sql
from sqlalchemy import insert, update
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from refundcli.domain.dispute import DisputeRecord, DisputeState, most_severe
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.statuses import InvoiceStatus
from refundcli.services.ports.provider_updates import CaptureUpdate
from refundcli.services.ports.vocabulary import CaptureChange
from refundcli.store.repositories.payment_reading import disputes_by_payment
from refundcli.store.repositories.refund_writing import SqlWriting
from refundcli.store.schema import CaptureRow, DisputeRow, EventPaymentRow, InvoiceRow, PaymentRow, ProviderEventRow


class SqlPaymentWriting(SqlWriting):
    """A transaction that also writes what a provider reports about a payment."""

    # --- disputes ------------------------------------------------------------------------------------------

    def record_dispute(self, invoice: Invoice, payment: Payment, record: DisputeRecord, *, update_source: str) -> None:
        columns: dict[str, Any] = {
            "payment_id": payment.home_id,
            "provider": record.provider or "",
            "account": record.account,
            "reference": record.reference or None,
            "stage": record.stage.value,
            "state": record.state.value,
            "status": record.status,
            "amount": record.amount.minor if record.amount else None,
            "reported_at": record.reported_at,
        }
        if record.id:
            stored_dispute = next(dispute for dispute in payment.disputes if dispute.id == record.id)
            self._hits(update(DisputeRow).where(col(DisputeRow.id) == record.id).values(**columns))
            facts_before: dict[str, object] = {
                "dispute": stored_dispute.state,
                "amount": str(stored_dispute.amount or ""),
            }
        else:
            self._session.execute(insert(DisputeRow).values(**columns))
            facts_before = {}
        facts_after = {"dispute": record.state, "amount": str(record.amount or ""), "status": record.status}
        facts_after |= {"reference": record.reference, "evidence": update_source}
        self._audit.write(
            f"dispute {record.state}",
            invoice.number,
            facts_before,
            {name: fact for name, fact in facts_after.items() if fact},
        )
        self._count_disputes(payment.home_id)
        if record.reference and all(dispute.reference != record.reference for dispute in payment.disputes):
            self._link_events(payment, record)

    def _link_events(self, payment: Payment, record: DisputeRecord) -> None:
        """Link earlier events that name only this dispute to its payment, so that they block it (R13)."""
        link_table, existing_link = EventPaymentRow, aliased(EventPaymentRow)
        links_query = (
            sql.select(col(link_table.event_id), sql.literal(payment.reference))
            .join(ProviderEventRow, col(ProviderEventRow.id) == col(link_table.event_id))
            .where(col(ProviderEventRow.provider) == record.provider, col(link_table.reference) == record.reference)
            .where(
                ~sql.exists().where(
                    col(existing_link.event_id) == col(link_table.event_id),
                    col(existing_link.reference) == payment.reference,
                )
            )
        )
        self._session.execute(insert(EventPaymentRow).from_select(["event_id", "reference"], links_query))

    def _count_disputes(self, payment_id: int) -> None:
        """Update the payment's dispute state, and the loss that is not recorded yet (R11)."""
        payment_row = self._session.get(PaymentRow, payment_id, populate_existing=True)
        assert payment_row
        if payment_row.share_of is not None:
            self._count_shares(payment_row.share_of)
            return
        disputes = disputes_by_payment(self._session, [payment_id]).get(payment_id, [])
        lost_amounts = [dispute.amount for dispute in disputes if dispute.state is DisputeState.LOST]
        lost_minor = sum(payment_row.allocated if amount is None else amount.minor for amount in lost_amounts)
        columns = {"dispute": most_severe(disputes).value, "lost": max(0, lost_minor - payment_row.dispute_recorded)}
        self._hits(update(PaymentRow).where(col(PaymentRow.id) == payment_id).values(**columns))

    # --- captures ------------------------------------------------------------------------------------------

    def record_capture(self, invoice: Invoice, payment: Payment, report: CaptureUpdate, *, update_source: str) -> bool:
        stored_capture = self._session.exec(
            select(CaptureRow).where(
                CaptureRow.payment_id == payment.home_id,
                CaptureRow.provider == report.provider,
                CaptureRow.account == report.account,
                CaptureRow.reference == report.reference,
            )
        ).first()
        stored_order = stored_capture and (stored_capture.reported_at, _rank(CaptureChange(stored_capture.state)))
        if stored_order and (report.at, _rank(report.change)) <= stored_order:
            return False
        columns = {"state": report.change.value, "amount": report.amount.minor, "reported_at": report.at}
        if stored_capture:
            self._hits(update(CaptureRow).where(col(CaptureRow.id) == stored_capture.id).values(**columns))
        else:
            key_columns = {"payment_id": payment.home_id, "provider": report.provider, "account": report.account}
            self._session.execute(insert(CaptureRow).values(**key_columns, reference=report.reference, **columns))
        captured_amount = self._captured_by_records(payment)
        if captured_amount != payment.provider_captured:
            self._write_captured(
                invoice, payment, captured_amount, payment.processing, f"{report.status}, {update_source}"
            )
        return True

    def note_payment(
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
        capture_rows = self._session.exec(select(CaptureRow).where(CaptureRow.payment_id == payment.home_id)).all()
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
        self._update_invoice(invoice.id)
        self._reopen_or_pay(invoice)
        for other_share in payment.other_shares:
            other_invoice = self.invoice(other_share.invoice_number)
            if other_invoice and other_invoice.id != invoice.id:
                self._audit.write("payment corrected", other_invoice.number, facts_before, facts_after)
                self._update_invoice(other_invoice.id)
                self._reopen_or_pay(_as_before(other_invoice, payment))

    def _update_shares(self, payment: Payment, **columns: int | None) -> None:
        """Write what was reported of a provider's payment, by column, to all its shares."""
        condition = col(PaymentRow.id) == payment.id
        if payment.share_of is not None:
            condition = col(PaymentRow.share_of) == payment.share_of
        self._hits(update(PaymentRow).where(condition).values(**columns))

    def _reopen_or_pay(self, invoice: Invoice) -> None:
        """Reopen a paid invoice if nothing was captured after all; mark it paid again if it was captured later (R9)."""
        invoice_row = self._session.get(InvoiceRow, invoice.id, populate_existing=True)
        assert invoice_row
        status = InvoiceStatus(invoice_row.status)
        if status is InvoiceStatus.PAID and not invoice_row.paid and invoice_row.total and not invoice_row.returned:
            self._set_status(invoice_row, InvoiceStatus.OPEN)
        elif status is InvoiceStatus.OPEN and not invoice.paid and invoice_row.paid >= invoice_row.total > 0:
            self._set_status(invoice_row, InvoiceStatus.PAID)

    def _set_status(self, invoice_row: InvoiceRow, status: InvoiceStatus) -> None:
        invoice_number, status_before = invoice_row.number, invoice_row.status
        self._hits(
            update(InvoiceRow)
            .where(col(InvoiceRow.id) == invoice_row.id)
            .values(status=status.value, updated_at=self._audit.at)
        )
        self._audit.write(f"invoice {status}", invoice_number, {"status": status_before}, {"status": status})

    # --- allocation, credit and loss -----------------------------------------------------------------------

    def note_share(self, invoice: Invoice, payment: Payment, allocated: Money) -> None:
        self._hits(update(PaymentRow).where(col(PaymentRow.id) == payment.id).values(allocated=allocated.minor))
        facts_before = {"allocated": str(payment.allocated)}
        facts_after = {"allocated": str(allocated), "payment": payment.reference}
        self._audit.write("payment corrected", invoice.number, facts_before, facts_after)
        # A dispute without an amount is about the whole share.
        self._count_disputes(payment.home_id)
        self._update_invoice(invoice.id)

    def note_unsupported(self, payment: Payment, reason: str) -> None:
        if payment.unsupported != reason:
            self._hits(update(PaymentRow).where(col(PaymentRow.id) == payment.id).values(unsupported=reason))

    def note_credited(self, payment: Payment, credited_amount: Money, *, update_source: str) -> None:
        if payment.credited == credited_amount:
            return
        statement = update(PaymentRow).where(col(PaymentRow.id) == payment.id)
        self._hits(statement.values(credited=credited_amount.minor))
        invoice_number = self._number_of_payment(payment.id)
        facts_after = {"credited": str(credited_amount), "payment": payment.reference, "evidence": update_source}
        self._audit.write("credit at the provider", invoice_number, {"credited": str(payment.credited)}, facts_after)

    def acknowledge_loss(self, invoice: Invoice, *, memo: str) -> None:
        for payment in invoice.payments:
            if payment.loss:
                statement = update(PaymentRow).where(col(PaymentRow.id) == payment.id)
                self._hits(statement.values(loss_acknowledged=payment.loss.minor))
                facts_after = {"loss": str(payment.loss), "payment": payment.reference, "memo": memo}
                self._audit.write(
                    "loss acknowledged", invoice.number, {}, {name: fact for name, fact in facts_after.items() if fact}
                )

    def _number_of_payment(self, payment_id: int) -> str:
        query = select(InvoiceRow.number).join(PaymentRow, col(PaymentRow.invoice_id) == col(InvoiceRow.id))
        return self._session.exec(query.where(PaymentRow.id == payment_id)).one()


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
