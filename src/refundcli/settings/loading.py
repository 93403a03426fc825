"""Load the settings from the command line, the environment and the files."""

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from refundcli.secrets import LiteralSecret, read_own_file, redact, remember_secrets_of_address
from refundcli.settings import checks
from refundcli.settings.errors import (
    ApiBaseWhenLive,
    InvalidSetting,
    NoSettingsHere,
    NotASection,
    SettingsFileMissing,
    SettingsNotText,
    SettingsNotToml,
    SettingsNotTrusted,
    StoreNotNamed,
    UnknownEnvironmentVariable,
    UnknownSection,
    UnknownSetting,
)
from refundcli.settings.model import FORMATS, RULES, SECTIONS, VARIABLES, Loaded, Settings, shown
from refundcli.settings.seller import why_logo_unfit
from refundcli.settings.system import system_user, system_zone
from refundcli.settings.trust import Trust, remember_trust, trust_in
from refundcli.settings.variables import ENVIRONMENT_APART, ENVIRONMENT_PREFIX

FILE_NAME = "refundcli.toml"
LARGEST_FILE = 1024 * 1024

_OTHERS_MAY_WRITE = 0o022

# The operator's name is harmless; everything else decides where money and keys go.
_NEEDS_NO_TRUST = frozenset({"operator"})

_PATHS = frozenset({("seller", "logo"), ("credit_notes", "fonts")})

_Found = dict[tuple[str, str], tuple[object, str]]  # (section, key) → value and place


def load(
    *,
    config: Path | None,
    store_url: str | None,
    environ: Mapping[str, str],
    cwd: Path,
    user_config: Path | None,
    reads_folder: bool = True,
) -> Loaded:
    """The settings in force. `config`: the only file to read, if named. `store_url`: that of --store, if given.

    `user_config`: the folder of the user's own file, if any. `reads_folder`: read the working folder's file, if the
    user trusts it. Raises SettingsNotTrusted, and one SettingsProblem per cause.
    """
    named_file = _named_file(config, environ, cwd)
    trust_by_path = (
        {named_file: Trust.GIVEN} if named_file else _files_of_folders(cwd if reads_folder else None, user_config)
    )
    found_settings = _defaults(environ)
    trusted_settings = dict(found_settings)
    for path, trust_state in trust_by_path.items():
        file_settings, is_trusted = _from_file(path, user_config, needs_trust=trust_state is Trust.MISSING)
        found_settings |= file_settings
        trusted_settings |= file_settings if is_trusted else {}
    environment_settings = _from_environment(environ, cwd)
    found_settings |= environment_settings
    trusted_settings |= environment_settings
    if store_url is not None:
        found_settings["store", "url"] = (
            _anchored("store", "url", _checked("store", "url", store_url, "--store"), cwd),
            "--store",
        )
    settings = _built(found_settings)
    remember_secrets_of_address(settings.store.url)
    own_timezone = str(trusted_settings["operator", "timezone"][0])
    return Loaded(settings, _origins(found_settings), next(reversed(trust_by_path), None), own_timezone)


def trust(cwd: Path, user_config: Path | None) -> tuple[Path, dict[str, object]]:
    """Trust the working folder's file as it is now. Returns its path and its settings without secrets.

    Raises NoSettingsHere, TrustNotRemembered, and what is wrong with the file.
    """
    path = cwd / FILE_NAME
    if not os.path.lexists(path):
        raise NoSettingsHere(path)
    content = content_of(path)
    settings = read_tables(parsed(path, content), str(path), path.parent)
    remember_trust(path, content, user_config)
    return path, {f"{section}.{key}": shown(section, key, value) for (section, key), (value, _) in settings.items()}


def default_user_config() -> Path | None:
    """The folder for the user's own settings file; None if the user has no home."""
    from platformdirs import user_config_path  # noqa: PLC0415 - kept out of every other import of this module

    return _of_a_home(lambda: user_config_path("refundcli"))


def default_state_folder() -> Path | None:
    """The folder for what refundcli remembers between commands; None if the user has no home."""
    from platformdirs import user_state_path  # noqa: PLC0415 - kept out of every other import of this module

    return _of_a_home(lambda: user_state_path("refundcli"))


def default_store_url() -> str | None:
    """A file in the user's data folder, whatever the working folder; None if the user has no home."""
    from platformdirs import user_data_path  # noqa: PLC0415 - kept out of every other import of this module

    folder = _of_a_home(lambda: user_data_path("refundcli"))
    return f"sqlite:///{folder / 'refundcli.db'}" if folder else None


def _of_a_home(find_path: Callable[[], Path]) -> Path | None:
    """The path, or None: without a home platformdirs raises, or returns a path relative to the working folder."""
    try:
        path = find_path()
    except RuntimeError:
        return None
    return path if path.is_absolute() else None


def _named_file(config: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The file named by option or variable, which must exist; no other file is read then."""
    option_or_variable = "--config" if config is not None else "REFUNDCLI_CONFIG"
    named_path = config if config is not None else environ.get("REFUNDCLI_CONFIG")
    if not named_path:
        return None
    path = cwd / os.path.expanduser(named_path)
    if not os.path.lexists(path):
        raise SettingsFileMissing(path, option_or_variable)
    return path


def _files_of_folders(folder: Path | None, user_config: Path | None) -> dict[Path, Trust]:
    """The existing files, in ascending precedence. The user's own needs no trust, even as the working folder's."""
    trust_by_folder = {os.path.realpath(user_config): Trust.GIVEN} if user_config else {}
    if folder:
        trust_by_folder.setdefault(os.path.realpath(folder), Trust.MISSING)
    trust_by_file = {Path(folder_path, FILE_NAME): trust_state for folder_path, trust_state in trust_by_folder.items()}
    return {path: trust_state for path, trust_state in trust_by_file.items() if os.path.lexists(path)}


def _defaults(environ: Mapping[str, str]) -> _Found:
    zone, zone_origin = system_zone(environ)
    defaults: _Found = {
        (section, field.name): (field.default, "default")
        for section, section_class in SECTIONS.items()
        for field in fields(section_class)
    }
    defaults["store", "url"] = (default_store_url(), "default")
    defaults["operator", "name"] = (system_user(), "default")
    defaults["operator", "timezone"] = (zone, zone_origin)
    return defaults


def _from_file(path: Path, user_config: Path | None, *, needs_trust: bool) -> tuple[_Found, bool]:
    """The file's settings, and whether it is trusted. Raises SettingsNotTrusted.

    Read once, so that what was trusted is what is used.
    """
    content = content_of(path)
    tables = parsed(path, content)
    trust_state = trust_in(path, content, user_config) if needs_trust else Trust.GIVEN
    if trust_state is not Trust.GIVEN and not tables.keys() <= _NEEDS_NO_TRUST:
        raise SettingsNotTrusted(path, is_changed=trust_state is Trust.CHANGED)
    return read_tables(tables, str(path), path.parent), trust_state is Trust.GIVEN


def content_of(path: Path) -> bytes:
    return read_own_file(path, forbidden=_OTHERS_MAY_WRITE, limit=LARGEST_FILE)


def parsed(path: Path, content: bytes) -> dict[str, object]:
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SettingsNotText(path, content.count(b"\n", 0, error.start) + 1) from None
    except ValueError as error:  # also for very long numbers, which raise no TOMLDecodeError
        raise SettingsNotToml(path, redact(str(error))) from None
    except RecursionError:
        raise SettingsNotToml(path, "it is nested too deeply") from None


def read_tables(tables: Mapping[str, object], origin: str, folder: Path) -> _Found:
    """Every key of a file, checked; paths are relative to the file's folder."""
    settings: _Found = {}
    for section, table in tables.items():
        if section not in RULES and section != FORMATS:
            raise UnknownSection(section, origin, [*RULES, FORMATS])
        if not isinstance(table, Mapping):
            raise NotASection(section, origin)
        if section == FORMATS:
            settings |= {(FORMATS, name): (_format(name, value, origin), origin) for name, value in table.items()}
            continue
        for key, value in table.items():
            settings[section, key] = (_anchored(section, key, _checked(section, key, value, origin), folder), origin)
    return settings


def _format(name: str, value: object, origin: str) -> object:
    try:
        return checks.named_table(name, value)
    except checks.Unfit as unfit:
        raise InvalidSetting(f"{FORMATS}.{name}", origin, unfit.why, unfit.hint) from None


def _from_environment(environ: Mapping[str, str], cwd: Path) -> _Found:
    """The settings from the environment; an empty variable counts as unset."""
    settings: _Found = {}
    for variable_name in sorted(environ):
        if not variable_name.startswith(ENVIRONMENT_PREFIX) or variable_name in ENVIRONMENT_APART:
            continue
        if variable_name not in VARIABLES:
            raise UnknownEnvironmentVariable(variable_name, [*VARIABLES, *ENVIRONMENT_APART])
        if environ[variable_name]:
            origin = f"environment {variable_name}"
            section, key = VARIABLES[variable_name]
            value = _checked(section, key, _typed(section, key, environ[variable_name]), origin)
            settings[section, key] = (_anchored(section, key, value, cwd), origin)
    return settings


def _typed(section: str, key: str, text: str) -> object:
    """The text converted to the key's type; invalid text is left for the check."""
    try:
        return RULES[section][key].from_text(text)
    except ValueError:
        return text


def _checked(section: str, key: str, value: object, origin: str) -> object:
    rule = RULES[section].get(key)
    if rule is None:
        raise UnknownSetting(section, key, origin, list(RULES[section]))
    try:
        return rule.check(value)
    except checks.Unfit as unfit:
        raise InvalidSetting(f"{section}.{key}", origin, unfit.why, unfit.hint) from None
    except checks.Literal:
        raise LiteralSecret(f"{section}.{key}", origin) from None


def _anchored(section: str, key: str, value: object, folder: Path) -> object:
    """Make a path absolute: a relative one would mean another store in every working folder."""
    if (section, key) in _PATHS and value:
        return os.path.join(folder.absolute(), os.path.expanduser(str(value)))
    prefix = "sqlite:///" if section == "store" else "file:"
    if not isinstance(value, str) or not value.startswith(prefix):
        return value
    return prefix + os.path.join(folder.absolute(), os.path.expanduser(value.removeprefix(prefix)))


def _built(found_settings: _Found) -> Settings:
    sections = {
        section: section_class(
            **{field.name: found_settings[section, field.name][0] for field in fields(section_class)}
        )
        for section, section_class in SECTIONS.items()
    }
    formats: dict[str, Any] = {
        name: value for (section, name), (value, _) in found_settings.items() if section == FORMATS
    }
    settings = Settings(**sections, formats=formats)
    if not settings.store.url:
        raise StoreNotNamed
    if settings.adyen.environment == "live" and settings.adyen.api_base:
        raise ApiBaseWhenLive(found_settings["adyen", "api_base"][1])
    if settings.seller.logo and (why := why_logo_unfit(settings.seller.logo)):
        raise InvalidSetting("seller.logo", found_settings["seller", "logo"][1], why)
    return settings


def _origins(found_settings: _Found) -> dict[str, str]:
    return {f"{section}.{key}": origin for (section, key), (_, origin) in found_settings.items()}
