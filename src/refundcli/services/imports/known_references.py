"""Rows about an invoice that the books know by another number: the provider's id of the invoice decides.

Two exports of one provider may name the same invoice differently: Stripe's invoices by their numbers, its payments by
the ids of their invoices.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import InvoiceStatus
from refundcli.services.ports.bad_rows import DUPLICATE_REFERENCE, Problem
from refundcli.services.ports.books import Reading
from refundcli.services.ports.bulk_invoices import InvoiceBlock, products_text


@dataclass(frozen=True, slots=True)
class MatchedRow:
    """A row whose invoice has the number `stored_number` in the books."""

    line: int
    number: str
    stored_number: str


def with_known_numbers(
    reading: Reading, *, block: InvoiceBlock, problems: Sequence[Problem]
) -> tuple[InvoiceBlock, list[MatchedRow]]:
    """The block with the books' number in each row that is about a known invoice, and those rows.

    `problems`: the block's. A row stays as it is where its own number is in the books too, because it is another
    invoice, and where two numbers disagree that people gave: only the provider's id may stand for a number.
    """
    lines = {problem.line for problem in problems if problem.code == DUPLICATE_REFERENCE}
    places = [place for place, line in enumerate(block.lines) if line in lines]
    known_numbers = reading.invoices.by_number([block.numbers[place] for place in places])
    stored_invoices = reading.invoices.by_reference([block.references[place] for place in places])
    columns: dict[str, Any] = {name: list(getattr(block, name)) for name in _DESCRIPTION}
    matched_rows = []
    for place in places:
        number, stored = block.numbers[place], stored_invoices.get(block.references[place])
        if stored is None or number in known_numbers or stored.currency.code != block.currencies[place]:
            continue
        if block.references[place] not in (number, stored.number):
            continue
        matched_rows.append(MatchedRow(block.lines[place], number, stored.number))
        columns["numbers"][place] = stored.number
        if stored.number != stored.invoice_reference:
            _keep_description(columns, place, stored, paid_minor=_paid(block, place))
    return block._replace(**columns), matched_rows


def same_number(matched_rows: Sequence[MatchedRow], lines_by_number: Mapping[str, Sequence[int]]) -> Iterator[Problem]:
    """A problem for each matched row whose invoice is on another line too. `lines_by_number`: those of the file."""
    for row in matched_rows:
        other_lines = [line for line in lines_by_number.get(row.stored_number, ()) if line != row.line]
        if other_lines:
            message = f"It is {row.stored_number} in the store, which is also on line {other_lines[0]}."
            yield Problem(row.line, "number", row.number, "duplicate-number", message, "Keep one of them.")


_DESCRIPTION = (
    "numbers", "customers", "customer_names", "totals", "statuses", "issued_on", "due_on", "products", "subscriptions",
    "customer_emails",
)  # fmt: skip


def _keep_description(columns: dict[str, list[object]], place: int, stored: Invoice, *, paid_minor: int) -> None:
    """The row is about a payment of the invoice: what the invoice is, the books know better."""
    columns["customers"][place] = stored.customer
    columns["customer_names"][place] = stored.customer_name
    columns["totals"][place] = stored.total.minor
    columns["issued_on"][place] = stored.issued_on.isoformat()
    columns["due_on"][place] = stored.due_on.isoformat() if stored.due_on else None
    columns["products"][place] = products_text(tuple(stored.products))
    columns["subscriptions"][place] = stored.subscription
    columns["customer_emails"][place] = stored.customer_email or columns["customer_emails"][place]
    if paid_minor < stored.total.minor and stored.status in (InvoiceStatus.OPEN, InvoiceStatus.UNCOLLECTIBLE):
        columns["statuses"][place] = stored.status.value


def _paid(block: InvoiceBlock, place: int) -> int:
    payments = block.payments
    return sum(
        captured for invoice, captured in zip(payments.invoices, payments.captured, strict=True) if invoice == place
    )
