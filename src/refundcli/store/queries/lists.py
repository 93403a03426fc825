"""Pages of long lists. A page starts after the last key of the previous one, so all pages are equally fast."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from refundcli.store.conditions import DISPUTED, MONEY_LEFT, PROCESSING, THROUGH_PROVIDER
from refundcli.store.databases.rows import Row, Rows
from refundcli.store.queries.invoice_rows import INVOICE_COLUMNS

if TYPE_CHECKING:
    from refundcli.services.ports.reads import InvoiceFilter

# Sorting so few payments by invoice number is faster than walking along all numbers to find them.
_FEW = 50_000


def invoice_rows(rows: Rows, filters: "InvoiceFilter") -> Sequence[Row]:
    """Rows of INVOICE_COLUMNS, by number.

    One condition uses its index and the others filter its rows: left to itself, SQLite would read all paid invoices
    to find those of one customer.
    """
    parameters: dict[str, Any] = {
        "after": filters.after, "customer": filters.customer, "provider": filters.provider, "status": filters.status,
    }  # fmt: skip
    conditions = ["number > :after"]
    has_leading_condition = bool(filters.customer)
    if filters.customer:
        conditions.append("customer = :customer")
    for condition in _of_payments(filters):
        if has_leading_condition or not _are_few(rows, condition, parameters):
            conditions.append(f"EXISTS (SELECT 1 FROM payment WHERE invoice_id = invoice.id AND {condition})")
        else:
            conditions.append(f"id IN (SELECT invoice_id FROM payment WHERE {condition})")
            has_leading_condition = True
    if filters.status:
        conditions.append("coalesce(status, '') = :status" if has_leading_condition else "status = :status")
    if filters.refundable:
        conditions.append("status <> 'void'")
    text = f"SELECT {INVOICE_COLUMNS} FROM invoice WHERE {' AND '.join(conditions)} ORDER BY number LIMIT :limit"
    return rows.all(text, **parameters, limit=filters.limit)


def count_invoices(rows: Rows, filters: "InvoiceFilter") -> int:
    """How many invoices have a payment that matches the filters, such as a disputed one."""
    text = f"SELECT count(DISTINCT invoice_id) FROM payment WHERE {' AND '.join(_of_payments(filters))}"
    return int(rows.value(text, provider=filters.provider))


def _of_payments(filters: "InvoiceFilter") -> Iterator[str]:
    if filters.disputed:
        # In parentheses, because it is an OR among other conditions.
        yield f"({DISPUTED})"
    if filters.processing:
        yield PROCESSING
    if filters.provider:
        yield f"{THROUGH_PROVIDER} AND provider = :provider"
    if filters.refundable:
        yield MONEY_LEFT


def _are_few(rows: Rows, condition: str, parameters: dict[str, Any]) -> bool:
    text = f"SELECT count(*) FROM (SELECT invoice_id FROM payment WHERE {condition} LIMIT {_FEW + 1}) matching"
    return int(rows.value(text, **parameters)) <= _FEW
