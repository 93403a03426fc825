"""Rows for spreadsheets and pipes."""

import csv
import io
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundcli.domain.errors import Family
from refundcli.output.delimited import Dialect, cell_text, write_rows

BOTH: list[Dialect] = ["csv", "tsv"]


def _written(
    rows: Sequence[Sequence[object]],
    *,
    columns: Sequence[str] = ("a", "b"),
    dialect: Dialect = "csv",
    header: bool = False,
    text_columns: Collection[str] | None = None,
) -> str:
    stream = io.StringIO()
    write_rows(stream, columns, rows, dialect=dialect, header=header, text_columns=text_columns)
    return stream.getvalue()


def test_csv_quotes_what_holds_a_separator() -> None:
    assert _written([("x,y", 'say "hi"')], header=True) == 'a,b\n"x,y","say ""hi"""\n'


def test_tsv_has_no_quotes_and_no_box() -> None:
    assert _written([("x y", 'say "hi"')], dialect="tsv", header=True) == 'a\tb\nx y\tsay "hi"\n'


def test_the_header_is_left_out_when_not_wanted() -> None:
    assert _written([("x", "y")], dialect="tsv") == "x\ty\n"


def test_without_rows_only_the_header_is_written() -> None:
    assert _written([], header=True) == "a,b\n"


def test_tsv_shows_tabs_and_newlines_as_escapes() -> None:
    assert _written([("x\ty", "1\n2\x1b")], dialect="tsv") == "x\\ty\t1\\n2\\x1b\n"


def test_csv_quotes_the_lines_of_a_memo() -> None:
    assert _written([("1\r\n2", "\x1b[2K")]) == '"1\n2",\\x1b[2K\n'


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "＝1"])
def test_a_text_that_would_be_run_is_guarded(dialect: Dialect, text: str) -> None:
    assert _written([(text, "")], dialect=dialect).lstrip('"').startswith(f"'{text[0]}")


def test_a_negative_amount_stays_a_number() -> None:
    assert _written([("-12.50", "-12.50")], text_columns={"b"}) == "-12.50,'-12.50\n"


def test_what_is_no_number_is_guarded_in_a_number_s_column_too() -> None:
    assert _written([("-1+cmd()", "=2")], text_columns=set()) == "'-1+cmd(),'=2\n"


def test_a_whole_number_needs_no_guard_anywhere() -> None:
    assert _written([(-5, 7)]) == "-5,7\n"


def test_a_column_s_name_is_guarded_like_any_text() -> None:
    assert _written([], columns=("=a", "b"), header=True) == "'=a,b\n"


def test_values_are_written_as_scripts_read_them() -> None:
    moment = datetime(2026, 10, 2, 12, 3, tzinfo=UTC)
    assert cell_text(None) == ""
    assert cell_text(True) == "true"
    assert cell_text(False) == "false"
    assert cell_text(moment) == "2026-10-02T12:03:00Z"
    assert cell_text(date(2026, 10, 2)) == "2026-10-02"
    assert cell_text(["Season pass", "Kit"]) == "Season pass;Kit"
    assert cell_text(Family.NOT_FOUND) == "not-found"


def test_a_row_of_the_wrong_length_is_a_bug() -> None:
    with pytest.raises(ValueError, match="argument"):
        _written([("only one",)])


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_every_row_is_one_line_of_tsv(rows: list[tuple[str, str]]) -> None:
    lines = _written(rows, dialect="tsv").split("\n")
    assert [line.count("\t") for line in lines] == [1] * len(rows) + [0]


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_csv_reads_back_with_the_same_cells_and_none_that_runs(rows: list[tuple[str, str]]) -> None:
    back = list(csv.reader(io.StringIO(_written(rows), newline="")))
    assert [len(row) for row in back] == [2] * len(rows)
    assert not any(cell.startswith(tuple("=+-@\t\r\n")) for row in back for cell in row)


nasty = st.text() | st.text(alphabet="\"'=+-@,;\t\r\n a1")


@given(st.lists(st.tuples(nasty, nasty), min_size=1))
@pytest.mark.parametrize(("dialect", "reader"), [("csv", "excel"), ("tsv", "excel-tab")])
def test_a_spreadsheet_reads_back_every_row_and_no_formula(
    dialect: Dialect, reader: str, rows: list[tuple[str, str]]
) -> None:
    back = list(csv.reader(io.StringIO(_written(rows, dialect=dialect), newline=""), dialect=reader))
    assert [len(row) for row in back] == [2] * len(rows)
    assert not any(cell.lstrip().startswith(tuple("=+-@\t\r\n")) for row in back for cell in row)


def test_a_quotation_mark_in_tsv_exposes_no_formula_and_merges_no_rows() -> None:
    written = _written([('"=HYPERLINK(1)', "x"), ("y", "z")], dialect="tsv")
    assert list(csv.reader(io.StringIO(written), dialect="excel-tab")) == [["'\"=HYPERLINK(1)", "x"], ["y", "z"]]
