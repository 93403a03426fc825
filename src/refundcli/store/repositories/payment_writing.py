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
        values: dict[str, Any] = {
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
            existing = next(dispute for dispute in payment.disputes if dispute.id == record.id)
            self._hits(update(DisputeRow).where(col(DisputeRow.id) == record.id).values(**values))
            before: dict[str, object] = {"dispute": existing.state, "amount": str(existing.amount or "")}
        else:
            self._session.execute(insert(DisputeRow).values(**values))
            before = {}
        after = {"dispute": record.state, "amount": str(record.amount or ""), "status": record.status}
        after |= {"reference": record.reference, "evidence": update_source}
        self._audit.write(f"dispute {record.state}", invoice.number, before, {k: v for k, v in after.items() if v})
        self._count_disputes(payment.home_id)
        if record.reference and all(dispute.reference != record.reference for dispute in payment.disputes):
            self._link_events(payment, record)

    def _link_events(self, payment: Payment, record: DisputeRecord) -> None:
        """Link earlier events that name only this dispute to its payment, so that they block it (R13)."""
        link, existing = EventPaymentRow, aliased(EventPaymentRow)
        named = (
            sql.select(col(link.event_id), sql.literal(payment.reference))
            .join(ProviderEventRow, col(ProviderEventRow.id) == col(link.event_id))
            .where(col(ProviderEventRow.provider) == record.provider, col(link.reference) == record.reference)
            .where(
                ~sql.exists().where(
                    col(existing.event_id) == col(link.event_id), col(existing.reference) == payment.reference
                )
            )
        )
        self._session.execute(insert(EventPaymentRow).from_select(["event_id", "reference"], named))

    def _count_disputes(self, payment_id: int) -> None:
        """Update the payment's dispute state, and the loss that is not recorded yet (R11)."""
        row = self._session.get(PaymentRow, payment_id, populate_existing=True)
        assert row
        if row.share_of is not None:
            self._count_shares(row.share_of)
            return
        disputes = disputes_by_payment(self._session, [payment_id]).get(payment_id, [])
        lost = [dispute.amount for dispute in disputes if dispute.state is DisputeState.LOST]
        lost_total = sum(row.allocated if amount is None else amount.minor for amount in lost)
        values = {"dispute": most_severe(disputes).value, "lost": max(0, lost_total - row.dispute_recorded)}
        self._hits(update(PaymentRow).where(col(PaymentRow.id) == payment_id).values(**values))

    # --- captures ------------------------------------------------------------------------------------------

    def record_capture(self, invoice: Invoice, payment: Payment, report: CaptureUpdate, *, update_source: str) -> bool:
        existing = self._session.exec(
            select(CaptureRow).where(
                CaptureRow.payment_id == payment.home_id,
                CaptureRow.provider == report.provider,
                CaptureRow.account == report.account,
                CaptureRow.reference == report.reference,
            )
        ).first()
        last = existing and (existing.reported_at, _rank(CaptureChange(existing.state)))
        if last and (report.at, _rank(report.change)) <= last:
            return False
        values = {"state": report.change.value, "amount": report.amount.minor, "reported_at": report.at}
        if existing:
            self._hits(update(CaptureRow).where(col(CaptureRow.id) == existing.id).values(**values))
        else:
            of = {"payment_id": payment.home_id, "provider": report.provider, "account": report.account}
            self._session.execute(insert(CaptureRow).values(**of, reference=report.reference, **values))
        captured = self._captured_by_records(payment)
        if captured != payment.provider_captured:
            self._write_captured(invoice, payment, captured, payment.processing, f"{report.status}, {update_source}")
        return True

    def note_payment(
        self, invoice: Invoice, payment: Payment, *, captured: Money, processing: bool, update_source: str
    ) -> bool:
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
        rows = self._session.exec(select(CaptureRow).where(CaptureRow.payment_id == payment.home_id)).all()
        captured = sum(row.amount for row in rows if row.state == CaptureChange.ADDED)
        missing = sum(row.amount for row in rows if row.state != CaptureChange.ADDED)
        share = payment.allocated_in_all
        if not missing:
            return Money(captured, share.currency) if captured >= share.minor else None
        return Money(max(captured, share.minor - missing, 0), share.currency)

    def _write_captured(
        self, invoice: Invoice, payment: Payment, captured: Money | None, processing: bool, update_source: str
    ) -> None:
        minor = captured.minor if captured is not None else None
        self._update_shares(payment, captured=minor, processing=processing)
        before = {"captured": str(payment.provider_captured or ""), "processing": payment.processing}
        after: dict[str, object] = {"captured": str("" if captured is None else captured), "processing": processing}
        after |= {"payment": payment.reference, "evidence": update_source}
        self._audit.write("payment corrected", invoice.number, before, after)
        self._update_invoice(invoice.id)
        self._reopen_or_pay(invoice)
        for share in payment.other_shares:
            sharing = self.invoice(share.invoice_number)
            if sharing and sharing.id != invoice.id:
                self._audit.write("payment corrected", sharing.number, before, after)
                self._update_invoice(sharing.id)
                self._reopen_or_pay(_as_before(sharing, payment))

    def _update_shares(self, payment: Payment, **values: int | None) -> None:
        """Write what was reported of a provider's payment to all its shares."""
        of = col(PaymentRow.id) == payment.id
        if payment.share_of is not None:
            of = col(PaymentRow.share_of) == payment.share_of
        self._hits(update(PaymentRow).where(of).values(**values))

    def _reopen_or_pay(self, invoice: Invoice) -> None:
        """Reopen a paid invoice if nothing was captured after all; mark it paid again if it was captured later (R9)."""
        row = self._session.get(InvoiceRow, invoice.id, populate_existing=True)
        assert row
        status = InvoiceStatus(row.status)
        if status is InvoiceStatus.PAID and not row.paid and row.total and not row.returned:
            self._set_status(row, InvoiceStatus.OPEN)
        elif status is InvoiceStatus.OPEN and not invoice.paid and row.paid >= row.total > 0:
            self._set_status(row, InvoiceStatus.PAID)

    def _set_status(self, row: InvoiceRow, status: InvoiceStatus) -> None:
        number, before = row.number, row.status
        self._hits(
            update(InvoiceRow)
            .where(col(InvoiceRow.id) == row.id)
            .values(status=status.value, updated_at=self._audit.at)
        )
        self._audit.write(f"invoice {status}", number, {"status": before}, {"status": status})

    # --- allocation, credit and loss -----------------------------------------------------------------------

    def note_share(self, invoice: Invoice, payment: Payment, share: Money) -> None:
        self._hits(update(PaymentRow).where(col(PaymentRow.id) == payment.id).values(allocated=share.minor))
        before, after = {"allocated": str(payment.allocated)}, {"allocated": str(share), "payment": payment.reference}
        self._audit.write("payment corrected", invoice.number, before, after)
        # A dispute without an amount is about the whole share.
        self._count_disputes(payment.home_id)
        self._update_invoice(invoice.id)

    def note_unsupported(self, payment: Payment, why: str) -> None:
        if payment.unsupported != why:
            self._hits(update(PaymentRow).where(col(PaymentRow.id) == payment.id).values(unsupported=why))

    def note_credited(self, payment: Payment, amount: Money, *, update_source: str) -> None:
        if payment.credited == amount:
            return
        changed = update(PaymentRow).where(col(PaymentRow.id) == payment.id)
        self._hits(changed.values(credited=amount.minor))
        number = self._number_of_payment(payment.id)
        after = {"credited": str(amount), "payment": payment.reference, "evidence": update_source}
        self._audit.write("credit at the provider", number, {"credited": str(payment.credited)}, after)

    def acknowledge_loss(self, invoice: Invoice, *, memo: str) -> None:
        for payment in invoice.payments:
            if payment.loss:
                statement = update(PaymentRow).where(col(PaymentRow.id) == payment.id)
                self._hits(statement.values(loss_acknowledged=payment.loss.minor))
                after = {"loss": str(payment.loss), "payment": payment.reference, "memo": memo}
                self._audit.write("loss acknowledged", invoice.number, {}, {k: v for k, v in after.items() if v})

    def _number_of_payment(self, payment_id: int) -> str:
        query = select(InvoiceRow.number).join(PaymentRow, col(PaymentRow.invoice_id) == col(InvoiceRow.id))
        return self._session.exec(query.where(PaymentRow.id == payment_id)).one()


def _as_before(invoice: Invoice, reported: Payment) -> Invoice:
    """The invoice as it was before the reported capture of a payment that it has a share of."""
    was, home = reported.provider_captured, reported.home_id
    payments = (
        replace(payment, provider_captured=was) if payment.home_id == home else payment for payment in invoice.payments
    )
    return replace(invoice, payments=tuple(payments))


def _rank(change: CaptureChange) -> int:
    """Of two reports with the same date, the one that says not captured wins."""
    return (CaptureChange.ADDED, CaptureChange.CANCELLED, CaptureChange.FAILED).index(change)
