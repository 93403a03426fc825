"""No outside string may act on a terminal or hide in it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundcli.output.sanitize import escape_in_json, safe

# Control, format, surrogate, line and paragraph separator.
HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Visible format characters, such as Arabic number signs.
DRAWN = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
NOT_OURS = {
    *(chr(n) for n in range(0x13430, 0x13460)),  # hieroglyph joiners
    *(chr(n) for n in range(0x1BCA0, 0x1BCA4)),  # shorthand controls
    *(chr(n) for n in range(0x1D173, 0x1D17B)),  # musical controls
}

anything = st.text(st.characters(exclude_categories=[]))
nasty = st.text(
    st.sampled_from(
        "ab \t\r\n\x00\x1b\x7f\x9b\u00ad\u061c\u200b\u200d\u202e\u2066\u2028\ufeff\ud800\\x"
        "❤葛\ufe0f\ufe00\U000e0041\U000e0100"
    )
)


def _hidden(text: str) -> set[str]:
    hidden = {letter for letter in text if unicodedata.category(letter) in HIDDEN_CATEGORIES}
    return hidden - DRAWN - NOT_OURS


@given(anything | nasty)
def test_nothing_hidden_is_left(text: str) -> None:
    assert not _hidden(safe(text))


@given(anything | nasty)
def test_on_several_lines_only_the_newline_is_left(text: str) -> None:
    assert _hidden(safe(text, multiline=True)) <= {"\n"}


@given(anything | nasty, st.booleans())
def test_what_is_safe_stays_as_it_is(text: str, multiline: bool) -> None:
    once = safe(text, multiline=multiline)
    assert safe(once, multiline=multiline) == once


@given(anything | nasty)
def test_what_is_safe_can_be_written(text: str) -> None:
    safe(text).encode()


@pytest.mark.parametrize("number", [*range(0x20), *range(0x7F, 0xA0)])
def test_every_control_character_is_shown(number: int) -> None:
    escaped = safe(f"a{chr(number)}b")
    assert escaped.isprintable()
    assert escaped.startswith("a\\")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x9b2K", r"\x9b2K"),
        ("a\tb\nc\rd", r"a\tb\nc\rd"),
        ("10\u202e00.1", r"10\u202e00.1"),
        ("\u2066x\u2069\u200e\u200f\u061c", r"\u2066x\u2069\u200e\u200f\u061c"),
        ("pay\u200bpal\u00ad\ufeff\u2060", r"pay\u200bpal\xad\ufeff\u2060"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ud83d", r"\ud83d"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_would_act_is_shown_as_its_escape(text: str, escaped: str) -> None:
    assert safe(text) == escaped


@pytest.mark.parametrize(
    "text",
    [
        "Ada Lovelace",
        "Åsa Öberg",
        "李小龍",
        "محمد",
        "[red]PAID[/red]",
        "e\u0301",
        "👍🏽",
        "❤️",
        "葛\U000e0100城",
        "a\\x1b",
    ],
)
def test_names_as_people_write_them_stay(text: str) -> None:
    assert safe(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\ufe0f", r"a\ufe0f"),
        ("❤\ufe0f\ufe0f", "❤\ufe0f\\ufe0f"),
        ("❤\ufe00", r"❤\ufe00"),
        ("👍\U000e0101\U000e0142", r"👍\U000e0101\U000e0142"),
        ("葛\U000e0100\U000e0101", "葛\U000e0100\\U000e0101"),
    ],
)
def test_a_variation_selector_that_changes_nothing_is_shown(text: str, escaped: str) -> None:
    assert safe(text) == escaped


def test_a_memo_keeps_its_lines_and_nothing_else() -> None:
    assert safe("one\r\ntwo\n\tthree\r", multiline=True) == "one\ntwo\n\\tthree\\r"


def test_json_escapes_go_above_the_first_plane_in_pairs() -> None:
    assert escape_in_json('"\U000e0041\u202e"') == r'"\udb40\udc41\u202e"'
