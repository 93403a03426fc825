"""Checked rows in a temporary database, as the store will have them, until the whole file is checked.

A SQLite store reads it by itself; to PostgreSQL the rows are copied.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import compress

from refundcli.domain.currencies import currency
from refundcli.domain.invoice import status_after
from refundcli.domain.money import Money
from refundcli.domain.statuses import InvoiceStatus
from refundcli.private_files import NoRoomForRows, ScratchDatabase
from refundcli.services.ports.bulk_invoices import InvoiceBlock, PaymentColumns, StagedRows
from refundcli.store.imports.payment_matching import id_columns
from refundcli.store.imports.payment_updates import lost_at_first

_SCHEMA = """
    CREATE TABLE staged_invoice (
        n INTEGER PRIMARY KEY, line, number, customer, customer_name, currency, total, file_status, issued_on, due_on,
        paid_on, invoice_reference, products, subscription, customer_email, billing, paid, returned, status
    );
    CREATE TABLE staged_payment (
        n, position, allocated, provider, payment_intent, charge, psp_reference, method, reference, lost,
        returned_elsewhere, auto_refundable, is_explicit, processing, dispute, dispute_amount, paid_on, card_last4,
        card_brand, PRIMARY KEY (n, position)
    ) WITHOUT ROWID;
"""
_INSERT_INVOICE = "INSERT INTO staged_invoice VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_INSERT_PAYMENT = "INSERT INTO staged_payment VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
# In the order of the fields of InvoiceBlock and PaymentColumns.
_INVOICES = """
    SELECT line, number, customer, customer_name, currency, total, file_status, issued_on, nullif(due_on, ''),
        nullif(paid_on, ''), invoice_reference, products, subscription, customer_email, billing
    FROM staged_invoice WHERE n BETWEEN ? AND ? ORDER BY n
"""
_PAYMENTS = """
    SELECT n - ?1, allocated, provider, method,
        coalesce(nullif(payment_intent, ''), nullif(psp_reference, ''), nullif(charge, ''), reference),
        CASE WHEN payment_intent = '' THEN '' ELSE charge END, returned_elsewhere, auto_refundable, is_explicit,
        processing, dispute, dispute_amount, nullif(paid_on, ''), card_last4, card_brand
    FROM staged_payment WHERE n BETWEEN ?1 AND ?2 ORDER BY n, position
"""
_FIRST_LINE = "SELECT line FROM staged_invoice WHERE n = ?"
_LINES_OF = "SELECT number, line FROM staged_invoice WHERE number IN (SELECT value FROM json_each(?)) ORDER BY n"


class InvoiceSpool(ScratchDatabase):
    """Fits `services.imports.from_file.InvoiceSpool`. Close it when done."""

    def __init__(self) -> None:
        super().__init__(_SCHEMA)
        self._row_count = 0

    def put(self, block: InvoiceBlock) -> StagedRows:
        """Raises NoRoomForRows if the disk is full."""
        first, payments = self._row_count + 1, block.payments
        paid, returned = _sums(block)
        # The driver takes far longer to adapt None and flags than texts and numbers.
        block = block._replace(due_on=[day or "" for day in block.due_on], paid_on=[day or "" for day in block.paid_on])
        rows = zip(
            range(first, first + block.size),
            *block.columns(),
            paid,
            returned,
            _statuses(block, paid, returned),
            strict=True,
        )
        ids = id_columns(payments)
        payment_rows = zip(
            [first + invoice_index for invoice_index in payments.invoices],
            _positions(payments.invoices),
            payments.captured,
            payments.providers,
            *ids.values(),
            payments.methods,
            _own_references(payments),
            map(lost_at_first, payments.disputes, payments.dispute_amounts, payments.captured),
            payments.returned_elsewhere,
            map(int, payments.auto_refundable),
            map(int, payments.auto_refundable_is_explicit),
            map(int, payments.processing),
            payments.disputes,
            payments.dispute_amounts,
            [day or "" for day in payments.paid_on],
            payments.card_last4,
            payments.card_brands,
            strict=True,
        )
        try:
            self.connection.executemany(_INSERT_INVOICE, rows)
            self.connection.executemany(_INSERT_PAYMENT, payment_rows)
        except sqlite3.OperationalError as error:
            raise NoRoomForRows(error) from error
        self._row_count += block.size
        return StagedRows(self.path, first, self._row_count)

    def blocks(self, after: int, *, size: int, whole: bool) -> Iterator[tuple[int, InvoiceBlock]]:
        if self.connection.in_transaction:
            # The store reads the file through its own connection.
            self.connection.execute("COMMIT")
        while after < self._row_count:
            rows = StagedRows(self.path, after + 1, min(after + size, self._row_count))
            after = rows.last
            yield after, self._block(rows, whole=whole)

    def lines_of(self, numbers: Sequence[str]) -> dict[str, list[int]]:
        lines_by_number: dict[str, list[int]] = {}
        for number, line in self.connection.execute(_LINES_OF, (json.dumps(numbers),)) if numbers else ():
            lines_by_number.setdefault(number, []).append(line)
        return lines_by_number

    def _block(self, rows: StagedRows, *, whole: bool) -> InvoiceBlock:
        if not whole:
            return InvoiceBlock(lines=self.connection.execute(_FIRST_LINE, (rows.first,)).fetchone(), staged=rows)
        columns = zip(*self.connection.execute(_INVOICES, rows[1:]), strict=True)
        payments = zip(*self.connection.execute(_PAYMENTS, rows[1:]), strict=True)
        return InvoiceBlock.from_columns(columns, payments)._replace(staged=rows)


def _sums(block: InvoiceBlock) -> tuple[list[int], list[int]]:
    """What was paid on each invoice, and what was returned before the import."""
    paid, returned = [0] * block.size, [0] * block.size
    for invoice_index, captured_minor, returned_minor in zip(
        block.payments.invoices, block.payments.captured, block.payments.returned_elsewhere, strict=True
    ):
        paid[invoice_index] += captured_minor
        returned[invoice_index] += returned_minor
    return paid, returned


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
