"""Bulk files of mark-refunded: external refunds, row by row."""

import io
from contextlib import suppress
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundcli.domain.bulk_run import RunKind
from refundcli.domain.reasons import RefundReason
from refundcli.files.bulk.file import BulkFile
from refundcli.files.csv_table import MissingColumn, UnknownColumn
from refundcli.files.source import FileProblem, open_source
from refundcli.services.bulk.rows import BulkRow
from refundcli.services.ports.bad_rows import BadRow, Problem

TODAY = date(2026, 10, 31)
HEADER = "invoice,amount,reason,method,reference,refunded_on,memo,key\n"


def _rows(content: str | bytes) -> list[BulkRow | BadRow]:
    encoded = content.encode() if isinstance(content, str) else content
    with open_source("-", io.BytesIO(encoded)) as source:
        return list(BulkFile(source, RunKind.MARK_REFUNDED, default_reason=None, today=TODAY).rows())


def _row(line: str) -> BulkRow:
    [row] = _rows(HEADER + line + "\n")
    assert isinstance(row, BulkRow), row
    return row


def _problem(line: str) -> Problem:
    [row] = _rows(HEADER + line + "\n")
    assert isinstance(row, BadRow), row
    [problem] = row.problems
    return problem


def test_every_column_is_read() -> None:
    assert _row("INV-1,12.50,Returned Goods,bank transfer,SEPA 7,2026-10-30,as agreed,k-1") == BulkRow(
        line=2,
        invoice="INV-1",
        amount_text="12.50",
        reason=RefundReason.RETURNED_GOODS,
        method="bank transfer",
        reference="SEPA 7",
        refunded_on=date(2026, 10, 30),
        memo="as agreed",
        key="k-1",
        cells=("INV-1", "12.50", "Returned Goods", "bank transfer", "SEPA 7", "2026-10-30", "as agreed", "k-1"),
    )


def test_an_empty_amount_means_all_that_remains() -> None:
    assert _row("INV-1,,duplicate,,,,,").amount_text == ""


def test_only_the_invoice_and_the_reason_are_needed() -> None:
    [row] = _rows("reason,invoice\nother,INV-1\n")
    assert isinstance(row, BulkRow)
    with pytest.raises(MissingColumn, match="reason"):
        _rows("invoice\nINV-1\n")
    with pytest.raises(UnknownColumn) as problem:
        _rows("invoice,reason,amout\n")
    assert "Did you mean amount?" in problem.value.hint


@pytest.mark.parametrize(
    ("line", "column", "code"),
    [
        (",5,other,,,,,", "invoice", "missing"),
        ("INV-1,5,,,,,,", "reason", "unknown-reason"),
        ("INV-1,5,dublicate,,,,,", "reason", "unknown-reason"),
        ('INV-1,"12,50",other,,,,,', "amount", "invalid-amount"),
        ("INV-1,0.00,other,,,,,", "amount", "invalid-amount"),
        ("INV-1,5,other,,,31.10.2026,,", "refunded_on", "invalid-date"),
        ("INV-1,5,other,,,2026-11-01,,", "refunded_on", "refunded-in-future"),
        ("INV-1,5,other,,,,,a key", "key", "invalid-request-key"),
    ],
)
def test_a_wrong_cell_is_named(line: str, column: str, code: str) -> None:
    problem = _problem(line)
    assert (problem.line, problem.column, problem.code) == (2, column, code)
    assert problem.hint


def test_a_refund_of_today_is_recorded() -> None:
    assert _row("INV-1,5,other,,,2026-10-31,,").refunded_on == TODAY


def test_one_key_for_identical_rows_is_valid() -> None:
    assert all(
        isinstance(row, BulkRow) for row in _rows(HEADER + "INV-1,5,other,,,,,k\n" * 1 + "INV-1,5,other,,,,,k\n")
    )


def test_equal_rows_without_a_key_are_no_mistake_of_the_file() -> None:
    assert all(isinstance(row, BulkRow) for row in _rows(HEADER + "INV-1,5,other,,,,,\n" * 2))


@given(st.binary(max_size=300))
def test_no_bytes_crash_it(content: bytes) -> None:
    with suppress(FileProblem):
        for row in _rows(HEADER.encode() + content):
            assert isinstance(row, BulkRow) or row.problems
