"""The source of rows: a file, or a copy of standard input, so that it can be read twice.

A source is first read once in small pieces, for its hash in the audit trail and to check its encoding.
"""

import codecs
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import TextIOWrapper
from pathlib import Path
from typing import IO, BinaryIO, TextIO

from refundcli.domain.errors import UsageProblem
from refundcli.private_files import temporary_folder

STANDARD_INPUT = "-"

_PIECE = 1024 * 1024
_UTF16_OR_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_ZIP = b"PK\x03\x04"
# An old Excel workbook.
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
UTF_8, WINDOWS_1252 = "utf-8", "cp1252"
_SAVE_AS = "Save it again as “CSV UTF-8 (comma delimited)”, or convert it: iconv -f FROM -t UTF-8 FILE."


class FileProblem(UsageProblem):
    """A file named on the command line cannot be read, which is a usage error."""

    code = "file-unreadable"

    def __init__(self, file_name: str, message: str, *, hint: str = "", line: int = 0) -> None:
        place = f"{file_name}, line {line}" if line else file_name
        context: dict[str, object] = {"file": file_name} | ({"line": line} if line else {})
        super().__init__(f"{place}: {message}.", hint=hint, context=context)


class FileNotThere(FileProblem):
    code = "file-not-found"


class EmptyFile(FileProblem):
    code = "empty-file"

    def __init__(self, name: str, *, expected: str = "The first line of a CSV file names the columns.") -> None:
        super().__init__(name, "the file is empty", hint=expected)


class NoRows(FileProblem):
    """A JSON file that holds an empty list."""

    code = "no-rows"

    def __init__(self, name: str, *, expected: str) -> None:
        super().__init__(name, "the file has no rows", hint=f"Nothing was done. {expected}")


class NotUtf8(FileProblem):
    code = "not-utf8"


class FileChanged(FileProblem):
    code = "file-changed"

    def __init__(self, name: str) -> None:
        super().__init__(
            name,
            "the file was changed while it was being read",
            hint="Run the command again when nobody is changing the file.",
        )


@dataclass(slots=True)
class Source:
    """Bytes checked to be text in `encoding`, or a spreadsheet; can be read repeatedly. Close it when done."""

    name: str
    path: Path
    sha256: str = ""
    size: int = 0
    encoding: str = UTF_8
    is_spreadsheet: bool = False
    _file_stamp: tuple[int, ...] = ()
    _copy: IO[bytes] | None = field(default=None, repr=False)

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._copy:
            self._copy.close()

    @property
    def is_file(self) -> bool:
        """Is it a file, not a stream?"""
        return self._copy is None

    @property
    def label(self) -> str:
        """Its name in the audit trail, with the hash of its bytes."""
        return f"{self.name} sha256:{self.sha256[:16]}"

    def for_another_process(self) -> "Source":
        """The same bytes, to be read while this one is open; need not be closed."""
        return replace(self, _copy=None)

    @contextmanager
    def text(self) -> Iterator[TextIO]:
        """The text from its start, with its line ends. Raises FileChanged if the file changed since the check."""
        try:
            with open(self.path, "rb") as file:
                self._check_unchanged(file)
                if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
                    file.seek(0)
                text_file = TextIOWrapper(file, encoding=self.encoding, newline="")
                yield text_file
                self._check_unchanged(file)
        except UnicodeDecodeError as error:
            if self.encoding in (UTF_8, WINDOWS_1252):
                raise FileChanged(self.name) from None
            raise NotUtf8(self.name, f"the text is not in {self.encoding}: {error.reason}", hint=_SAVE_AS) from None
        except OSError as error:
            raise FileProblem(self.name, _reason(error)) from error

    def _check_unchanged(self, file: BinaryIO) -> None:
        if self._file_stamp and _stamp(file) != self._file_stamp:
            raise FileChanged(self.name)


def open_source(path_or_dash: str, stdin: BinaryIO, *, any_encoding: bool = False) -> Source:
    """A file, or standard input for `-`, checked. Raises FileProblem and its subclasses.

    `any_encoding`: detect UTF-16, Windows-1252 and spreadsheets, which are refused otherwise.
    """
    source_name = "standard input" if path_or_dash == STANDARD_INPUT else _printable(path_or_dash)
    try:
        if path_or_dash == STANDARD_INPUT:
            return _copy_to_disk(source_name, stdin, any_encoding)
        with open(path_or_dash, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                # A pipe can be read only once.
                return _copy_to_disk(source_name, file, any_encoding)
            source = Source(source_name, Path(path_or_dash), _file_stamp=_stamp(file))
            _read_through(source, file, any_encoding)
            return source
    except FileNotFoundError:
        raise FileNotThere(
            source_name, "there is no such file", hint="Check its name and the folder you are in."
        ) from None
    except (OSError, ValueError) as error:
        raise FileProblem(source_name, _reason(error)) from error


def _copy_to_disk(source_name: str, stream: BinaryIO, any_encoding: bool) -> Source:
    """A copy in a private temporary file, deleted when the source is closed."""
    copy_file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - the source closes it
        prefix="refundcli-", dir=temporary_folder()
    )
    try:
        while piece := stream.read(_PIECE):
            copy_file.write(piece)
        copy_file.flush()
        source = Source(source_name, Path(copy_file.name), _copy=copy_file)
        copy_file.seek(0)
        _read_through(source, copy_file, any_encoding)
    except BaseException:
        copy_file.close()
        raise
    return source


def _read_through(source: Source, file: IO[bytes], any_encoding: bool) -> None:
    """Hash it, measure it and check every byte. Raises NotUtf8."""
    digest, line_number = hashlib.sha256(), 1
    decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder(UTF_8)()
    while piece := file.read(_PIECE):
        if not source.size:
            _recognise(source, piece, any_encoding)
            if source.is_spreadsheet or source.encoding != UTF_8:
                decoder = None
        digest.update(piece)
        source.size += len(piece)
        if decoder:
            try:
                _check_piece(source.name, decoder, piece, line_number)
            except NotUtf8:
                if not any_encoding:
                    raise
                source.encoding, decoder = WINDOWS_1252, None
            line_number += piece.count(b"\n")
    if decoder:
        _check_piece(source.name, decoder, b"", line_number)
    source.sha256 = digest.hexdigest()
    if source.encoding != UTF_8 and not source.is_spreadsheet:
        _check_decodable(source, file)


def _recognise(source: Source, first_piece: bytes, any_encoding: bool) -> None:
    """Set its kind by its first bytes. Raises NotUtf8 for a kind that is not accepted."""
    is_spreadsheet = first_piece.startswith((_ZIP, _OLE))
    if is_spreadsheet and any_encoding:
        source.is_spreadsheet = True
        return
    if is_spreadsheet:
        raise NotUtf8(source.name, "this is a spreadsheet or an archive, not text", hint=_SAVE_AS)
    if first_piece.startswith(_UTF16_OR_32) or b"\0" in first_piece.partition(b"\n")[0]:
        encoding = _utf_16(first_piece) if any_encoding else ""
        if not encoding:
            raise NotUtf8(source.name, "the text is in UTF-16 or is binary; UTF-8 is needed", hint=_SAVE_AS)
        source.encoding = encoding


def _utf_16(first_piece: bytes) -> str:
    """The kind of UTF-16, "" if it is none: nearly all of an export's text is ASCII, so every second byte is NUL."""
    if first_piece.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return ""
    if first_piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    beginning = first_piece[:1000]
    even_nuls, odd_nuls = (beginning[first::2].count(0) for first in (0, 1))
    few, many = sorted((even_nuls, odd_nuls))
    if few or many * 3 < len(beginning):
        return ""
    return "utf-16-le" if odd_nuls else "utf-16-be"


def _check_decodable(source: Source, file: IO[bytes]) -> None:
    """Raises NotUtf8 if it is not text in its encoding either."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder(source.encoding)()
    try:
        while piece := file.read(_PIECE):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        reason = f"the text is neither UTF-8 nor {source.encoding}: byte 0x{error.object[error.start]:02x}"
        raise NotUtf8(source.name, reason, hint=_SAVE_AS) from None


def _check_piece(source_name: str, decoder: codecs.IncrementalDecoder, piece: bytes, first_line: int) -> None:
    try:
        decoder.decode(piece, final=not piece)
    except UnicodeDecodeError as error:
        bad_line = first_line + error.object[: error.start].count(b"\n")
        bad_byte = error.object[error.start]
        raise NotUtf8(
            source_name, f"the byte 0x{bad_byte:02x} is not UTF-8 text", hint=_SAVE_AS, line=bad_line
        ) from None


def _stamp(file: IO[bytes]) -> tuple[int, ...]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _printable(name: str) -> str:
    """The name with undecodable bytes escaped, for messages and the audit trail."""
    return name.encode("utf-8", "backslashreplace").decode()


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, IsADirectoryError):
        return "this is a folder; name a file"
    error_text = error.strerror if isinstance(error, OSError) else str(error)
    return (error_text or "it cannot be read").lower()
