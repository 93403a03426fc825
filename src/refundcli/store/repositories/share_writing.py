"""Write the shares of a provider payment that pays several invoices.

The first share has the provider's ids, the disputes and the captures. They are unique there, so no id can be the id of
two payments; the other shares refer to it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert, update
from sqlmodel import col, select

from refundcli.domain.invoice import Invoice, OtherShare, Payment
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.services.ports.records import NewPayment
from refundcli.store.imports.payment_matching import ID_COLUMNS, identity_of, match_payments
from refundcli.store.imports.payment_updates import payment_values
from refundcli.store.imports.upsert import stored_invoices_by_number
from refundcli.store.repositories.payment_writing import SqlPaymentWriting
from refundcli.store.repositories.share_counting import share_rows
from refundcli.store.schema import CaptureRow, DisputeRow, PaymentRow, RefundRow


class SqlShareWriting(SqlPaymentWriting):
    """A transaction that also writes the shares of a payment."""

    def add_share(
        self, invoice: Invoice, first: Payment, new: NewPayment, *, reported: Sequence[NewPayment], update_source: str
    ) -> None:
        existing = self._known_without_its_id(invoice, new, reported)
        if existing:
            # A file listed it without an id. It is the same payment, and its refunds count.
            more = {"provider": new.provider, "allocated": max(existing.allocated.minor, new.captured)}
            self._hits(update(PaymentRow).where(col(PaymentRow.id) == existing.id).values(**more))
            self._learn(first.home_id, identity_of(new))
            self.join_payments(first, existing, update_source=update_source)
            return
        home = first.home_id
        self._begin_sharing(first)
        self._learn(home, identity_of(new))
        captured = first.provider_captured
        values: dict[str, Any] = {
            **payment_values(new),
            **dict.fromkeys(ID_COLUMNS),
            "invoice_id": invoice.id,
            "position": len(invoice.payments),
            "opening_at": self._audit.at,
            "share_of": home,
            "captured": captured.minor if captured is not None else None,
            "processing": first.processing,
        }
        self._session.execute(insert(PaymentRow).values(**values))
        after = {"payment": first.reference, "allocated": str(Money(new.captured, invoice.currency))}
        self._audit.write("payment shared", invoice.number, {}, after)
        self._count_shares(home)
        self._update_invoice(invoice.id)

    def _known_without_its_id(
        self, invoice: Invoice, new: NewPayment, payments: Sequence[NewPayment]
    ) -> Payment | None:
        """The stored payment that an import would match with it, given all reported payments of the invoice."""
        _, rows = stored_invoices_by_number(self._session, [invoice.number])[invoice.number]
        pairs = match_payments(payments, rows).pairs
        payment_ids = {pair.row.id for pair in pairs if pair.imported is new and pair.row.share_of is None}
        return next((payment for payment in invoice.payments if payment.id in payment_ids), None)

    def join_payments(self, first: Payment, second: Payment, *, update_source: str) -> None:
        home, joined = first.home_id, second.home_id
        self._begin_sharing(first)
        row = self._session.get(PaymentRow, joined, populate_existing=True)
        assert row
        ids = {name: getattr(row, name) for name in ID_COLUMNS}
        moved = (col(PaymentRow.id) == joined) | (col(PaymentRow.share_of) == joined)
        self._hits(update(PaymentRow).where(moved).values(**dict.fromkeys(ID_COLUMNS), share_of=home))
        self._learn(home, ids)
        self._hits(update(DisputeRow).where(col(DisputeRow.payment_id) == joined).values(payment_id=home))
        self._hits(update(CaptureRow).where(col(CaptureRow.payment_id) == joined).values(payment_id=home))
        # Both have the captured amount of the whole payment, so it is not added up.
        captured = first.provider_captured if first.provider_captured is not None else second.provider_captured
        values = {"captured": captured.minor if captured is not None else None, "processing": first.processing}
        self._hits(update(PaymentRow).where(col(PaymentRow.share_of) == home).values(**values))
        after = {"payment": first.reference, "also": second.reference, "evidence": update_source}
        for number in {self._number_of_payment(payment.id) for payment in (first, second)}:
            self._audit.write("payments joined", number, {}, after)
        self._count_shares(home)
        for share in share_rows(self._session, home):
            self._update_invoice(share.invoice_id)

    def assign_external(self, refund: Refund, share: OtherShare) -> Refund:
        query = select(PaymentRow.invoice_id).where(PaymentRow.id == share.payment_id)
        values: dict[str, Any] = {"payment_id": share.payment_id, "invoice_id": self._session.exec(query).one()}
        moved = update(RefundRow).where(col(RefundRow.id) == refund.id)
        self._hits(moved.values(**values, updated_at=self._audit.at))
        before, after = {"invoice": refund.invoice_number}, {"invoice": share.invoice_number}
        self._audit.write("external refund assigned", refund.id, before, after)
        assigned = self.refund(refund.id)
        assert assigned
        return assigned

    def _begin_sharing(self, first: Payment) -> None:
        alone = (col(PaymentRow.id) == first.id, col(PaymentRow.share_of).is_(None))
        self._hits(update(PaymentRow).where(*alone).values(share_of=first.id))

    def _learn(self, payment_id: int, ids: Mapping[str, str | None]) -> None:
        """Store the ids that are missing; an id that is stored stays."""
        for name in ID_COLUMNS:
            column = col(getattr(PaymentRow, name))
            if ids[name]:
                unknown = update(PaymentRow).where(col(PaymentRow.id) == payment_id, column.is_(None))
                self._hits(unknown.values(**{name: ids[name]}))
