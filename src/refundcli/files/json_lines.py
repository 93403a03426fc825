"""JSON Lines: one object per line, with numbers as their original text."""

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

from refundcli.files.csv_table import LONGEST_RECORD
from refundcli.files.source import EmptyFile, NoRows, Source
from refundcli.services.ports.bad_rows import BadRow, Problem

Record: TypeAlias = dict[str, Any]
_KEPT_OF_BROKEN = 1000


class JsonLinesFile:
    """Objects as (line, its text, object); other lines are reported and skipped."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def records(self) -> Iterator[tuple[int, str, Record] | BadRow]:
        """Raises EmptyFile if all lines are blank, and NoRows if there is only an empty list."""
        with self._source.text() as text:
            line, has_rows, is_empty_list = 0, False, False
            while piece := text.readline(LONGEST_RECORD):
                line += 1
                if not piece.strip():
                    continue
                if not has_rows and piece.strip() == "[]":
                    is_empty_list = True
                    continue
                has_rows = True
                if len(piece) >= LONGEST_RECORD:
                    while piece and not piece.endswith(("\n", "\r")):
                        piece = text.readline(LONGEST_RECORD)
                    yield _broken(line, "", "too-long", f"The line is longer than {LONGEST_RECORD:,} characters.")
                    continue
                yield _record(line, piece.strip())
            if not has_rows:
                expected = "It takes JSON objects, one per line."
                empty = NoRows if is_empty_list else EmptyFile
                raise empty(self._source.name, expected=expected)


def parsed(text: str) -> Record:
    """The object in a line. Raises ValueError with the reason as a sentence."""
    try:
        value = json.loads(
            text,
            # Keep the digits as text: a float would round.
            parse_float=str,
            parse_int=str,
            parse_constant=_no_constant,
            object_pairs_hook=_no_key_twice,
        )
    except json.JSONDecodeError as error:
        raise ValueError(
            f"It is not JSON at character {error.colno}: {error.msg[:1].lower()}{error.msg[1:]}."
        ) from None
    except RecursionError:
        raise ValueError("It is nested too deep.") from None
    if not isinstance(value, dict):
        raise ValueError("It is JSON, but not an object.")
    return value


def _record(line: int, text: str) -> tuple[int, str, Record] | BadRow:
    try:
        return line, text, parsed(text)
    except ValueError as error:
        return _broken(line, text, "invalid-json", str(error))


def _broken(line: int, text: str, code: str, message: str) -> BadRow:
    problem = Problem(line, "", text, code, message, "Write one object per line, with its keys in double quotes.")
    return BadRow(line, (problem,), text[:_KEPT_OF_BROKEN])


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not a JSON number.")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> Record:
    record: Record = {}
    for key, value in pairs:
        if key in record:
            raise ValueError(f"The key {key[:40]!a} appears twice.")
        record[key] = value
    return record
