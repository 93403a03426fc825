"""Cells that a spreadsheet would run, and cells that only look like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundcli.formulas import guarded, unguarded

STARTS = "=+-@\t\r\n\0＝＋－＠"
cells = st.text() | st.text(alphabet=f"{STARTS}'\" a1")


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("before", ["", " ", "\u00a0"])
def test_a_cell_that_would_be_run_is_guarded(before: str, start: str) -> None:
    assert guarded(f"{before}{start}1") == f"'{before}{start}1"


@pytest.mark.parametrize("text", ["", "Ada", "a=b", "1-1", "'Ada", " Ada", '"Ada"', "O'Hara"])
def test_other_cells_are_left_alone(text: str) -> None:
    assert guarded(text) == text
    assert unguarded(text) == text


@pytest.mark.parametrize("text", ['"=1', '"', ' "a"', "'\"=1"])
def test_where_nothing_is_quoted_a_quotation_mark_at_the_start_is_guarded_too(text: str) -> None:
    assert guarded(text, quoted=False) == f"'{text}"


@given(cells)
def test_what_is_read_is_what_was_written(text: str) -> None:
    assert unguarded(guarded(text)) == text


@given(cells)
def test_no_guarded_cell_begins_as_a_formula(text: str) -> None:
    assert not guarded(text).lstrip().startswith(tuple(STARTS))
    assert not guarded(text, quoted=False).lstrip().startswith((*STARTS, '"'))
