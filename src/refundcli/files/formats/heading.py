"""Find the heading of a table: its line below a preamble, its delimiter, and the format whose columns it has."""

import csv
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO

from refundcli.files.formats.mapping import FileFormat
from refundcli.files.source import FileProblem, Source

DELIMITERS = (",", ";", "\t", "|")
# A preamble is short.
_MOST_LINES = 60
_MOST_CHARACTERS = 64 * 1024


class AmbiguousFormat(FileProblem):
    code = "ambiguous-format"

    def __init__(self, file_name: str, names: Sequence[str]) -> None:
        super().__init__(
            file_name,
            f"several formats fit: {', '.join(names)}",
            hint=f"Name the one that is meant: --format {names[0]}",
        )


@dataclass(frozen=True, slots=True)
class Heading:
    """Where a table's heading is. `delimiter` is empty in a spreadsheet."""

    line: int
    delimiter: str
    names: tuple[str, ...]


def folded(name: str) -> str:
    """A column's name for comparison: case and spaces do not matter."""
    return " ".join(name.split()).casefold()


def text_records(source: Source, delimiters: Iterable[str] = DELIMITERS) -> Iterator[Heading]:
    """The first records of a text, read with each delimiter."""
    with source.text() as text_file:
        beginning = text_file.read(_MOST_CHARACTERS)
    for delimiter in delimiters:
        reader, line = csv.reader(StringIO(beginning, newline=""), delimiter=delimiter), 1
        try:
            for _, cells in zip(range(_MOST_LINES), reader, strict=False):
                if any(map(str.strip, cells)):
                    yield Heading(line, delimiter, tuple(cell.strip() for cell in cells))
                line = reader.line_num + 1
        except csv.Error:
            continue


def sheet_records(rows: Iterable[tuple[int, Sequence[str]]]) -> Iterator[Heading]:
    """The first rows of a spreadsheet."""
    for line, cells in rows:
        if line > _MOST_LINES:
            return
        yield Heading(line, "", tuple(cell.strip() for cell in cells))


def fits(wanted: FileFormat, names: Collection[str]) -> bool:
    """Does a heading with these folded names have the format's signature?"""
    return not missing_in(wanted, names)


def missing_in(wanted: FileFormat, names: Collection[str]) -> list[str]:
    """The columns of the signature that are not among these folded names."""
    return [
        alternatives[0] for alternatives in wanted.signature if not any(folded(name) in names for name in alternatives)
    ]


def headings(records: Iterable[Heading], candidates: Sequence[FileFormat]) -> dict[str, tuple[FileFormat, Heading]]:
    """By name, each format that fits, with its first heading; of several delimiters the one that makes most columns."""
    found: dict[str, tuple[FileFormat, Heading]] = {}
    for record in records:
        names = {folded(name) for name in record.names}
        for candidate in candidates:
            previous = found.get(candidate.name)
            is_better = previous is None or (
                previous[1].delimiter != record.delimiter and len(previous[1].names) < len(record.names)
            )
            if is_better and candidate.delimiter in ("", record.delimiter) and fits(candidate, names):
                found[candidate.name] = (candidate, record)
    return found


def only_one(file_name: str, found: dict[str, tuple[FileFormat, Heading]]) -> tuple[FileFormat, Heading] | None:
    """The format that fits, None if none does; one that needs all columns of another goes before it.

    Raises AmbiguousFormat.
    """
    signatures = {name: set(fitting.signature) for name, (fitting, _) in found.items()}
    found = {
        name: fitting
        for name, fitting in found.items()
        if not any(signatures[name] < signatures[other] for other in found)
    }
    if len(found) > 1:
        raise AmbiguousFormat(file_name, sorted(found))
    return next(iter(found.values()), None)
