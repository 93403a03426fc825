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
from refundcli.store.repositories.payment_reading import disputes_by_payment
from refundcli.store.schema import CAPTURED_SHARE, DisputeRow, InvoiceRow, PaymentRow
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
        self._at = audit.at
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
            summary = {"new": self._counts.new, "changed": self._counts.changed, "first_line": first_line}
            self._audit.write("invoices imported", self._source, {}, summary)
        return self._counts

    def _insert(self, block: InvoiceBlock) -> None:
        if not block.size:
            return
        connection, payments = self._session.connection(), block.payments
        at = stored(connection, self._at)
        ids = new_ids(connection, "invoice", block.size)
        paid, returned = [0] * block.size, [0] * block.size
        for place, captured, given_back in zip(
            payments.invoices, payments.captured, payments.returned_elsewhere, strict=True
        ):
            paid[place] += captured
            returned[place] += given_back
        invoices = {
            "id": ids,
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
            "created_at": repeat(at, block.size),
            "updated_at": repeat(at, block.size),
        }
        insert_many(connection, "invoice", tuple(invoices), zip(*invoices.values(), strict=True), or_nothing=True)
        invoice_ids, positions = [ids[place] for place in payments.invoices], _positions(payments.invoices)
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
            "opening_at": repeat(at, len(payments.invoices)),
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

    def _insert_disputes(self, invoices: Sequence[int], positions: Sequence[int], payments: PaymentColumns) -> None:
        """Insert a placeholder for each dispute in the file; the provider's first report completes it."""
        for place, dispute in enumerate(payments.disputes):
            if dispute:
                of = (PaymentRow.invoice_id == invoices[place], PaymentRow.position == positions[place])
                payment_id = self._session.exec(select(PaymentRow.id).where(*of)).one()
                self._write_dispute(
                    payment_id, payments.providers[place], 0, dispute, IMPORTED, payments.dispute_amounts[place]
                )

    def _write_dispute(
        self, payment_id: int | None, provider: str, dispute_id: int, state: str, status: str, amount: int | None
    ) -> None:
        values: dict[str, Any] = {"state": state, "status": status, "amount": amount}
        if dispute_id:
            changed = update(DisputeRow).where(col(DisputeRow.id) == dispute_id).values(**values)
            self._session.execute(changed, execution_options=_PLAINLY)
            return
        values |= {"payment_id": payment_id, "provider": provider, "account": "", "reference": None}
        self._session.execute(insert(DisputeRow).values(**values, stage=DisputeStage.CHARGEBACK.value))

    def _payment_values(self, payment: NewPayment) -> dict[str, Any]:
        return payment_values(payment) | {"opening_at": self._at}

    def _update(self, invoice: NewInvoice, row: InvoiceRow, payments: list[PaymentRow]) -> None:
        imported = _described(invoice) | {"total": invoice.total}
        if not invoice.invoice_reference:
            # A file without a reference must not detach an invoice from the provider's: it would be closed here alone.
            del imported["invoice_reference"]
        changes = _differences(row, imported)
        status = self._status_change(invoice, row)
        paid_before = row.paid
        touched = self._update_payments(invoice, row, payments)
        if not (changes or status or touched):
            self._counts.same += 1
            return
        before = {name: getattr(row, name) for name in changes} | ({"status": row.status} if status else {})
        self._write(row, changes | status)
        after = changes | status | touched
        self._audit.write("invoice imported again", row.number, before | {"paid": paid_before}, after)
        self._counts.changed += 1

    def _status_change(self, invoice: NewInvoice, row: InvoiceRow) -> dict[str, Any]:
        unit = currency(row.currency)
        paid = sum(payment.captured for payment in invoice.payments)
        returned = sum(payment.returned_elsewhere for payment in invoice.payments)
        file_status = status_after(invoice.status, paid=Money(paid, unit), returned=Money(returned, unit))
        if row.status in (invoice.status, file_status):
            return {}
        if row.status == InvoiceStatus.VOID and paid:
            # The books must record captured money, so the invoice cannot stay void (R9).
            self._report(invoice, f"it was voided here, but the file has captured money; it is {file_status} now")
            return {"status": invoice.status.value}
        if invoice.status is InvoiceStatus.VOID and row.paid:
            self._keep(invoice, "the file says void, but the store has captured money")
            return {}
        if invoice.status is InvoiceStatus.PAID and not row.paid and self._is_known_as_not_captured(row):
            self._keep(invoice, "the file says paid, but the provider captured nothing")
            return {}
        if invoice.status in _FORWARD[row.status]:
            return {"status": invoice.status.value}
        self._keep(invoice, f"the file says {invoice.status}, the store says {row.status}")
        return {}

    def _is_known_as_not_captured(self, row: InvoiceRow) -> bool:
        """Did a provider report that nothing was captured? An older file may not have that."""
        query = select(PaymentRow.id).where(PaymentRow.invoice_id == row.id, PaymentRow.captured == 0)
        return self._session.exec(query.limit(1)).first() is not None

    def _update_payments(self, invoice: NewInvoice, row: InvoiceRow, payments: list[PaymentRow]) -> dict[str, Any]:
        touched: dict[str, Any] = {}
        matches = match_payments(invoice.payments, payments)
        for pair in matches.pairs:
            changes, unchanged = payment_changes(pair)
            for why in unchanged:
                self._keep(invoice, why)
            if "opening_returned" in changes:
                changes["opening_at"] = self._at
            changes |= self._update_dispute(invoice, row, pair, changes)
            if changes:
                of_row = col(PaymentRow.id) == pair.row.id
                self._session.execute(update(PaymentRow).where(of_row).values(**changes), execution_options=_PLAINLY)
                touched[f"payment {pair.row.position + 1}"] = changes
        for position, new in enumerate(matches.new, start=len(payments)):
            values = {"invoice_id": row.id, "position": position, **self._payment_values(new)}
            self._session.execute(insert(PaymentRow), [values])
            if new.dispute:
                of = (PaymentRow.invoice_id == row.id, PaymentRow.position == position)
                payment_id = self._session.exec(select(PaymentRow.id).where(*of)).one()
                self._write_dispute(payment_id, new.provider or "", 0, new.dispute, IMPORTED, new.dispute_amount)
            touched[f"payment {position + 1}"] = "new"
        for payment in matches.duplicates:
            self._keep(invoice, f"{payment.reference} is a payment that the file also lists by its other id")
        if matches.missing:
            self._keep(invoice, f"the file lacks {len(matches.missing)} of the payments in the store")
        return touched

    def _update_dispute(
        self, invoice: NewInvoice, row: InvoiceRow, pair: PaymentPair, changes: dict[str, Any]
    ) -> dict[str, Any]:
        """The columns of the payment that follow from its disputes, if the file changes any of them."""
        if not (pair.imported.dispute or pair.row.dispute):
            return {}
        if pair.row.share_of is not None:
            if pair.imported.dispute not in (Dispute.NONE, pair.row.dispute):
                self._keep(invoice, "the disputes of a payment that pays several invoices come from the provider")
            return {}
        payment_id = pair.row.id or 0
        disputes = disputes_by_payment(self._session, [payment_id]).get(payment_id, [])
        allocated = int(changes.get("allocated", pair.row.allocated))
        changed = dispute_change(pair.imported, Money(allocated, currency(row.currency)), disputes)
        if isinstance(changed, Unchanged):
            self._keep(invoice, changed.why)
        is_changed = isinstance(changed, DisputeRecord) and changed not in disputes
        if isinstance(changed, DisputeRecord) and is_changed:
            amount = changed.amount.minor if changed.amount else None
            self._write_dispute(payment_id, pair.row.provider, changed.id, changed.state, changed.status, amount)
            disputes = disputes_by_payment(self._session, [payment_id])[payment_id]
        lost_ones = [dispute for dispute in disputes if dispute.state is DisputeState.LOST]
        lost_total = sum(allocated if dispute.amount is None else dispute.amount.minor for dispute in lost_ones)
        derived = {"dispute": most_severe(disputes).value, "lost": max(0, lost_total - pair.row.dispute_recorded)}
        return {k: value for k, value in derived.items() if is_changed or value != getattr(pair.row, k)}

    def _write(self, row: InvoiceRow, changes: dict[str, Any]) -> None:
        """Sums and status in one UPDATE, so that the CHECK on Refunded always holds (R6)."""
        sums = select(CAPTURED_SHARE, PaymentRow.refunded + PaymentRow.returned_elsewhere)
        payments = self._session.exec(sums.where(PaymentRow.invoice_id == row.id)).all()
        unit = currency(row.currency)
        paid, returned = sum(captured for captured, _ in payments), sum(back for _, back in payments)
        status = InvoiceStatus(changes.get("status", row.status))
        status = status_after(status, paid=Money(paid, unit), returned=Money(returned, unit))
        values = {
            **changes,
            "paid": paid,
            "returned": returned,
            "status": status.value,
            "updated_at": self._at,
        }
        changed = update(InvoiceRow).where(col(InvoiceRow.id) == row.id).values(**values)
        self._session.execute(changed, execution_options=_PLAINLY)

    def _keep(self, invoice: NewInvoice, why: str) -> None:
        self._report(invoice, f"{why}; left unchanged")

    def _report(self, invoice: NewInvoice, what: str) -> None:
        self._counts.unchanged.append((invoice.line, invoice.number, what))


def stored_invoices_by_number(session: Session, numbers: Sequence[str]) -> StoredInvoices:
    rows = session.exec(select(InvoiceRow).where(among(col(InvoiceRow.number))), params={AMONG: numbers}).all()
    by_id: dict[int, list[PaymentRow]] = {row.id or 0: [] for row in rows}
    query = select(PaymentRow).where(among(col(PaymentRow.invoice_id))).order_by(col(PaymentRow.position))
    for payment in session.exec(query, params={AMONG: list(by_id)}):
        by_id[payment.invoice_id].append(payment)
    _name_shares(session, [payment for payments in by_id.values() for payment in payments])
    return {row.number: (row, by_id[row.id or 0]) for row in rows}


def _name_shares(session: Session, payments: Sequence[PaymentRow]) -> None:
    """Copy the provider's ids of a payment that pays several invoices from its first share to the others."""
    for payment in payments:
        if payment.share_of not in (None, payment.id):
            first = session.exec(select(PaymentRow).where(PaymentRow.id == payment.share_of)).one()
            for name in ID_COLUMNS:
                # Set without marking it as changed: it must not be written.
                set_committed_value(payment, name, getattr(first, name))


def _statuses(block: InvoiceBlock, paid: Sequence[int], returned: Sequence[int]) -> list[str]:
    """The statuses in the file, but Refunded where all was returned before the import (R6)."""
    statuses = list(block.statuses)
    for place in compress(range(block.size), returned):
        unit = currency(block.currencies[place])
        sums = {"paid": Money(paid[place], unit), "returned": Money(returned[place], unit)}
        statuses[place] = status_after(InvoiceStatus(statuses[place]), **sums).value
    return statuses


def _positions(invoices: Sequence[int]) -> list[int]:
    """The position of each payment among those of its invoice."""
    if len(set(invoices)) == len(invoices):
        return [0] * len(invoices)
    positions: list[int] = []
    before = -1
    for invoice in invoices:
        positions.append(positions[-1] + 1 if invoice == before else 0)
        before = invoice
    return positions


def _own_references(payments: PaymentColumns) -> list[str]:
    """The references that are not a provider's ids."""
    pairs = zip(payments.providers, payments.references, strict=True)
    return ["" if provider else reference for provider, reference in pairs]


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
