"""Read the books: invoices and payments here, the other subjects from their own modules."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sql
from sqlalchemy import or_
from sqlalchemy.orm import Mapped
from sqlmodel import Session, SQLModel, col, select

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import Invoice, OtherShare, Payment
from refundcli.domain.money import Money, zero
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider
from refundcli.services.ports.vocabulary import CaptureChange
from refundcli.store.imports.payment_matching import id_column
from refundcli.store.repositories.event_reading import SqlEventReading
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
from refundcli.store.repositories.refund_reading import SqlRefundReading
from refundcli.store.repositories.rows import INVOICE_COLUMNS, PAYMENT_COLUMNS, invoice_of
from refundcli.store.repositories.run_reading import SqlRunReading
from refundcli.store.repositories.store_reading import SqlStoreReading
from refundcli.store.schema import (
    LOSS,
    CaptureRow,
    ClosingRow,
    CreditNoteRow,
    DisputeRow,
    InvoiceRow,
    PaymentRow,
    RefundRow,
)
from refundcli.store.value_lists import AMONG, AT_ONCE, among

if TYPE_CHECKING:
    from refundcli.services.ports.bulk_invoices import InvoiceBlock
    from refundcli.services.ports.records import Capture, FailedCapture, ImportConflicts, InvoiceFilter, PaymentLine

_TABLES = SQLModel.metadata.tables
_INVOICE, _PAYMENT, _REFUND, _CLOSING = (_TABLES[name] for name in ("invoice", "payment", "refund", "closing"))
_NEAR_ENOUGH = 2_000
_INVOICES_NUMBERED = sql.select(*INVOICE_COLUMNS).where(among(_INVOICE.c.number))
_PAYMENTS_OF = (
    sql.select(*PAYMENT_COLUMNS)
    .where(among(_PAYMENT.c.invoice_id))
    .order_by(_PAYMENT.c.invoice_id, _PAYMENT.c.position)
)
_Record = TypeVar("_Record", Refund, Closing)


class SqlReading(SqlRunReading, SqlEventReading, SqlRefundReading, SqlStoreReading):
    """Reads one consistent snapshot of the books."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def invoice(self, number: str) -> Invoice | None:
        return self.invoices_by_number([number]).get(number)

    def invoices_by_number(self, numbers: Sequence[str]) -> dict[str, Invoice]:
        return {number: invoice for number, (invoice, _) in self.invoices_with_facts(numbers).items()}

    def invoices_with_facts(self, numbers: Sequence[str]) -> dict[str, tuple[Invoice, int]]:
        invoices: dict[str, tuple[Invoice, int]] = {}
        for rows, payments in self._numbered(numbers):
            ids = [row[0] for row in rows]
            # A payment without a provider has no updates, and disputes only from an import.
            of_provider = [payment for of in payments.values() for payment in of if has_provider(payment)]
            disputed = [payment for of in payments.values() for payment in of if may_be_disputed(payment)]
            disputes = disputes_of(self._session, disputed)
            unreviewed = unreviewed_of(self._session, of_provider)
            other_shares = self._other_shares(rows, payments)
            refunds = _by_invoice(self._refunds(among(_REFUND.c.invoice_id), ids))
            closings = _by_invoice(self._closings(among(_CLOSING.c.invoice_id), ids))
            for row in rows:
                of = payments.get(row[0], ())
                invoice = invoice_of(
                    row, of, refunds.get(row[0], ()), closings.get(row[0], ()), disputes, unreviewed, other_shares
                )
                invoices[row[1]] = (invoice, _facts(row, of))
        return invoices

    def _other_shares(
        self, invoices: Sequence[Any], payments: Mapping[int, Sequence[Any]]
    ) -> dict[int, list[OtherShare]]:
        """The other shares of payments that pay several invoices, by payment."""
        first_shares = shared_payments([payment for of in payments.values() for payment in of])
        if not first_shares:
            return {}
        shares = shares_by_payment(self._session, first_shares)
        ids = [row[1] for of in shares.values() for row in of]
        refunds: dict[int, list[Refund]] = {}
        for refund in self._refunds(among(_REFUND.c.payment_id), ids):
            refunds.setdefault(refund.payment_id, []).append(refund)
        codes = {row[0]: row[4] for row in invoices}
        return {
            payment[1]: other_shares_of(payment, shares, codes[invoice], refunds)
            for invoice, of in payments.items()
            for payment in of
        }

    def payment_of_dispute(self, provider: Provider, account: str, reference: str) -> tuple[Invoice, Payment] | None:
        query = (
            select(InvoiceRow.number, DisputeRow.payment_id)
            .join(PaymentRow, col(PaymentRow.invoice_id) == col(InvoiceRow.id))
            .join(DisputeRow, col(DisputeRow.payment_id) == col(PaymentRow.id))
            .where(DisputeRow.provider == provider, DisputeRow.reference == reference)
            .where(col(DisputeRow.account).in_((account, "")))
        )
        row = self._session.exec(query).first()
        invoice = self.invoice(row[0]) if row else None
        payments = [p for p in invoice.payments if row and p.id == row[1]] if invoice else []
        return (invoice, payments[0]) if invoice and payments else None

    def captures(self, payment: Payment) -> "dict[str, Capture]":
        from refundcli.services.ports.records import Capture

        unit = payment.allocated.currency
        rows = self._session.exec(select(CaptureRow).where(CaptureRow.payment_id == payment.home_id))
        return {
            row.reference: Capture(CaptureChange(row.state), Money(row.amount, unit), row.reported_at) for row in rows
        }

    def losses(self) -> list[Invoice]:
        query = select(InvoiceRow.number).where(col(InvoiceRow.id).in_(sql.select(_PAYMENT.c.invoice_id).where(LOSS)))
        invoices = self.invoices_by_number(sorted(self._session.exec(query).all()))
        return [
            invoice
            for invoice in invoices.values()
            if any(p.loss > (p.loss_acknowledged or zero(invoice.currency)) for p in invoice.payments)
        ]

    def facts_by_number(self, numbers: Sequence[str]) -> dict[str, int]:
        return {
            row[1]: _facts(row, payments.get(row[0], ())) for rows, payments in self._numbered(numbers) for row in rows
        }

    def _numbered(self, numbers: Sequence[str]) -> Iterator[tuple[Sequence[Any], dict[int, list[Any]]]]:
        """Rows of INVOICE_COLUMNS, and those of their payments."""
        for start in range(0, len(numbers), AT_ONCE):
            rows = self._session.execute(_INVOICES_NUMBERED, {AMONG: numbers[start : start + AT_ONCE]}).all()
            yield rows, self._payments([row[0] for row in rows])

    def invoices(self, filters: "InvoiceFilter") -> list[Invoice]:
        from refundcli.store.queries import lists

        rows = lists.invoice_rows(self._session, filters)
        payments = self._payments([row[0] for row in rows])
        return [invoice_of(row, payments.get(row[0], ())) for row in rows]

    def numbers_behind(self, reference: str) -> list[str]:
        by_payment = select(PaymentRow.invoice_id).where(
            or_(
                col(PaymentRow.payment_intent) == reference,
                col(PaymentRow.charge) == reference,
                col(PaymentRow.psp_reference) == reference,
            )
        )
        # Of a payment that pays several invoices, only the first share has the ids.
        first = by_payment.with_only_columns(col(PaymentRow.share_of)).where(col(PaymentRow.share_of).is_not(None))
        by_share = select(PaymentRow.invoice_id).where(col(PaymentRow.share_of).in_(first))
        by_refund = select(RefundRow.invoice_id).where(
            or_(col(RefundRow.id) == reference, col(RefundRow.provider_reference) == reference)
        )
        by_note = select(CreditNoteRow.invoice_id).where(CreditNoteRow.number == reference)
        by_closing = select(ClosingRow.invoice_id).where(ClosingRow.id == reference)
        ids = by_payment.union(by_share, by_refund, by_note, by_closing)
        query = select(InvoiceRow.number).where(
            or_(col(InvoiceRow.id).in_(ids), col(InvoiceRow.invoice_reference) == reference)
        )
        return sorted(self._session.exec(query).all())

    def numbers_near(self, number: str) -> list[str]:
        return self._near(col(InvoiceRow.number), number)

    def credit_note_numbers_near(self, number: str) -> list[str]:
        return [near for near in self._near(col(CreditNoteRow.number), number) if near]

    def _near(self, column: Mapped[Any], number: str) -> list[str]:
        """Numbers close to this one, enough to find a typo. Those with the same beginning come first."""
        near = select(column).order_by(column).limit(_NEAR_ENOUGH)
        numbers: dict[str, None] = {}
        for length in (len(number) - 1, len(number) - 2, len(number) // 2):
            stem = number[: max(2, length)]
            numbers |= dict.fromkeys(self._session.exec(near.where(column.startswith(stem, autoescape=True))))
        return list(numbers) or list(self._session.exec(near).all())

    def failed_captures(self) -> "list[FailedCapture]":
        from refundcli.store.queries import totals

        return totals.failed_captures(self._session)

    def count_invoices(self, filters: "InvoiceFilter") -> int:
        from refundcli.store.queries import lists

        return lists.count_invoices(self._session, filters)

    def invoices_of_payments(self, provider: Provider, references: Sequence[str]) -> dict[str, Invoice]:
        owners: dict[str, str] = {}
        for column in (PaymentRow.payment_intent, PaymentRow.charge, PaymentRow.psp_reference):
            query = (
                select(col(column), InvoiceRow.number)
                .join(InvoiceRow, col(InvoiceRow.id) == col(PaymentRow.invoice_id))
                .where(PaymentRow.provider == provider)
            )
            for start in range(0, len(references), AT_ONCE):
                some = {AMONG: references[start : start + AT_ONCE]}
                rows = self._session.exec(query.where(among(col(column))), params=some)
                owners |= {str(reference): number for reference, number in rows}
        invoices = self.invoices_by_number(sorted(set(owners.values())))
        return {reference: invoices[number] for reference, number in owners.items()}

    def payments_known_as(self, provider: Provider, references: Sequence[str]) -> dict[str, tuple[str, int]]:
        owners: dict[str, tuple[str, int]] = {}
        for reference in references:
            column = col(getattr(PaymentRow, id_column(provider, reference)))
            query = select(InvoiceRow.number, PaymentRow.id).where(column == reference)
            row = self._session.exec(query.join(PaymentRow, col(PaymentRow.invoice_id) == col(InvoiceRow.id))).first()
            if row:
                owners[reference] = (row[0], row[1] or 0)
        return owners

    def invoices_by_reference(self, references: Sequence[str]) -> dict[str, Invoice]:
        query = select(col(InvoiceRow.invoice_reference), InvoiceRow.number)
        rows = self._session.exec(query.where(among(col(InvoiceRow.invoice_reference))), params={AMONG: references})
        numbers = {str(reference): number for reference, number in rows}
        invoices = self.invoices_by_number(sorted(numbers.values()))
        return {reference: invoices[number] for reference, number in numbers.items()}

    def payment_lines(self, provider: Provider, references: Sequence[str]) -> "dict[str, PaymentLine]":
        from refundcli.store.queries import summaries

        return summaries.payment_lines(self._session, provider, references)

    def payment_count(self, provider: Provider) -> int:
        from refundcli.store.queries import summaries

        return summaries.payment_count(self._session, provider)

    def payment_lines_after(self, provider: Provider, after: int, *, limit: int) -> "list[PaymentLine]":
        from refundcli.store.queries import summaries

        return summaries.payment_lines_after(self._session, provider, after, limit)

    def import_conflicts(self, block: "InvoiceBlock") -> "ImportConflicts":
        from refundcli.store.imports.conflicts import import_conflicts

        return import_conflicts(self._session, block)

    def _payments(self, invoice_ids: Sequence[int]) -> dict[int, list[Any]]:
        """Rows of PAYMENT_COLUMNS by invoice, in order."""
        payments: dict[int, list[Any]] = {}
        rows = self._session.execute(_PAYMENTS_OF, {AMONG: invoice_ids}).all()
        first_shares = shared_payments(rows)
        shares = shares_by_payment(self._session, first_shares) if first_shares else {}
        for row in rows:
            payment = named_by_first_share(row, shares) if shares else row
            payments.setdefault(payment[0], []).append(payment)
        return payments


def _by_invoice(records: Sequence[_Record]) -> dict[int, list[_Record]]:
    by_invoice: dict[int, list[_Record]] = {}
    for record in records:
        by_invoice.setdefault(record.invoice_id, []).append(record)
    return by_invoice


def _facts(invoice: Sequence[Any], payments: Sequence[Sequence[Any]]) -> int:
    """A hash of invoice and payments, without closings: an invoice with refundable money cannot be voided (R9)."""
    return hash((tuple(invoice), *map(tuple, payments)))
