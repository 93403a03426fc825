"""Import invoices: insert new ones, and update stored ones where the file is newer.

An import never undoes the store's refunds and reservations, a later status, a decided dispute or money already counted.
Such a change is left out and reported.
"""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import compress, repeat
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import Session, col, select

from refundcli.domain.currencies import currency
from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState, most_severe
from refundcli.domain.invoice import status_after
from refundcli.domain.money import Money
from refundcli.domain.statuses import Dispute, InvoiceStatus
from refundcli.services.ports.bulk_invoices import InvoiceBlock, PaymentColumns
from refundcli.services.ports.records import ImportCounts, NewInvoice, NewPayment
from refundcli.store.audit import AuditTrail
from refundcli.store.bulk_sql import flags, insert_many, new_ids, set_cache_size, stored
from refundcli.store.imports.payment_matching import ID_COLUMNS, PaymentPair, id_columns, match_payments
from refundcli.store.imports.payment_updates import (
    IMPORTED,
    Unchanged,
    dispute_change,
    lost_at_first,
    payment_changes,
    payment_values,
)
from refundcli.store.queries.payments import disputes_by_payment
from refundcli.store.schema import CAPTURED_SHARE, DisputeRow, InvoiceRow, PaymentRow
from refundcli.store.session_rows import SessionRows
from refundcli.store.value_lists import AMONG, among

# What an import may change a status to. Refunded is never imported: it follows from the sums.
_FORWARD: dict[str, frozenset[str]] = {
    "draft": frozenset({"open", "paid", "void", "uncollectible"}),
    "open": frozenset({"paid", "void", "uncollectible"}),
    "uncollectible": frozenset({"paid", "void"}),
    "paid": frozenset(),
    "refunded": frozenset(),
    "void": frozenset(),
}
# Provider ids are in no order, so a chunk changes pages all over their indexes: cached, each is written once.
_CACHE_KIB = 65_536
# Each invoice is read once and changed once, so the session need not update objects already read.
_PLAINLY = {"synchronize_session": False}

StoredInvoices = dict[str, tuple[InvoiceRow, list[PaymentRow]]]


class Importer:
    """Imports one batch in the given transaction."""

    def __init__(self, session: Session, audit: AuditTrail, *, source: str) -> None:
        self._session, self._audit, self._source = session, audit, source
        # The audit entry of an invoice's import is found by its file and this time.
        self._imported_at = audit.at
        self._counts = ImportCounts()

    def import_blocks(self, blocks: Iterable[InvoiceBlock], *, all_new: bool) -> ImportCounts:
        """`all_new`: the store has none of these invoices, so they are not looked up."""
        set_cache_size(self._session.connection(), _CACHE_KIB)
        first_line = 0
        for block in blocks:
            first_line = first_line or block.lines[0]
            stored_invoices = {} if all_new else stored_invoices_by_number(self._session, block.numbers)
            if not stored_invoices:
                self._insert(block)
                continue
            self._insert(block.only([number not in stored_invoices for number in block.numbers]))
            for invoice in block.only([number in stored_invoices for number in block.numbers]).invoices():
                self._update(invoice, *stored_invoices[invoice.number])
        if self._counts.new or self._counts.changed:
            audit_facts = {"new": self._counts.new, "changed": self._counts.changed, "first_line": first_line}
            self._audit.write("invoices imported", self._source, {}, audit_facts)
        return self._counts

    def _insert(self, block: InvoiceBlock) -> None:
        if not block.size:
            return
        connection, payments = self._session.connection(), block.payments
        stored_at = stored(connection, self._imported_at)
        new_invoice_ids = new_ids(connection, "invoice", block.size)
        paid, returned = [0] * block.size, [0] * block.size
        for invoice_index, captured_minor, returned_minor in zip(
            payments.invoices, payments.captured, payments.returned_elsewhere, strict=True
        ):
            paid[invoice_index] += captured_minor
            returned[invoice_index] += returned_minor
        invoice_columns = {
            "id": new_invoice_ids,
            "number": block.numbers,
            "customer": block.customers,
            "customer_name": block.customer_names,
            "currency": block.currencies,
            "total": block.totals,
            "paid": paid,
            "returned": returned,
            "status": _statuses(block, paid, returned),
            "issued_on": block.issued_on,
            "due_on": block.due_on,
            "paid_on": block.paid_on,
            "invoice_reference": [reference or None for reference in block.references],
            "products": map(_products, block.products),
            "subscription": block.subscriptions,
            "source": repeat(self._source, block.size),
            "created_at": repeat(stored_at, block.size),
            "updated_at": repeat(stored_at, block.size),
        }
        insert_many(
            connection, "invoice", tuple(invoice_columns), zip(*invoice_columns.values(), strict=True), or_nothing=True
        )
        invoice_ids = [new_invoice_ids[invoice_index] for invoice_index in payments.invoices]
        positions = _positions(payments.invoices)
        payment_columns = {
            "invoice_id": invoice_ids,
            "position": positions,
            "provider": payments.providers,
            **id_columns(payments),
            "method": payments.methods,
            "reference": _own_references(payments),
            "allocated": payments.captured,
            "lost": list(map(lost_at_first, payments.disputes, payments.dispute_amounts, payments.captured)),
            "returned_elsewhere": payments.returned_elsewhere,
            "opening_returned": payments.returned_elsewhere,
            "opening_at": repeat(stored_at, len(payments.invoices)),
            "auto_refundable": flags(connection, payments.auto_refundable),
            "processing": flags(connection, payments.processing),
            "dispute": payments.disputes,
            "paid_on": payments.paid_on,
        }
        insert_many(
            connection, "payment", tuple(payment_columns), zip(*payment_columns.values(), strict=True), or_nothing=True
        )
        self._insert_disputes(invoice_ids, positions, payments)
        self._counts.new += block.size

    def _insert_disputes(self, invoice_ids: Sequence[int], positions: Sequence[int], payments: PaymentColumns) -> None:
        """Insert a placeholder for each dispute in the file; the provider's first report completes it."""
        for payment_index, dispute_state in enumerate(payments.disputes):
            if dispute_state:
                conditions = (
                    PaymentRow.invoice_id == invoice_ids[payment_index],
                    PaymentRow.position == positions[payment_index],
                )
                payment_id = self._session.exec(select(PaymentRow.id).where(*conditions)).one()
                self._write_dispute(
                    payment_id,
                    payments.providers[payment_index],
                    0,
                    dispute_state,
                    IMPORTED,
                    payments.dispute_amounts[payment_index],
                )

    def _write_dispute(
        self, payment_id: int | None, provider: str, dispute_id: int, state: str, status: str, amount: int | None
    ) -> None:
        """Insert or update a dispute. `dispute_id`: 0 for a new one; `amount`: in minor units, None if unknown."""
        columns: dict[str, Any] = {"state": state, "status": status, "amount": amount}
        if dispute_id:
            statement = update(DisputeRow).where(col(DisputeRow.id) == dispute_id).values(**columns)
            self._session.execute(statement, execution_options=_PLAINLY)
            return
        columns |= {"payment_id": payment_id, "provider": provider, "account": "", "reference": None}
        self._session.execute(insert(DisputeRow).values(**columns, stage=DisputeStage.CHARGEBACK.value))

    def _payment_values(self, payment: NewPayment) -> dict[str, Any]:
        return payment_values(payment) | {"opening_at": self._imported_at}

    def _update(self, invoice: NewInvoice, invoice_row: InvoiceRow, payment_rows: list[PaymentRow]) -> None:
        file_columns = _described(invoice) | {"total": invoice.total}
        if not invoice.invoice_reference:
            # A file without a reference must not detach an invoice from the provider's: it would be closed here alone.
            del file_columns["invoice_reference"]
        column_changes = _differences(invoice_row, file_columns)
        status_change = self._status_change(invoice, invoice_row)
        paid_before = invoice_row.paid
        payment_changes_by_name = self._update_payments(invoice, invoice_row, payment_rows)
        if not (column_changes or status_change or payment_changes_by_name):
            self._counts.same += 1
            return
        columns_before = {name: getattr(invoice_row, name) for name in column_changes} | (
            {"status": invoice_row.status} if status_change else {}
        )
        self._write(invoice_row, column_changes | status_change)
        columns_after = column_changes | status_change | payment_changes_by_name
        self._audit.write(
            "invoice imported again", invoice_row.number, columns_before | {"paid": paid_before}, columns_after
        )
        self._counts.changed += 1

    def _status_change(self, invoice: NewInvoice, invoice_row: InvoiceRow) -> dict[str, Any]:
        unit = currency(invoice_row.currency)
        paid = sum(payment.captured for payment in invoice.payments)
        returned = sum(payment.returned_elsewhere for payment in invoice.payments)
        file_status = status_after(invoice.status, paid=Money(paid, unit), returned=Money(returned, unit))
        if invoice_row.status in (invoice.status, file_status):
            return {}
        if invoice_row.status == InvoiceStatus.VOID and paid:
            # The books must record captured money, so the invoice cannot stay void (R9).
            self._report(invoice, f"it was voided here, but the file shows captured money; it is now {file_status}")
            return {"status": invoice.status.value}
        if invoice.status is InvoiceStatus.VOID and invoice_row.paid:
            self._keep(invoice, "the file says void, but the store shows captured money")
            return {}
        if (
            invoice.status is InvoiceStatus.PAID
            and not invoice_row.paid
            and self._is_known_as_not_captured(invoice_row)
        ):
            self._keep(invoice, "the file says paid, but the provider captured nothing")
            return {}
        if invoice.status in _FORWARD[invoice_row.status]:
            return {"status": invoice.status.value}
        self._keep(invoice, f"the file says {invoice.status}, the store says {invoice_row.status}")
        return {}

    def _is_known_as_not_captured(self, invoice_row: InvoiceRow) -> bool:
        """Did a provider report that nothing was captured? An older file may not have that."""
        query = select(PaymentRow.id).where(PaymentRow.invoice_id == invoice_row.id, PaymentRow.captured == 0)
        return self._session.exec(query.limit(1)).first() is not None

    def _update_payments(
        self, invoice: NewInvoice, invoice_row: InvoiceRow, payment_rows: list[PaymentRow]
    ) -> dict[str, Any]:
        changes_by_payment: dict[str, Any] = {}
        matches = match_payments(invoice.payments, payment_rows)
        for pair in matches.pairs:
            column_changes, reasons = payment_changes(pair)
            for reason in reasons:
                self._keep(invoice, reason)
            if "opening_returned" in column_changes:
                column_changes["opening_at"] = self._imported_at
            column_changes |= self._update_dispute(invoice, invoice_row, pair, column_changes)
            if column_changes:
                condition = col(PaymentRow.id) == pair.row.id
                self._session.execute(
                    update(PaymentRow).where(condition).values(**column_changes), execution_options=_PLAINLY
                )
                changes_by_payment[f"payment {pair.row.position + 1}"] = column_changes
        for position, new_payment in enumerate(matches.new, start=len(payment_rows)):
            columns = {"invoice_id": invoice_row.id, "position": position, **self._payment_values(new_payment)}
            self._session.execute(insert(PaymentRow), [columns])
            if new_payment.dispute:
                conditions = (PaymentRow.invoice_id == invoice_row.id, PaymentRow.position == position)
                payment_id = self._session.exec(select(PaymentRow.id).where(*conditions)).one()
                self._write_dispute(
                    payment_id, new_payment.provider or "", 0, new_payment.dispute, IMPORTED, new_payment.dispute_amount
                )
            changes_by_payment[f"payment {position + 1}"] = "new"
        for payment in matches.duplicates:
            self._keep(invoice, f"{payment.reference} is a payment that the file also lists by its other id")
        if matches.missing:
            self._keep(invoice, f"the file lacks {len(matches.missing)} of the payments in the store")
        return changes_by_payment

    def _update_dispute(
        self, invoice: NewInvoice, invoice_row: InvoiceRow, pair: PaymentPair, column_changes: dict[str, Any]
    ) -> dict[str, Any]:
        """The columns of the payment that follow from its disputes, if the file changes any of them."""
        if not (pair.imported.dispute or pair.row.dispute):
            return {}
        if pair.row.share_of is not None:
            if pair.imported.dispute not in (Dispute.NONE, pair.row.dispute):
                self._keep(invoice, "the disputes of a payment that pays several invoices come from the provider")
            return {}
        payment_id = pair.row.id or 0
        stored_disputes = disputes_by_payment(SessionRows(self._session), [payment_id]).get(payment_id, [])
        allocated_minor = int(column_changes.get("allocated", pair.row.allocated))
        dispute_or_reason = dispute_change(
            pair.imported, Money(allocated_minor, currency(invoice_row.currency)), stored_disputes
        )
        if isinstance(dispute_or_reason, Unchanged):
            self._keep(invoice, dispute_or_reason.why)
        is_changed = isinstance(dispute_or_reason, DisputeRecord) and dispute_or_reason not in stored_disputes
        if isinstance(dispute_or_reason, DisputeRecord) and is_changed:
            amount = dispute_or_reason.amount.minor if dispute_or_reason.amount else None
            self._write_dispute(
                payment_id,
                pair.row.provider,
                dispute_or_reason.id,
                dispute_or_reason.state,
                dispute_or_reason.status,
                amount,
            )
            stored_disputes = disputes_by_payment(SessionRows(self._session), [payment_id])[payment_id]
        lost_disputes = [dispute for dispute in stored_disputes if dispute.state is DisputeState.LOST]
        lost_minor = sum(
            allocated_minor if dispute.amount is None else dispute.amount.minor for dispute in lost_disputes
        )
        payment_columns = {
            "dispute": most_severe(stored_disputes).value,
            "lost": max(0, lost_minor - pair.row.dispute_recorded),
        }
        return {
            name: column_content
            for name, column_content in payment_columns.items()
            if is_changed or column_content != getattr(pair.row, name)
        }

    def _write(self, invoice_row: InvoiceRow, column_changes: dict[str, Any]) -> None:
        """Sums and status in one UPDATE, so that the CHECK on Refunded always holds (R6)."""
        sums_query = select(CAPTURED_SHARE, PaymentRow.refunded + PaymentRow.returned_elsewhere)
        payment_sums = self._session.exec(sums_query.where(PaymentRow.invoice_id == invoice_row.id)).all()
        unit = currency(invoice_row.currency)
        paid = sum(captured_minor for captured_minor, _ in payment_sums)
        returned = sum(returned_minor for _, returned_minor in payment_sums)
        status = InvoiceStatus(column_changes.get("status", invoice_row.status))
        status = status_after(status, paid=Money(paid, unit), returned=Money(returned, unit))
        columns = {
            **column_changes,
            "paid": paid,
            "returned": returned,
            "status": status.value,
            "updated_at": self._imported_at,
        }
        statement = update(InvoiceRow).where(col(InvoiceRow.id) == invoice_row.id).values(**columns)
        self._session.execute(statement, execution_options=_PLAINLY)

    def _keep(self, invoice: NewInvoice, reason: str) -> None:
        self._report(invoice, f"{reason}; left unchanged")

    def _report(self, invoice: NewInvoice, sentence: str) -> None:
        self._counts.unchanged.append((invoice.line, invoice.number, sentence))


def stored_invoices_by_number(session: Session, numbers: Sequence[str]) -> StoredInvoices:
    invoice_rows = session.exec(select(InvoiceRow).where(among(col(InvoiceRow.number))), params={AMONG: numbers}).all()
    payments_by_invoice: dict[int, list[PaymentRow]] = {invoice_row.id or 0: [] for invoice_row in invoice_rows}
    query = select(PaymentRow).where(among(col(PaymentRow.invoice_id))).order_by(col(PaymentRow.position))
    for payment in session.exec(query, params={AMONG: list(payments_by_invoice)}):
        payments_by_invoice[payment.invoice_id].append(payment)
    _name_shares(session, [payment for payments in payments_by_invoice.values() for payment in payments])
    return {invoice_row.number: (invoice_row, payments_by_invoice[invoice_row.id or 0]) for invoice_row in invoice_rows}


def _name_shares(session: Session, payment_rows: Sequence[PaymentRow]) -> None:
    """Copy the provider's ids of a payment that pays several invoices from its first share to the others."""
    for payment_row in payment_rows:
        if payment_row.share_of not in (None, payment_row.id):
            first_share = session.exec(select(PaymentRow).where(PaymentRow.id == payment_row.share_of)).one()
            for column in ID_COLUMNS:
                # Set without marking it as changed: it must not be written.
                set_committed_value(payment_row, column, getattr(first_share, column))


def _statuses(block: InvoiceBlock, paid: Sequence[int], returned: Sequence[int]) -> list[str]:
    """The statuses in the file, but Refunded where all was returned before the import (R6)."""
    statuses = list(block.statuses)
    for invoice_index in compress(range(block.size), returned):
        unit = currency(block.currencies[invoice_index])
        sums = {"paid": Money(paid[invoice_index], unit), "returned": Money(returned[invoice_index], unit)}
        statuses[invoice_index] = status_after(InvoiceStatus(statuses[invoice_index]), **sums).value
    return statuses


def _positions(invoice_indexes: Sequence[int]) -> list[int]:
    """The position of each payment among those of its invoice."""
    if len(set(invoice_indexes)) == len(invoice_indexes):
        return [0] * len(invoice_indexes)
    positions: list[int] = []
    previous_index = -1
    for invoice_index in invoice_indexes:
        positions.append(positions[-1] + 1 if invoice_index == previous_index else 0)
        previous_index = invoice_index
    return positions


def _own_references(payments: PaymentColumns) -> list[str]:
    """The references that are not a provider's ids."""
    providers_and_references = zip(payments.providers, payments.references, strict=True)
    return ["" if provider else reference for provider, reference in providers_and_references]


@lru_cache
def _products(names: tuple[str, ...]) -> str:
    return json.dumps(names, ensure_ascii=False) if names else ""


def _described(invoice: NewInvoice) -> dict[str, Any]:
    return {
        "customer": invoice.customer,
        "customer_name": invoice.customer_name,
        "issued_on": invoice.issued_on,
        "due_on": invoice.due_on,
        "paid_on": invoice.paid_on,
        "invoice_reference": invoice.invoice_reference or None,
        "products": _products(invoice.products),
        "subscription": invoice.subscription,
    }


def _differences(row: InvoiceRow, values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if getattr(row, name) != value}
