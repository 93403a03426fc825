"""How much of each selected invoice is returned, and which invoices are left out."""

from decimal import Decimal
from typing import Any

import pytest

from fakes import money, paid_invoice
from refundcli.domain.bulk_run import RunKind
from refundcli.domain.invoice import Invoice
from refundcli.domain.reasons import RefundReason
from refundcli.services.bulk.select_invoices import (
    AmountRule,
    InvalidPercentage,
    SelectedRows,
    Selection,
    parse_percentage,
)

KEEP_TENTH = AmountRule(kept_percent=Decimal(10))


def selected(*invoices: Invoice, rule: AmountRule = KEEP_TENTH, **fields: Any) -> SelectedRows:
    selection = Selection(fields.pop("kind", RunKind.REFUND), rule, RefundReason.OTHER, **fields)
    return SelectedRows(selection, lambda: [list(invoices)])


def amounts(selected_rows: SelectedRows) -> dict[str, str]:
    return {row.invoice: row.amount_text for row in selected_rows.rows()}


@pytest.mark.parametrize(
    ("paid", "rule", "target", "rounding"),
    [
        ("100.00 EUR", AmountRule(), "100.00 EUR", 0),
        ("100.00 EUR", KEEP_TENTH, "90.00 EUR", 0),
        # 8.995 is kept as 9.00: half a cent to the seller.
        ("89.95 EUR", KEEP_TENTH, "80.95 EUR", Decimal("-0.5")),
        ("89.95 EUR", AmountRule(returned_percent=Decimal(10)), "9.00 EUR", Decimal("0.5")),
        ("101 JPY", AmountRule(returned_percent=Decimal(50)), "51 JPY", Decimal("0.5")),
        ("1.001 KWD", AmountRule(returned_percent=Decimal(50)), "0.501 KWD", Decimal("0.5")),
        ("100.00 EUR", AmountRule(kept_amount="5.00"), "95.00 EUR", 0),
        ("3.00 EUR", AmountRule(kept_amount="5.00"), "0.00 EUR", 0),
    ],
)
def test_what_is_returned_in_all(paid: str, rule: AmountRule, target: str, rounding: Decimal) -> None:
    assert rule.target(money(paid)) == (money(target), rounding)


@pytest.mark.parametrize("text", ["0%", "100%", "-5%", "1.234%", "x%", "%", "1e1%", "10"])
def test_a_percentage_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidPercentage):
        parse_percentage("--keep", text)


def test_a_percentage_to_return_needs_no_sign() -> None:
    assert (parse_percentage("--percent", "12.5"), parse_percentage("--keep", "10 %")) == (Decimal("12.5"), Decimal(10))


def test_a_product_pattern_ignores_case_and_leaves_out_other_products() -> None:
    cup = paid_invoice("INV-1", products=("Summer Cup U12",))
    with_kit = paid_invoice("INV-2", products=("Summer Cup U14", "Kit"))
    rows = selected(cup, with_kit, paid_invoice("INV-3", products=("Kit",)), product="summer cup*")
    assert amounts(rows) == {"INV-1": "90.00"}
    assert list(rows.report.numbers.values()) == [["INV-2"]]


def test_an_invoice_paid_outside_is_left_out_of_a_plan_of_refunds() -> None:
    outside = paid_invoice(payment={"provider": None, "references": (), "auto_refundable": False})
    assert amounts(selected(outside)) == {}
    assert amounts(selected(outside, kind=RunKind.MARK_REFUNDED)) == {"INV-1": "90.00"}


def test_what_was_returned_before_counts() -> None:
    partly = paid_invoice(payment={"refunded": money("30.00 EUR")})
    assert amounts(selected(partly)) == {"INV-1": "60.00"}
    mostly = paid_invoice(payment={"refunded": money("90.00 EUR")})
    assert amounts(selected(mostly)) == {}


def test_the_report_is_of_the_last_reading() -> None:
    rows = selected(paid_invoice())
    amounts(rows)
    amounts(rows)
    assert rows.report.selected == 1
