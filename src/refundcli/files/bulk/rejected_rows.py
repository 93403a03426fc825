"""Rejected rows as a file that can be corrected and read again.

It has the columns of the original, and `line`, `error_code`, `error` and `hint`, which are skipped when it is read. An
uncorrected row is rejected again.
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from refundcli.files.csv_table import REJECTION_COLUMNS
from refundcli.files.json_lines import parsed
from refundcli.files.source import FileProblem, Source
from refundcli.formulas import guarded
from refundcli.private_files import create, draft_name, new_file
from refundcli.services.ports.bad_rows import BadRow

KEY = "key"


class RejectedFile:
    """Collects rows in a draft; the final file appears whole or not at all."""

    def __init__(
        self,
        path: Path,
        columns: tuple[str, ...],
        *,
        keyed: bool = False,
        delimiter: str = ",",
        for_spreadsheets: bool = False,
    ) -> None:
        """`keyed`: each row gets its request key, so that the corrected row is the same request (I4).

        `for_spreadsheets`: begin with a byte order mark, without which Excel misreads UTF-8.
        """
        self.path = path
        self._delimiter, self._encoding = delimiter, "utf-8-sig" if for_spreadsheets else "utf-8"
        self._columns = columns
        self._has_request_keys = keyed
        self._draft = draft_name(path)
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()
            with suppress(FileNotFoundError):
                os.unlink(self._draft)

    def add(self, bad_row: BadRow) -> None:
        """Raises FileProblem if it cannot be written."""
        error_codes = " ".join(dict.fromkeys(problem.code for problem in bad_row.problems))
        error_texts = "; ".join(
            f"{problem.column}: {problem.message}" if problem.column else problem.message
            for problem in bad_row.problems
        )
        hints = " ".join(dict.fromkeys(problem.hint for problem in bad_row.problems if problem.hint))
        try:
            self._file = self._file or self._begin()
            if isinstance(bad_row.original, str) and not self._columns:
                self._file.write(
                    _with_rejection(bad_row.original, (bad_row.line, error_codes, error_texts, hints)) + "\n"
                )
            else:
                cells = (
                    [bad_row.original]
                    if isinstance(bad_row.original, str)
                    else self._with_key(list(bad_row.original), bad_row.key)
                )
                csv.writer(self._file, delimiter=self._delimiter).writerow(
                    [guarded(cell) for cell in (*cells, str(bad_row.line), error_codes, error_texts, hints)]
                )
        except OSError as os_error:
            raise self._unwritable(os_error) from os_error

    def publish(self) -> Path | None:
        """Write the rows so far to the final file. Returns its path; None without rejected rows.

        May be called again after more rows. Raises FileProblem.
        """
        if not self._file:
            return None
        try:
            self._file.flush()
            with open(self._draft, "rb") as draft_file, new_file(self.path, replace=True) as final_file:
                shutil.copyfileobj(draft_file, final_file)
        except OSError as os_error:
            raise self._unwritable(os_error) from os_error
        return self.path

    @property
    def _header(self) -> tuple[str, ...]:
        return (*self._columns, KEY) if self._has_request_keys and KEY not in self._columns else self._columns

    def _with_key(self, cells: list[str], request_key: str) -> list[str]:
        """The row with its key; unchanged if its length differs from the header's."""
        if not self._has_request_keys or len(cells) != len(self._columns):
            return cells
        cells += [""] * (len(self._header) - len(cells))
        key_index = self._header.index(KEY)
        cells[key_index] = cells[key_index] or request_key
        return cells

    def _begin(self) -> IO[str]:
        file = io.TextIOWrapper(create(self._draft), encoding=self._encoding, newline="")
        if self._columns:
            csv.writer(file, delimiter=self._delimiter).writerow([*self._header, *REJECTION_COLUMNS])
        return file

    def _unwritable(self, os_error: OSError) -> FileProblem:
        message = f"the rejected rows cannot be written: {(os_error.strerror or str(os_error)).lower()}"
        hint = "Make its folder writable, then run the command again: no row is processed twice."
        return FileProblem(str(self.path), message, hint=hint)


def path_for_rejected(source: Source, columns: tuple[str, ...]) -> Path:
    """`FILE.rejected.csv` beside FILE, never FILE itself; for a stream, in the working folder."""
    ending = "csv" if columns else "jsonl"
    if not source.is_file:
        return Path(f"stdin.rejected.{ending}")
    return source.path.with_name(f"{source.path.name}.rejected.{ending}")


def _with_rejection(row_text: str, line_and_error: Sequence[object]) -> str:
    rejection_columns = dict(zip(REJECTION_COLUMNS, line_and_error, strict=True))
    try:
        return json.dumps({**parsed(row_text), **rejection_columns}, ensure_ascii=True)
    except ValueError:
        return json.dumps({"text": row_text, **rejection_columns}, ensure_ascii=True)
