"""Import invoices: insert new ones, and update stored ones where the file is newer.

An import never undoes the store's refunds and reservations, a later status, a decided dispute or money already counted.
Such a change is left out and reported.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, insert, select, update

from refundcli.domain.currencies import currency
from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState, most_severe
from refundcli.domain.invoice import status_after
from refundcli.domain.money import Money
from refundcli.domain.statuses import Dispute, InvoiceStatus
from refundcli.services.ports.bulk_invoices import InvoiceBlock, StagedRows, products_text
from refundcli.services.ports.records import ImportCounts, NewInvoice, NewPayment
from refundcli.store.audit import AuditTrail
from refundcli.store.databases.bulk_sql import attach, first_new_id, insert_many, set_cache_size, stored
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.imports.payment_matching import ID_COLUMNS, PaymentPair, PaymentRow, match_payments
from refundcli.store.imports.payment_updates import (
    IMPORTED,
    Unchanged,
    dispute_change,
    payment_changes,
    payment_values,
)
from refundcli.store.imports.search_index import INVOICE_FIELDS, PAYMENT_FIELDS, SearchIndex, words_of_invoices
from refundcli.store.imports.staging import InvoiceSpool
from refundcli.store.queries.payments import disputes_by_payment
from refundcli.store.tables import CAPTURED_SHARE, DISPUTE, INVOICE, PAYMENT

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

# By table, the columns of new rows and the query of them on the staging database. Its days and times are texts.
_NEW_ROWS: dict[str, tuple[tuple[str, ...], str]] = {
    "invoice": (
        (
            "id", "number", "customer", "customer_name", "currency", "total", "paid", "returned", "status", "issued_on",
            "due_on", "paid_on", "invoice_reference", "products", "subscription", "customer_email", "billing",
            "source", "created_at", "updated_at",
        ),
        """
        SELECT n + :id_offset, number, customer, customer_name, currency, total, paid, returned, status, issued_on,
            nullif(due_on, ''), nullif(paid_on, ''), nullif(invoice_reference, ''), products, subscription,
            customer_email, billing, :source, :at, :at
        FROM staged_invoice WHERE n BETWEEN :first AND :last ORDER BY n
        """,
    ),
    "payment": (
        (
            "invoice_id", "position", "provider", "payment_intent", "charge", "psp_reference", "method", "reference",
            "allocated", "lost", "returned_elsewhere", "opening_returned", "opening_at", "auto_refundable",
            "processing", "dispute", "paid_on", "card_last4", "card_brand",
        ),
        """
        SELECT n + :id_offset, position, provider, nullif(payment_intent, ''), nullif(charge, ''),
            nullif(psp_reference, ''), method, reference, allocated, lost, returned_elsewhere, returned_elsewhere, :at,
            auto_refundable, processing, dispute, nullif(paid_on, ''), card_last4, card_brand
        FROM staged_payment WHERE n BETWEEN :first AND :last ORDER BY n, position
        """,
    ),
}  # fmt: skip
_NEW_DISPUTES = """
    SELECT n + :id_offset, position, provider, dispute, dispute_amount
    FROM staged_payment WHERE n BETWEEN :first AND :last AND dispute <> '' ORDER BY n, position
"""
_INDEXED = "SELECT n + :id_offset, {} FROM {} WHERE n BETWEEN :first AND :last ORDER BY n"
_NEW_DISPUTE = ("payment_id", "provider", "account", "stage", "state", "status", "amount")
_PLACES = """
    SELECT invoice_id, position, id FROM payment
    WHERE invoice_id IN (SELECT CAST(key AS BIGINT) FROM json_each(:invoices))
"""

InvoiceRow: TypeAlias = Row[Any]
StoredInvoices = dict[str, tuple[InvoiceRow, list[PaymentRow]]]

_AMONG = "among"
_FIRST_SHARE = PAYMENT.alias("first_share")
# Of a payment that pays several invoices, the first share has the provider's ids of all.
_PAYMENTS = select(
    *(column for column in PAYMENT.c if column.name not in ID_COLUMNS),
    *(func.coalesce(_FIRST_SHARE.c[name], PAYMENT.c[name]).label(name) for name in ID_COLUMNS),
).select_from(PAYMENT.outerjoin(_FIRST_SHARE, _FIRST_SHARE.c.id == PAYMENT.c.share_of))


class Importer:
    """Imports one batch in the given transaction."""

    def __init__(self, connection: Connection, audit: AuditTrail, *, source: str) -> None:
        self._connection, self._audit, self._source = connection, audit, source
        # The audit entry of an invoice's import is found by its file and this time.
        self._imported_at = audit.at
        self._counts = ImportCounts()
        self._index = SearchIndex(connection)

    def import_blocks(self, blocks: Iterable[InvoiceBlock], *, all_new: bool) -> ImportCounts:
        """`all_new`: the store has none of these invoices, so they are not looked up."""
        set_cache_size(self._connection, _CACHE_KIB)
        first_line = 0
        for block in blocks:
            first_line = first_line or block.lines[0]
            stored_invoices = {} if all_new else stored_invoices_by_number(self._connection, block.numbers)
            if not stored_invoices:
                self._insert(block)
                continue
            self._insert(block.only([number not in stored_invoices for number in block.numbers]))
            for invoice in block.only([number in stored_invoices for number in block.numbers]).invoices():
                self._update(invoice, *stored_invoices[invoice.number])
        self._index.write()
        if self._counts.new or self._counts.changed:
            audit_facts = {"new": self._counts.new, "changed": self._counts.changed, "first_line": first_line}
            self._audit.write("invoices imported", self._source, {}, audit_facts)
        return self._counts

    def _insert(self, block: InvoiceBlock) -> None:
        if not block.size:
            return
        if block.staged is None:
            with InvoiceSpool() as spool:
                self._insert_rows(spool.put(block), spool.connection)
        elif attach(self._connection, block.staged.path, "staging"):
            self._insert_rows(block.staged, None)
        else:
            with closing(sqlite3.connect(block.staged.path)) as staging:
                self._insert_rows(block.staged, staging)
        self._counts.new += block.size

    def _insert_rows(self, rows: StagedRows, staging: sqlite3.Connection | None) -> None:
        """`staging`: a connection to the staged rows; None if the store's own can read them."""
        connection = self._connection
        for table in (*_NEW_ROWS, "dispute"):
            self._audit.rows.touch_new(table)
        parameters = {
            "id_offset": first_new_id(connection, "invoice", rows.last - rows.first + 1) - rows.first,
            "first": rows.first,
            "last": rows.last,
            "source": self._source,
            "at": str(stored(connection, self._imported_at)),
        }
        for table, (columns, query) in _NEW_ROWS.items():
            if staging:
                insert_many(connection, table, columns, staging.execute(query, parameters), or_nothing=True)
            else:
                connection.exec_driver_sql(
                    f"INSERT OR ROLLBACK INTO {table} ({', '.join(columns)}) {query}",
                    parameters,
                )
        read = staging.execute if staging else connection.exec_driver_sql
        self._insert_disputes(read(_NEW_DISPUTES, parameters))
        self._index.add(
            read(_INDEXED.format(INVOICE_FIELDS, "staged_invoice"), parameters),
            read(_INDEXED.format(PAYMENT_FIELDS, "staged_payment"), parameters),
        )

    def _insert_disputes(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Insert a placeholder for each dispute in the file; the provider's first report completes it."""
        disputes = list(rows)
        if not disputes:
            return
        payments = ConnectionRows(self._connection).all(_PLACES, invoices=[invoice_id for invoice_id, *_ in disputes])
        payment_at = {(invoice_id, position): payment_id for invoice_id, position, payment_id in payments}
        dispute_rows = (
            (payment_at[invoice_id, position], provider, "", DisputeStage.CHARGEBACK.value, state, IMPORTED, amount)
            for invoice_id, position, provider, state, amount in disputes
        )
        insert_many(self._connection, "dispute", _NEW_DISPUTE, dispute_rows, or_nothing=True)

    def _write_dispute(
        self, payment_id: int | None, provider: str, dispute_id: int, state: str, status: str, amount: int | None
    ) -> None:
        """Insert or update a dispute. `dispute_id`: 0 for a new one; `amount`: in minor units, None if unknown."""
        columns: dict[str, Any] = {"state": state, "status": status, "amount": amount}
        if dispute_id:
            statement = update(DISPUTE).where(DISPUTE.c.id == dispute_id).values(**columns)
            self._connection.execute(statement)
            return
        columns |= {"payment_id": payment_id, "provider": provider, "account": "", "reference": None}
        self._connection.execute(insert(DISPUTE).values(**columns, stage=DisputeStage.CHARGEBACK.value))

    def _payment_values(self, payment: NewPayment) -> dict[str, Any]:
        return payment_values(payment) | {"opening_at": self._imported_at}

    def _update(self, invoice: NewInvoice, invoice_row: InvoiceRow, payment_rows: list[PaymentRow]) -> None:
        file_columns = _described(invoice) | {"total": invoice.total}
        if not invoice.invoice_reference:
            # A file without a reference must not detach an invoice from the provider's: it would be closed here alone.
            del file_columns["invoice_reference"]
        for name in ("customer_email", "billing"):
            if not file_columns[name]:
                # A file without it does not forget what the provider or another file gave.
                del file_columns[name]
        column_changes = _differences(invoice_row, file_columns)
        status_change = self._status_change(invoice, invoice_row)
        paid_before = invoice_row.paid
        words_before = _words_of(invoice_row, payment_rows)
        payment_changes_by_name = self._update_payments(invoice, invoice_row, payment_rows)
        if not (column_changes or status_change or payment_changes_by_name):
            self._counts.same += 1
            return
        columns_before = {name: getattr(invoice_row, name) for name in column_changes} | (
            {"status": invoice_row.status} if status_change else {}
        )
        self._write(invoice_row, column_changes | status_change)
        self._index.replace(invoice_row.id or 0, words_before)
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
        query = select(PAYMENT.c.id).where(PAYMENT.c.invoice_id == invoice_row.id, PAYMENT.c.captured == 0)
        return self._connection.execute(query.limit(1)).first() is not None

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
                condition = PAYMENT.c.id == pair.row.id
                self._connection.execute(update(PAYMENT).where(condition).values(**column_changes))
                changes_by_payment[f"payment {pair.row.position + 1}"] = column_changes
        for position, new_payment in enumerate(matches.new, start=len(payment_rows)):
            columns = {"invoice_id": invoice_row.id, "position": position, **self._payment_values(new_payment)}
            self._connection.execute(insert(PAYMENT), [columns])
            if new_payment.dispute:
                conditions = (PAYMENT.c.invoice_id == invoice_row.id, PAYMENT.c.position == position)
                payment_id = self._connection.execute(select(PAYMENT.c.id).where(*conditions)).scalar_one()
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
        stored_disputes = disputes_by_payment(ConnectionRows(self._connection), [payment_id]).get(payment_id, [])
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
            stored_disputes = disputes_by_payment(ConnectionRows(self._connection), [payment_id])[payment_id]
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
        sums_query = select(CAPTURED_SHARE, PAYMENT.c.refunded + PAYMENT.c.returned_elsewhere)
        payment_sums = self._connection.execute(sums_query.where(PAYMENT.c.invoice_id == invoice_row.id)).all()
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
        statement = update(INVOICE).where(INVOICE.c.id == invoice_row.id).values(**columns)
        self._connection.execute(statement)

    def _keep(self, invoice: NewInvoice, reason: str) -> None:
        self._report(invoice, f"{reason}; left unchanged")

    def _report(self, invoice: NewInvoice, sentence: str) -> None:
        self._counts.unchanged.append((invoice.line, invoice.number, sentence))


def stored_invoices_by_number(connection: Connection, numbers: Sequence[str]) -> StoredInvoices:
    invoice_rows = connection.execute(select(INVOICE).where(_among(INVOICE.c.number)), {_AMONG: numbers}).all()
    payments_by_invoice: dict[int, list[PaymentRow]] = {invoice_row.id or 0: [] for invoice_row in invoice_rows}
    query = _PAYMENTS.where(_among(PAYMENT.c.invoice_id)).order_by(PAYMENT.c.position)
    for payment_row in connection.execute(query, {_AMONG: list(payments_by_invoice)}):
        payments_by_invoice[payment_row.invoice_id].append(payment_row)
    return {invoice_row.number: (invoice_row, payments_by_invoice[invoice_row.id or 0]) for invoice_row in invoice_rows}


def _among(column: Any) -> ColumnElement[bool]:
    """Its values are a parameter: a query that contains them would stay in memory until garbage is collected."""
    condition: ColumnElement[bool] = column.in_(bindparam(_AMONG, expanding=True))
    return condition


def _described(invoice: NewInvoice) -> dict[str, Any]:
    return {
        "customer": invoice.customer,
        "customer_name": invoice.customer_name,
        "issued_on": invoice.issued_on,
        "due_on": invoice.due_on,
        "paid_on": invoice.paid_on,
        "invoice_reference": invoice.invoice_reference or None,
        "products": products_text(invoice.products),
        "subscription": invoice.subscription,
        "customer_email": invoice.customer_email,
        "billing": invoice.billing,
    }


def _differences(row: InvoiceRow, values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if getattr(row, name) != value}


def _words_of(invoice_row: InvoiceRow, payment_rows: Sequence[PaymentRow]) -> set[str]:
    """The words that the index has of a stored invoice."""
    invoice = (invoice_row.id, *(getattr(invoice_row, name) for name in INVOICE_FIELDS.split(", ")))
    payments = [
        (invoice_row.id, *(getattr(payment_row, name) for name in PAYMENT_FIELDS.split(", ")))
        for payment_row in payment_rows
    ]
    ((_, words),) = words_of_invoices([invoice], payments)
    return words
