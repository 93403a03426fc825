"""Read invoices with their payments, refunds and closings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sql
from sqlalchemy import or_
from sqlmodel import Session, SQLModel, col, select

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import Invoice, OtherShare
from refundcli.domain.money import zero
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider
from refundcli.store.repositories.near_numbers import numbers_near
from refundcli.store.repositories.payment_reading import (
    disputes_of,
    has_provider,
    may_be_disputed,
    named_by_first_share,
    other_shares_of,
    shared_payments,
    shares_by_payment,
    unreviewed_of,
)
from refundcli.store.repositories.refund_reading import closings_where, refunds_where
from refundcli.store.repositories.rows import INVOICE_COLUMNS, PAYMENT_COLUMNS, invoice_of
from refundcli.store.schema import (
    LOSS,
    ClosingRow,
    CreditNoteRow,
    InvoiceRow,
    PaymentRow,
    RefundRow,
)
from refundcli.store.value_lists import AMONG, AT_ONCE, among

if TYPE_CHECKING:
    from refundcli.services.ports.records import InvoiceFilter

_TABLES = SQLModel.metadata.tables
_INVOICE, _PAYMENT, _REFUND, _CLOSING = (_TABLES[name] for name in ("invoice", "payment", "refund", "closing"))
_INVOICES_NUMBERED = sql.select(*INVOICE_COLUMNS).where(among(_INVOICE.c.number))
_PAYMENTS_OF = (
    sql.select(*PAYMENT_COLUMNS)
    .where(among(_PAYMENT.c.invoice_id))
    .order_by(_PAYMENT.c.invoice_id, _PAYMENT.c.position)
)
_Record = TypeVar("_Record", Refund, Closing)


class SqlInvoiceReads:
    """Reads invoices from one snapshot of the books."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, number: str) -> Invoice | None:
        return self.by_number([number]).get(number)

    def by_number(self, numbers: Sequence[str]) -> dict[str, Invoice]:
        return {number: invoice for number, (invoice, _) in self.with_facts(numbers).items()}

    def with_facts(self, numbers: Sequence[str]) -> dict[str, tuple[Invoice, int]]:
        """By number, each with the hash of its facts."""
        invoices: dict[str, tuple[Invoice, int]] = {}
        for invoice_rows, payments in self._numbered(numbers):
            invoice_ids = [invoice_row[0] for invoice_row in invoice_rows]
            # A payment without a provider has no updates, and disputes only from an import.
            payment_rows = [payment_row for rows in payments.values() for payment_row in rows]
            through_provider = [payment_row for payment_row in payment_rows if has_provider(payment_row)]
            disputes = disputes_of(self._session, list(filter(may_be_disputed, payment_rows)))
            unreviewed = unreviewed_of(self._session, through_provider)
            other_shares = self._other_shares(invoice_rows, payments)
            refunds = _by_invoice(refunds_where(self._session, among(_REFUND.c.invoice_id), invoice_ids))
            closings = _by_invoice(closings_where(self._session, among(_CLOSING.c.invoice_id), invoice_ids))
            for invoice_row in invoice_rows:
                invoice_id, number = invoice_row[:2]
                rows = payments.get(invoice_id, ())
                invoice = invoice_of(
                    invoice_row,
                    rows,
                    refunds.get(invoice_id, ()),
                    closings.get(invoice_id, ()),
                    disputes,
                    unreviewed,
                    other_shares,
                )
                invoices[number] = (invoice, _facts(invoice_row, rows))
        return invoices

    def _other_shares(
        self, invoice_rows: Sequence[Any], payments_by_invoice: Mapping[int, Sequence[Any]]
    ) -> dict[int, list[OtherShare]]:
        """The other shares of payments that pay several invoices, by payment."""
        first_share_ids = shared_payments(
            [payment for payment_rows in payments_by_invoice.values() for payment in payment_rows]
        )
        if not first_share_ids:
            return {}
        shares_by_first = shares_by_payment(self._session, first_share_ids)
        share_ids = [share_row[1] for share_rows in shares_by_first.values() for share_row in share_rows]
        refunds_by_payment: dict[int, list[Refund]] = {}
        for refund in refunds_where(self._session, among(_REFUND.c.payment_id), share_ids):
            refunds_by_payment.setdefault(refund.payment_id, []).append(refund)
        currency_of_invoice = {invoice_row[0]: invoice_row[4] for invoice_row in invoice_rows}
        return {
            payment[1]: other_shares_of(payment, shares_by_first, currency_of_invoice[invoice_id], refunds_by_payment)
            for invoice_id, payment_rows in payments_by_invoice.items()
            for payment in payment_rows
        }

    def losses(self) -> list[Invoice]:
        query = select(InvoiceRow.number).where(col(InvoiceRow.id).in_(sql.select(_PAYMENT.c.invoice_id).where(LOSS)))
        invoices = self.by_number(sorted(self._session.exec(query).all()))
        return [
            invoice
            for invoice in invoices.values()
            if any(payment.loss > (payment.loss_acknowledged or zero(invoice.currency)) for payment in invoice.payments)
        ]

    def facts(self, numbers: Sequence[str]) -> dict[str, int]:
        return {
            invoice_row[1]: _facts(invoice_row, payments_by_invoice.get(invoice_row[0], ()))
            for invoice_rows, payments_by_invoice in self._numbered(numbers)
            for invoice_row in invoice_rows
        }

    def _numbered(self, numbers: Sequence[str]) -> Iterator[tuple[Sequence[Any], dict[int, list[Any]]]]:
        """Rows of INVOICE_COLUMNS, and those of their payments."""
        for start in range(0, len(numbers), AT_ONCE):
            invoice_rows = self._session.execute(_INVOICES_NUMBERED, {AMONG: numbers[start : start + AT_ONCE]}).all()
            yield invoice_rows, self._payments([invoice_row[0] for invoice_row in invoice_rows])

    def matching(self, filters: "InvoiceFilter") -> list[Invoice]:
        from refundcli.store.queries import lists

        invoice_rows = lists.invoice_rows(self._session, filters)
        payments_by_invoice = self._payments([invoice_row[0] for invoice_row in invoice_rows])
        return [invoice_of(invoice_row, payments_by_invoice.get(invoice_row[0], ())) for invoice_row in invoice_rows]

    def numbers_behind(self, reference: str) -> list[str]:
        payment_query = select(PaymentRow.invoice_id).where(
            or_(
                col(PaymentRow.payment_intent) == reference,
                col(PaymentRow.charge) == reference,
                col(PaymentRow.psp_reference) == reference,
            )
        )
        # Of a payment that pays several invoices, only the first share has the ids.
        first_share_query = payment_query.with_only_columns(col(PaymentRow.share_of)).where(
            col(PaymentRow.share_of).is_not(None)
        )
        share_query = select(PaymentRow.invoice_id).where(col(PaymentRow.share_of).in_(first_share_query))
        refund_query = select(RefundRow.invoice_id).where(
            or_(col(RefundRow.id) == reference, col(RefundRow.provider_reference) == reference)
        )
        note_query = select(CreditNoteRow.invoice_id).where(CreditNoteRow.number == reference)
        closing_query = select(ClosingRow.invoice_id).where(ClosingRow.id == reference)
        invoice_ids = payment_query.union(share_query, refund_query, note_query, closing_query)
        query = select(InvoiceRow.number).where(
            or_(col(InvoiceRow.id).in_(invoice_ids), col(InvoiceRow.invoice_reference) == reference)
        )
        return sorted(self._session.exec(query).all())

    def numbers_near(self, number: str) -> list[str]:
        return numbers_near(self._session, col(InvoiceRow.number), number)

    def count(self, filters: "InvoiceFilter") -> int:
        from refundcli.store.queries import lists

        return lists.count_invoices(self._session, filters)

    def of_payments(self, provider: Provider, references: Sequence[str]) -> dict[str, Invoice]:
        number_of_reference: dict[str, str] = {}
        for id_column_of_payment in (PaymentRow.payment_intent, PaymentRow.charge, PaymentRow.psp_reference):
            query = (
                select(col(id_column_of_payment), InvoiceRow.number)
                .join(InvoiceRow, col(InvoiceRow.id) == col(PaymentRow.invoice_id))
                .where(PaymentRow.provider == provider)
            )
            for start in range(0, len(references), AT_ONCE):
                parameters = {AMONG: references[start : start + AT_ONCE]}
                references_and_numbers = self._session.exec(
                    query.where(among(col(id_column_of_payment))), params=parameters
                )
                number_of_reference |= {str(reference): number for reference, number in references_and_numbers}
        invoices = self.by_number(sorted(set(number_of_reference.values())))
        return {reference: invoices[number] for reference, number in number_of_reference.items()}

    def by_reference(self, references: Sequence[str]) -> dict[str, Invoice]:
        query = select(col(InvoiceRow.invoice_reference), InvoiceRow.number)
        references_and_numbers = self._session.exec(
            query.where(among(col(InvoiceRow.invoice_reference))), params={AMONG: references}
        )
        number_of_reference = {str(reference): number for reference, number in references_and_numbers}
        invoices = self.by_number(sorted(number_of_reference.values()))
        return {reference: invoices[number] for reference, number in number_of_reference.items()}

    def _payments(self, invoice_ids: Sequence[int]) -> dict[int, list[Any]]:
        """Rows of PAYMENT_COLUMNS by invoice, in order."""
        rows_by_invoice: dict[int, list[Any]] = {}
        payment_rows = self._session.execute(_PAYMENTS_OF, {AMONG: invoice_ids}).all()
        first_share_ids = shared_payments(payment_rows)
        shares_by_first = shares_by_payment(self._session, first_share_ids) if first_share_ids else {}
        for payment_row in payment_rows:
            named_row = named_by_first_share(payment_row, shares_by_first) if shares_by_first else payment_row
            rows_by_invoice.setdefault(named_row[0], []).append(named_row)
        return rows_by_invoice


def _by_invoice(records: Sequence[_Record]) -> dict[int, list[_Record]]:
    by_invoice: dict[int, list[_Record]] = {}
    for record in records:
        by_invoice.setdefault(record.invoice_id, []).append(record)
    return by_invoice


def _facts(invoice_row: Sequence[Any], payment_rows: Sequence[Sequence[Any]]) -> int:
    """A hash of invoice and payments, without closings: an invoice with refundable money cannot be voided (R9)."""
    return hash((tuple(invoice_row), *map(tuple, payment_rows)))
