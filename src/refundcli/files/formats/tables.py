"""Open a file of another program: text in any encoding and with any delimiter, or a spreadsheet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from refundcli.files.csv_table import TableFile, TableRow, check_names
from refundcli.files.formats.heading import (
    Heading,
    folded,
    headings,
    missing_in,
    only_one,
    sheet_records,
    text_records,
)
from refundcli.files.formats.library import OWN
from refundcli.files.formats.mapped import MappedTable, ReadingOptions
from refundcli.files.formats.mapping import FileFormat
from refundcli.files.formats.sheet import SheetFile
from refundcli.files.invoices.rows import COLUMNS, REQUIRED
from refundcli.files.source import UTF_8, EmptyFile, FileProblem, Source
from refundcli.services.ports.bad_rows import BadRow

_SHOWN_ENCODINGS = {UTF_8: "UTF-8", "utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}


class NoFormatFits(FileProblem):
    code = "no-format-fits"

    def __init__(self, file_name: str, records: Sequence[Heading], candidates: Sequence[FileFormat]) -> None:
        nearest, missing = _nearest(records, candidates)
        if nearest:
            why = f"it looks like {nearest.name}, but lacks the column {' and '.join(missing)}"
            hint = f"Add the column to the export. refundcli formats show {nearest.name}   shows what is read"
        elif len(candidates) == 1:
            needed = [names[0] for names in candidates[0].signature]
            why = f"no line has the columns of {candidates[0].name}: {', '.join(needed)}"
            hint = f"refundcli formats show {candidates[0].name}   shows what it reads"
        else:
            why = "its columns are those of no known format"
            hint = "refundcli formats list   lists them; docs/files.md shows how to describe your own"
        super().__init__(file_name, why, hint=hint)


def _nearest(records: Sequence[Heading], candidates: Sequence[FileFormat]) -> tuple[FileFormat | None, list[str]]:
    """The format of which a line has most of the columns, and the others."""
    least: tuple[float, FileFormat | None, list[str]] = (0.5, None, [])
    for candidate in candidates:
        for record in records if candidate.name != OWN else ():
            missing = missing_in(candidate, {folded(name) for name in record.names})
            share = len(missing) / len(candidate.signature)
            least = min(least, (share, candidate, missing), key=lambda found: found[0])
    return least[1], least[2]


@dataclass(frozen=True, slots=True)
class SheetRows:
    """Implements `formats.mapped.Table`."""

    columns: tuple[str, ...]
    all_rows: Sequence[TableRow]

    def rows(self) -> Iterator[TableRow | BadRow]:
        yield from self.all_rows


@dataclass(frozen=True, slots=True)
class ReadAs:
    """How a file was read, for people and the audit trail."""

    format: str
    encoding: str
    delimiter: str
    heading_line: int
    sheet: str
    unused_columns: int

    def __str__(self) -> str:
        delimiter = "tabs" if self.delimiter == "\t" else f"`{self.delimiter}`"
        way = [f"sheet “{self.sheet}”"] if self.sheet else [self.encoding, delimiter]
        parts = [self.format, *way, f"heading in line {self.heading_line}"]
        if self.unused_columns:
            parts.append(f"{self.unused_columns} {'column' if self.unused_columns == 1 else 'columns'} not used")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class OpenedTable:
    """A file in a known format. `columns` are the file's own."""

    mapped: MappedTable
    columns: tuple[str, ...]
    read_as: ReadAs


def open_table(
    source: Source, candidates: Sequence[FileFormat], options: ReadingOptions, *, sheet: str = ""
) -> OpenedTable:
    """The file in the only format that fits. Raises a FileProblem: NoFormatFits, AmbiguousFormat, MissingColumn…"""
    encodings = {candidate.encoding for candidate in candidates}
    if len(encodings) == 1 and (encoding := encodings.pop()):
        source.encoding = encoding
    sheet_file = SheetFile(source, sheet=sheet) if source.is_spreadsheet else None
    records = list(sheet_records(sheet_file.rows) if sheet_file else text_records(source))
    if not records:
        raise EmptyFile(source.name)
    found = only_one(source.name, headings(records, candidates))
    found = found or _own_with_wrong_columns(records, candidates)
    if found is None:
        raise NoFormatFits(source.name, records, candidates)
    file_format, heading = found
    own_columns = COLUMNS if file_format.name == OWN else None
    table: TableFile | SheetRows
    if sheet_file:
        columns, rows = sheet_file.table(heading.line)
        if own_columns:
            columns = tuple(column.lower() for column in columns)
            check_names(source.name, columns, own_columns, REQUIRED)
        table = SheetRows(columns, rows)
    else:
        required = REQUIRED if own_columns else ()
        table = TableFile(
            source, columns=own_columns, required=required, delimiter=heading.delimiter, heading_line=heading.line
        )
    mapped = MappedTable(source.name, table, file_format, options)
    read_as = ReadAs(
        file_format.name,
        _SHOWN_ENCODINGS.get(source.encoding, source.encoding),
        heading.delimiter,
        heading.line,
        sheet_file.name if sheet_file else "",
        len(mapped.unused_columns),
    )
    return OpenedTable(mapped, table.columns, read_as)


def _own_with_wrong_columns(
    records: Sequence[Heading], candidates: Sequence[FileFormat]
) -> tuple[FileFormat, Heading] | None:
    """Our own layout if the first line has some of its columns: then the others are misspelt or missing."""
    own = next((candidate for candidate in candidates if candidate.name == OWN), None)
    matches = [(len({name.lower() for name in record.names} & {*COLUMNS}), record) for record in records]
    if own is None or not matches:
        return None
    most, record = max(matches, key=lambda match: (match[0], -match[1].line))
    return (own, record) if most and (most * 2 >= len(record.names) or len(candidates) == 1) else None
