"""One row of an invoices file, cell by cell: an invoice, or a bad row with all its problems."""

import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, TypeVar

from refundcli.domain.currencies import Currency
from refundcli.domain.errors import did_you_mean
from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider
from refundcli.files.cell_reader import LONGEST_NAME, CellReader
from refundcli.files.csv_table import REJECTION_COLUMNS
from refundcli.files.duplicate_index import DuplicateIndex
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
)
PAYMENTS = "payments"
MOST_PAYMENTS = 100

# Numbers are typed in commands: no characters that a shell or a terminal interprets.
_NUMBER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/#:+-]*")
# The ids that the adapters can send: a payment with another id could be imported but never refunded.
_STRIPE_REFERENCE = re.compile(r"(pi|ch|py)_[A-Za-z0-9_]{1,250}")
_ADYEN_REFERENCE = re.compile(r"[A-Za-z0-9]{1,32}")
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
            cells.refuse("number", "duplicate-number", f"The number is on line {line} already.", "Keep one of them.")

    def check_reference(self, cells: CellReader, provider: Provider | None, reference: str) -> None:
        if provider and reference and (line := self.line_of_payment(f"{provider} {reference}", cells.line)):
            what = f"The {provider.label} payment is on line {line} already."
            cells.refuse("payment_reference", "duplicate-payment", what, ONE_INVOICE)

    def check_invoice_reference(self, cells: CellReader, reference: str) -> None:
        if reference and (line := self.line_of_reference(reference, cells.line)):
            what = f"{reference} is on line {line} already."
            cells.refuse("invoice_reference", "duplicate-reference", what, "It belongs to one invoice.")

    def line_of_reference(self, reference: str, line: int) -> int:
        return self.references.line_of(reference, line)

    def line_of_number(self, number: str, line: int) -> int:
        return self.numbers.line_of(number, line)

    def line_of_payment(self, payment: str, line: int) -> int:
        return self.payments.line_of(payment, line)


class EarlierLines(FirstLines):
    """The earlier lines of one row's number, payment and invoice reference, 0 for none."""

    def __init__(self, number: int, payment: int, reference: int = 0) -> None:
        self._number, self._payment, self._reference = number, payment, reference

    def line_of_reference(self, reference: str, line: int) -> int:
        return self._reference

    def line_of_number(self, number: str, line: int) -> int:
        return self._number

    def line_of_payment(self, payment: str, line: int) -> int:
        return self._payment


def invoice_in_table(
    line: int, columns: Sequence[str], row: Sequence[str], duplicates: FirstLines
) -> NewInvoice | BadRow:
    cells = CellReader(line, dict(zip(columns, row, strict=True)))
    return _invoice(cells, None, tuple(row), duplicates)


def invoice_in_record(line: int, text: str, record: Record, duplicates: FirstLines) -> NewInvoice | BadRow:
    payment_list = record.pop(PAYMENTS, None)
    cells = _record_cells(line, record, COLUMNS)
    payments = None if payment_list is None else _payment_cells(line, payment_list, cells)
    return _invoice(cells, payments, text, duplicates)


def _payment_cells(line: int, payments: Any, invoice: CellReader) -> list[CellReader]:
    if not isinstance(payments, list) or not all(isinstance(payment, dict) for payment in payments):
        invoice.refuse(PAYMENTS, "wrong-type", "It is not a list of objects.", 'Write "payments": [{…}, {…}].')
        return []
    if len(payments) > MOST_PAYMENTS:
        invoice.refuse(PAYMENTS, "too-many", f"There are more than {MOST_PAYMENTS} payments.")
        return []
    for column in PAYMENT_COLUMNS:
        if column != "paid_on" and invoice[column]:
            what = "It is set beside payments and could belong to any of them."
            invoice.refuse(column, "ambiguous", what, "Move it into the payment that it belongs to.")
    return [
        _record_cells(line, payment, PAYMENT_COLUMNS, where=f"{PAYMENTS}[{place}].")
        for place, payment in enumerate(payments, start=1)
    ]


def _record_cells(line: int, record: Record, columns: tuple[str, ...], *, where: str = "") -> CellReader:
    """The values as texts. Unknown keys, wrong types and unstorable texts become problems."""
    texts, wrong = {}, []
    for key, value in record.items():
        if key in REJECTION_COLUMNS and not where:
            continue
        text = _as_text(key, value)
        column = where + key[:60]
        if key not in columns:
            hint = did_you_mean(key[:60], columns) or f"Keys: {', '.join(columns)}."
            wrong.append(Problem(line, column, text or "", "unknown-key", f"The key {key[:60]!a} is not known.", hint))
        elif text is None:
            wrong.append(Problem(line, column, "", "wrong-type", "It is a list or an object.", "Write one value."))
        elif _UNSTORABLE.search(text):
            what = "It holds a NUL or half a character."
            wrong.append(Problem(line, column, ascii(text)[1:-1], "unstorable", what, "Delete it and type it again."))
        else:
            texts[key] = text
    cells = CellReader(line, texts, where=where)
    cells.problems += wrong
    return cells


def _as_text(key: str, value: Any) -> str | None:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if key == "products" and isinstance(value, list) and all(isinstance(name, str) for name in value):
        return ";".join(value)
    return value if isinstance(value, str) else None


def _invoice(
    cells: CellReader, payments: list[CellReader] | None, original: tuple[str, ...] | str, duplicates: FirstLines
) -> NewInvoice | BadRow:
    """The invoice, or a bad row with every problem of its cells."""
    unit = cells.currency("currency")
    total = _needed(cells, "total", lambda column: cells.amount(column, unit)) or 0
    status = _needed(cells, "status", lambda column: status_in(cells, column)) or InvoiceStatus.DRAFT
    if payments is None:
        read_payments = [_payment(cells, unit, duplicates, default=total if status is InvoiceStatus.PAID else 0)]
    else:
        read_payments = [_payment(payment_cells, unit, duplicates, default=None) for payment_cells in payments]
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
        payments=tuple(payment for payment in read_payments if payment),
        original=original,
    )
    duplicates.check_number(cells)
    _check_whole(cells, invoice, in_list=payments is not None)
    problems = [problem for part in (cells, *(payments or ())) for problem in part.problems]
    return BadRow(cells.line, tuple(problems), original) if problems else invoice


def _number(cells: CellReader) -> str:
    number = cells.need("number")
    if number and not _NUMBER.fullmatch(number):
        what = "An invoice number is typed in commands, and this one has characters that they do not accept."
        cells.refuse("number", "invalid-number", what, "Use letters, digits and . _ / # : + - without spaces.")
    return number


def status_in(cells: CellReader, column: str) -> InvoiceStatus | None:
    if cells[column].lower() == InvoiceStatus.REFUNDED:
        what = "The status refunded follows from the amounts."
        cells.refuse(column, "unknown-status", what, "Write paid, and the refunded amount as refunded_amount.")
        return None
    return cells.one_of(column, [status for status in InvoiceStatus if status is not InvoiceStatus.REFUNDED])


def products_in(cells: CellReader) -> tuple[str, ...]:
    return tuple(name for part in cells.text("products").split(";") if (name := part.strip()))


def dispute_in(cells: CellReader) -> Dispute:
    return cells.one_of("dispute", [dispute for dispute in Dispute if dispute]) or Dispute.NONE


def _needed(cells: CellReader, column: str, read: Callable[[str], T | None]) -> T | None:
    return read(column) if cells.need(column) else None


def _check_whole(cells: CellReader, invoice: NewInvoice, *, in_list: bool) -> None:
    """Check the cells together."""
    column = PAYMENTS if in_list else "paid_amount"
    paid = sum(payment.captured for payment in invoice.payments)
    if paid and invoice.status in (InvoiceStatus.VOID, InvoiceStatus.DRAFT):
        # Void means that nothing was captured; a draft was never sent (R9).
        what = f"A {invoice.status} invoice has nothing paid on it."
        cells.refuse(column, "paid-on-closed", what, "Write the status that it really has: open or paid.")
    if paid >= _MOST_MINOR:
        cells.refuse(column, "invalid-amount", "The sum of the payments is too large.")


def _payment(
    cells: CellReader, unit: Currency | None, duplicates: FirstLines, *, default: int | None
) -> NewPayment | None:
    """The row's payment, if any. Without a default its amount is required, unless it is processing."""
    provider = cells.one_of("provider", list(Provider))
    reference = _reference(cells, provider)
    duplicates.check_reference(cells, provider, reference)
    processing = cells.flag("processing") or False
    captured = cells.amount("paid_amount", unit)
    if default is None and not processing and not cells["paid_amount"]:
        cells.refuse("paid_amount", "missing", "It is empty.", "Each of several payments needs its amount.")
    if captured is None:
        captured = default or 0
    payment = NewPayment(
        captured=captured,
        provider=provider,
        method=cells.text("payment_method", LONGEST_NAME),
        reference=reference,
        returned_elsewhere=cells.amount("refunded_amount", unit) or 0,
        auto_refundable=_auto_refundable(cells, default=bool(provider and reference)),
        auto_refundable_is_explicit=bool(cells["auto_refundable"]),
        processing=processing,
        dispute=dispute_in(cells),
        dispute_amount=cells.amount("dispute_amount", unit, allow_zero=False),
        paid_on=cells.day("paid_on"),
    )
    if cells["dispute_amount"] and not cells["dispute"]:
        cells.refuse("dispute_amount", "no-dispute", "There is an amount but no dispute.", "Fill in dispute too.")
    if captured or provider or reference or processing:
        return payment
    for column in ("refunded_amount", "dispute"):
        if cells[column].strip("0."):
            what = "The row has no payment that it could belong to."
            cells.refuse(column, "nothing-paid", what, "Fill in paid_amount, or status paid.")
    return None


def _reference(cells: CellReader, provider: Provider | None) -> str:
    """The provider's id in that provider's format; without a provider, any text."""
    reference = cells.text("payment_reference", LONGEST_NAME)
    stripe = _STRIPE_REFERENCE.fullmatch(reference)
    if provider is Provider.STRIPE and reference and not stripe:
        what = "This is not a Stripe payment id."
        cells.refuse("payment_reference", "invalid-reference", what, "Write its id: pi_…, ch_… or py_….")
    if provider is Provider.ADYEN and reference and not _ADYEN_REFERENCE.fullmatch(reference):
        what = "This is not an Adyen payment id."
        cells.refuse(
            "payment_reference", "invalid-reference", what, "Write its pspReference: at most 32 letters and digits."
        )
    if provider is None and stripe and not cells["provider"]:
        cells.refuse("provider", "missing", "This is a Stripe payment id, but provider is empty.", "Write stripe.")
    return reference


def _auto_refundable(cells: CellReader, *, default: bool) -> bool:
    """Can the provider return the money? By default, if the payment is the provider's (R1)."""
    flag = cells.flag("auto_refundable")
    if flag and not default:
        what = "Only a payment with its provider and its payment_reference can be."
        cells.refuse("auto_refundable", "invalid-flag", what, "Fill in both, or write false.")
    return default if flag is None else flag
