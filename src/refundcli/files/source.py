"""The source of rows: a file, or a copy of standard input, so that it can be read twice.

A source is first read once in small pieces, for its hash in the audit trail and to reject a file that is not UTF-8.
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
    """Bytes checked to be UTF-8, which can be read repeatedly. Close it when done."""

    name: str
    path: Path
    sha256: str = ""
    size: int = 0
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
                text_file = TextIOWrapper(file, encoding="utf-8", newline="")
                yield text_file
                self._check_unchanged(file)
        except UnicodeDecodeError:
            raise FileChanged(self.name) from None
        except OSError as error:
            raise FileProblem(self.name, _reason(error)) from error

    def _check_unchanged(self, file: BinaryIO) -> None:
        if self._file_stamp and _stamp(file) != self._file_stamp:
            raise FileChanged(self.name)


def open_source(path_or_dash: str, stdin: BinaryIO) -> Source:
    """A file, or standard input for `-`, checked. Raises FileProblem and its subclasses."""
    source_name = "standard input" if path_or_dash == STANDARD_INPUT else _printable(path_or_dash)
    try:
        if path_or_dash == STANDARD_INPUT:
            return _copy_to_disk(source_name, stdin)
        with open(path_or_dash, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                # A pipe can be read only once.
                return _copy_to_disk(source_name, file)
            source = Source(source_name, Path(path_or_dash), _file_stamp=_stamp(file))
            _read_through(source, file)
            return source
    except FileNotFoundError:
        raise FileNotThere(
            source_name, "there is no such file", hint="Check its name and the folder you are in."
        ) from None
    except (OSError, ValueError) as error:
        raise FileProblem(source_name, _reason(error)) from error


def _copy_to_disk(source_name: str, stream: BinaryIO) -> Source:
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
        _read_through(source, copy_file)
    except BaseException:
        copy_file.close()
        raise
    return source


def _read_through(source: Source, file: IO[bytes]) -> None:
    """Hash it, measure it and check every byte. Raises NotUtf8."""
    digest, decoder, line_number = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")(), 1
    while piece := file.read(_PIECE):
        if not source.size:
            _check_beginning(source.name, piece)
        digest.update(piece)
        source.size += len(piece)
        _check_piece(source.name, decoder, piece, line_number)
        line_number += piece.count(b"\n")
    _check_piece(source.name, decoder, b"", line_number)
    source.sha256 = digest.hexdigest()


def _check_beginning(source_name: str, first_piece: bytes) -> None:
    if first_piece.startswith(_ZIP):
        raise NotUtf8(source_name, "this is a spreadsheet or an archive, not text", hint=_SAVE_AS)
    if first_piece.startswith(_UTF16_OR_32) or b"\0" in first_piece.partition(b"\n")[0]:
        raise NotUtf8(source_name, "the text is in UTF-16 or is binary; UTF-8 is needed", hint=_SAVE_AS)


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
