"""Adyen's report files as the sandbox writes them."""

from __future__ import annotations

import csv
import io
import socket
import urllib.request
from collections.abc import Iterator

import pytest

from refundcli.sandbox.adyen.reports import Kind, report
from refundcli.sandbox.core.records import Entry
from refundcli.sandbox.server import bind
from refundcli.sandbox.testing import RunningSandbox


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSandbox]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with RunningSandbox(merchant_account="Shop") as running:
        yield running


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def steps(sandbox: RunningSandbox, refund: str) -> list[str]:
    report = rows(sandbox.report("payment-accounting"))
    return [row["Record Type"] for row in report if row["Modification Psp Reference"] == refund]


def test_amounts_are_in_major_units_with_adyens_decimals(sandbox: RunningSandbox) -> None:
    for amount in ("10 CLP", "10 JPY", "12.34 EUR", "1.234 KWD", "10 ISK"):
        sandbox.charge(amount, provider="adyen")
    amounts = [
        row["Main Amount"] for row in rows(sandbox.report("payment-accounting")) if row["Record Type"] == "Settled"
    ]
    assert sorted(amounts) == ["1.234", "10", "10.00", "10.00", "12.34"]


def test_a_refund_is_sent_and_then_made(sandbox: RunningSandbox) -> None:
    paid = sandbox.charge("10.00 EUR", provider="adyen", merchant_reference="INV-7")
    refund_id = sandbox.dashboard_refund(paid.reference, 400)
    assert steps(sandbox, refund_id) == ["SentForRefund", "Refunded"]
    (row,) = (row for row in rows(sandbox.report("settlement-details")) if row["Type"] == "Refunded")
    assert (row["Psp Reference"], row["Modification Reference"]) == (paid.reference, refund_id)
    assert (row["Gross Debit (GC)"], row["Gross Credit (GC)"], row["Net Debit (NC)"]) == ("4.00", "", "4.00")
    assert (row["Merchant Account"], row["Merchant Reference"]) == ("Shop", "INV-7")


def test_a_reversed_refund_has_its_record_type(sandbox: RunningSandbox) -> None:
    paid = sandbox.charge("10.00 EUR", provider="adyen")
    failed, turned = (sandbox.dashboard_refund(paid.reference, 400) for _ in range(2))
    sandbox.settle(failed, event="REFUND_FAILED")
    sandbox.settle(turned, event="REFUNDED_REVERSED")
    assert steps(sandbox, failed) == ["SentForRefund", "RefundFailed"]
    assert steps(sandbox, turned) == ["SentForRefund", "Refunded", "RefundedReversed"]


def test_a_refund_that_was_refused_is_not_in_the_report(sandbox: RunningSandbox) -> None:
    paid = sandbox.charge("10.00 EUR", provider="adyen")
    refused = sandbox.dashboard_refund(paid.reference, 400)
    sandbox.settle(refused, success=False, reason="Refused")
    assert steps(sandbox, refused) == []


def test_disputes_are_in_both_reports(sandbox: RunningSandbox) -> None:
    paid = sandbox.charge("10.00 EUR", provider="adyen")
    sandbox.dispute(paid.reference, "under_review", 600)
    sandbox.dispute(paid.reference, "won")
    expected = [("Chargeback", "6.00", ""), ("ChargebackReversed", "", "6.00")]
    report = rows(sandbox.report("settlement-details"))
    assert [(row["Type"], row["Gross Debit (GC)"], row["Gross Credit (GC)"]) for row in report][1:] == expected
    assert [row["Record Type"] for row in rows(sandbox.report("payment-accounting"))][4:] == [w[0] for w in expected]


@pytest.mark.parametrize("kind", ["payment-accounting", "settlement-details"])
def test_a_report_is_served(sandbox: RunningSandbox, kind: Kind) -> None:
    for _ in range(300):
        sandbox.charge("10.00 EUR", provider="adyen")
    with urllib.request.urlopen(f"{sandbox.url}/_sandbox/reports/{kind}.csv") as answer:
        assert answer.headers["Content-Type"].startswith("text/csv")
        assert answer.read().decode() == sandbox.report(kind)


def test_times_have_their_zone() -> None:
    summer, winter = 1_783_000_000, 1_795_000_000
    entries = [
        Entry("Refunded", at, "Shop", "P" * 16, "INV-1", 1000, "EUR", modification="R" * 16) for at in (summer, winter)
    ]
    lines = "".join(report("settlement-details", entries))
    dates = [(row["Creation Date"], row["TimeZone"]) for row in rows(lines)]
    assert dates == [("2026-07-02 15:46:40", "CEST"), ("2026-11-18 12:06:40", "CET")]


def test_answers_are_not_held_back() -> None:
    """asyncio disables Nagle's algorithm only if it knows that the protocol is TCP."""
    with bind(0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
