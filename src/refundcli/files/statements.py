"""Bank statements: transfers out of the account, from CSV by a format and from camt.053."""

import re
import xml.parsers.expat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from refundcli.domain.currencies import CODES, currency
from refundcli.domain.money import InvalidAmount, parse_amount
from refundcli.files.formats.library import Formats
from refundcli.files.formats.mapped import MappedTable, ReadingOptions
from refundcli.files.formats.mapping import BANK, Sign
from refundcli.files.formats.tables import open_table
from refundcli.files.source import FileProblem, Source
from refundcli.services.ports.bad_rows import BadRow
from refundcli.services.refunds.propose_records import Transfer, UnreadTransfer

_CODES = re.compile(r"\b[A-Z]{3}\b")
_LONGEST_TEXT = 10_000
_NO_CURRENCY = "Its currency is not known: use a format with constant = { currency = … }."


class NotAStatement(FileProblem):
    code = "not-a-statement"

    def __init__(self, file_name: str, why: str, *, line: int = 0) -> None:
        hint = "Download the statement again as camt.053 or CSV."
        super().__init__(file_name, f"this is not a bank statement that can be read: {why}", hint=hint, line=line)


@dataclass(slots=True)
class Statement:
    """`read_as` says how the file was read. `incoming`: how many transfers were passed over, not being debits."""

    read_as: str
    transfers: list[Transfer] = field(default_factory=list)
    unread: list[UnreadTransfer] = field(default_factory=list)
    incoming: int = 0


def read_statement(
    source: Source, formats: Formats, name: str, options: ReadingOptions, *, sheet: str = ""
) -> Statement:
    """`name`: of the format, or `auto`. Raises a FileProblem."""
    if not source.is_spreadsheet and _is_xml(source):
        return _camt_053(source)
    opened = open_table(source, formats.candidates(name, BANK), options, sheet=sheet)
    statement = Statement(str(opened.read_as))
    for row in opened.mapped.rows():
        if isinstance(row, BadRow):
            statement.unread.append(UnreadTransfer(row.line, "; ".join(problem.message for problem in row.problems)))
        else:
            _add(statement, opened.mapped, row.line, row.cells, row.original)
    return statement


def _add(
    statement: Statement,
    table: MappedTable,
    line: int,
    cells: Mapping[str, str],
    original: tuple[str, ...],
) -> None:
    amount_text, is_outgoing = cells["amount"].removeprefix("-"), cells["amount"].startswith("-")
    if table.format.sign is Sign.CREDIT:
        is_outgoing = not is_outgoing
    code = (cells.get("currency") or _shown_currency(table, original)).upper()
    if code not in CODES:
        statement.unread.append(
            UnreadTransfer(line, 'Its currency is not known: use a format with constant = { currency = "EUR" }.')
        )
        return
    try:
        amount = parse_amount(amount_text, currency(code))
    except InvalidAmount as error:
        statement.unread.append(UnreadTransfer(line, f"This is not an amount: {error.why}."))
        return
    if not is_outgoing:
        statement.incoming += 1
        return
    booked_on = date.fromisoformat(cells["booked_on"]) if cells["booked_on"] else None
    method, reference = cells.get("method", ""), cells.get("reference", "")
    pattern = table.format.match
    statement.transfers.append(Transfer(line, cells["text"], amount, booked_on, reference, method, pattern))


def _shown_currency(table: MappedTable, original: tuple[str, ...]) -> str:
    """The currency in the name of the amount's column, or beside the amount: `Betrag (€)`, `-40,00 EUR`."""
    column = table.source_column("amount")
    texts = [column, *(cell for name, cell in zip(table.table_columns, original, strict=False) if name == column)]
    for text in texts:
        found = next((code for code in _CODES.findall(text.upper()) if code in CODES), "")
        if found or "€" in text:
            return found or "EUR"
    return ""


# --- camt.053 -----------------------------------------------------------------------------------------------------


def _is_xml(source: Source) -> bool:
    with source.text() as text_file:
        return text_file.read(200).lstrip("\ufeff \t\r\n").startswith("<")


@dataclass(slots=True)
class _Details:
    """What one transaction of an entry tells."""

    texts: list[str] = field(default_factory=list)
    amount: str = ""
    currency: str = ""
    reference: str = ""
    is_debit: bool | None = None


@dataclass(slots=True)
class _Entry:
    line: int
    details: list[_Details] = field(default_factory=list)
    own: _Details = field(default_factory=_Details)
    booked_on: str = ""
    servicer_reference: str = ""
    status: str = ""
    is_reversal: bool = False


class _Camt:
    """Follows the elements by their local names, whatever their namespace. Entities are refused."""

    def __init__(self, source: Source, statement: Statement) -> None:
        self._source, self._statement = source, statement
        self._path: list[str] = []
        self._text = ""
        self._attributes: dict[str, str] = {}
        self._entry: _Entry | None = None
        self.has_statement = False

    def read(self) -> None:
        parser = xml.parsers.expat.ParserCreate()
        parser.StartElementHandler = lambda name, attributes: self._start(name, attributes, parser.CurrentLineNumber)
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        try:
            with open(self._source.path, "rb") as file:
                parser.ParseFile(file)
        except xml.parsers.expat.ExpatError as error:
            raise NotAStatement(self._source.name, f"the XML is broken, {error}") from None
        if not self.has_statement:
            raise NotAStatement(self._source.name, "it has no statement of camt.053")

    def _refuse_doctype(self, *_: object) -> None:
        """Entities may expand without end, and may name other files."""
        raise NotAStatement(self._source.name, "it declares a document type, which camt.053 never does")

    def _start(self, name: str, attributes: dict[str, str], line: int) -> None:
        local_name = name.rpartition(":")[2]
        self._path.append(local_name)
        self._text, self._attributes = "", attributes
        if local_name in ("Stmt", "Rpt", "Ntfctn"):
            self.has_statement = self.has_statement or local_name == "Stmt"
        elif local_name == "Ntry":
            self._entry = _Entry(line)
        elif local_name == "TxDtls" and self._entry:
            self._entry.details.append(_Details())

    def _characters(self, text: str) -> None:
        if len(self._text) < _LONGEST_TEXT:
            self._text += text

    def _end(self, name: str) -> None:
        local_name, text = self._path.pop(), self._text.strip()
        entry, parent = self._entry, self._path[-1] if self._path else ""
        self._text = ""
        if entry is None:
            return
        if local_name == "Ntry":
            self._finish(entry)
            self._entry = None
            return
        details = entry.details[-1] if "TxDtls" in self._path and entry.details else entry.own
        if local_name == "Amt" and parent in ("Ntry", "TxDtls"):
            details.amount, details.currency = text, self._attributes.get("Ccy", "")
        elif local_name == "CdtDbtInd" and parent in ("Ntry", "TxDtls"):
            details.is_debit = text == "DBIT"
        elif local_name in ("Ustrd", "AddtlTxInf", "AddtlNtryInf", "Ref"):
            details.texts.append(text)
        elif local_name == "EndToEndId" and text.upper() != "NOTPROVIDED":
            details.reference = text
            details.texts.append(text)
        elif local_name == "AcctSvcrRef" and parent == "Ntry":
            entry.servicer_reference = text
        elif local_name in ("Dt", "DtTm") and parent == "BookgDt":
            entry.booked_on = text[:10]
        elif parent == "Sts" or (local_name == "Sts" and text):
            entry.status = text
        elif local_name == "RvslInd":
            entry.is_reversal = text.lower() in ("true", "1")

    def _finish(self, entry: _Entry) -> None:
        if entry.own.is_debit is not True or entry.is_reversal or entry.status not in ("", "BOOK"):
            self._statement.incoming += 1
            return
        for details in entry.details or [entry.own]:
            if details.is_debit is False:
                self._statement.incoming += 1
                continue
            self._add(entry, details)

    def _add(self, entry: _Entry, details: _Details) -> None:
        is_only = len(entry.details) < 2
        amount_text = details.amount or (entry.own.amount if is_only else "")
        code = (details.currency or entry.own.currency).upper()
        try:
            amount = parse_amount(_trimmed(amount_text), currency(code)) if code in CODES else None
            booked_on = date.fromisoformat(entry.booked_on) if entry.booked_on else None
        except (InvalidAmount, ValueError):
            amount = None
        if amount is None:
            self._statement.unread.append(UnreadTransfer(entry.line, "Its amount or its day cannot be read."))
            return
        texts = [*details.texts, *(entry.own.texts if is_only and details is not entry.own else ())]
        reference = details.reference or entry.servicer_reference
        self._statement.transfers.append(Transfer(entry.line, " ".join(texts), amount, booked_on, reference))


def _trimmed(amount_text: str) -> str:
    """Without the zeros beyond two decimals: camt has up to five."""
    whole, point, decimals = amount_text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}" if point and len(decimals) > 2 else amount_text


def _camt_053(source: Source) -> Statement:
    statement = Statement("camt.053")
    _Camt(source, statement).read()
    return statement
