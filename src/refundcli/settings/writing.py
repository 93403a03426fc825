"""Write the settings file whole or not at all, and replace one without losing what it says."""

from collections.abc import Mapping
from datetime import date
from itertools import count
from pathlib import Path

from refundcli.domain.errors import SettingsProblem
from refundcli.private_files import make_folder, new_file
from refundcli.settings.errors import SettingsExist, SettingsNotWritable
from refundcli.settings.loading import content_of, parsed, read_tables
from refundcli.settings.trust import Trust, trust_in

Tables = Mapping[str, Mapping[str, object]]


def write(path: Path, values_by_section: Tables, *, force: bool = False) -> bytes:
    """Write a settings file whole or not at all, readable by its owner only. Returns its content.

    Refuses what `load` would refuse; replaces an existing file only with `force`.
    """
    tables_by_section = {
        section: {key: value for key, value in table.items() if value is not None}
        for section, table in values_by_section.items()
    }
    read_tables(tables_by_section, str(path), path.parent)
    content = _as_toml(tables_by_section)
    try:
        make_folder(path.parent)
        with new_file(path, replace=force) as file:
            file.write(content)
    except FileExistsError:
        raise SettingsExist(path) from None
    except OSError as error:
        raise SettingsNotWritable(path, (error.strerror or "unknown reason").lower()) from error
    return content


def usable_tables(path: Path, user_config: Path | None, *, needs_trust: bool) -> Tables:
    """What the file at `path` says, to be written again; empty if it is unreadable, invalid or not trusted.

    An untrusted file may be another's: writing its settings again would trust them.
    """
    try:
        content = content_of(path)
        if needs_trust and trust_in(path, content, user_config) is not Trust.GIVEN:
            return {}
        tables = parsed(path, content)
        read_tables(tables, str(path), path.parent)
    except SettingsProblem:
        return {}
    return {section: table for section, table in tables.items() if isinstance(table, Mapping)}


def back_up(path: Path, today: date) -> Path:
    """A copy of the file beside it, as FILE.bak-DATE, readable by its owner only. Raises SettingsNotWritable."""
    try:
        content = path.read_bytes()
        for number in count(1):
            copy = path.with_name(f"{path.name}.bak-{today}{f'-{number}' if number > 1 else ''}")
            try:
                with new_file(copy) as file:
                    file.write(content)
            except FileExistsError:
                continue
            return copy
    except OSError as error:
        raise SettingsNotWritable(path, (error.strerror or "unknown reason").lower()) from error
    raise AssertionError


def _as_toml(values: Mapping[str, Mapping[str, object]]) -> bytes:
    import tomli_w  # noqa: PLC0415 - only writing needs it

    return tomli_w.dumps(values).encode()
