"""JSON Lines: one object per line, with numbers as their original text."""

import json
from collections.abc import Iterator
from typing import Any, TextIO, TypeAlias

from refundcli.files.csv_table import LONGEST_RECORD
from refundcli.files.source import EmptyFile, NoRows, Source
from refundcli.services.ports.bad_rows import BadRow, Problem

Record: TypeAlias = dict[str, Any]
_KEPT_OF_BROKEN = 1000
_PIECE = 64 * 1024


class JsonLinesFile:
    """Objects as (line, its text, object), one on each line or in one list; others are reported and skipped."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def records(self) -> Iterator[tuple[int, str, Record] | BadRow]:
        """Raises EmptyFile if all lines are blank, and NoRows if there is only an empty list."""
        with self._source.text() as text_file:
            beginning = text_file.read(_PIECE)
            if beginning.lstrip().startswith("[") and beginning.split() != ["[]"]:
                yield from _JsonList(text_file, beginning).records()
                return
        with self._source.text() as text_file:
            line_number, has_rows, is_empty_list = 0, False, False
            while line_text := text_file.readline(LONGEST_RECORD):
                line_number += 1
                if not line_text.strip():
                    continue
                if not has_rows and line_text.strip() == "[]":
                    is_empty_list = True
                    continue
                has_rows = True
                if len(line_text) >= LONGEST_RECORD:
                    while line_text and not line_text.endswith(("\n", "\r")):
                        line_text = text_file.readline(LONGEST_RECORD)
                    yield _broken(
                        line_number, "", "too-long", f"The line is longer than {LONGEST_RECORD:,} characters."
                    )
                    continue
                yield _record(line_number, line_text.strip())
            if not has_rows:
                expected = "The file must have JSON objects, one per line."
                empty = NoRows if is_empty_list else EmptyFile
                raise empty(self._source.name, expected=expected)


class _JsonList:
    """The objects of one JSON list, each read when it is asked for, whatever the size of the list."""

    def __init__(self, text_file: TextIO, beginning: str) -> None:
        self._file, self._line = text_file, 1
        self._text = beginning
        self._pass_over(beginning.index("[") + 1)

    def records(self) -> Iterator[tuple[int, str, Record] | BadRow]:
        decoder = json.JSONDecoder(object_pairs_hook=_no_key_twice, **_AS_TEXT)
        while True:
            self._pass_blanks()
            if self._text.startswith("]"):
                return
            try:
                record, end = decoder.raw_decode(self._text)
            except ValueError as error:
                if len(self._text) < LONGEST_RECORD and self._read_more():
                    continue
                why = "" if isinstance(error, json.JSONDecodeError) else str(error)
                yield _broken(self._line, self._text, "invalid-json", why or "The list is not complete from here on.")
                return
            line, text = self._line, self._text[:end]
            self._pass_over(end)
            if isinstance(record, dict):
                yield line, text, record
            else:
                yield _broken(line, text, "invalid-json", "It is JSON, but not an object.")

    def _pass_blanks(self) -> None:
        """To the next object, past a comma; more of the text is read where it ends."""
        while True:
            rest = self._text.lstrip(" \t\r\n,")
            self._pass_over(len(self._text) - len(rest))
            if rest or not self._read_more():
                return

    def _pass_over(self, length: int) -> None:
        self._line += self._text.count("\n", 0, length)
        self._text = self._text[length:]

    def _read_more(self) -> bool:
        piece = self._file.read(_PIECE)
        self._text += piece
        return bool(piece)


def parsed(line_text: str) -> Record:
    """The object in a line. Raises ValueError with the reason as a sentence."""
    try:
        json_object = json.loads(
            line_text,
            object_pairs_hook=_no_key_twice,
            **_AS_TEXT,
        )
    except json.JSONDecodeError as error:
        raise ValueError(
            f"It is not JSON at character {error.colno}: {error.msg[:1].lower()}{error.msg[1:]}."
        ) from None
    except RecursionError:
        raise ValueError("It is nested too deeply.") from None
    if not isinstance(json_object, dict):
        raise ValueError("It is JSON, but not an object.")
    return json_object


def _record(line_number: int, line_text: str) -> tuple[int, str, Record] | BadRow:
    try:
        return line_number, line_text, parsed(line_text)
    except ValueError as error:
        return _broken(line_number, line_text, "invalid-json", str(error))


def _broken(line_number: int, line_text: str, code: str, message: str) -> BadRow:
    problem = Problem(
        line_number, "", line_text, code, message, "Write one object per line, with its keys in double quotes."
    )
    return BadRow(line_number, (problem,), line_text[:_KEPT_OF_BROKEN])


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not a JSON number.")


def _no_key_twice(keys_and_values: list[tuple[str, Any]]) -> Record:
    record: Record = {}
    for key, json_value in keys_and_values:
        if key in record:
            raise ValueError(f"The key {key[:40]!a} appears twice.")
        record[key] = json_value
    return record


# The digits of numbers stay text: a float would round.
_AS_TEXT: dict[str, Any] = {"parse_float": str, "parse_int": str, "parse_constant": _no_constant}
