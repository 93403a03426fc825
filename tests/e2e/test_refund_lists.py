"""`refunds list` and `refunds show`."""

from datetime import date

import pytest

from desk import Desk
from refundcli.domain.arrival import expected_arrival


def amounts(desk: Desk, options: str) -> list[str]:
    return [refund["amount"]["amount"] for refund in desk.json(f"refunds list {options}")]


def test_refunds_are_found_by_what_is_known_about_them(desk: Desk) -> None:
    desk.paid_by_card("INV-1")
    desk.paid_outside("INV-2")
    desk.json("refund INV-1 --amount 1 --reason duplicate --yes")
    desk.environ["REFUNDCLI_OPERATOR_NAME"] = "Bob"
    desk.json("mark-refunded INV-2 --amount 12.50 --reason other --yes")
    assert amounts(desk, "") == ["12.50", "1.00"]
    assert amounts(desk, "--operator Bob") == ["12.50"]
    assert amounts(desk, "--state succeeded") == amounts(desk, "--provider stripe") == ["1.00"]
    assert amounts(desk, "--reason Duplicate") == amounts(desk, "--invoice inv-1") == ["1.00"]
    assert amounts(desk, "--amount 12.50") == amounts(desk, "--amount 12.495..13 --currency eur") == ["12.50"]
    assert amounts(desk, "--amount 1..12.50 --since yesterday --until today") == ["12.50", "1.00"]
    assert amounts(desk, "--currency JPY") == amounts(desk, "--run none") == amounts(desk, "--until 2020-01-01") == []
    newest = desk.json("refunds list --limit 1")[0]["id"]
    assert amounts(desk, f"--after {newest}") == ["1.00"]
    desk.refused("refunds list --amount 1,5..2", "invalid-amount", exit_code=2)


def test_a_refund_is_shown_by_each_of_its_ids(desk: Desk) -> None:
    desk.paid_by_card("INV-1")
    refund = desk.json("refund INV-1 --amount 1 --reason duplicate --yes")["refunds"][0]
    names = (refund["id"], refund["provider_reference"], refund["credit_note"]["number"].lower())
    shown = [desk.json(f"refunds show {name}") for name in names]
    assert shown[0] == shown[1] == shown[2]
    actions = [entry["action"] for entry in shown[0]["history"]]
    assert actions == ["refund ready", "refund submitted", "refund succeeded", "credit note issued"]
    assert shown[0]["expected_from"] < shown[0]["expected_until"]
    assert shown[0]["command"] is None
    desk.refused("refunds show rf_none", "refund-not-found", exit_code=5)


@pytest.mark.parametrize(
    ("accepted", "first", "last"),
    [("2026-11-30", "2026-12-07", "2026-12-14"), ("2026-11-28", "2026-12-04", "2026-12-11")],
)
def test_weekends_do_not_count_as_business_days(accepted: str, first: str, last: str) -> None:
    assert expected_arrival(date.fromisoformat(accepted)) == (date.fromisoformat(first), date.fromisoformat(last))
