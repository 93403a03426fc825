"""The words that an invoice is found by, and what a typed word may mean.

A word of the index begins with its field: `n` name, `e` e-mail address, `p` product, `l` last four digits of a card,
`a` amount, `d` day. Amounts and days are written so that a range of them is a range of words.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache

TEXT_FIELDS = "nep"
_LONGEST = 60
_WORD = re.compile(r"[^\W_]+")
# Letters that Unicode does not take apart into a letter and its mark.
_PLAIN = str.maketrans(
    {"ł": "l", "ø": "o", "æ": "ae", "œ": "oe", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ħ": "h", "ŧ": "t", "ŋ": "n"}
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_AMOUNT = re.compile(r"[€$£¥]?([0-9]{1,12})(?:[.,]([0-9]{1,4}))?[€$£¥]?")
_DATE = re.compile(r"((?:19|20)[0-9]{2})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
_SCALE = 4
AFTER_ALL = "\U0010ffff"

Range = tuple[str, str]


@lru_cache(maxsize=65_536)
def words_in(text: str) -> tuple[str, ...]:
    """Its words without case and accents: `Łukasz O'Neil` has `lukasz`, `o` and `neil`."""
    if not text.isascii():
        text = "".join(mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark))
    return tuple(word[:_LONGEST] for word in _WORD.findall(text.casefold().translate(_PLAIN)))


@lru_cache(maxsize=65_536)
def words_of_field(field: str, text: str) -> tuple[str, ...]:
    return tuple(field + word for word in words_in(text))


@lru_cache(maxsize=65_536)
def amount_word(minor: int, exponent: int) -> str:
    return f"a{minor * 10 ** (_SCALE - exponent):019}"


def day_word(day: str) -> str:
    """The word of a day in ISO form."""
    return f"d{day[:4]}{day[5:7]}{day[8:10]}"


def amounts_between(text: str) -> Range | None:
    """The range of `120`, `120.00` or `100..200`; None for any other text."""
    low_text, dots, high_text = text.partition("..")
    low, high = _typed_amount(low_text or "0"), _typed_amount(high_text) if high_text else None
    if low is None or (high_text and high is None):
        return None
    if not dots:
        return low, low
    return low, high or f"a{AFTER_ALL}"


def _typed_amount(text: str) -> str | None:
    match = _AMOUNT.fullmatch(text)
    return f"a{int(Decimal(f'{match[1]}.{match[2] or 0}').scaleb(_SCALE)):019}" if match else None


def days_between(since: date | None, until: date | None) -> Range:
    return (day_word(str(since)) if since else "d"), (day_word(str(until)) if until else "d9")


def typed_days(text: str, today: date) -> Range | None:
    """The days of `2026`, `2026-08`, `2026-08-03`, `today` or `yesterday`; None for any other text."""
    days_ago = {"today": 0, "yesterday": 1}.get(text.lower())
    if days_ago is not None:
        day = day_word(str(today - timedelta(days=days_ago)))
        return day, day
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    begin = "d" + "".join(filter(None, match.groups()))
    return begin, begin + "9"


def typed_month(text: str) -> str:
    """The number of a month's name, as two digits; empty for any other text."""
    begin = text.lower().rstrip(".")
    if len(begin) < 3:
        return ""
    numbers = (number for number, month in enumerate(_MONTHS, 1) if month.startswith(begin) or begin == month[:3] + "t")
    return next((f"{number:02}" for number in numbers), "")


def one_letter_away(word: str) -> Iterable[str]:
    """Every word that differs by one letter missing, added, replaced, or swapped with the next one."""
    splits = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    neighbours = {begin + end[1:] for begin, end in splits if end}
    neighbours |= {begin + end[1] + end[0] + end[2:] for begin, end in splits if len(end) > 1}
    neighbours |= {begin + letter + end for begin, end in splits for letter in _LETTERS}
    neighbours |= {begin + letter + end[1:] for begin, end in splits if end for letter in _LETTERS}
    return neighbours - {word, ""}


def may_be_mistyped(word: str) -> bool:
    return len(word) > 2 and word.isalpha()


def index_words(
    texts: tuple[str, str, str], amounts: Iterable[tuple[int, int]], days: Iterable[str], last_fours: Iterable[str]
) -> Iterator[str]:
    """All words of an invoice. `texts`: name, e-mail address, products; `amounts`: minor units and their exponent."""
    for field, text in zip(TEXT_FIELDS, texts, strict=True):
        if text:
            yield from words_of_field(field, text)
    for minor, exponent in amounts:
        yield amount_word(minor, exponent)
    for day in days:
        if day:
            yield day_word(day)
    for last_four in last_fours:
        if last_four:
            yield f"l{last_four}"
