"""A table that a person reviews before it is read again."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from refundcli.files.source import FileProblem
from refundcli.formulas import guarded
from refundcli.private_files import new_file


class FileExists(FileProblem):
    code = "file-exists"

    def __init__(self, path: str) -> None:
        super().__init__(path, "there is a file with this name already", hint="Give another name, or move that file.")


@contextmanager
def review_file(path: str, columns: Sequence[str]) -> Iterator[Callable[[Sequence[str]], object]]:
    """Write a CSV file row by row; it appears when the block ends without an error. Raises FileExists, FileProblem."""
    try:
        with new_file(Path(path)) as file:
            text_file = io.TextIOWrapper(file, encoding="utf-8", newline="")
            writer = csv.writer(text_file)
            writer.writerow(columns)
            yield lambda cells: writer.writerow(map(guarded, cells))
            text_file.flush()
            text_file.detach()
    except FileExistsError:
        raise FileExists(path) from None
    except OSError as error:
        message = f"it cannot be written: {(error.strerror or str(error)).lower()}"
        raise FileProblem(path, message, hint="Nothing was done.") from error
