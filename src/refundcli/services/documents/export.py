"""Write the documents of credit notes to files. None is written if one of them lacks data for the form asked for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from refundcli.domain.errors import NotFound, Refused, UsageProblem
from refundcli.domain.tax.requirements import missing_for_credit_note, missing_for_electronic
from refundcli.private_files import make_folder, new_file
from refundcli.services.chunks import paged
from refundcli.services.invoices.lookup import credit_note_named
from refundcli.services.ports.documents import DocumentFormat, DocumentMaker, IssuedNote
from refundcli.services.ports.reads import CreditNoteFilter

if TYPE_CHECKING:
    from refundcli.services.ports.books import BooksToRead

# A page of notes with what they copied.
PAGE = 200


class NothingToExport(NotFound):
    code = "no-credit-notes"

    def __init__(self, words: str) -> None:
        super().__init__(f"There is no credit note {words}.", hint="refundcli credit-notes list")


class DocumentIncomplete(Refused):
    code = "document-incomplete"

    def __init__(self, count: int, total: int, missing: Sequence[str], command: str) -> None:
        notes = "This credit note" if total == 1 else f"{count:,} of {total:,} credit notes"
        super().__init__(
            f"{notes} cannot be an electronic document. Missing: {'; '.join(missing)}.",
            hint="Fill in [seller] and import the columns; notes that are issued later copy them. As a page to read:\n"
            f"{command} --format pdf",
            context={"missing": list(missing), "credit_notes": count},
        )


class DocumentNotWritten(UsageProblem):
    code = "document-not-written"

    def __init__(self, path: Path, error: OSError) -> None:
        why = (error.strerror or str(error)).lower()
        super().__init__(f"{path}: {why}.", hint="Name another file or folder with --to.", context={"file": str(path)})


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """`target`: a folder, or the file of a single note. `command`: as typed, for hints."""

    criteria: CreditNoteFilter
    numbers: tuple[str, ...]
    format: DocumentFormat
    target: Path
    command: str
    words: str


@dataclass(frozen=True, slots=True)
class Exported:
    """How many documents were written where; `confirmations`: those that are no credit notes for want of data."""

    documents: int
    confirmations: int
    path: Path


class ExportDocuments:
    def __init__(self, books: "BooksToRead", maker: DocumentMaker) -> None:
        self._books, self._maker = books, maker

    def export(self, request: ExportRequest, on_document: Callable[[], None]) -> Exported:
        """Raises NothingToExport, DocumentIncomplete and DocumentNotWritten."""
        criteria = self._criteria(request)
        total, confirmations = self._check(request, criteria)
        is_file = len(criteria.numbers) == 1 and not request.target.is_dir() and request.target.suffix != ""
        for issued in islice(self._notes(criteria), total):
            file_name = f"{quote(issued.number, safe='')}{request.format.suffix}"
            path = request.target if is_file else request.target / file_name
            self._write(path, self._maker.document(issued))
            on_document()
        return Exported(total, confirmations, path if total == 1 else request.target)

    def _criteria(self, request: ExportRequest) -> CreditNoteFilter:
        """With the numbers as they are stored. Raises CreditNoteNotFound."""
        notes = self._books.read(lambda tx: [credit_note_named(tx, typed)[0] for typed in request.numbers])
        return replace(request.criteria, numbers=tuple(note.number for note in notes if note.number))

    def _check(self, request: ExportRequest, criteria: CreditNoteFilter) -> tuple[int, int]:
        """How many there are, and how many of them lack data of a credit note."""
        is_electronic = request.format is not DocumentFormat.PDF
        total = incomplete = 0
        missing: dict[str, None] = {}
        for issued in self._notes(criteria):
            names = missing_for_credit_note(issued.content, issued.seller)
            if is_electronic:
                names = missing_for_electronic(issued.content, issued.seller, issued.note.amount)
            total, incomplete = total + 1, incomplete + bool(names)
            missing |= dict.fromkeys(names)
        if not total:
            raise NothingToExport(request.words)
        if incomplete and is_electronic:
            raise DocumentIncomplete(incomplete, total, list(missing), request.command)
        return total, incomplete

    def _notes(self, criteria: CreditNoteFilter) -> Iterator[IssuedNote]:
        pages = paged(
            lambda after: self._books.read(
                lambda tx: tx.credit_notes.with_content(
                    replace(criteria, after=after.note if after else None, limit=PAGE)
                )
            ),
            None,
            lambda issued: issued,
            size=PAGE,
        )
        for page in pages:
            yield from page

    def _write(self, path: Path, document: bytes) -> None:
        try:
            make_folder(path.parent)
            with new_file(path, replace=True) as file:
                file.write(document)
        except OSError as error:
            raise DocumentNotWritten(path, error) from error
