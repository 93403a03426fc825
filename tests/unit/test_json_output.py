"""JSON for scripts."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundcli.domain.errors import Family
from refundcli.output.json import dump, dump_lines, dump_list, iso, money_fields


def _dumped(value: object) -> str:
    stream = io.StringIO()
    dump(value, stream)
    return stream.getvalue()


def test_a_document_ends_with_a_newline() -> None:
    assert _dumped([]) == "[]\n"
    assert _dumped({"a": 1}) == '{\n  "a": 1\n}\n'


def test_lines_are_written_as_the_values_come() -> None:
    stream = io.StringIO()

    def values() -> Iterator[object]:
        yield {"n": 1}
        assert stream.getvalue() == '{"n": 1}\n'
        yield {"n": "two\nlines"}

    dump_lines(values(), stream)
    assert stream.getvalue() == '{"n": 1}\n{"n": "two\\nlines"}\n'


@pytest.mark.parametrize("values", [[], [{"a": 1}], [{"a": [1, {"b": "two\nlines\u2028"}]}, {}, "c"]])
def test_a_list_that_is_written_as_it_comes_is_the_same_document(values: list[object]) -> None:
    stream = io.StringIO()
    dump_list(iter(values), stream)
    assert stream.getvalue() == _dumped(values)


@pytest.mark.parametrize(
    ("minor", "code", "exponent", "amount"),
    [
        (1200, "EUR", 2, "12.00"),
        (5, "EUR", 2, "0.05"),
        (0, "EUR", 2, "0.00"),
        (-5, "EUR", 2, "-0.05"),
        (-1250, "EUR", 2, "-12.50"),
        (52000, "JPY", 0, "52000"),
        (-7, "JPY", 0, "-7"),
        (1234, "KWD", 3, "1.234"),
        (10**20, "CLF", 4, "10000000000000000.0000"),
    ],
)
def test_money_is_exact_both_ways(minor: int, code: str, exponent: int, amount: str) -> None:
    assert money_fields(minor, code, exponent) == {"amount": amount, "amount_minor": minor, "currency": code}


def test_times_are_in_utc_and_days_are_days() -> None:
    cest = timezone(timedelta(hours=2))
    assert iso(datetime(2026, 10, 2, 14, 3, tzinfo=cest)) == "2026-10-02T12:03:00Z"
    assert iso(datetime(2026, 10, 2, 12, 3, 0, 250, tzinfo=UTC)) == "2026-10-02T12:03:00.000250Z"
    assert json.loads(_dumped({"on": date(2026, 10, 2)})) == {"on": "2026-10-02"}


def test_a_time_without_a_zone_is_a_bug() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        _dumped(datetime(2026, 10, 2, 12, 3))  # noqa: DTZ001


def test_enum_members_are_strings() -> None:
    assert json.loads(_dumped({"family": Family.NOT_FOUND})) == {"family": "not-found"}


def test_a_dataclass_names_its_fields_itself() -> None:
    @dataclass
    class Row:
        number: str

    with pytest.raises(TypeError, match="Row"):
        _dumped(Row("INV-1"))


def test_a_number_json_does_not_have_is_a_bug() -> None:
    with pytest.raises(ValueError, match="JSON"):
        _dumped(float("nan"))


def test_letters_stay_readable() -> None:
    assert "Åsa 李" in _dumped({"name": "Åsa 李"})


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("\x1b", r"\u001b"),
        ("\x7f", r"\u007f"),
        ("\x9b", r"\u009b"),
        ("\u202e", r"\u202e"),
        ("\u2028", r"\u2028"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\udb40\udc41"),
    ],
)
def test_what_would_act_on_a_terminal_is_escaped(text: str, escaped: str) -> None:
    assert _dumped(text) == f'"{escaped}"\n'


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_nothing_is_lost(text: str) -> None:
    assert json.loads(_dumped({text: [text]})) == {text: [text]}


@given(st.text(st.characters(exclude_categories=[])))
def test_every_document_can_be_written(text: str) -> None:
    assert "\x9b" not in _dumped(text)
    _dumped(text).encode()
