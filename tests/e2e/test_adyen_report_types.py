"""Every record type of Adyen's reports, from the report to the next refund: the sums before and after it."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import oracle
from adyen_rows import HEADER, row
from desk import Desk
from oracle import PAID, PART, Ending, Outcome, ending_of, expected, outcome_of
from vendor_codes import adyen_report_types

TYPES = adyen_report_types()
# One of each meaning, for the other layout and for both databases.
SAMPLE = (
    "Refunded", "RefundedExternally", "RefundAuthorised", "SentForRefund", "RefundFailed", "RefundedReversed",
    "CaptureFailed", "Chargeback", "ChargebackReversed", "SecondChargebackExternallyWithInfo", "ManualCorrected",
    "Error", "Fee",
)  # fmt: skip


def reconciled(desk: Desk, rows: Iterable[str], exit_code: int) -> dict[str, Any]:
    path = desk.folder / "report.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    comparison: dict[str, Any] = desk.json(f"reconcile --report {path}", exit_code=exit_code)
    return comparison


def outcomes(words: Iterable[str]) -> dict[str, tuple[int, Outcome]]:
    """The amount of each record type and the expected outcome."""
    by_type = {}
    for word in words:
        expectation, _ = TYPES[word]
        # A capture is compared as a whole; an uncaptured payment counts in full.
        minor = PAID if expectation in ("capture added", "capture cancelled", "capture unchanged") else PART
        by_type[word] = minor, outcome_of(expectation, minor)
    return by_type


def paid(desk: Desk, words: Iterable[str]) -> dict[str, tuple[str, str]]:
    return {
        word: (number, desk.paid_by_card(number, provider="adyen"))
        for place, word in enumerate(words)
        for number in [f"INV-{place:03}"]
    }


def rows_of(invoices: Mapping[str, tuple[str, str]], expectations: Mapping[str, tuple[int, Outcome]]) -> list[str]:
    return [row(word, payment, f"MOD{number}", expectations[word][0]) for word, (number, payment) in invoices.items()]


def by_word(expectations: Mapping[str, tuple[int, Outcome]]) -> dict[str, Outcome]:
    return {word: outcome for word, (_, outcome) in expectations.items()}


def of_effects(*effects: str) -> list[str]:
    return [word for word, (expectation, _) in TYPES.items() if expectation.startswith(effects)]


def test_every_type_that_needs_no_person_ends_in_the_right_sums(sqlite_desk: Desk) -> None:
    desk, expectations = sqlite_desk, outcomes(of_effects("refund", "dispute", "capture"))
    invoices = paid(desk, expectations)
    rows = rows_of(invoices, expectations)
    reconciled(desk, rows, exit_code=3)
    # Applied rows no longer differ, but an external refund still needs a credit note.
    again = {
        (difference["kind"], difference["invoice"]) for difference in reconciled(desk, rows, exit_code=3)["differences"]
    }
    assert again == {("unadopted", invoices[word][0]) for word in of_effects("refund succeeded", "refund pending")}
    oracle.check(desk, invoices, by_word(expectations))


def test_types_that_need_a_person_block_their_payment(sqlite_desk: Desk) -> None:
    desk, expectations = sqlite_desk, outcomes(of_effects("block"))
    invoices = paid(desk, expectations)
    reconciled(desk, rows_of(invoices, expectations), exit_code=8)
    reconciled(desk, rows_of(invoices, expectations), exit_code=8)
    oracle.check(desk, invoices, by_word(expectations))


def test_types_that_say_nothing_and_captures_are_no_difference(sqlite_desk: Desk) -> None:
    desk, expectations = sqlite_desk, outcomes(of_effects("none", "note", "capture added"))
    invoices = paid(desk, expectations)
    reconciled(desk, rows_of(invoices, expectations), exit_code=0)
    oracle.check(desk, invoices, by_word(expectations))


@pytest.mark.parametrize("words", [SAMPLE, [word.upper() for word in SAMPLE]], ids=["as listed", "in capitals"])
def test_a_sample_of_types_on_both_databases(desk: Desk, words: list[str]) -> None:
    expectations = outcomes(SAMPLE)
    invoices = paid(desk, expectations)
    rows = [
        line.replace(word, variant)
        for line, word, variant in zip(rows_of(invoices, expectations), SAMPLE, words, strict=True)
    ]
    reconciled(desk, rows, exit_code=8)
    oracle.check(desk, invoices, by_word(expectations))


def test_a_sample_of_types_in_the_accounting_layout(sqlite_desk: Desk) -> None:
    desk, expectations = sqlite_desk, outcomes(SAMPLE)
    invoices = paid(desk, expectations)
    yesterday = int((datetime.now(UTC) - timedelta(days=1)).timestamp())
    for word, (number, payment) in invoices.items():
        side = TYPES[word][1]
        of = {"side": side} if side != "either" else {}
        desk.sandbox.report_line(word, payment, PART, modification=f"MOD{number}", at=yesterday, **of)
    path = desk.folder / "accounting.csv"
    path.write_text(desk.sandbox.report("payment-accounting"))
    desk.json(f"reconcile --report {path}", exit_code=8)
    oracle.check(desk, invoices, by_word(expectations))


def test_a_row_before_its_invoice_counts_once_the_invoice_is_imported(sqlite_desk: Desk) -> None:
    """A report about none of our payments changes nothing; the same report after the import does."""
    desk, expectations = sqlite_desk, outcomes(SAMPLE)
    payments = [desk.sandbox.charge("100.00 EUR", provider="adyen").reference for _ in expectations]
    invoices = {word: (f"INV-{place:03}", payments[place]) for place, word in enumerate(expectations)}
    rows = rows_of(invoices, expectations)
    reconciled(desk, rows, exit_code=0)
    assert desk.count("dispute") + desk.count("refund") + desk.count("provider_event") == 0
    desk.json(f"invoice import {oracle.invoice_file(desk, invoices.values())}")
    reconciled(desk, rows, exit_code=8)
    oracle.check(desk, invoices, by_word(expectations))


def test_an_amount_in_the_wrong_column_is_never_the_opposite(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    turned = {"debit": "credit", "credit": "debit"}
    words = {word: side for word, (text, side) in TYPES.items() if side in turned and text != "capture added"}
    invoices = paid(desk, words)
    rows = [
        row(word, payment, f"MOD{number}", side=turned[words[word]]) for word, (number, payment) in invoices.items()
    ]
    reconciled(desk, rows, exit_code=8)
    oracle.check(desk, invoices, {word: outcome_of("block") for word in words})


def test_contradictions_in_a_report_block_their_payment(desk: Desk) -> None:
    of: dict[str, dict[str, Any]] = {
        "another currency": {"currency": "USD"},
        "nothing": {"minor": 0},
    }
    invoices = paid(desk, of)
    rows = [row("Refunded", payment, f"MOD{number}", **of[what]) for what, (number, payment) in invoices.items()]
    reconciled(desk, rows, exit_code=8)
    oracle.check(desk, invoices, {what: outcome_of("block") for what in of})


def test_two_disputes_in_a_report_add_up_and_an_event_of_one_counts_once(desk: Desk) -> None:
    (number, payment) = paid(desk, ["both"])["both"]
    rows = [row("SecondChargeback", payment, "FIRST", 3000), row("SecondChargeback", payment, "SECOND", 2000)]
    reconciled(desk, rows, exit_code=3)
    reconciled(desk, rows[:1], exit_code=0)
    ending: Ending = ending_of(desk, number, payment)
    assert ending == expected(Outcome(oracle.Sums(lost=5000, refundable=5000)))
