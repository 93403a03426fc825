"""What a document needs of an invoice besides its amounts: the customer's address and VAT id, its lines and their tax.

Amounts are in minor units; a line's amount includes its tax.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Any

# In whole units: the parts after such an amount can take a difference of one.
_ENOUGH_TO_CORRECT = 100


class TaxCategory(StrEnum):
    """The codes of EN 16931 (UNCL 5305)."""

    STANDARD = "S"
    ZERO_RATED = "Z"
    EXEMPT = "E"
    REVERSE_CHARGE = "AE"
    INTRA_COMMUNITY = "K"
    EXPORT = "G"
    OUT_OF_SCOPE = "O"


@dataclass(frozen=True, slots=True)
class BilledLine:
    """One line, or a share of one. `name`: empty for the invoice as a whole. `rate`: percent, empty without tax."""

    amount: int
    tax: int = 0
    rate: str = ""
    category: TaxCategory | None = None
    exemption: str = ""
    name: str = ""

    @property
    def net(self) -> int:
        return self.amount - self.tax

    @property
    def taxed_alike(self) -> tuple[TaxCategory | None, str, str]:
        """Lines with the same are one row of the tax summary."""
        return self.category, self.rate, self.exemption


@dataclass(frozen=True, slots=True)
class Billing:
    """`lines`: those of the file; one without a name if the file has only the invoice's tax; none if it has neither."""

    address: str = ""
    country: str = ""
    vat_id: str = ""
    lines: tuple[BilledLine, ...] = ()

    @property
    def text(self) -> str:
        """As it is stored: compact JSON, empty if nothing is known."""
        facts = {"address": self.address, "country": self.country, "vat_id": self.vat_id}
        return compact(facts | {"lines": lines_as_json(self.lines)})


def compact(facts: dict[str, object]) -> str:
    """JSON without spaces and without empty values; empty if all are."""
    filled = {name: value for name, value in facts.items() if value}
    return json.dumps(filled, ensure_ascii=False, separators=(",", ":"), sort_keys=True) if filled else ""


def billing_of(text: str) -> Billing:
    facts = json.loads(text) if text else {}
    lines = lines_of(facts.pop("lines", ()))
    return Billing(lines=lines, **facts)


def lines_as_json(lines: tuple[BilledLine, ...]) -> list[list[object]]:
    return [[line.name, line.amount, line.tax, line.rate, line.category or "", line.exemption] for line in lines]


def lines_of(stored: Iterable[Any]) -> tuple[BilledLine, ...]:
    return tuple(
        BilledLine(amount, tax, rate, TaxCategory(category) if category else None, exemption, name)
        for name, amount, tax, rate, category, exemption in stored
    )


def tax_in(amount: int, rate: str) -> int:
    """The tax that an amount contains at a rate in percent, rounded half up."""
    percent = Decimal(rate)
    return int((amount * percent / (100 + percent)).to_integral_value(ROUND_HALF_UP))


def credited_lines(
    billed: tuple[BilledLine, ...], earlier: tuple[BilledLine, ...], amount: int, *, exponent: int
) -> tuple[BilledLine, ...]:
    """The lines of a credit note over `amount`, by what earlier notes of the invoice credited.

    All of the invoice at once is its own lines; a part is one line for each kind of tax. The parts add up to the
    invoice's tax: each takes what its share of the amount so far makes, less what the earlier parts took.
    """
    if not earlier and amount == sum(line.amount for line in billed):
        return billed
    totals, credited = _by_tax(billed), _by_tax(earlier)
    if not sum(total.amount for total in totals.values()):
        return ()
    left = [total.amount - (credited[kind].amount if kind in credited else 0) for kind, total in totals.items()]
    figures = (figure for line in (*totals.values(), *earlier) for figure in (line.amount, line.tax))
    step = _step([amount, *figures], exponent)
    if not 0 < amount <= sum(left) or min(left) < 0:
        # More than the invoice's total was paid and is returned: the tax is the same share of it.
        credited, left = {}, [total.amount for total in totals.values()]
    lines = []
    for (kind, total), share in zip(totals.items(), _shares(amount, left, step), strict=True):
        before = credited.get(kind, replace(total, amount=0, tax=0))
        if share:
            tax = _credited_tax(total, before, share, step, is_whole=exponent == 0)
            lines.append(replace(total, amount=share, tax=tax))
    return tuple(lines)


def _credited_tax(total: BilledLine, before: BilledLine, share: int, step: int, *, is_whole: bool) -> int:
    """The tax in a share. It corrects the rounding of earlier parts, the last part all of it."""
    tax_so_far = _rounded(total.tax * (before.amount + share), total.amount, step)
    tax = min(max(tax_so_far - before.tax, 0), share)
    too_much = tax * total.amount - total.tax * share
    left = total.amount - before.amount - share
    if is_whole and left >= _ENOUGH_TO_CORRECT and abs(too_much) >= total.net:
        # Electronic invoices allow less than one unit of difference to the rate, which matters where a yen is one.
        tax += 1 if too_much < 0 else -1
    return tax


def _by_tax(lines: tuple[BilledLine, ...]) -> dict[object, BilledLine]:
    """One line without a name for each kind of tax."""
    sums: dict[object, BilledLine] = {}
    for line in lines:
        total = sums.get(line.taxed_alike, replace(line, name="", amount=0, tax=0))
        sums[line.taxed_alike] = replace(total, amount=total.amount + line.amount, tax=total.tax + line.tax)
    return sums


def _step(figures: list[int], exponent: int) -> int:
    """The smallest amount in the result. Electronic invoices have two decimals, also where the currency has three."""
    step: int = 10 ** max(0, exponent - 2)
    return step if all(figure % step == 0 for figure in figures) else 1


def _shares(amount: int, weights: list[int], step: int) -> list[int]:
    """The amount in proportion to the weights, by largest remainder; none is more than its weight if the sum is not."""
    total = sum(weights)
    shares = [amount * weight // total // step * step for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda place: shares[place] * total - amount * weights[place])
    for place in by_remainder[: (amount - sum(shares)) // step]:
        shares[place] += step
    return shares


def _rounded(dividend: int, divisor: int, step: int) -> int:
    """Half up, in multiples of `step`."""
    return (2 * dividend + divisor * step) // (2 * divisor * step) * step
