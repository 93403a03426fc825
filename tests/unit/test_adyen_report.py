"""Reading Adyen's reports: every row of ours is parsed, kept with its problem, or rejects the file."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest

from refundcli.domain.statuses import RefundState
from refundcli.files.adyen_report.report import AdyenReport, BadReport, NotAReport
from refundcli.files.source import FileProblem, open_source
from refundcli.files.time_zones import time_zone
from refundcli.providers.adyen.vocabulary import REPORT_TYPES, report_meaning
from refundcli.services.ports.vocabulary import Direction, Effect
from refundcli.services.reconciliation.report_rows import ReportRow, RowPart


def columns(names: str) -> list[str]:
    return names.split(",")


SETTLEMENT = columns(
    "Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,Creation Date,TimeZone,Type,"
    "Modification Reference,Gross Currency,Gross Debit (GC),Gross Credit (GC),Modification Merchant Reference"
)
ACCOUNTING = columns(
    "Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,Booking Date,TimeZone,"
    "Main Currency,Main Amount,Record Type,Payment Currency,Received (PC),Authorised (PC),Captured (PC),"
    "Settlement Currency,Payable (SC),Commission (SC),Markup (SC),Scheme Fees (SC),Interchange (SC),"
    "Modification Merchant Reference,Modification Psp Reference"
)
PAYMENT, REFUND = "PAYMENT000000001", "REFUND0000000001"
USUAL = {"Merchant Account": "Shop", "Psp Reference": PAYMENT, "TimeZone": "CET"}


class Reader:
    """Writes a report into a file, and reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def report(self, header: Sequence[str], *rows: dict[str, str]) -> AdyenReport:
        lines = [",".join(header), *(",".join(row.get(name, "") for name in header) for row in rows)]
        path = self.folder / "report.csv"
        path.write_text("\n".join(lines) + "\n")
        with open_source(str(path), BytesIO()) as source:
            return AdyenReport(source, account="Shop", meaning_of=report_meaning)

    def rows(self, header: Sequence[str], *rows: dict[str, str]) -> list[ReportRow]:
        with self.report(header, *rows) as report:
            return [row for _, group in report.by_payment() for row in group]

    def row(self, header: Sequence[str], row: dict[str, str]) -> ReportRow:
        (parsed,) = self.rows(header, row)
        return parsed


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def settled(word: str, *, debit: str = "", credit: str = "", **of: str) -> dict[str, str]:
    cells = {"Type": word, "Creation Date": "2026-11-02 10:00:00", "Modification Reference": REFUND}
    amounts = {"Gross Currency": "EUR", "Gross Debit (GC)": debit, "Gross Credit (GC)": credit}
    return USUAL | cells | amounts | of


def booked(word: str, amount: str, **of: str) -> dict[str, str]:
    cells = {"Record Type": word, "Booking Date": "2026-11-02 10:00:00", "Modification Psp Reference": REFUND}
    return USUAL | cells | {"Main Currency": "EUR", "Main Amount": amount, "Payment Currency": "EUR"} | of


# --- what a row says -----------------------------------------------------------------------------------------------


def test_a_refund_of_the_settlement_report_is_read_with_its_references(reader: Reader) -> None:
    row = reader.row(SETTLEMENT, settled("Refunded", debit="10.00", **{"Modification Merchant Reference": "rf_x"}))
    assert (row.word, row.payment_reference, row.modification_reference) == ("Refunded", PAYMENT, REFUND)
    assert (row.merchant_reference, str(row.amount), row.problem) == ("rf_x", "10.00 EUR", "")
    assert row.booked_at == datetime(2026, 11, 2, 9, tzinfo=UTC)
    assert row.meaning is not None
    assert row.meaning.refund is RefundState.SUCCEEDED


def test_a_refund_of_the_accounting_report_is_read_with_its_references(reader: Reader) -> None:
    cells = {"Captured (PC)": "-10.00", "Modification Merchant Reference": "rf_x"}
    row = reader.row(ACCOUNTING, booked("SentForRefund", "10.00", **cells))
    assert (row.modification_reference, row.merchant_reference) == (REFUND, "rf_x")
    assert (str(row.amount), row.part, row.needs_review) == ("10.00 EUR", RowPart.SENT, "")


@pytest.mark.parametrize("word", [word for word, meaning in REPORT_TYPES.items() if meaning.effect is not Effect.NONE])
def test_every_listed_type_is_read_in_both_reports(reader: Reader, word: str) -> None:
    meaning = REPORT_TYPES[word]
    side = "credit" if meaning.direction is Direction.CREDIT else "debit"
    for row in (
        reader.row(SETTLEMENT, settled(word, **{side: "10.00"})),
        reader.row(ACCOUNTING, booked(word, "10.00")),
    ):
        assert (row.word, row.meaning, str(row.amount), row.problem) == (word, meaning, "10.00 EUR", "")


def test_a_dispute_has_its_own_reference(reader: Reader) -> None:
    row = reader.row(SETTLEMENT, settled("Chargeback", debit="10.00", **{"Modification Reference": "DISPUTE1"}))
    assert (row.effect, row.modification_reference) == (Effect.DISPUTE, "DISPUTE1")


def test_a_capture_that_names_only_its_payment_has_no_reference(reader: Reader) -> None:
    row = reader.row(SETTLEMENT, settled("Settled", credit="10.00", **{"Modification Reference": PAYMENT}))
    assert row.modification_reference == ""


def test_an_unlisted_type_is_read_with_its_name(reader: Reader) -> None:
    row = reader.row(SETTLEMENT, settled("RefundedByPigeon", credit="12;x", **{"Gross Currency": "?"}))
    assert (row.word, row.meaning, row.amount) == ("RefundedByPigeon", None, None)
    assert "RefundedByPigeon" in row.needs_review


def test_a_type_that_needs_a_person_needs_review(reader: Reader) -> None:
    row = reader.row(SETTLEMENT, settled("ManualCorrected", debit="10.00"))
    assert (row.effect, bool(row.needs_review), row.problem) == (Effect.BLOCK, True, "")


def test_rows_of_others_are_counted_apart_and_may_be_unreadable(reader: Reader) -> None:
    foreign = settled("RefundedByPigeon", debit="x", **{"Merchant Account": "Other", "TimeZone": "?"})
    with reader.report(SETTLEMENT, foreign, foreign) as report:
        assert (report.rows, report.account_rows, report.other_account_rows) == (0, 0, 2)
        assert (report.first, list(report.by_payment())) == (None, [])


def test_rows_about_no_payment_or_no_refund_are_counted_apart(reader: Reader) -> None:
    fee = settled("Fee", debit="0.22", **{"Psp Reference": ""})
    paid_out, pigeon = settled("PaidOut", debit="1.00"), settled("FeeByPigeon", debit="1.00", **{"Psp Reference": ""})
    with reader.report(SETTLEMENT, fee, paid_out, pigeon, settled("Refunded", debit="1.00")) as report:
        assert (report.rows, report.account_rows, report.unrelated_rows) == (1, 4, 3)


def test_rows_come_by_payment_and_in_the_order_of_the_file(reader: Reader) -> None:
    payments = ["B", "A", "B"]
    rows = [settled("Refunded", debit="1.00", **{"Psp Reference": payment}) for payment in payments]
    with reader.report(SETTLEMENT, *rows) as report:
        assert [(payment, [row.line for row in group]) for payment, group in report.by_payment()] == [
            ("A", [3]),
            ("B", [2, 4]),
        ]
        assert report.has(["A", "C"]) == {"A"}


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("SentForSettle", RowPart.SENT),
        ("Settled", RowPart.DONE),
        ("SettledInstallment", RowPart.INSTALMENT),
        ("RefundedInInstallments", RowPart.WHOLE),
    ],
)
def test_a_row_says_which_part_of_a_capture_or_refund_it_is(reader: Reader, word: str, part: RowPart) -> None:
    assert reader.row(ACCOUNTING, booked(word, "1.00")).part is part


# --- amounts and their direction -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word", [word for word, report_type in REPORT_TYPES.items() if report_type.direction is Direction.DEBIT]
)
def test_money_going_out_in_the_credit_column_is_a_contradiction(reader: Reader, word: str) -> None:
    row = reader.row(SETTLEMENT, settled(word, credit="10.00"))
    assert word in row.problem
    assert "Gross Credit (GC)" in row.problem


@pytest.mark.parametrize(
    "word", [word for word, report_type in REPORT_TYPES.items() if report_type.direction is Direction.CREDIT]
)
def test_money_coming_in_in_the_debit_column_is_a_contradiction(reader: Reader, word: str) -> None:
    row = reader.row(SETTLEMENT, settled(word, debit="10.00"))
    assert word in row.problem
    assert "Gross Debit (GC)" in row.problem


ODD: dict[str, tuple[dict[str, str], str]] = {
    "a debit and a credit": (settled("Refunded", debit="1.00", credit="1.00"), "a debit and a credit"),
    "a negative debit": (settled("Refunded", debit="-1.00"), "negative amount in Gross Debit (GC)"),
    "no amount": (settled("Refunded"), "no amount"),
    "zero": (settled("Chargeback", debit="0.00"), "no amount"),
    "no number": (settled("Refunded", debit="1e3"), "1e3, which is not an amount in EUR"),
    "too fine for yen": (settled("Refunded", debit="1.5", **{"Gross Currency": "JPY"}), "not an amount in JPY"),
    "too fine for ISK": (settled("Refunded", debit="12.50", **{"Gross Currency": "ISK"}), "not an amount in ISK"),
    "no currency": (settled("Refunded", debit="1.00", **{"Gross Currency": ""}), "The currency is missing"),
    "no refund": (settled("Refunded", debit="1.00", **{"Modification Reference": ""}), "which refund"),
    "of the payment": (settled("Refunded", debit="1.00", **{"Modification Reference": PAYMENT}), "which refund"),
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_row_of_a_payment_is_read_with_its_problem(reader: Reader, what: str) -> None:
    cells, why = ODD[what]
    good = settled("Refunded", debit="1.00", **{"Psp Reference": "ANOTHERPAYMENT01"})
    foreign, row = sorted(reader.rows(SETTLEMENT, cells, good), key=lambda parsed: parsed.payment_reference)
    assert (row.payment_reference, foreign.problem) == (PAYMENT, "")
    assert why in row.problem
    assert row.needs_review == row.problem


@pytest.mark.parametrize("cell", ["10", "10.", "10.0", "+10.00", "10.0000"])
def test_an_amount_is_read_exactly_however_many_zeros_it_has(reader: Reader, cell: str) -> None:
    assert str(reader.row(SETTLEMENT, settled("Refunded", debit=cell)).amount) == "10.00 EUR"


@pytest.mark.parametrize("amount", ["10.00", "-10.00"])
def test_a_refund_may_be_negative_in_the_accounting_report(reader: Reader, amount: str) -> None:
    row = reader.row(ACCOUNTING, booked("Refunded", amount, **{"Captured (PC)": "10.00", "Payable (SC)": "-10.25"}))
    assert (str(row.amount), row.problem) == ("10.00 EUR", "")


CONTRADICTIONS: dict[str, tuple[dict[str, str], str]] = {
    "a negative capture": (booked("Settled", "-10.00"), "negative in Main Amount"),
    "a capture that takes away": (booked("SentForSettle", "10.00", **{"Captured (PC)": "-10.00"}), "Captured (PC)"),
    "a refund that adds": (booked("SentForRefund", "10.00", **{"Captured (PC)": "10.00"}), "Captured (PC)"),
    "two amounts": (booked("SentForRefund", "10.00", **{"Captured (PC)": "-9.00"}), "changes Captured (PC) by -9.00"),
    "no number": (booked("SentForRefund", "10.00", **{"Captured (PC)": "x"}), "not an amount"),
    "a refund that pays out": (booked("Refunded", "10.00", **{"Payable (SC)": "10.00"}), "Payable (SC)"),
    "a settlement that takes": (booked("Settled", "10.00", **{"Payable (SC)": "-10.00"}), "Payable (SC)"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_record_whose_sums_say_the_opposite_is_a_contradiction(reader: Reader, what: str) -> None:
    cells, why = CONTRADICTIONS[what]
    assert why in reader.row(ACCOUNTING, cells).problem


def test_fees_may_be_more_than_a_small_payment(reader: Reader) -> None:
    cells = booked("Settled", "0.10", **{"Payable (SC)": "-0.15", "Commission (SC)": "0.25"})
    assert reader.row(ACCOUNTING, cells).problem == ""


def test_without_a_main_amount_the_captured_sum_is_the_amount(reader: Reader) -> None:
    header = [name for name in ACCOUNTING if not name.startswith("Main")]
    row = reader.row(header, booked("SentForRefund", "", **{"Captured (PC)": "-10.00"}))
    assert (str(row.amount), row.problem) == ("10.00 EUR", "")
    wrong = reader.row(header, booked("SentForRefund", "", **{"Captured (PC)": "10.00"}))
    assert "Captured (PC)" in wrong.problem


# --- the file ------------------------------------------------------------------------------------------------------

DAMAGED: dict[str, tuple[dict[str, str], str]] = {
    "no payment": (settled("Refunded", debit="1.00", **{"Psp Reference": ""}), "payment's reference is missing"),
    "no date": (settled("Refunded", debit="1.00", **{"Creation Date": "soon"}), "not a date and time"),
    "no zone": (settled("Refunded", debit="1.00", **{"TimeZone": ""}), "The time zone is missing"),
    "an unknown zone": (settled("RefundedByPigeon", **{"TimeZone": "IST"}), "IST is not a known time zone"),
    "a cell too many": (settled("Refunded", debit="1,00"), "14 cells where the header has 13"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_is_refused_whole_and_names_the_line(reader: Reader, what: str) -> None:
    cells, why = DAMAGED[what]
    with pytest.raises(BadReport) as refused:
        reader.report(SETTLEMENT, settled("Refunded", debit="1.00"), cells)
    assert "line 3" in refused.value.message
    assert why in refused.value.message


def test_a_file_of_which_most_rows_are_odd_is_refused_whole(reader: Reader) -> None:
    odd, good = settled("Refunded", debit="1.005"), settled("Refunded", debit="1.00")
    with pytest.raises(BadReport, match="30 rows"):
        reader.report(SETTLEMENT, *[odd] * 30, *[good] * 29)
    with reader.report(SETTLEMENT, *[odd] * 30, *[good] * 30) as report:
        assert report.rows == 60


@pytest.mark.parametrize("missing", ["Modification Psp Reference", "TimeZone", "Booking Date", "Merchant Account"])
def test_an_accounting_report_that_lacks_a_column_is_refused_by_its_name(reader: Reader, missing: str) -> None:
    with pytest.raises(NotAReport) as refused:
        reader.report([name for name in ACCOUNTING if name != missing])
    assert re.search(rf"lacks (?:the column )?{missing}[.,]", refused.value.message)


@pytest.mark.parametrize("missing", ["Modification Reference", "Gross Credit (GC)", "Gross Currency", "Type"])
def test_a_settlement_report_that_lacks_a_column_is_refused_by_its_name(reader: Reader, missing: str) -> None:
    with pytest.raises(NotAReport) as refused:
        reader.report([name for name in SETTLEMENT if name != missing])
    assert f"lacks {missing}." in refused.value.message


OTHERS = {
    "disputes": ("Merchant Account,Psp Reference,Record Date,Record Type,Dispute Amount", "Main Amount"),
    "received payments": ("Merchant Account,Psp Reference,Creation Date,TimeZone,Currency,Amount,Type", "Gross Debit"),
    "balance platform": ("BalancePlatform,Type,Booking Date,Booking Date TimeZone,Amount", "Merchant Account"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_reports_are_refused_by_what_they_lack(reader: Reader, what: str) -> None:
    header, lacking = OTHERS[what]
    with pytest.raises(NotAReport) as refused:
        reader.report(columns(header))
    assert lacking in refused.value.message


def test_two_columns_of_one_name_are_refused(reader: Reader) -> None:
    with pytest.raises(FileProblem, match="two of its columns are called Psp Reference"):
        reader.report([*SETTLEMENT, "Psp Reference"])


def test_a_booking_date_is_in_its_own_zone(reader: Reader) -> None:
    header = [*SETTLEMENT, "Booking Date", "Booking Date TimeZone"]
    cells = {"Booking Date": "2026-11-03 10:00:00", "Booking Date TimeZone": "PST"}
    assert reader.row(header, settled("Refunded", debit="1.00", **cells)).booked_at.hour == 18


# --- time zones ----------------------------------------------------------------------------------------------------

ZONES = {
    **{"UTC": 10, "GMT": 10, "BST": 9, "CET": 9, "CEST": 8, "EET": 8, "EEST": 7},
    **{"EST": 15, "EDT": 14, "CST": 16, "CDT": 15, "PST": 18, "PDT": 17, "BRT": 13},
    **{"SGT": 2, "JST": 1, "AEST": 0, "Europe/Amsterdam": 8, "America/New_York": 14, "US/Pacific": 17},
    **{"+02:00": 8, "UTC-3": 13, "GMT+0200": 8},
}


@pytest.mark.parametrize("zone", ZONES)
def test_a_time_is_read_in_the_zone_that_is_named(reader: Reader, zone: str) -> None:
    cells = {"Creation Date": "2026-07-15 10:00:00", "TimeZone": zone}
    row = reader.row(SETTLEMENT, settled("Refunded", debit="1.00", **cells))
    assert row.booked_at == datetime(2026, 7, 15, ZONES[zone], tzinfo=UTC)


@pytest.mark.parametrize(
    "name",
    ["", "IST", "XYZ", "Europe/Atlantis", "America", "America/Argentina", "../etc/passwd", "/etc/localtime", "+25"],
)
def test_an_unknown_zone_is_none_and_not_utc(name: str) -> None:
    assert time_zone(name) is None


def test_a_time_with_its_own_offset_needs_no_zone(reader: Reader) -> None:
    cells = {"Creation Date": "2026-07-15T10:00:00+02:00", "TimeZone": ""}
    assert reader.row(SETTLEMENT, settled("Refunded", debit="1.00", **cells)).booked_at.hour == 8
