"""A credit note as EN 16931 describes it: type 381, in the syntax of UN/CEFACT (Factur-X, XRechnung's CII)."""

from datetime import date
from decimal import Decimal
from typing import Any

import facturx

from refundcli.domain.currencies import Currency
from refundcli.domain.statuses import CreditNoteStatus
from refundcli.domain.tax.billing import BilledLine, TaxCategory
from refundcli.domain.tax.seller import Seller
from refundcli.output.documents.contents import Contents
from refundcli.output.sanitize import safe
from refundcli.services.ports.documents import IssuedNote

_CREDIT_NOTE = "381"
_ONE, _PIECE = "1", "C62"
# Reasons that have a code (CEF VATEX list).
_REASON_CODES = {
    TaxCategory.REVERSE_CHARGE: "VATEX-EU-AE",
    TaxCategory.INTRA_COMMUNITY: "VATEX-EU-IC",
    TaxCategory.EXPORT: "VATEX-EU-G",
    TaxCategory.OUT_OF_SCOPE: "VATEX-EU-O",
}


def electronic_xml(issued: IssuedNote, contents: Contents) -> bytes:
    """Checked against the schema. What it requires must be there (`domain.tax.requirements`)."""
    xml: bytes = facturx.generate_cii_xml(
        electronic_fields(issued, contents), level="en16931", check_xsd=True, check_schematron=False
    )
    return xml


def electronic_fields(issued: IssuedNote, contents: Contents) -> dict[str, Any]:
    """By the numbers of the business terms of EN 16931 (BT-1 is the number of the credit note)."""
    note, content = issued.note, issued.content
    unit = note.amount.currency
    is_unscoped = any(line.category is TaxCategory.OUT_OF_SCOPE for line in content.lines)
    net, tax = sum(line.net for line in content.lines), sum(line.tax for line in content.lines)
    total = _amount(net + tax, unit)
    fields: dict[str, Any] = {
        "BT-1": issued.number,
        "BT-2": note.issued_on,
        "BT-3": _CREDIT_NOTE,
        "BT-5": unit.code,
        "BG-1": [{"BT-22": safe(text)} for text in _notes(issued, contents)],
        "BG-3": [{"BT-25": note.invoice_number, "BT-26": date.fromisoformat(content.invoice_issued_on)}],
        "BG-4": _seller(issued.seller, with_vat_id=not is_unscoped),
        "BG-7": _party(content.customer_name, content.address, content.country)
        | ({"vat_identifier": content.vat_id} if content.vat_id and not is_unscoped else {}),
        # The books know no day of supply: the invoice's day stands for it.
        "BT-72": date.fromisoformat(content.invoice_issued_on),
        "BG-23": _taxes(content.lines, unit, contents),
        "BG-25": [
            _line(number, line, unit, contents.description(issued)) for number, line in enumerate(content.lines, 1)
        ],
        "BT-106": _amount(net, unit),
        "BT-109": _amount(net, unit),
        "BT-110": _amount(tax, unit),
        "BT-112": total,
        # The money was returned with the note, so nothing is due.
        "BT-113": total,
        "BT-115": _amount(0, unit),
    }
    if any(line.category is TaxCategory.INTRA_COMMUNITY for line in content.lines):
        fields["BG-13"] = {"name": safe(content.customer_name), "country_code": content.country}
    return fields


def _notes(issued: IssuedNote, contents: Contents) -> list[str]:
    is_void = issued.note.status is CreditNoteStatus.VOID
    void = f"{contents.words.void}. {contents.void_since(issued)}" if is_void else ""
    return [text for text in (void, contents.words.of_reason(issued.note.reason)) if text]


def _seller(seller: Seller, *, with_vat_id: bool) -> dict[str, Any]:
    identifiers = {
        "vat_identifier": seller.vat_id if with_vat_id else "",
        "tax_identifier": seller.tax_number,
        "legal_identifier": seller.registration,
    }
    filled = {name: safe(text) for name, text in identifiers.items() if text}
    return _party(seller.name, seller.address, seller.country) | filled


def _party(name: str, address: str, country: str) -> dict[str, Any]:
    first, second, *others = [*address.split("\n"), "", ""]
    lines = {"addr_l1": first, "addr_l2": second, "addr_l3": ", ".join(filter(None, others))}
    filled = {line: safe(text) for line, text in lines.items() if text}
    return {"name": safe(name), "country_code": country} | filled


def _line(number: int, line: BilledLine, unit: Currency, description: str) -> dict[str, Any]:
    fields = {
        "BT-126": str(number),
        "BT-129": _ONE,
        "BT-130": _PIECE,
        "BT-131": _amount(line.net, unit),
        "BT-146": _amount(line.net, unit),
        "BT-151": str(line.category),
        "BT-153": safe(line.name or description),
    }
    return fields | _rate("BT-152", line)


def _taxes(lines: tuple[BilledLine, ...], unit: Currency, contents: Contents) -> list[dict[str, str]]:
    """One for each category and rate."""
    alike: dict[tuple[TaxCategory | None, str], list[BilledLine]] = {}
    for line in lines:
        alike.setdefault((line.category, line.rate), []).append(line)
    return [_tax(tuple(group), unit, contents) for group in alike.values()]


def _tax(lines: tuple[BilledLine, ...], unit: Currency, contents: Contents) -> dict[str, str]:
    category = lines[0].category
    fields = {
        "BT-116": _amount(sum(line.net for line in lines), unit),
        "BT-117": _amount(sum(line.tax for line in lines), unit),
        "BT-118": str(category),
    }
    if category not in (TaxCategory.STANDARD, TaxCategory.ZERO_RATED):
        fields["BT-120"] = safe(" ".join(contents.exemptions(lines)))
        fields |= {"BT-121": _REASON_CODES[category]} if category in _REASON_CODES else {}
    return fields | _rate("BT-119", lines[0])


def _rate(term: str, line: BilledLine) -> dict[str, str]:
    """What is out of scope has none, not even zero (BR-O-05)."""
    return {} if line.category is TaxCategory.OUT_OF_SCOPE else {term: line.rate or "0"}


def _amount(minor: int, unit: Currency) -> str:
    """With at most two decimals (BR-DEC)."""
    decimals = min(unit.exponent, 2)
    return f"{Decimal(minor).scaleb(-unit.exponent):.{decimals}f}"
