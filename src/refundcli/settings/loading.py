"""From the command line, the environment and the files to the settings in force."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from refundcli.secrets import LiteralSecret, read_own_file, redact
from refundcli.settings import checks
from refundcli.settings.errors import (
    ApiBaseWhenLive,
    InvalidSetting,
    NotASection,
    SettingsFileMissing,
    SettingsNotText,
    SettingsNotToml,
    UnknownEnvironmentVariable,
    UnknownSection,
    UnknownSetting,
)
from refundcli.settings.model import RULES, SECTIONS, VARIABLES, Loaded, Settings
from refundcli.settings.system import system_user, system_zone
from refundcli.settings.variables import ENVIRONMENT_APART, ENVIRONMENT_PREFIX

FILE_NAME = "refundcli.toml"
LARGEST_FILE = 1024 * 1024

_OTHERS_MAY_WRITE = 0o022

_Found = dict[tuple[str, str], tuple[object, str]]  # (section, key) → its value, and where it stands


def load(
    *,
    config: Path | None,
    store_url: str | None,
    environ: Mapping[str, str],
    cwd: Path,
    user_config: Path,
) -> Loaded:
    """The settings in force. `user_config` is the folder that may hold the user's own file."""
    paths = _files_to_read(config, environ, cwd, user_config)
    found = _defaults(environ)
    for path in paths:
        found |= _from_file(path)
    found |= _from_environment(environ, cwd)
    if store_url is not None:
        found["store", "url"] = (
            _anchored("store", _checked("store", "url", store_url, "--store"), cwd),
            "--store",
        )
    return Loaded(_built(found), _origins(found), paths[-1] if paths else None)


def default_user_config() -> Path:
    """The folder where the user's own settings file belongs."""
    from platformdirs import user_config_path  # noqa: PLC0415 - kept out of every other import of this module

    return user_config_path("refundcli")


def default_store_url() -> str:
    """A file of the user's own, the same from whichever folder the command is run."""
    from platformdirs import user_data_path  # noqa: PLC0415 - kept out of every other import of this module

    return f"sqlite:///{user_data_path('refundcli') / 'refundcli.db'}"


def _files_to_read(config: Path | None, environ: Mapping[str, str], cwd: Path, user_config: Path) -> list[Path]:
    """The files that are there, the strongest last. One that was asked for must be there."""
    asked_by = "--config" if config is not None else "REFUNDCLI_CONFIG"
    named = config if config is not None else environ.get("REFUNDCLI_CONFIG")
    if not named:
        return [path for path in (user_config / FILE_NAME, cwd / FILE_NAME) if os.path.lexists(path)]
    path = cwd / os.path.expanduser(named)
    if not os.path.lexists(path):
        raise SettingsFileMissing(path, asked_by)
    return [path]


def _defaults(environ: Mapping[str, str]) -> _Found:
    zone, zone_origin = system_zone(environ)
    found: _Found = {
        (section, each.name): (each.default, "default") for section, kind in SECTIONS.items() for each in fields(kind)
    }
    found["store", "url"] = (default_store_url(), "default")
    found["operator", "name"] = (system_user(), "default")
    found["operator", "timezone"] = (zone, zone_origin)
    return found


def _from_file(path: Path) -> _Found:
    return read_tables(_parsed(path), str(path), path.parent)


def _parsed(path: Path) -> dict[str, object]:
    content = read_own_file(path, forbidden=_OTHERS_MAY_WRITE, limit=LARGEST_FILE)
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SettingsNotText(path, content.count(b"\n", 0, error.start) + 1) from None
    except ValueError as error:  # also numbers too long to read, which are no TOMLDecodeError
        raise SettingsNotToml(path, redact(str(error))) from None
    except RecursionError:
        raise SettingsNotToml(path, "it is nested too deeply") from None


def read_tables(tables: Mapping[str, object], place: str, folder: Path) -> _Found:
    """Every key of a file, checked; relative paths are meant from the file's folder."""
    found: _Found = {}
    for section, table in tables.items():
        if section not in RULES:
            raise UnknownSection(section, place, list(RULES))
        if not isinstance(table, Mapping):
            raise NotASection(section, place)
        for key, value in table.items():
            found[section, key] = (_anchored(section, _checked(section, key, value, place), folder), place)
    return found


def _from_environment(environ: Mapping[str, str], cwd: Path) -> _Found:
    """A variable that is set and empty counts as not set."""
    found: _Found = {}
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in ENVIRONMENT_APART:
            continue
        if name not in VARIABLES:
            raise UnknownEnvironmentVariable(name, [*VARIABLES, *ENVIRONMENT_APART])
        if environ[name]:
            place = f"environment {name}"
            section, key = VARIABLES[name]
            value = _checked(section, key, _typed(section, key, environ[name]), place)
            found[section, key] = (_anchored(section, value, cwd), place)
    return found


def _typed(section: str, key: str, text: str) -> object:
    """The environment's text as the type the key has; text that is none of it is left for the check."""
    try:
        return RULES[section][key].from_text(text)
    except ValueError:
        return text


def _checked(section: str, key: str, value: object, place: str) -> object:
    rule = RULES[section].get(key)
    if rule is None:
        raise UnknownSetting(section, key, place, list(RULES[section]))
    try:
        return rule.check(value)
    except checks.Unfit as unfit:
        raise InvalidSetting(f"{section}.{key}", place, unfit.why, unfit.hint) from None
    except checks.Literal:
        raise LiteralSecret(f"{section}.{key}", place) from None


def _anchored(section: str, value: object, folder: Path) -> object:
    """A relative path would mean another file, so another store, in every folder the command is run from."""
    prefix = "sqlite:///" if section == "store" else "file:"
    if not isinstance(value, str) or not value.startswith(prefix):
        return value
    return prefix + os.path.join(folder.absolute(), os.path.expanduser(value.removeprefix(prefix)))


def _built(found: _Found) -> Settings:
    built = {
        section: kind(**{each.name: found[section, each.name][0] for each in fields(kind)})
        for section, kind in SECTIONS.items()
    }
    settings = Settings(**built)
    if settings.adyen.environment == "live" and settings.adyen.api_base:
        raise ApiBaseWhenLive(found["adyen", "api_base"][1])
    return settings


def _origins(found: _Found) -> dict[str, str]:
    return {f"{section}.{key}": place for (section, key), (_, place) in found.items()}
