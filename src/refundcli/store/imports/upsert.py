"""Bringing invoices in from outside: new ones whole, known ones only where the file knows better.

The store's own refunds and reservations, a later status, a decided dispute and money already counted are never
taken back; a row that would is kept as the store has it, and reported.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import compress, repeat
from typing import Any

from sqlalchemy import func, insert, update
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import Session, col, select

from refundcli.domain.currencies import currency
from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState, most_severe
from refundcli.domain.invoice import status_after
from refundcli.domain.money import Money
from refundcli.domain.statuses import Dispute, InvoiceStatus
from refundcli.services.chunks import chunked
from refundcli.services.ports.bad_rows import ONE_INVOICE, Problem
from refundcli.services.ports.invoice_block import InvoiceBlock, PaymentColumns
from refundcli.services.ports.records import ImportConflicts, ImportCounts, NewInvoice, NewPayment
from refundcli.store.audit import AuditTrail
from refundcli.store.bulk_sql import flags, insert_many, keep_at_hand, new_ids, stored
from refundcli.store.imports.payment_matching import ID_COLUMNS, KnownPayment, id_columns, match_payments
from refundcli.store.imports.payment_updates import (
    IMPORTED,
    Kept,
    dispute_news,
    lost_at_first,
    payment_news,
    payment_values,
)
from refundcli.store.repositories.payment_reading import disputes_by_payment
from refundcli.store.schema import CAPTURED_SHARE, AuditEntryRow, DisputeRow, InvoiceRow, PaymentRow
from refundcli.store.value_lists import AMONG, AT_ONCE, among

# What a status may still become by news from outside. Refunded is never imported: it follows from the sums.
_FORWARD: dict[str, frozenset[str]] = {
    "draft": frozenset({"open", "paid", "void", "uncollectible"}),
    "open": frozenset({"paid", "void", "uncollectible"}),
    "uncollectible": frozenset({"paid", "void"}),
    "paid": frozenset(),
    "refunded": frozenset(),
    "void": frozenset(),
}
# Ids are in no order: a chunk changes pages all over their indexes, each of them once while they are kept.
_CACHE_KIB = 65_536

# Each invoice is read once and changed once: nothing else that was read has to hear of it.
_PLAINLY = {"synchronize_session": False}

Known = dict[str, tuple[InvoiceRow, list[PaymentRow]]]


class Importer:
    """Brings one batch in, in the transaction it is given."""

    def __init__(self, session: Session, audit: AuditTrail, *, source: str) -> None:
        self._session, self._audit, self._source = session, audit, source
        # An invoice is found back in the audit trail by its file and by this very moment.
        self._at = audit.at
        self._counts = ImportCounts()

    def bring_in(self, blocks: Iterable[InvoiceBlock], *, all_new: bool) -> ImportCounts:
        """`all_new`: it is known that the store has none of these invoices, and they are not looked for."""
        keep_at_hand(self._session.connection(), _CACHE_KIB)
        first_line = 0
        for block in blocks:
            first_line = first_line or block.lines[0]
            known = {} if all_new else known_invoices(self._session, block.numbers)
            if not known:
                self._insert(block)
                continue
            self._insert(block.only([number not in known for number in block.numbers]))
            for invoice in block.only([number in known for number in block.numbers]).invoices():
                self._update(invoice, *known[invoice.number])
        if self._counts.new or self._counts.changed:
            told = {"new": self._counts.new, "changed": self._counts.changed, "first_line": first_line}
            self._audit.write("invoices imported", self._source, {}, told)
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
        told = {
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
        insert_many(connection, "payment", tuple(told), zip(*told.values(), strict=True), or_nothing=True)
        self._insert_disputes(invoice_ids, positions, payments)
        self._counts.new += block.size

    def _insert_disputes(self, invoices: Sequence[int], positions: Sequence[int], payments: PaymentColumns) -> None:
        """Insert a placeholder for each dispute in the file; the provider's first report of it fills it in."""
        for place, dispute in enumerate(payments.disputes):
            if dispute:
                of = (PaymentRow.invoice_id == invoices[place], PaymentRow.position == positions[place])
                payment_id = self._session.exec(select(PaymentRow.id).where(*of)).one()
                self._write_dispute(
                    payment_id, payments.providers[place], 0, dispute, IMPORTED, payments.dispute_amounts[place]
                )

    def _write_dispute(
        self, payment_id: int | None, provider: str, known: int, state: str, status: str, amount: int | None
    ) -> None:
        values: dict[str, Any] = {"state": state, "status": status, "amount": amount}
        if known:
            changed = update(DisputeRow).where(col(DisputeRow.id) == known).values(**values)
            self._session.execute(changed, execution_options=_PLAINLY)
            return
        values |= {"payment_id": payment_id, "provider": provider, "account": "", "reference": None}
        self._session.execute(insert(DisputeRow).values(**values, stage=DisputeStage.CHARGEBACK.value))

    def _payment_values(self, payment: NewPayment) -> dict[str, Any]:
        return payment_values(payment) | {"opening_at": self._at}

    def _update(self, invoice: NewInvoice, row: InvoiceRow, payments: list[PaymentRow]) -> None:
        told = _described(invoice) | {"total": invoice.total}
        if not invoice.invoice_reference:
            # A file without it does not make an invoice that a provider keeps one that can be closed here alone.
            del told["invoice_reference"]
        changes = _differences(row, told)
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
        told = status_after(invoice.status, paid=Money(paid, unit), returned=Money(returned, unit))
        if row.status in (invoice.status, told):
            return {}
        if row.status == InvoiceStatus.VOID and paid:
            # The books hold any truth, and money that was captured is not void (R9).
            self._report(invoice, f"it was voided here, and the file tells of money captured; it is {told} now")
            return {"status": invoice.status.value}
        if invoice.status is InvoiceStatus.VOID and row.paid:
            self._keep(invoice, "the file says void, and the store knows of money captured")
            return {}
        if invoice.status is InvoiceStatus.PAID and not row.paid and self._is_known_as_not_captured(row):
            self._keep(invoice, "the file says paid, but the provider captured nothing")
            return {}
        if invoice.status in _FORWARD[row.status]:
            return {"status": invoice.status.value}
        self._keep(invoice, f"the file says {invoice.status}, the store knows it as {row.status}")
        return {}

    def _is_known_as_not_captured(self, row: InvoiceRow) -> bool:
        """Did a provider report that nothing was captured? An older file does not know that."""
        query = select(PaymentRow.id).where(PaymentRow.invoice_id == row.id, PaymentRow.captured == 0)
        return self._session.exec(query.limit(1)).first() is not None

    def _update_payments(self, invoice: NewInvoice, row: InvoiceRow, payments: list[PaymentRow]) -> dict[str, Any]:
        touched: dict[str, Any] = {}
        matched = match_payments(invoice.payments, payments)
        for known in matched.known:
            changes, kept = payment_news(known)
            for why in kept:
                self._keep(invoice, why)
            if "opening_returned" in changes:
                changes["opening_at"] = self._at
            changes |= self._update_dispute(invoice, row, known, changes)
            if changes:
                found = col(PaymentRow.id) == known.row.id
                self._session.execute(update(PaymentRow).where(found).values(**changes), execution_options=_PLAINLY)
                touched[f"payment {known.row.position + 1}"] = changes
        for position, new in enumerate(matched.new, start=len(payments)):
            values = {"invoice_id": row.id, "position": position, **self._payment_values(new)}
            self._session.execute(insert(PaymentRow), [values])
            if new.dispute:
                of = (PaymentRow.invoice_id == row.id, PaymentRow.position == position)
                payment_id = self._session.exec(select(PaymentRow.id).where(*of)).one()
                self._write_dispute(payment_id, new.provider or "", 0, new.dispute, IMPORTED, new.dispute_amount)
            touched[f"payment {position + 1}"] = "new"
        for payment in matched.told_twice:
            self._keep(invoice, f"{payment.reference} is a payment that the file tells by its other id too")
        if matched.not_told:
            self._keep(invoice, f"the file lacks {len(matched.not_told)} of the payments that the store knows")
        return touched

    def _update_dispute(
        self, invoice: NewInvoice, row: InvoiceRow, known: KnownPayment, changes: dict[str, Any]
    ) -> dict[str, Any]:
        """The columns of the payment that follow from its disputes, where the file changes one of them."""
        if not (known.told.dispute or known.row.dispute):
            return {}
        if known.row.share_of is not None:
            if known.told.dispute not in (Dispute.NONE, known.row.dispute):
                self._keep(invoice, "the disputes of a payment that pays several invoices are known from the provider")
            return {}
        payment_id = known.row.id or 0
        disputes = disputes_by_payment(self._session, [payment_id]).get(payment_id, [])
        allocated = int(changes.get("allocated", known.row.allocated))
        changed = dispute_news(known.told, Money(allocated, currency(row.currency)), disputes)
        if isinstance(changed, Kept):
            self._keep(invoice, changed.why)
        is_changed = isinstance(changed, DisputeRecord) and changed not in disputes
        if isinstance(changed, DisputeRecord) and is_changed:
            amount = changed.amount.minor if changed.amount else None
            self._write_dispute(payment_id, known.row.provider, changed.id, changed.state, changed.status, amount)
            disputes = disputes_by_payment(self._session, [payment_id])[payment_id]
        lost_ones = [each for each in disputes if each.state is DisputeState.LOST]
        taken = sum(allocated if each.amount is None else each.amount.minor for each in lost_ones)
        derived = {"dispute": most_severe(disputes).value, "lost": max(0, taken - known.row.dispute_recorded)}
        return {k: value for k, value in derived.items() if is_changed or value != getattr(known.row, k)}

    def _write(self, row: InvoiceRow, changes: dict[str, Any]) -> None:
        """Sums and status in one UPDATE: the CHECK on Refunded holds at every instant."""
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
        self._report(invoice, f"{why}; kept as it was")

    def _report(self, invoice: NewInvoice, what: str) -> None:
        self._counts.unchanged.append((invoice.line, invoice.number, what))


def known_invoices(session: Session, numbers: Sequence[str]) -> Known:
    rows = session.exec(select(InvoiceRow).where(among(col(InvoiceRow.number))), params={AMONG: numbers}).all()
    by_id: dict[int, list[PaymentRow]] = {row.id or 0: [] for row in rows}
    query = select(PaymentRow).where(among(col(PaymentRow.invoice_id))).order_by(col(PaymentRow.position))
    for payment in session.exec(query, params={AMONG: list(by_id)}):
        by_id[payment.invoice_id].append(payment)
    _name_shares(session, [payment for payments in by_id.values() for payment in payments])
    return {row.number: (row, by_id[row.id or 0]) for row in rows}


def _name_shares(session: Session, payments: Sequence[PaymentRow]) -> None:
    """The provider's ids of a payment that pays several invoices are on its first share; here they are on each."""
    for payment in payments:
        if payment.share_of not in (None, payment.id):
            first = session.exec(select(PaymentRow).where(PaymentRow.id == payment.share_of)).one()
            for name in ID_COLUMNS:
                # As it was read: nothing that is to be written.
                set_committed_value(payment, name, getattr(first, name))


def import_conflicts(session: Session, block: InvoiceBlock) -> ImportConflicts:
    """Why these rows cannot be imported beside what the store holds already."""
    newest = session.exec(select(func.coalesce(func.max(AuditEntryRow.seq), 0))).one()
    if session.exec(select(InvoiceRow.id).limit(1)).first() is None:
        return ImportConflicts([], 0, newest)
    known = _currencies(session, block.numbers)
    problems = []
    for line, number, unit in zip(block.lines, block.numbers, block.currencies, strict=True):
        if known.get(number, unit) != unit:
            what = f"The store knows {number} in {known[number]}."
            hint = "An invoice keeps its currency; another one needs its own number."
            problems.append(Problem(line, "currency", unit, "other-currency", what, hint))
    payments = block.payments
    for column, ids in id_columns(payments).items():
        told = {known: place for known, place in zip(ids, payments.invoices, strict=True) if known}
        for value, number, share_of in _owners(session, column, list(told)):
            place = told[value]
            if block.numbers[place] != number and block.numbers[place] not in _sharers(session, share_of):
                what, hint = f"It belongs to {number} in the store.", ONE_INVOICE
                line = block.lines[place]
                problems.append(Problem(line, "payment_reference", value, "duplicate-payment", what, hint))
    problems += _other_owners(session, block)
    return ImportConflicts(problems, len(known), newest)


def _other_owners(session: Session, block: InvoiceBlock) -> Iterator[Problem]:
    """A problem for each provider invoice that already belongs to another invoice: voiding it would void both."""
    places = {reference: place for place, reference in enumerate(block.references) if reference}
    query = select(InvoiceRow.invoice_reference, InvoiceRow.number)
    for some in chunked(list(places), AT_ONCE):
        known = query.where(among(col(InvoiceRow.invoice_reference)))
        for reference, number in session.exec(known, params={AMONG: some}):
            place = places[str(reference)]
            if block.numbers[place] != number:
                what, hint = f"It belongs to {number} in the store.", "A provider's invoice belongs to one invoice."
                yield Problem(
                    block.lines[place], "invoice_reference", str(reference), "duplicate-reference", what, hint
                )


def _currencies(session: Session, numbers: Sequence[str]) -> dict[str, str]:
    """The currency of each of these invoices that the store knows."""
    query = select(InvoiceRow.number, InvoiceRow.currency)
    found: dict[str, str] = {}
    for some in chunked(numbers, AT_ONCE):
        found |= dict(session.exec(query.where(among(col(InvoiceRow.number))), params={AMONG: some}).all())
    return found


def _sharers(session: Session, first_share: int | None) -> Sequence[str]:
    """The invoices that have a share of a payment."""
    if first_share is None:
        return ()
    query = select(InvoiceRow.number).join(PaymentRow, col(PaymentRow.invoice_id) == col(InvoiceRow.id))
    return session.exec(query.where(PaymentRow.share_of == first_share)).all()


def _owners(session: Session, name: str, references: Sequence[str]) -> Iterator[tuple[str, str, int | None]]:
    """The provider payments among these that the store knows by this kind of id, each with its invoice's number.

    And the first share of those that pay several invoices.
    """
    column = col(getattr(PaymentRow, name))
    query = select(column, InvoiceRow.number, PaymentRow.share_of).join(
        InvoiceRow, col(InvoiceRow.id) == col(PaymentRow.invoice_id)
    )
    for some in chunked(references, AT_ONCE):
        yield from session.exec(query.where(among(column)), params={AMONG: some})


def _statuses(block: InvoiceBlock, paid: Sequence[int], returned: Sequence[int]) -> list[str]:
    """As the file tells them, and Refunded where all was given back before (R6)."""
    statuses = list(block.statuses)
    for place in compress(range(block.size), returned):
        unit = currency(block.currencies[place])
        sums = {"paid": Money(paid[place], unit), "returned": Money(returned[place], unit)}
        statuses[place] = status_after(InvoiceStatus(statuses[place]), **sums).value
    return statuses


def _positions(invoices: Sequence[int]) -> list[int]:
    """Of each payment among those of its invoice."""
    if len(set(invoices)) == len(invoices):
        return [0] * len(invoices)
    positions: list[int] = []
    before = -1
    for invoice in invoices:
        positions.append(positions[-1] + 1 if invoice == before else 0)
        before = invoice
    return positions


def _own_references(payments: PaymentColumns) -> list[str]:
    """Those that are no provider's ids."""
    told = zip(payments.providers, payments.references, strict=True)
    return ["" if provider else reference for provider, reference in told]


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
