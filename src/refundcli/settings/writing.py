"""The settings file, written whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path

from refundcli.settings.errors import SettingsExist, SettingsNotWritable
from refundcli.settings.loading import read_tables


def write(path: Path, values: Mapping[str, Mapping[str, object]], *, force: bool = False) -> None:
    """Write a settings file whole or not at all, readable by its owner only.

    What `load` would refuse is not written; a file that exists is replaced only with `force`.
    """
    given = {
        section: {key: value for key, value in table.items() if value is not None} for section, table in values.items()
    }
    read_tables(given, str(path), path.parent)
    try:
        _write_whole(path, _as_toml(given), force=force)
    except OSError as error:
        raise SettingsNotWritable(path, (error.strerror or "unknown reason").lower()) from error


def _as_toml(values: Mapping[str, Mapping[str, object]]) -> bytes:
    import tomli_w  # noqa: PLC0415 - only writing needs it

    return tomli_w.dumps(values).encode()


def _write_whole(path: Path, content: bytes, *, force: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if force:
            os.replace(draft, path)
        else:
            _put_where_nothing_is(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _put_where_nothing_is(draft: Path, path: Path) -> None:
    """A link cannot be made over a file, so of two `init` at once the second is told."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise SettingsExist(path) from None


def _sync_folder(folder: Path) -> None:
    """The name, too, must outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
