"""One row of an invoices file, cell by cell: an invoice, or a bad row with all its problems."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, TypeVar

from refundcli.domain.currencies import Currency
from refundcli.domain.errors import did_you_mean
from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider
from refundcli.files.cell_reader import LONGEST_NAME, CellReader
from refundcli.files.csv_table import REJECTION_COLUMNS
from refundcli.files.duplicate_index import DuplicateIndex
from refundcli.files.invoices.billing import BILLING_COLUMNS, LINE_COLUMNS, LINES, MOST_LINES, billing_in
from refundcli.files.json_lines import Record
from refundcli.services.ports.bad_rows import ONE_INVOICE, BadRow, Problem
from refundcli.services.ports.records import NewInvoice, NewPayment

REQUIRED = ("number", "customer", "currency", "total", "status", "issued_on")
COLUMNS = (
    "number",
    "customer",
    "customer_name",
    "currency",
    "total",
    "status",
    "issued_on",
    "due_on",
    "paid_on",
    "paid_amount",
    "payment_method",
    "provider",
    "payment_reference",
    "invoice_reference",
    "auto_refundable",
    "processing",
    "dispute",
    "dispute_amount",
    "refunded_amount",
    "products",
    "subscription",
    "customer_email",
    "card_last4",
    "card_brand",
    *BILLING_COLUMNS,
)
# Allowed in each of several `payments`; except for the day, then not allowed in the invoice itself.
PAYMENT_COLUMNS = (
    "paid_on",
    "paid_amount",
    "payment_method",
    "provider",
    "payment_reference",
    "auto_refundable",
    "processing",
    "dispute",
    "dispute_amount",
    "refunded_amount",
    "card_last4",
    "card_brand",
)
PAYMENTS = "payments"
# In a table several payments are one cell, as a JSON list; and so are lines.
TABLE_COLUMNS = (*COLUMNS, PAYMENTS, LINES)
MOST_PAYMENTS = 100

# Numbers are typed in commands: no characters that a shell or a terminal interprets.
_NUMBER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/#:+-]*")
# The ids that the adapters can send: a payment with another id could be imported but never refunded.
_STRIPE_REFERENCE = re.compile(r"(pi|ch|py)_[A-Za-z0-9_]{1,250}")
_ADYEN_REFERENCE = re.compile(r"[A-Za-z0-9]{1,32}")
_LAST4 = re.compile(r"[0-9]{4}", re.ASCII)
# PostgreSQL rejects NUL, and every database rejects lone surrogates.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_MOST_MINOR = 10**18

T = TypeVar("T")


class FirstLines:
    """The first line of each invoice number, payment reference and invoice reference."""

    def __init__(self) -> None:
        self.numbers, self.payments, self.references = DuplicateIndex(), DuplicateIndex(), DuplicateIndex()

    def check_number(self, cells: CellReader) -> None:
        if cells["number"] and (line := self.line_of_number(cells["number"], cells.line)):
            cells.refuse("number", "duplicate-number", f"This number is already on line {line}.", "Keep one of them.")

    def check_reference(self, cells: CellReader, provider: Provider | None, reference: str) -> None:
        if provider and reference and (line := self.line_of_payment(f"{provider} {reference}", cells.line)):
            message = f"The {provider.label} payment is already on line {line}."
            cells.refuse("payment_reference", "duplicate-payment", message, ONE_INVOICE)

    def check_invoice_reference(self, cells: CellReader, reference: str) -> None:
        if reference and (line := self.line_of_reference(reference, cells.line)):
            message = f"{reference} is already on line {line}."
            cells.refuse(
                "invoice_reference",
                "duplicate-reference",
                message,
                "Each invoice at the provider can be on only one line of the file.",
            )

    def line_of_reference(self, reference: str, line: int) -> int:
        return self.references.line_of(reference, line)

    def line_of_number(self, number: str, line: int) -> int:
        return self.numbers.line_of(number, line)

    def line_of_payment(self, payment_name: str, line: int) -> int:
        return self.payments.line_of(payment_name, line)


class EarlierLines(FirstLines):
    """The earlier lines of one row's number, payment and invoice reference, 0 for none."""

    def __init__(self, number_line: int, payment_line: int, reference_line: int = 0) -> None:
        self._number_line, self._payment_line, self._reference_line = number_line, payment_line, reference_line

    def line_of_reference(self, reference: str, line: int) -> int:
        return self._reference_line

    def line_of_number(self, number: str, line: int) -> int:
        return self._number_line

    def line_of_payment(self, payment_name: str, line: int) -> int:
        return self._payment_line


def invoice_in_table(
    line: int, columns: Sequence[str], row: Sequence[str], first_lines: FirstLines
) -> NewInvoice | BadRow:
    return invoice_of_cells(line, dict(zip(columns, row, strict=True)), tuple(row), first_lines)


def invoice_of_cells(
    line: int, cells: Mapping[str, str], original: tuple[str, ...], first_lines: FirstLines
) -> NewInvoice | BadRow:
    """`cells`: in our columns; `original`: as they are in the file."""
    reader = CellReader(line, cells)
    payment_cells, line_cells = None, []
    if payments_text := cells.get(PAYMENTS, "").strip():
        payment_cells = _cells_of_list(line, PAYMENTS, _json(payments_text), PAYMENT_COLUMNS, MOST_PAYMENTS, reader)
    if lines_text := cells.get(LINES, "").strip():
        line_cells = _cells_of_list(line, LINES, _json(lines_text), LINE_COLUMNS, MOST_LINES, reader)
    return _invoice(reader, payment_cells, line_cells, original, first_lines)


def invoice_in_record(line: int, record_text: str, record: Record, first_lines: FirstLines) -> NewInvoice | BadRow:
    payment_list, line_list = record.pop(PAYMENTS, None), record.pop(LINES, None)
    cells = _record_cells(line, record, COLUMNS)
    payment_cells = None
    if payment_list is not None:
        payment_cells = _cells_of_list(line, PAYMENTS, payment_list, PAYMENT_COLUMNS, MOST_PAYMENTS, cells)
        for column in PAYMENT_COLUMNS:
            if column != "paid_on" and cells[column]:
                message = "It is given alongside payments and could belong to any of them."
                cells.refuse(column, "ambiguous", message, "Move it into the payment that it belongs to.")
    line_cells = [] if line_list is None else _cells_of_list(line, LINES, line_list, LINE_COLUMNS, MOST_LINES, cells)
    return _invoice(cells, payment_cells, line_cells, record_text, first_lines)


def _json(text: str) -> Any:
    """The list in a cell; None if it is not JSON, which is refused like any other wrong type."""
    try:
        return json.loads(text, parse_float=str, parse_int=str)
    except ValueError:
        return None


def _cells_of_list(
    line: int, name: str, objects: Any, columns: tuple[str, ...], most: int, invoice_cells: CellReader
) -> list[CellReader]:
    """The cells of each object of a list in an invoice."""
    if not isinstance(objects, list) or not all(isinstance(single, dict) for single in objects):
        invoice_cells.refuse(name, "wrong-type", "It is not a list of objects.", f'Write "{name}": [{{…}}, {{…}}].')
        return []
    if len(objects) > most:
        invoice_cells.refuse(name, "too-many", f"There are more than {most} {name}.")
        return []
    return [
        _record_cells(line, single, columns, prefix=f"{name}[{position}].")
        for position, single in enumerate(objects, start=1)
    ]


def _record_cells(line: int, record: Record, columns: tuple[str, ...], *, prefix: str = "") -> CellReader:
    """The values as texts. Unknown keys, wrong types and unstorable texts become problems."""
    texts, problems = {}, []
    for key, json_value in record.items():
        if key in REJECTION_COLUMNS and not prefix:
            continue
        cell_text = _as_text(key, json_value)
        column = prefix + key[:60]
        if key not in columns:
            hint = did_you_mean(key[:60], columns) or f"Keys: {', '.join(columns)}."
            problems.append(
                Problem(line, column, cell_text or "", "unknown-key", f"The key {key[:60]!a} is not known.", hint)
            )
        elif cell_text is None:
            problems.append(Problem(line, column, "", "wrong-type", "It is a list or an object.", "Write one value."))
        elif _UNSTORABLE.search(cell_text):
            message = "It contains an invisible or broken character."
            problems.append(
                Problem(line, column, ascii(cell_text)[1:-1], "unstorable", message, "Delete it and type it again.")
            )
        else:
            texts[key] = cell_text
    cells = CellReader(line, texts, where=prefix)
    cells.problems += problems
    return cells


def _as_text(key: str, json_value: Any) -> str | None:
    if json_value is None:
        return ""
    if isinstance(json_value, bool):
        return str(json_value).lower()
    if key == "products" and isinstance(json_value, list) and all(isinstance(name, str) for name in json_value):
        return ";".join(json_value)
    return json_value if isinstance(json_value, str) else None


def _invoice(
    cells: CellReader,
    payment_cells: list[CellReader] | None,
    line_cells: list[CellReader],
    original: tuple[str, ...] | str,
    first_lines: FirstLines,
) -> NewInvoice | BadRow:
    """The invoice, or a bad row with every problem of its cells."""
    unit = cells.currency("currency")
    total = _needed(cells, "total", lambda column: cells.amount(column, unit)) or 0
    status = _needed(cells, "status", lambda column: status_in(cells, column)) or InvoiceStatus.DRAFT
    if payment_cells is None:
        read_payments = [
            _payment(cells, unit, first_lines, default_amount=total if status is InvoiceStatus.PAID else 0)
        ]
    else:
        read_payments = [
            _payment(single_payment_cells, unit, first_lines, default_amount=None)
            for single_payment_cells in payment_cells
        ]
    invoice = NewInvoice(
        line=cells.line,
        number=_number(cells),
        customer=cells.need("customer"),
        currency=unit.code if unit else "",
        total=total,
        status=status,
        issued_on=_needed(cells, "issued_on", cells.day) or date.min,
        customer_name=cells.text("customer_name"),
        due_on=cells.day("due_on"),
        paid_on=cells.day("paid_on"),
        invoice_reference=cells.text("invoice_reference", LONGEST_NAME),
        products=products_in(cells),
        subscription=cells.text("subscription", LONGEST_NAME),
        customer_email=cells.text("customer_email", LONGEST_NAME),
        billing=billing_in(cells, line_cells, total, unit),
        payments=tuple(payment for payment in read_payments if payment),
        original=original,
    )
    first_lines.check_number(cells)
    first_lines.check_invoice_reference(cells, cells["invoice_reference"])
    _check_whole(cells, invoice, has_payment_list=payment_cells is not None)
    problems = [
        problem for cell_reader in (cells, *(payment_cells or ()), *line_cells) for problem in cell_reader.problems
    ]
    return BadRow(cells.line, tuple(problems), original) if problems else invoice


def _number(cells: CellReader) -> str:
    number = cells.need("number")
    if number and not _NUMBER.fullmatch(number):
        message = "This invoice number has characters that commands do not accept."
        cells.refuse("number", "invalid-number", message, "Use letters, digits and . _ / # : + - without spaces.")
    return number


def status_in(cells: CellReader, column: str) -> InvoiceStatus | None:
    if cells[column].lower() == InvoiceStatus.REFUNDED:
        message = 'The status "refunded" cannot be entered: it is worked out from the amounts.'
        cells.refuse(column, "unknown-status", message, "Write paid, and the refunded amount as refunded_amount.")
        return None
    return cells.one_of(column, [status for status in InvoiceStatus if status is not InvoiceStatus.REFUNDED])


def products_in(cells: CellReader) -> tuple[str, ...]:
    return tuple(name for product_text in cells.text("products").split(";") if (name := product_text.strip()))


def card_last4_in(cells: CellReader) -> str:
    """The last four digits. More of a card's number is never stored (PCI DSS, requirement 3)."""
    digits = cells["card_last4"]
    if digits and not _LAST4.fullmatch(digits):
        message = "These are not the last four digits of a card."
        cells.refuse("card_last4", "invalid-last4", message, "Write four digits and nothing else, such as 4242.")
        return ""
    return digits


def dispute_in(cells: CellReader) -> Dispute:
    return cells.one_of("dispute", [dispute for dispute in Dispute if dispute]) or Dispute.NONE


def _needed(cells: CellReader, column: str, read_cell: Callable[[str], T | None]) -> T | None:
    return read_cell(column) if cells.need(column) else None


def _check_whole(cells: CellReader, invoice: NewInvoice, *, has_payment_list: bool) -> None:
    """Check the cells together."""
    column = PAYMENTS if has_payment_list else "paid_amount"
    paid = sum(payment.captured for payment in invoice.payments)
    if paid and invoice.status in (InvoiceStatus.VOID, InvoiceStatus.DRAFT):
        # Void means that nothing was captured; a draft was never sent (R9).
        message = f"A {invoice.status} invoice cannot have a payment on it."
        cells.refuse(column, "paid-on-closed", message, "Write the status that it really has: open or paid.")
    if paid >= _MOST_MINOR:
        cells.refuse(column, "invalid-amount", "The sum of the payments is too large.")


def _payment(
    cells: CellReader, unit: Currency | None, first_lines: FirstLines, *, default_amount: int | None
) -> NewPayment | None:
    """The row's payment, if any. Without a default its amount is required, unless it is processing."""
    provider = cells.one_of("provider", list(Provider))
    reference = _reference(cells, provider)
    first_lines.check_reference(cells, provider, reference)
    processing = cells.flag("processing") or False
    captured = cells.amount("paid_amount", unit)
    if default_amount is None and not processing and not cells["paid_amount"]:
        cells.refuse(
            "paid_amount", "missing", "It is empty.", "When there are several payments, each needs its own amount."
        )
    if captured is None:
        captured = default_amount or 0
    payment = NewPayment(
        captured=captured,
        provider=provider,
        method=cells.text("payment_method", LONGEST_NAME),
        reference=reference,
        returned_elsewhere=cells.amount("refunded_amount", unit) or 0,
        auto_refundable=_auto_refundable(cells, has_provider_id=bool(provider and reference)),
        auto_refundable_is_explicit=bool(cells["auto_refundable"]),
        processing=processing,
        dispute=dispute_in(cells),
        dispute_amount=cells.amount("dispute_amount", unit, allow_zero=False),
        paid_on=cells.day("paid_on"),
        card_last4=card_last4_in(cells),
        card_brand=cells.text("card_brand", LONGEST_NAME),
    )
    if cells["dispute_amount"] and not cells["dispute"]:
        cells.refuse("dispute_amount", "no-dispute", "There is an amount but no dispute.", "Fill in dispute too.")
    if captured or provider or reference or processing:
        return payment
    for column in ("refunded_amount", "dispute"):
        if cells[column].strip("0."):
            message = "The row has no payment that it could belong to."
            cells.refuse(column, "nothing-paid", message, "Fill in paid_amount, or set status to paid.")
    return None


def _reference(cells: CellReader, provider: Provider | None) -> str:
    """The provider's id in that provider's format; without a provider, any text."""
    reference = cells.text("payment_reference", LONGEST_NAME)
    stripe_match = _STRIPE_REFERENCE.fullmatch(reference)
    if provider is Provider.STRIPE and reference and not stripe_match:
        message = "This is not a Stripe payment id."
        cells.refuse("payment_reference", "invalid-reference", message, "Write its id: pi_…, ch_… or py_….")
    if provider is Provider.ADYEN and reference and not _ADYEN_REFERENCE.fullmatch(reference):
        message = "This is not an Adyen payment id."
        cells.refuse(
            "payment_reference", "invalid-reference", message, "Write its pspReference: at most 32 letters and digits."
        )
    if provider is None and stripe_match and not cells["provider"]:
        cells.refuse("provider", "missing", "This is a Stripe payment id, but provider is empty.", "Write stripe.")
    return reference


def _auto_refundable(cells: CellReader, *, has_provider_id: bool) -> bool:
    """Can the provider return the money? By default, if the payment is the provider's (R1)."""
    cell_flag = cells.flag("auto_refundable")
    if cell_flag and not has_provider_id:
        message = "Only a payment with both provider and payment_reference can be refunded automatically."
        cells.refuse("auto_refundable", "invalid-flag", message, "Fill in both, or write false.")
    return has_provider_id if cell_flag is None else cell_flag
