"""What a credit note must have, and what an electronic one must have besides (EN 16931)."""

from collections.abc import Iterator
from decimal import Decimal

from refundcli.domain.money import Money
from refundcli.domain.tax.billing import BilledLine, TaxCategory
from refundcli.domain.tax.note_content import NoteContent
from refundcli.domain.tax.seller import Seller

TAX = "the invoice's tax (tax_rate or tax_category)"
_BUYER_IS_KNOWN = (TaxCategory.REVERSE_CHARGE, TaxCategory.INTRA_COMMUNITY)


def missing_for_credit_note(content: NoteContent, seller: Seller) -> list[str]:
    """The names of settings and columns; empty if its document is a credit note."""
    missing = [f"seller.{name}" for name in ("name", "address") if not getattr(seller, name)]
    if not (seller.vat_id or seller.tax_number):
        missing.append("seller.vat_id or seller.tax_number")
    if not content.lines or any(line.category is None for line in content.lines):
        missing.append(TAX)
    return missing


def missing_for_electronic(content: NoteContent, seller: Seller, amount: Money) -> list[str]:
    """The same and more; also what the standard cannot state. In its words where it has any (BR-…)."""
    missing = missing_for_credit_note(content, seller)
    missing += [] if seller.country else ["seller.country"]
    missing += [] if content.customer_name else ["customer_name"]
    missing += [] if content.country else ["customer_country"]
    missing += _missing_for_categories(content, seller)
    return missing + list(_not_stated(content.lines, amount))


def _missing_for_categories(content: NoteContent, seller: Seller) -> Iterator[str]:
    categories = {line.category for line in content.lines}
    if TaxCategory.OUT_OF_SCOPE in categories or not seller.vat_id:
        # BR-CO-26: the VAT id is not stated where everything is out of scope (BR-O-02).
        yield from () if seller.registration else ("seller.registration",)
    if not categories.isdisjoint(_BUYER_IS_KNOWN) and not content.vat_id:
        yield "customer_vat_id"
    if not categories.isdisjoint((TaxCategory.INTRA_COMMUNITY, TaxCategory.EXPORT)) and not seller.vat_id:
        yield "seller.vat_id"
    if TaxCategory.OUT_OF_SCOPE in categories and len(categories) > 1:
        yield "one kind of tax: what is out of scope cannot be together with others (BR-O-11)"


def _not_stated(lines: tuple[BilledLine, ...], amount: Money) -> Iterator[str]:
    exponent = amount.currency.exponent
    step, unit = 10 ** max(0, exponent - 2), 10**exponent
    if amount.minor % step or any(line.amount % step or line.tax % step for line in lines):
        yield f"amounts with two decimals ({amount.currency}, BR-DEC)"
    for kind in {(line.category, line.rate) for line in lines}:
        alike = [line for line in lines if (line.category, line.rate) == kind]
        net, tax = sum(line.net for line in alike), sum(line.tax for line in alike)
        hundredths = int(Decimal(kind[1] or 0) * 100)
        if abs(tax * 10_000 - net * hundredths) >= unit * 10_000:
            yield "tax that its rate makes of the amount (BR-S-09)"
