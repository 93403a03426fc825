"""Write the settings file whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

from refundcli.private_files import make_folder, new_file
from refundcli.settings.errors import SettingsExist, SettingsNotWritable
from refundcli.settings.loading import read_tables


def write(path: Path, values_by_section: Mapping[str, Mapping[str, object]], *, force: bool = False) -> bytes:
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


def _as_toml(values: Mapping[str, Mapping[str, object]]) -> bytes:
    import tomli_w  # noqa: PLC0415 - only writing needs it

    return tomli_w.dumps(values).encode()
