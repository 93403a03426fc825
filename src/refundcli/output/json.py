"""JSON for scripts: exact money, UTC times, nothing that acts on a terminal."""

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import TextIO

from refundcli.output.sanitize import escape_in_json


def dump(value: object, stream: TextIO) -> None:
    """One value as an indented document, with a newline at its end."""
    stream.write(_document(value, indent=2) + "\n")


def dump_list(values: Iterable[object], stream: TextIO) -> None:
    """The document that `dump` makes of a list, each value written as it comes."""
    separator, ending = "[", "[]\n"
    for value in values:
        stream.write(separator + f"\n{_document(value, indent=2)}".replace("\n", "\n  "))
        separator, ending = ",", "\n]\n"
    stream.write(ending)


def dump_lines(values: Iterable[object], stream: TextIO) -> None:
    """One value a line, each written as it comes (ndjson)."""
    stream.writelines(_document(value, indent=None) + "\n" for value in values)


def money_fields(minor: int, code: str, exponent: int) -> dict[str, str | int]:
    """An amount both ways: exact minor units, and the number people write. Never a float."""
    return {"amount": _major(minor, exponent), "amount_minor": minor, "currency": code}


def iso(moment: date) -> str:
    """A day as `2026-10-02`, a moment in UTC as `2026-10-02T12:03:00Z`. A time without a zone is a bug."""
    if not isinstance(moment, datetime):
        return moment.isoformat()
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _document(value: object, *, indent: int | None) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, default=_encode)
    return escape_in_json(text)


def _encode(value: object) -> str:
    if isinstance(value, date):
        return iso(value)
    raise TypeError(f"{type(value).__name__} has no JSON form; name its fields")


def _major(minor: int, exponent: int) -> str:
    sign = "-" if minor < 0 else ""
    digits = str(abs(minor)).rjust(exponent + 1, "0")
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}" if exponent else f"{sign}{digits}"
