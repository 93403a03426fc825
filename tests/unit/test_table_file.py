"""CSV tables: every record is read or reported, and a bad record does not stop the rest."""

import io
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundcli.files import csv_table
from refundcli.files.csv_table import (
    LONGEST_CELL,
    BrokenHeader,
    DuplicateColumn,
    MissingColumn,
    TableFile,
    TableRow,
    UnknownColumn,
    WrongDelimiter,
)
from refundcli.files.duplicate_index import DuplicateIndex
from refundcli.files.source import EmptyFile, FileProblem, open_source
from refundcli.services.ports.bad_rows import BadRow

KNOWN = ("number", "customer", "total")


def _read(content: str | bytes, *, required: tuple[str, ...] = ("number",)) -> list[TableRow | BadRow]:
    encoded = content.encode() if isinstance(content, str) else content
    with open_source("-", io.BytesIO(encoded)) as source:
        return list(TableFile(source, columns=KNOWN, required=required).rows())


def _bad(content: str) -> BadRow:
    [bad] = [row for row in _read(content) if isinstance(row, BadRow)]
    return bad


def _good(content: str) -> list[TableRow]:
    return [row for row in _read(content) if not isinstance(row, BadRow)]


def test_the_order_of_the_header_is_free_and_its_case_too() -> None:
    assert _read("Total, NUMBER\n5,INV-1\n") == [(2, ["5", "INV-1"])]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_is_read(end: str) -> None:
    assert _read(end.join(["number,total", "A,1", "B,2", ""])) == [(2, ["A", "1"]), (3, ["B", "2"])]


def test_a_byte_order_mark_is_not_part_of_the_first_column() -> None:
    assert _read("\ufeffnumber,total\nA,1\n") == [(2, ["A", "1"])]


def test_a_quoted_cell_keeps_its_newlines_and_later_lines_their_numbers() -> None:
    assert _read('number,customer\nA,"one\r\ntwo"\nB,x\n') == [(2, ["A", "one\r\ntwo"]), (4, ["B", "x"])]


def test_blank_lines_and_rows_of_nothing_are_passed_over() -> None:
    assert _read("number,total\n\n  ,\n,\nA,1\n\n") == [(5, ["A", "1"])]


@pytest.mark.parametrize("content", ["", "\n\n", " \n", "\ufeff"])
def test_an_empty_file_is_said_to_be_empty(content: str) -> None:
    with pytest.raises(EmptyFile):
        _read(content)


def test_a_header_alone_has_no_rows() -> None:
    assert _read("number\n") == []


def test_an_unknown_column_names_its_nearest_neighbour() -> None:
    with pytest.raises(UnknownColumn, match="'custumer' is not known") as problem:
        _read("number,custumer\n")
    assert "Did you mean customer?" in problem.value.hint


def test_a_column_without_a_name_is_refused() -> None:
    with pytest.raises(UnknownColumn, match="has no name"):
        _read("number,\n")


def test_a_column_that_is_there_twice_is_refused() -> None:
    with pytest.raises(DuplicateColumn, match="number"):
        _read("number,total,Number\n")


def test_missing_columns_are_all_named() -> None:
    with pytest.raises(MissingColumn, match="the columns number, total are missing"):
        _read("customer\n", required=("number", "total"))


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_another_delimiter_is_named(mark: str, word: str) -> None:
    with pytest.raises(WrongDelimiter, match=word):
        _read(f"number{mark}total\n")


def test_a_header_that_cannot_be_read_says_why() -> None:
    with pytest.raises(BrokenHeader, match="quotation mark"):
        _read('"number\n')


def test_a_nul_byte_is_reported_with_its_column() -> None:
    bad = _bad("number,customer\nA,x\0y\nB,z\n")
    assert (bad.line, bad.problems[0].column, bad.problems[0].code) == (2, "customer", "nul-byte")


def test_a_row_with_too_many_cells_is_reported_and_the_next_one_read() -> None:
    content = "number,customer\nA,Acme, Inc\nB,x\n"
    assert _bad(content).problems[0].hint == "Put a cell that contains a comma in quotation marks."
    assert _good(content) == [(3, ["B", "x"])]


def test_a_row_with_too_few_cells_names_the_first_missing_one() -> None:
    problem = _bad("number,customer,total\nA\n").problems[0]
    assert (problem.code, problem.column) == ("wrong-cell-count", "customer")


def test_a_cell_of_a_megabyte_is_reported_and_the_next_row_read() -> None:
    content = "number,customer\nA," + "x" * 1_000_000 + "\nB,y\n"
    problem = _bad(content).problems[0]
    assert (problem.line, problem.column, problem.code) == (2, "customer", "too-long")
    assert len(problem.value) <= 100
    assert _good(content) == [(3, ["B", "y"])]


def test_a_record_of_many_megabytes_is_reported_and_the_next_row_read() -> None:
    content = "number,customer\nA," + "x" * 5_000_000 + "\nB,y\n"
    assert _bad(content).problems[0].code == "too-long"
    assert _good(content) == [(3, ["B", "y"])]


def test_the_longest_cell_that_is_allowed_is_read() -> None:
    assert len(_good("number,customer\nA," + "x" * LONGEST_CELL + "\n")[0][1][1]) == LONGEST_CELL


def test_an_unclosed_quotation_mark_is_reported_where_it_opens() -> None:
    problem = _bad('number,customer\nA,x\nB,"open\nC,y\nD,z\n').problems[0]
    assert (problem.line, problem.column, problem.code) == (3, "customer", "unclosed-quote")
    assert "line 5" in problem.message


def test_text_after_a_closing_quotation_mark_is_reported() -> None:
    content = 'number,customer\nA,"5" pipe"\nB,y\n'
    assert _bad(content).problems[0].code == "stray-quote"
    assert _good(content) == [(3, ["B", "y"])]


def test_lines_inside_a_broken_cell_never_pass_for_rows() -> None:
    content = 'number,customer\nA,"x" y,"in\nside,1\n"\nB,z\n'
    assert _bad(content).line == 2
    assert _good(content) == [(5, ["B", "z"])]


def test_the_columns_of_a_rejection_are_passed_over() -> None:
    with open_source("-", io.BytesIO(b"line,number,error,total,hint\n7,A,why,5,so\n")) as source:
        table = TableFile(source, columns=KNOWN, required=("number",))
        assert table.columns == ("number", "total")
        assert list(table.rows()) == [(2, ["A", "5"])]


@pytest.mark.parametrize("row", ["'=1+1,x", "''=1+1,x", "' =1,x", "'＝1,x"])
def test_a_guard_against_formulas_is_taken_off_again(row: str) -> None:
    assert _good(f"number,customer\n{row}\n") == [(2, [row[1:].removesuffix(",x"), "x"])]


@pytest.mark.parametrize("row", ["'=1", "'=1,x,y,z", '\'=1,"x"y'])
def test_a_broken_row_loses_its_guard_when_read_and_regains_it_when_written(row: str) -> None:
    assert _bad(f"number,customer\n{row}\n").original[0].startswith("=1")


def test_the_same_rows_come_each_time(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("number\nA\nB\n")
    with open_source(str(path), io.BytesIO()) as source:
        table = TableFile(source, columns=KNOWN, required=("number",))
        assert list(table.rows()) == list(table.rows())


@given(st.binary(max_size=300))
def test_no_bytes_crash_it(content: bytes) -> None:
    with suppress(FileProblem):
        _read(b"number,customer\n" + content)


_HOSTILE = st.text(alphabet='ab,"\r\n \0;é', max_size=80)


@given(_HOSTILE)
def test_every_row_is_good_or_bad_and_lines_only_go_up(content: str) -> None:
    rows = _read("number,customer\n" + content)
    lines = [row.line if isinstance(row, BadRow) else row[0] for row in rows]
    assert lines == sorted(set(lines))
    assert all(row.problems if isinstance(row, BadRow) else len(row[1]) == 2 for row in rows)


@given(_HOSTILE)
def test_a_good_row_is_never_lost_behind_a_closed_bad_one(content: str) -> None:
    closed = content.replace('"', "")
    assert _read(f"number,customer\n{closed}\nLAST,row\n")[-1][-1:] == (["LAST", "row"],)  # type: ignore[index]


@given(_HOSTILE, st.integers(1, 40))
def test_a_file_read_in_blocks_has_the_rows_that_it_has_record_by_record(content: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_table, "_BLOCK", size)
        in_blocks = _read("number,customer\n" + content)
        patch.undo()
        patch.setattr(TableFile, "_one_on_each_line", lambda *_: None)
        assert in_blocks == _read("number,customer\n" + content)


def test_it_is_remembered_where_each_text_was_first_seen() -> None:
    index = DuplicateIndex()
    assert [index.line_of(f"INV-{n}", n) for n in range(1, 5001)] == [0] * 5000
    assert [index.line_of(f"INV-{n}", 9999) for n in range(1, 5001)] == list(range(1, 5001))
