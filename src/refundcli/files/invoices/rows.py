"""One row of an invoices file, cell by cell: an invoice, or a bad row with all that is wrong in it."""

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
# What may stand in each of several `payments`; but for the day, it may then not stand in the invoice itself.
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

# Numbers are typed in commands: nothing that a shell or a terminal would act on.
_NUMBER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/#:+-]*")
# What the adapters can send: a payment under another id could be brought in and never be refunded.
_STRIPE_REFERENCE = re.compile(r"(pi|ch|py)_[A-Za-z0-9_]{1,250}")
_ADYEN_REFERENCE = re.compile(r"[A-Za-z0-9]{1,32}")
# PostgreSQL stores no NUL, and nothing stores half a character.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_MOST_MINOR = 10**18

T = TypeVar("T")


class FirstLines:
    """The line on which each invoice number, payment reference and invoice reference came first."""

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
    """For a row whose number, payment or invoice reference may be on an earlier line: those lines, 0 for none."""

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
            what = "It stands beside payments, and could belong to any of them."
            invoice.refuse(column, "ambiguous", what, "Move it into the payment that it belongs to.")
    return [
        _record_cells(line, payment, PAYMENT_COLUMNS, where=f"{PAYMENTS}[{place}].")
        for place, payment in enumerate(payments, start=1)
    ]


def _record_cells(line: int, record: Record, columns: tuple[str, ...], *, where: str = "") -> CellReader:
    """The values as texts. Unknown keys, wrong types and what no store can hold are noted."""
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
    """Everything is read, and what is wrong is noted on the way; only a clean row is an invoice."""
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
        what = "An invoice number is typed in commands, and this one holds other characters than they take."
        cells.refuse("number", "invalid-number", what, "Use letters, digits and . _ / # : + - without spaces.")
    return number


def status_in(cells: CellReader, column: str) -> InvoiceStatus | None:
    if cells[column].lower() == InvoiceStatus.REFUNDED:
        what = "Refunded follows from the amounts and is not written."
        cells.refuse(column, "unknown-status", what, "Write paid, and what was given back as refunded_amount.")
        return None
    return cells.one_of(column, [status for status in InvoiceStatus if status is not InvoiceStatus.REFUNDED])


def products_in(cells: CellReader) -> tuple[str, ...]:
    return tuple(name for part in cells.text("products").split(";") if (name := part.strip()))


def dispute_in(cells: CellReader) -> Dispute:
    return cells.one_of("dispute", [dispute for dispute in Dispute if dispute]) or Dispute.NONE


def _needed(cells: CellReader, column: str, read: Callable[[str], T | None]) -> T | None:
    return read(column) if cells.need(column) else None


def _check_whole(cells: CellReader, invoice: NewInvoice, *, in_list: bool) -> None:
    """What no single cell can tell."""
    column = PAYMENTS if in_list else "paid_amount"
    paid = sum(payment.captured for payment in invoice.payments)
    if paid and invoice.status in (InvoiceStatus.VOID, InvoiceStatus.DRAFT):
        # Void means that nothing was captured, and a draft was never sent to anyone (R9).
        what = f"A {invoice.status} invoice has nothing paid on it."
        cells.refuse(column, "paid-on-closed", what, "Write the status that it really has: open or paid.")
    if paid >= _MOST_MINOR:
        cells.refuse(column, "invalid-amount", "The payments sum up to more than the books can hold.")


def _payment(
    cells: CellReader, unit: Currency | None, duplicates: FirstLines, *, default: int | None
) -> NewPayment | None:
    """The payment that a row tells of, if any. Without a default its amount must be there, unless it is on its way."""
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
        cells.refuse("dispute_amount", "no-dispute", "There is an amount, and no dispute.", "Fill in dispute too.")
    if captured or provider or reference or processing:
        return payment
    for column in ("refunded_amount", "dispute"):
        if cells[column].strip("0."):
            what = "Nothing was paid that it could belong to."
            cells.refuse(column, "nothing-paid", what, "Fill in paid_amount, or status paid.")
    return None


def _reference(cells: CellReader, provider: Provider | None) -> str:
    """The provider's id in the form that provider gives it; without a provider, any text."""
    reference = cells.text("payment_reference", LONGEST_NAME)
    stripe = _STRIPE_REFERENCE.fullmatch(reference)
    if provider is Provider.STRIPE and reference and not stripe:
        what = "This is no payment at Stripe."
        cells.refuse("payment_reference", "invalid-reference", what, "Write its id: pi_…, ch_… or py_….")
    if provider is Provider.ADYEN and reference and not _ADYEN_REFERENCE.fullmatch(reference):
        what = "This is no payment at Adyen."
        cells.refuse(
            "payment_reference", "invalid-reference", what, "Write its pspReference: at most 32 letters and digits."
        )
    if provider is None and stripe and not cells["provider"]:
        cells.refuse("provider", "missing", "The payment is Stripe's, and provider is empty.", "Write stripe.")
    return reference


def _auto_refundable(cells: CellReader, *, default: bool) -> bool:
    """Whether the provider can return the money; by default, where it knows the payment (R1)."""
    flag = cells.flag("auto_refundable")
    if flag and not default:
        what = "Only a payment with its provider and its payment_reference can be."
        cells.refuse("auto_refundable", "invalid-flag", what, "Fill in both, or write false.")
    return default if flag is None else flag
