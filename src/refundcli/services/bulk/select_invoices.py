"""Select invoices for a plan, and compute how much of each is returned: a cancelled tournament, less a fee of 10%."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from fnmatch import fnmatchcase

from refundcli.domain.bulk_run import RunKind
from refundcli.domain.errors import UsageProblem
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money, add_to, parse_amount
from refundcli.domain.reasons import RefundReason
from refundcli.services.bulk.rows import BulkRow

COLUMNS = ("invoice", "amount", "reason", "memo")
_NAMED = 10


class InvalidPercentage(UsageProblem):
    code = "invalid-percentage"

    def __init__(self, option: str, text: str) -> None:
        super().__init__(
            f"{option} {text[:40]!a} is not a percentage between 0 and 100.",
            hint=f"Write it like {option} 10%, with at most two decimals"
            + (", or keep a fixed amount: --keep-amount 5.00" if option == "--keep" else "."),
        )


class OneAmountRule(UsageProblem):
    code = "one-amount-rule"

    def __init__(self) -> None:
        super().__init__(
            "Say how much is returned: exactly one of --full, --percent, --keep and --keep-amount.",
            hint="refundcli plan make --product 'Summer Cup*' --keep 10% --reason other --out plan.json",
        )


class SelectionNeeded(UsageProblem):
    """Without a filter the plan would return the money of all invoices."""

    code = "selection-needed"

    def __init__(self) -> None:
        super().__init__(
            "Say which invoices.",
            hint="Use --product 'Summer Cup*', --paid-since, --paid-until, --provider or --customer.",
        )


@dataclass(frozen=True, slots=True)
class AmountRule:
    """How much of what was paid is returned in all; what was returned before counts.

    `returned_percent` of it, or all but `kept_percent`, or all but `kept_amount` (major units, in the invoice's
    currency), or all of it.
    """

    returned_percent: Decimal | None = None
    kept_percent: Decimal | None = None
    kept_amount: str = ""

    def target(self, paid: Money) -> tuple[Money, Decimal]:
        """What is to be returned in all, and by how many minor units it was rounded.

        A percentage is rounded half up to a minor unit. Raises InvalidAmount.
        """
        if self.returned_percent is not None:
            exact = paid.minor * self.returned_percent / 100
            minor = int(exact.quantize(Decimal(1), ROUND_HALF_UP))
            return Money(minor, paid.currency), minor - exact
        if self.kept_percent is not None:
            exact = paid.minor * self.kept_percent / 100
            kept_minor = int(exact.quantize(Decimal(1), ROUND_HALF_UP))
            return Money(paid.minor - kept_minor, paid.currency), exact - kept_minor
        if self.kept_amount:
            kept = parse_amount(self.kept_amount, paid.currency)
            return Money(max(paid.minor - kept.minor, 0), paid.currency), Decimal(0)
        return paid, Decimal(0)


def parse_percentage(option: str, text: str) -> Decimal:
    """`10%` or `12.5 %`. Raises InvalidPercentage; for --keep also without the sign, which could be an amount."""
    number = text.removesuffix("%").rstrip()
    if not number.replace(".", "", 1).isdecimal() or (option == "--keep" and number == text):
        raise InvalidPercentage(option, text)
    percentage = Decimal(number)
    if not (0 < percentage < 100) or percentage != round(percentage, 2):
        raise InvalidPercentage(option, text)
    return percentage


@dataclass(frozen=True, slots=True)
class Selection:
    """Which invoices, and how much of each. `product` is a pattern such as `Summer Cup*`; case does not matter."""

    kind: RunKind
    amount_rule: AmountRule
    reason: RefundReason
    memo: str = ""
    product: str = ""
    with_other_products: bool = False
    paid_since: date | None = None
    paid_until: date | None = None

    @property
    def _pattern(self) -> str:
        return self.product.casefold()

    def concerns(self, invoice: Invoice) -> bool:
        paid_on = invoice.paid_on
        if (self.paid_since and not (paid_on and paid_on >= self.paid_since)) or (
            self.paid_until and not (paid_on and paid_on <= self.paid_until)
        ):
            return False
        return not self.product or any(map(self._fits, invoice.products))

    def has_other_products(self, invoice: Invoice) -> bool:
        """The store has no amount of each product, so only the whole invoice could be returned."""
        return bool(self.product) and not all(map(self._fits, invoice.products))

    def _fits(self, product: str) -> bool:
        return fnmatchcase(product.casefold(), self._pattern)


@dataclass(slots=True)
class SelectionReport:
    """What was selected; left out, by cause, with the first numbers; and what rounding came to, in minor units."""

    selected: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, list[str]] = field(default_factory=dict)
    rounded: int = 0
    roundings: dict[str, Decimal] = field(default_factory=dict)
    totals: dict[str, Money] = field(default_factory=dict)

    def leave_out(self, cause: str, invoice: Invoice) -> None:
        self.left_out[cause] += 1
        numbers = self.numbers.setdefault(cause, [])
        numbers.extend([invoice.number] if len(numbers) < _NAMED else [])


@dataclass(slots=True)
class SelectedRows:
    """The rows of a plan, as a file would have them. `pages`: the invoices with money left, anew each time."""

    selection: Selection
    pages: Callable[[], Iterable[list[Invoice]]]
    report: SelectionReport = field(default_factory=SelectionReport)

    def rows(self) -> Generator[BulkRow]:
        """Every row in order; the report is of the last time. Raises InvalidAmount."""
        self.report = SelectionReport()
        for page in self.pages():
            for invoice in page:
                row = self._row(invoice) if self.selection.concerns(invoice) else None
                if row:
                    yield row

    def _row(self, invoice: Invoice) -> BulkRow | None:
        selection, report = self.selection, self.report
        if selection.has_other_products(invoice) and not selection.with_other_products:
            report.leave_out("with other products too (--with-other-products includes them)", invoice)
            return None
        if not any(
            payment.auto_refundable is (selection.kind is RunKind.REFUND) and payment.refundable
            for payment in invoice.payments
        ):
            other_command = "mark-refunded" if selection.kind is RunKind.REFUND else "refund"
            report.leave_out(f"for {other_command} (--action {other_command})", invoice)
            return None
        target, rounding = selection.amount_rule.target(invoice.paid)
        amount = min(target.minor - (invoice.paid.minor - invoice.refundable.minor), invoice.refundable.minor)
        if amount <= 0:
            report.leave_out("with as much returned, reserved or lost already", invoice)
            return None
        return self._take(invoice, Money(amount, invoice.currency), rounding)

    def _take(self, invoice: Invoice, amount: Money, rounding: Decimal) -> BulkRow:
        report, selection = self.report, self.selection
        report.selected += 1
        add_to(report.totals, invoice.currency.code, amount)
        if rounding:
            report.rounded += 1
            code = invoice.currency.code
            report.roundings[code] = report.roundings.get(code, Decimal(0)) + rounding
        cells = (invoice.number, amount.number, selection.reason.value, selection.memo)
        return BulkRow(
            report.selected, invoice.number, amount.number, selection.reason, memo=selection.memo, cells=cells
        )
