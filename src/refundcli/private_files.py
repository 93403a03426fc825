"""Files that only their owner may read: each appears whole or not at all, and is never written through a link.

Somebody may have put a link in the file's place, so that another file is overwritten.
"""

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from refundcli.domain.errors import SettingsProblem, UsageProblem

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OWNER_ONLY = 0o600


class NoTemporaryFolder(SettingsProblem):
    code = "no-temporary-folder"

    def __init__(self) -> None:
        super().__init__(
            "There is no folder for temporary files: /tmp and the folder you are in cannot be written to.",
            hint="Choose a folder that can be written to: export TMPDIR=/path/to/folder",
        )


class NoRoomForRows(UsageProblem):
    code = "file-unreadable"

    def __init__(self, error: Exception) -> None:
        folder = tempfile.tempdir or "temporary files"
        super().__init__(
            f"{folder}: {(getattr(error, 'strerror', None) or str(error)).lower()}.",
            hint="Make room there, or name another folder with TMPDIR. Nothing was written to the store.",
            context={"file": folder},
        )


def temporary_folder() -> str:
    """The folder for files that are deleted when the command ends. Raises NoTemporaryFolder."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        raise NoTemporaryFolder from None


class ScratchDatabase:
    """A SQLite database in a private file that is deleted when closed; it need not survive the process."""

    def __init__(self, schema: str, *, cache_kib: int = 2_048) -> None:
        """Raises NoRoomForRows. Rows that are only appended need no larger cache."""
        try:
            self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed by close()
                prefix="refundcli-rows-", dir=temporary_folder()
            )
        except OSError as error:
            raise NoRoomForRows(error) from error
        self.path = self._file.name
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        for pragma in ("synchronous=OFF", "journal_mode=OFF", f"cache_size=-{cache_kib}"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.executescript(schema)
        self.connection.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.connection.close()
        self._file.close()


def make_folder(path: Path) -> None:
    """Create a folder that only its owner may enter, unless it exists. Raises NotADirectoryError for a file."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "this is not a folder", error.filename) from None


def create(path: Path) -> BinaryIO:
    """A new, empty file, open for writing. Raises FileExistsError, also for a broken link."""
    return open(os.open(path, _NEW, _OWNER_ONLY), "wb")


def draft_name(path: Path) -> Path:
    """A name in the same folder that nobody can guess."""
    return path.with_name(f".refundcli-{os.urandom(8).hex()}.tmp")


@contextmanager
def new_file(path: Path, *, replace: bool = False) -> Iterator[BinaryIO]:
    """A file that is at `path` once the block has ended without an error.

    Raises FileExistsError if anything is there already, even a link that leads nowhere; with `replace` it is replaced,
    and of a link the link itself.
    """
    with draft(path, replace=replace) as draft_path, open(draft_path, "wb", opener=_not_through_a_link) as file:
        yield file


@contextmanager
def draft(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """The name of an empty file beside `path`, which takes its place when the block has ended. Raises as `new_file`."""
    draft_path = draft_name(path)
    create(draft_path).close()
    try:
        yield draft_path
        _sync(draft_path)
        _publish(draft_path, path, replace=replace)
    finally:
        draft_path.unlink(missing_ok=True)
    _sync(path.parent)


def _publish(draft_path: Path, path: Path, *, replace: bool) -> None:
    if not replace:
        try:
            # A link never replaces a file, so of two concurrent processes the second gets an error.
            os.link(draft_path, path)
            return
        except FileExistsError:
            raise
        except OSError:
            # This file system has no hard links: reserve the name first.
            create(path).close()
    os.replace(draft_path, path)


def _not_through_a_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _sync(path: Path) -> None:
    """Flush a file or folder, so that it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
