"""What a credit note copies of its invoice when it is issued."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from refundcli.domain.tax.billing import BilledLine, billing_of, compact, credited_lines, lines_as_json, lines_of


@dataclass(frozen=True, slots=True)
class NoteContent:
    """`invoice_total` in minor units; `products` as a JSON list; `lines`: what is credited, tax included."""

    customer_name: str = ""
    address: str = ""
    country: str = ""
    vat_id: str = ""
    invoice_issued_on: str = ""
    invoice_total: int = 0
    products: tuple[str, ...] = ()
    lines: tuple[BilledLine, ...] = ()

    @property
    def text(self) -> str:
        facts = {name: getattr(self, name) for name in self.__slots__}
        return compact(facts | {"lines": lines_as_json(self.lines)})


def content_of(text: str) -> NoteContent:
    facts = json.loads(text) if text else {}
    lines, products = lines_of(facts.pop("lines", ())), tuple(facts.pop("products", ()))
    return NoteContent(lines=lines, products=products, **facts)


@dataclass(frozen=True, slots=True)
class InvoiceFacts:
    """An invoice as a new credit note copies it. `total`: in minor units; `products` and `billing` as stored."""

    customer_name: str
    issued_on: date
    total: int
    exponent: int
    products: str
    billing: str

    def content(self, amount: int, earlier: Sequence[str]) -> str:
        """For a note over `amount`. `earlier`: the content of the invoice's notes that stand."""
        billing = billing_of(self.billing)
        credited = [line for content in earlier for line in content_of(content).lines]
        return NoteContent(
            customer_name=self.customer_name,
            address=billing.address,
            country=billing.country,
            vat_id=billing.vat_id,
            invoice_issued_on=self.issued_on.isoformat(),
            invoice_total=self.total,
            products=tuple(json.loads(self.products)) if self.products else (),
            lines=credited_lines(billing.lines, tuple(credited), amount, exponent=self.exponent),
        ).text
