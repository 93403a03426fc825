"""Amounts as people and programs write them: one decimal mark per file, and none is guessed.

`1.200` is 1200 in Berlin and 1.2 in Boston. A file shows its mark where an amount can be read in one way only, such as
`1.200,50` or `89.90`; a file that shows none, or both, is refused until a person decides.
"""

import re
from dataclasses import dataclass

# An amount per cell, whatever the other cells show; for exports that mix both marks.
EACH = "each"
MARKS = (".", ",")
# Before the digits or after them: a currency's sign or code, a sign, a closing bracket of accountants.
_AROUND = re.compile(r"(?:[A-Za-z]{2,3}\.?|[^\W\d_]{1,3}|[$€£¥¤₹₽₺₩₪฿])")
_SPACES = re.compile(r"[\s\u00a0\u2007\u2009\u202f]+")
_BODY = re.compile(r"[0-9](?:[0-9.,' \u2019]*[0-9])?")


class PlainNumber(str):
    """A number from a spreadsheet: its decimal mark is known."""

    __slots__ = ()


class NotAnAmount(Exception):
    """The cell is no amount in this file; its text is a sentence."""


@dataclass(frozen=True, slots=True)
class _Digits:
    """An amount without sign and currency: `body` has digits, marks and separators."""

    is_negative: bool
    body: str


@dataclass(slots=True)
class MarkEvidence:
    """What the amounts of a file show about its decimal mark. `ambiguous`: the first that can be read in two ways."""

    point: str = ""
    comma: str = ""
    ambiguous: str = ""
    ambiguous_line: int = 0

    def add(self, cell: str, line: int) -> None:
        if isinstance(cell, PlainNumber) or not (digits := _digits(cell)):
            return
        mark = decimal_mark(digits.body)
        if mark is None and not self.ambiguous:
            self.ambiguous, self.ambiguous_line = cell.strip(), line
        elif mark == "." and not self.point:
            self.point = cell.strip()
        elif mark == "," and not self.comma:
            self.comma = cell.strip()


def decimal_mark(body: str) -> str | None:
    """The decimal mark of an amount, "" if it shows none, None if it can be read in two ways."""
    marks = [character for character in body if character in MARKS]
    if not marks:
        return ""
    last_mark = marks[-1]
    if len(set(marks)) == 2:
        return last_mark if marks.count(last_mark) == 1 else ""
    if len(marks) > 1:
        # Only thousands are separated more than once.
        return "," if last_mark == "." else "."
    whole_digits, _, decimals = body.partition(last_mark)
    if " " in whole_digits or "'" in whole_digits or "\u2019" in whole_digits:
        return last_mark
    return None if len(decimals) == 3 and re.fullmatch(r"[1-9][0-9]{0,2}", whole_digits) else last_mark


def two_readings(cell: str) -> tuple[str, str]:
    """`1200` and `1.200` of `1.200`."""
    body = re.sub(r"[^0-9.,]", "", cell)
    return re.sub(r"[.,]", "", body), body.replace(",", ".")


def plain_amount(cell: str, mark: str) -> str:
    """The amount with a point, as `-1200.50`. `mark`: the file's, or EACH. Raises NotAnAmount."""
    if isinstance(cell, PlainNumber) or not cell.strip():
        return cell.strip()
    digits = _digits(cell)
    if digits is None:
        raise NotAnAmount("This is not an amount.")
    own_mark = decimal_mark(digits.body)
    if mark == EACH:
        if own_mark is None:
            as_thousands, as_decimals = two_readings(cell)
            raise NotAnAmount(f"It can be read as {as_thousands} or as {as_decimals}.")
        mark = own_mark or "."
    separator = "," if mark == "." else "."
    whole_text, found_mark, decimals = digits.body.partition(mark)
    whole_digits = whole_text.replace("\u2019", "'")
    groups = re.split(r"[ ']", whole_digits) if separator not in whole_digits else whole_digits.split(separator)
    is_grouped_well = all(map(str.isdigit, groups)) and all(len(group) == 3 for group in groups[1:])
    if not is_grouped_well or (found_mark and not decimals.isdigit()) or (len(groups) > 1 and len(groups[0]) > 3):
        raise NotAnAmount(f"This is not an amount with the decimal mark “{mark}”.")
    sign = "-" if digits.is_negative else ""
    whole = "".join(groups).lstrip("0") or "0"
    return f"{sign}{whole}{'.' + decimals if found_mark else ''}"


def _digits(cell: str) -> _Digits | None:
    """The digits of a cell; None if it is no amount."""
    text = _SPACES.sub(" ", cell).strip().replace("\u2212", "-").replace("\u2013", "-")
    is_bracketed = text.startswith("(") and text.endswith(")")
    if is_bracketed:
        text = text[1:-1].strip()
    signs, previous = [], ""
    while text and text != previous:
        previous = text
        for sign in "+-":
            if text.startswith(sign) or text.endswith(sign):
                signs.append(sign)
                text = text.removeprefix(sign) if text.startswith(sign) else text.removesuffix(sign)
        text = text.strip()
        match = _AROUND.match(text)
        text = text[match.end() :].strip() if match else text
        last_word = re.search(rf"{_AROUND.pattern}$", text)
        text = text[: last_word.start()].strip() if last_word else text
    if len(signs) > 1 or (is_bracketed and signs) or not _BODY.fullmatch(text):
        return None
    return _Digits(is_bracketed or signs == ["-"], text)
