"""The cells that documents need: the customer's address and VAT id, and the tax of the invoice or of its lines."""

import re
from collections.abc import Sequence

from refundcli.domain.currencies import Currency
from refundcli.domain.tax.billing import BilledLine, Billing, TaxCategory, tax_in
from refundcli.domain.tax.countries import COUNTRIES, is_vat_id
from refundcli.files.cell_reader import LONGEST_NAME, CellReader

TAX_COLUMNS = ("tax_rate", "tax_amount", "tax_category", "tax_exemption")
BILLING_COLUMNS = ("customer_address", "customer_country", "customer_vat_id", *TAX_COLUMNS)
LINES = "lines"
LINE_COLUMNS = ("name", "amount", *TAX_COLUMNS)
MOST_LINES = 200

_RATE = re.compile(r"(0|[1-9][0-9]?)(?:\.([0-9]{1,2}))?%?", re.ASCII)
# Words where no tax is charged and no reason is given in the file; an exemption has many possible reasons.
_NEEDS_REASON = (TaxCategory.EXEMPT,)


def billing_in(cells: CellReader, line_cells: Sequence[CellReader], total: int, unit: Currency | None) -> str:
    """As it is stored; empty without any of these cells. Problems are added to the cells."""
    if line_cells:
        lines = tuple(_line(own_cells, cells, own_cells.amount("amount", unit), unit) for own_cells in line_cells)
        _check_sums(cells, lines, total, unit)
    elif any(cells[column] for column in TAX_COLUMNS):
        lines = (_line(cells, cells, total, unit),)
    else:
        lines = ()
    address = "\n".join(part.strip() for part in re.split(r"[\n;]", cells.text("customer_address")) if part.strip())
    return Billing(address, _country(cells), _vat_id(cells), lines).text


def _country(cells: CellReader) -> str:
    country = cells["customer_country"].upper()
    if country and country not in COUNTRIES:
        message = "This is not a country's code."
        cells.refuse("customer_country", "unknown-country", message, "Write its two letters, such as SE or DE.")
    return country


def _vat_id(cells: CellReader) -> str:
    vat_id = re.sub(r"[ .-]", "", cells["customer_vat_id"]).upper()
    if vat_id and not is_vat_id(vat_id):
        message = "This is not a VAT id."
        cells.refuse("customer_vat_id", "invalid-vat-id", message, "Begin with the country: SE556677889901.")
    return vat_id


def _line(own_cells: CellReader, invoice_cells: CellReader, amount: int | None, unit: Currency | None) -> BilledLine:
    """A line; its tax is described by its own cells, else by the invoice's."""
    name = own_cells.text("name", LONGEST_NAME)
    if amount is None and not own_cells["amount"]:
        own_cells.refuse("amount", "missing", "It is empty.", "Each line needs its amount, tax included.")
    amount = amount or 0
    described = own_cells if any(own_cells[column] for column in TAX_COLUMNS) else invoice_cells
    rate, category = _rate(described), _category(described)
    tax = own_cells.amount("tax_amount", unit)
    if rate is None and category is None and not any(described[column] for column in TAX_COLUMNS):
        return BilledLine(amount, name=name)
    if category is None and rate and rate != "0":
        category = TaxCategory.STANDARD
    exemption = described.text("tax_exemption", LONGEST_NAME)
    if tax is None:
        tax = tax_in(amount, rate or "0")
    _check_tax(own_cells, described, BilledLine(amount, tax, rate or "0", category, exemption), unit)
    return BilledLine(amount, tax, rate or "0", category, exemption, name)


def _rate(cells: CellReader) -> str | None:
    """Percent without trailing zeros; None if the cell is empty or invalid."""
    cell_text = cells["tax_rate"]
    if not cell_text:
        return None
    match = _RATE.fullmatch(cell_text)
    if not match:
        hint = "Write percent, such as 19 or 25.5."
        cells.refuse("tax_rate", "invalid-rate", "This is not a rate of tax.", hint)
        return None
    decimals = (match[2] or "").rstrip("0")
    return f"{match[1]}.{decimals}" if decimals else match[1]


def _category(cells: CellReader) -> TaxCategory | None:
    code = cells["tax_category"].upper()
    if code and code not in list(TaxCategory):
        hint = f"One of: {', '.join(f'{category} ({_words(category)})' for category in TaxCategory)}."
        cells.refuse("tax_category", "unknown-tax_category", "This value is not recognised.", hint)
        return None
    return TaxCategory(code) if code else None


def _words(category: TaxCategory) -> str:
    return category.name.lower().replace("_", " ")


def _check_tax(cells: CellReader, described: CellReader, line: BilledLine, unit: Currency | None) -> None:
    """A document states the rate and why there is no tax; both must agree with the amount."""
    if described.problems or cells.problems:
        return
    has_rate = line.rate != "0"
    if line.category is None:
        message = "There is no tax, and no reason for that." if not line.tax else "There is tax, but no rate."
        column, hint = ("tax_rate", "Fill in tax_rate.") if line.tax else ("tax_category", "Write E, Z, AE, K, G or O.")
        described.refuse(column, "missing", message, hint)
    elif has_rate != (line.category is TaxCategory.STANDARD):
        message = f"The category {line.category} does not go with a rate of {line.rate} percent."
        described.refuse("tax_category", "rate-and-category", message, "S has a rate above 0; the others have none.")
    elif line.category in _NEEDS_REASON and not line.exemption:
        message = "An exemption needs its reason."
        described.refuse("tax_exemption", "missing", message, "Write it as on the invoice: § 4 Nr. 22b UStG.")
    elif abs(line.tax - tax_in(line.amount, line.rate)) > _tolerance(unit):
        message = f"{line.rate} percent of tax would make another amount."
        cells.refuse("tax_amount", "tax-does-not-fit", message, "Correct one of them, or leave out tax_amount.")


def _tolerance(unit: Currency | None) -> int:
    """Programs round each line, or the sum, or down: half of a major unit, as electronic invoices allow at most one."""
    major_unit: int = 10 ** (unit.exponent if unit else 0)
    return max(1, major_unit // 2)


def _check_sums(cells: CellReader, lines: Sequence[BilledLine], total: int, unit: Currency | None) -> None:
    if cells["total"] and sum(line.amount for line in lines) != total:
        message = "The lines do not add up to the total."
        cells.refuse(LINES, "lines-do-not-add-up", message, "Each amount includes its tax, as the total does.")
    tax = cells.amount("tax_amount", unit)
    if tax is not None and tax != sum(line.tax for line in lines):
        message = "The tax of the lines does not add up to the tax_amount."
        cells.refuse("tax_amount", "lines-do-not-add-up", message, "Give each line its tax_amount.")
    if lines and any(line.category is None for line in lines) != all(line.category is None for line in lines):
        message = "Some lines have a tax rate and some have none."
        cells.refuse(LINES, "missing", message, "Give each line its tax_rate or tax_category.")
