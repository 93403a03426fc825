"""Pages of long lists. A page starts after the last key of the previous one, so all pages are equally fast."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from refundcli.services.ports.reads import MOST_COUNTED
from refundcli.store.conditions import DISPUTED, MONEY_LEFT, PROCESSING, THROUGH_PROVIDER
from refundcli.store.databases.rows import Row, Rows
from refundcli.store.queries.invoice_rows import INVOICE_COLUMNS

if TYPE_CHECKING:
    from refundcli.services.ports.reads import InvoiceFilter

# Sorting so few payments by invoice number is faster than walking along all numbers to find them.
_FEW = 50_000
# By what a list is sorted; the number decides among equals.
_ORDERS = {
    "number": "number",
    "issued": "issued_on",
    "due": "coalesce(due_on, issued_on)",
    "total": "total",
    "customer": "coalesce(nullif(customer_name, ''), customer)",
}


def invoice_rows(rows: Rows, filters: "InvoiceFilter") -> Sequence[Row]:
    """Rows of INVOICE_COLUMNS, in the order of the filters.

    One condition uses its index and the others filter its rows: left to itself, SQLite would read all paid invoices
    to find those of one customer.
    """
    return _ordered(rows, filters, INVOICE_COLUMNS, "LIMIT :limit")


def invoice_ids(rows: Rows, filters: "InvoiceFilter") -> list[int]:
    """The ids of all that match, ignoring the limit."""
    return [row[0] for row in _ordered(rows, filters, "id", "")]


def _ordered(rows: Rows, filters: "InvoiceFilter", columns: str, limit: str) -> Sequence[Row]:
    conditions, parameters = _conditions(rows, filters)
    direction = " DESC" if filters.descending else ""
    order = _ORDERS[filters.sort]
    by = f"number{direction}" if filters.sort == "number" else f"{order}{direction}, number{direction}"
    text = f"SELECT {columns} FROM invoice WHERE {conditions} ORDER BY {by} {limit}"
    return rows.all(text, **parameters, limit=filters.limit)


def count_matching(rows: Rows, filters: "InvoiceFilter") -> int:
    """How many there are after this page's start, at most MOST_COUNTED."""
    conditions, parameters = _conditions(rows, filters)
    text = f"SELECT count(*) FROM (SELECT 1 FROM invoice WHERE {conditions} LIMIT {MOST_COUNTED}) matching"
    return int(rows.value(text, **parameters))


def _conditions(rows: Rows, filters: "InvoiceFilter") -> tuple[str, dict[str, Any]]:
    parameters: dict[str, Any] = {
        "after": filters.after, "customer": filters.customer, "provider": filters.provider, "status": filters.status,
        "ids": filters.ids, "overdue_on": filters.overdue_on,
    }  # fmt: skip
    conditions = [_after(filters)] if filters.after else ["number > :after"]
    has_leading_condition = bool(filters.customer) or filters.ids is not None
    if filters.ids is not None:
        conditions.append("id IN (SELECT CAST(key AS BIGINT) FROM json_each(:ids))")
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
    if filters.overdue_on:
        conditions.append("status = 'open' AND due_on < :overdue_on")
    if filters.refundable:
        conditions.append("status <> 'void'")
    return " AND ".join(conditions), parameters


def _after(filters: "InvoiceFilter") -> str:
    sign = "<" if filters.descending else ">"
    if filters.sort == "number":
        return f"number {sign} :after"
    order = _ORDERS[filters.sort]
    return f"({order}, number) {sign} (SELECT {order}, number FROM invoice WHERE number = :after)"


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
