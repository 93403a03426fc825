"""What the page of a credit note shows, as texts in one language. Nothing in them is markup."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_decimal

from refundcli.domain.currencies import Currency
from refundcli.domain.statuses import CreditNoteStatus
from refundcli.domain.tax.billing import BilledLine, TaxCategory
from refundcli.domain.tax.requirements import missing_for_credit_note
from refundcli.output.documents.words import WORDS
from refundcli.output.sanitize import safe
from refundcli.services.ports.documents import IssuedNote

_NO_BREAK = "\N{NO-BREAK SPACE}"
_CATEGORIES_WITH_RATE = (None, TaxCategory.STANDARD)


class Contents:
    """The texts of documents in one of the languages."""

    def __init__(self, language: str) -> None:
        self.language, self.words = language, WORDS[language]
        self._locale = Locale.parse(language)

    def of(self, issued: IssuedNote) -> dict[str, Any]:
        """For the layout: texts, lists of texts, and rows of the tables."""
        note, content, seller, words = issued.note, issued.content, issued.seller, self.words
        is_credit_note = not missing_for_credit_note(content, seller)
        unit = note.amount.currency
        lines = content.lines if is_credit_note else ()
        shown: dict[str, Any] = {
            "language": self.language,
            "title": words.credit_note if is_credit_note else words.confirmation,
            "seller": [seller.name, *self._address(seller.address, seller.country, of=content.country)],
            "customer": [content.customer_name, *self._address(content.address, content.country, of=seller.country)],
            "facts": [list(fact) for fact in self._facts(issued) if fact[1]],
            "introduction": seller.introduction,
            "heading": self._heading(is_taxed=bool(lines)),
            "rows": [self._row(line, issued) for line in lines] or [[self.description(issued), self._of(issued)]],
            "sums": self._sums(lines, unit),
            "total": [words.total, f"{self.amount(note.amount.minor, unit)}{_NO_BREAK}{unit.code}"],
            "remarks": [*self.exemptions(lines), *([] if is_credit_note else [words.no_tax_shown])],
            "footer": seller.footer,
            "foot": [part for part in self._foot(issued) if part],
            "page": words.page,
            "void": words.void if note.status is CreditNoteStatus.VOID else "",
            "void_since": self.void_since(issued),
        }
        return {name: _safe(value) for name, value in shown.items()}

    def amount(self, minor: int, unit: Currency) -> str:
        decimals = f".{'0' * unit.exponent}" if unit.exponent else ""
        return str(format_decimal(Decimal(minor).scaleb(-unit.exponent), f"#,##0{decimals}", locale=self._locale))

    def day(self, day: date | datetime | None) -> str:
        return str(format_date(day, "long", locale=self._locale)) if day else ""

    def description(self, issued: IssuedNote) -> str:
        """Of a line without a name of its own."""
        is_whole = issued.note.amount.minor == issued.content.invoice_total
        words = self.words.all_of if is_whole else self.words.part_of
        about = words.format(number=issued.note.invoice_number)
        return f"{about}: {', '.join(issued.content.products)}" if issued.content.products else about

    def exemptions(self, lines: tuple[BilledLine, ...]) -> list[str]:
        """Why no tax is charged, for each kind of line that has none."""
        reasons: dict[str, None] = {}
        for line in lines:
            if line.category and line.category is not TaxCategory.STANDARD:
                words = self.words.of_category(line.category)
                reasons[f"{words} ({line.exemption})" if line.exemption else words] = None
        return [f"{reason}." for reason in reasons]

    def void_since(self, issued: IssuedNote) -> str:
        if issued.note.status is not CreditNoteStatus.VOID:
            return ""
        return self.words.void_since.format(day=self.day(issued.note.voided_at))

    def _of(self, issued: IssuedNote) -> str:
        return self.amount(issued.note.amount.minor, issued.note.amount.currency)

    def _address(self, address: str, country: str, *, of: str) -> list[str]:
        """Its lines, with the country's name where the other party is in another one."""
        name = self._locale.territories.get(country, country) if country and country != of else ""
        return [line for line in (*address.split("\n"), name) if line]

    def _facts(self, issued: IssuedNote) -> list[tuple[str, str]]:
        note, content, words = issued.note, issued.content, self.words
        invoiced_on = self.day(date.fromisoformat(content.invoice_issued_on)) if content.invoice_issued_on else ""
        invoice = words.invoice_of.format(number=note.invoice_number, day=invoiced_on)
        way = words.to_the_method if issued.is_through_provider else issued.way
        day = words.on_day.format(day=self.day(issued.refunded_on)) if issued.refunded_on else ""
        return [
            (words.number, issued.number),
            (words.date, self.day(note.issued_on)),
            (words.invoice, invoice if invoiced_on else note.invoice_number),
            (words.customer, note.customer),
            (words.customer_vat_id, content.vat_id),
            (words.reason, words.of_reason(note.reason)),
            (words.refunded, f"{way} {day}".strip()),
        ]

    def _heading(self, *, is_taxed: bool) -> list[str]:
        words = self.words
        return [words.description, *([words.net, words.rate, words.tax] if is_taxed else []), words.amount]

    def _row(self, line: BilledLine, issued: IssuedNote) -> list[str]:
        unit = issued.note.amount.currency
        rate = f"{self.rate(line.rate)}{_NO_BREAK}%" if line.category in _CATEGORIES_WITH_RATE else "–"
        figures = (self.amount(line.net, unit), rate, self.amount(line.tax, unit), self.amount(line.amount, unit))
        return [line.name or self.description(issued), *figures]

    def rate(self, rate: str) -> str:
        return str(format_decimal(Decimal(rate or 0), "0.##", locale=self._locale))

    def _sums(self, lines: tuple[BilledLine, ...], unit: Currency) -> list[list[str]]:
        """The net amount, and the tax of each rate."""
        if not lines:
            return []
        tax_by_rate: dict[str, int] = {}
        for line in lines:
            tax_by_rate[line.rate] = tax_by_rate.get(line.rate, 0) + line.tax
        net = sum(line.net for line in lines)
        taxes = [
            [self.words.sum_tax.format(rate=self.rate(rate)), self.amount(tax, unit)]
            for rate, tax in tax_by_rate.items()
            if tax
        ]
        return [[self.words.sum_net, self.amount(net, unit)], *taxes]

    def _foot(self, issued: IssuedNote) -> list[str]:
        seller, words = issued.seller, self.words
        labelled = (
            (words.vat_id, seller.vat_id),
            (words.tax_number, seller.tax_number),
            (words.registration, seller.registration),
            ("IBAN", " ".join(seller.iban[place : place + 4] for place in range(0, len(seller.iban), 4))),
        )
        return [seller.name, *(f"{label} {text}" for label, text in labelled if text)]


def _safe(value: Any) -> Any:
    """With characters that act or hide as visible escapes, as everywhere else."""
    if isinstance(value, list):
        return [_safe(part) for part in value]
    return safe(value, multiline=True)
