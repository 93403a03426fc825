"""Settings: one meaning for each key, wherever it was written.

A key is taken from the first of these that has it: the command line, the environment
(`REFUNDCLI_<SECTION>_<KEY>`), `refundcli.toml` in the working folder, the same file in the user's
configuration folder, the default. A file named with `--config` or `REFUNDCLI_CONFIG` stands alone: the other
files are not read. A key nobody knows is refused, because a misspelt limit is a limit that does not hold.
"""

import getpass
import os
import re
import string
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from refundcli.domain.errors import SettingsProblem, did_you_mean
from refundcli.secrets import LiteralSecret, is_reference, read_own_file, redact

FILE_NAME = "refundcli.toml"
ENVIRONMENT_PREFIX = "REFUNDCLI_"
# Read elsewhere, or before there are settings.
ENVIRONMENT_APART = frozenset({"REFUNDCLI_CONFIG", "REFUNDCLI_OUTPUT", "REFUNDCLI_FAULT"})

LARGEST_FILE = 1024 * 1024
LONGEST_TIMEOUT = 600.0
HIGHEST_RATE = 1000.0
MOST_IN_FLIGHT = 64
LONGEST_NAME = 200
LONGEST_NUMBER = 60

_OTHERS_MAY_WRITE = 0o022
_SAMPLE_YEAR = 2026
_SAMPLE_SEQ = 1
_SYSTEM_ZONE = Path("/etc/localtime")

_LOOPBACK_URL = re.compile(
    r"https?://(?:127\.0\.0\.1|localhost|\[::1\])(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9_~.-]+)*)/?"
)
_POSTGRES_URL = re.compile(r"postgresql://\S+")
_NUMBER_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_NUMBER_WIDTH = re.compile(r"(?:0?[1-9]?[0-9])?d?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HOST_LABEL = re.compile(r"[A-Za-z0-9-]+")


def variable(section: str, key: str) -> str:
    """The environment variable that sets a key."""
    return f"{ENVIRONMENT_PREFIX}{section}_{key}".upper()


# --- Problems, one class per cause ---


class SettingsFileMissing(SettingsProblem):
    code = "settings-file-missing"

    def __init__(self, path: Path, asked_by: str) -> None:
        super().__init__(
            f"There is no settings file {path}, which {asked_by} names.",
            hint="Correct the path, or make the file: refundcli init",
            context={"file": str(path)},
        )


class SettingsNotText(SettingsProblem):
    code = "settings-not-utf8"

    def __init__(self, path: Path, line: int) -> None:
        super().__init__(
            f"{path} is not UTF-8 text (line {line}).",
            hint="Save it as UTF-8.",
            context={"file": str(path), "line": line},
        )


class SettingsNotToml(SettingsProblem):
    code = "settings-not-toml"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} is not valid TOML: {why}.",
            hint='A setting is written key = "value", under its [section].',
            context={"file": str(path), "why": why},
        )


class UnknownSection(SettingsProblem):
    code = "unknown-section"

    def __init__(self, section: str, place: str, known: list[str]) -> None:
        super().__init__(
            f"{place} has a section [{section}] that refundcli does not know.",
            hint=did_you_mean(section, known) or f"The sections are {', '.join(known)}.",
            context={"place": place, "section": section},
        )


class NotASection(SettingsProblem):
    code = "not-a-section"

    def __init__(self, section: str, place: str) -> None:
        super().__init__(
            f"{section} in {place} is a section, not a value.",
            hint=f"Write [{section}] on a line of its own, and its keys below.",
            context={"place": place, "section": section},
        )


class UnknownSetting(SettingsProblem):
    code = "unknown-setting"

    def __init__(self, section: str, key: str, place: str, known: list[str]) -> None:
        super().__init__(
            f"{place} has a key {section}.{key} that refundcli does not know.",
            hint=did_you_mean(key, known) or f"The keys of [{section}] are {', '.join(known)}.",
            context={"place": place, "key": f"{section}.{key}"},
        )


class UnknownEnvironmentVariable(SettingsProblem):
    code = "unknown-environment-variable"

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(
            f"The environment variable {name} is none that refundcli knows.",
            hint=did_you_mean(name, known) or f"Unset it: names that begin with {ENVIRONMENT_PREFIX} are settings.",
            context={"name": name},
        )


class InvalidSetting(SettingsProblem):
    code = "invalid-setting"

    def __init__(self, key: str, place: str, why: str, hint: str = "") -> None:
        super().__init__(
            f"{key} in {place} {why}.",
            hint=hint or f"Correct {key} in {place}.",
            context={"key": key, "place": place},
        )


class ApiBaseWhenLive(SettingsProblem):
    code = "api-base-when-live"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"adyen.api_base in {place} is for practice, but adyen.environment is live.",
            hint='Remove adyen.api_base, or set adyen.environment = "test".',
            context={"key": "adyen.api_base", "place": place},
        )


class SettingsExist(SettingsProblem):
    code = "settings-exist"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} exists already and was left as it is.",
            hint="Edit it, or ask for it to be replaced with --force.",
            context={"file": str(path)},
        )


class SettingsNotWritable(SettingsProblem):
    code = "settings-not-writable"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} cannot be written: {why}.",
            hint="Check the folder's permissions and the free space.",
            context={"file": str(path)},
        )


# --- What a value must be ---


class _Unfit(Exception):
    """Why a value cannot be this setting; `InvalidSetting` adds which key, and where it stands."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


class _Literal(Exception):
    """A secret was written out where a reference belongs."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a value is read from the environment's text, and what it must be wherever it comes from."""

    from_text: Callable[[str], object]
    check: Callable[[Any], object]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Unfit("must be a text in quotes")
    if _CONTROL.search(value):
        raise _Unfit("has a control character in it")
    return value


def _optional(check: Callable[[object], str]) -> Callable[[object], str | None]:
    """An empty text is a setting that is not there."""
    return lambda value: None if value == "" else check(value)


def _store_url(value: object) -> str:
    url = _text(value)
    if _POSTGRES_URL.fullmatch(url):
        return url
    name = url.removeprefix("sqlite:///")
    if name == url:
        raise _Unfit("must begin with sqlite:/// or postgresql://", hint="Say sqlite:////home/me/refundcli.db")
    if name.partition("?")[0] in {"", ":memory:"}:
        # A store that ends with the process forgets what it reserved, and money goes out twice.
        raise _Unfit("names no file to keep the store in", hint="Say sqlite:////home/me/refundcli.db")
    return url


def _operator_name(value: object) -> str:
    name = _text(value).strip()
    if not 0 < len(name) <= LONGEST_NAME:
        raise _Unfit(f"must be a name of 1 to {LONGEST_NAME} characters")
    return name


def _timezone(value: object) -> str:
    name = _text(value)
    if not _is_zone(name):
        near = did_you_mean(name, available_timezones())
        raise _Unfit("is not a time zone this machine knows", hint=near or "Say one like Europe/Stockholm.")
    return name


def _reference(value: object) -> str:
    if not isinstance(value, str) or not is_reference(value):
        raise _Literal
    return value


def _loopback_url(value: object) -> str:
    """Only this machine: a key sent to an address from a settings file would be a key given away."""
    url = _text(value)
    match = _LOOPBACK_URL.fullmatch(url)
    if not match or int(match["port"] or 1) not in range(1, 65536) or {".", ".."} & set(match["path"].split("/")):
        raise _Unfit("must be an address on this machine", hint="Say http://127.0.0.1:4242, or remove it.")
    return url.removesuffix("/")


def _merchant_account(value: object) -> str:
    name = _text(value)
    if " " in name:
        raise _Unfit("must be one word", hint="Copy it from the Adyen Customer Area.")
    return name


def _environment(value: object) -> str:
    name = _text(value)
    if name not in {"test", "live"}:
        raise _Unfit("must be test or live", hint=did_you_mean(name, ["test", "live"]))
    return name


def _live_endpoint_prefix(value: object) -> str:
    """It becomes part of a host name, so a dot or a slash would send the key to another host."""
    prefix = _text(value)
    if not _HOST_LABEL.fullmatch(prefix):
        raise _Unfit("may hold only letters, digits and -", hint="Say it like 1797a841fbb37ca7-AdyenDemo.")
    return prefix


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _Unfit("must be true or false")
    return value


def _flag_from_text(text: str) -> bool:
    word = text.lower()
    if word not in {"true", "yes", "1", "false", "no", "0"}:
        raise ValueError(text)
    return word in {"true", "yes", "1"}


def _up_to(most: float) -> Callable[[object], float]:
    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            raise _Unfit(f"must be a number above 0 and at most {most:g}")
        return float(value)

    return check


def _in_flight(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_IN_FLIGHT:
        raise _Unfit(f"must be a whole number from 1 to {MOST_IN_FLIGHT}")
    return value


def _number_format(value: object) -> str:
    """Every credit note needs its own number, so the sequence must be in it; and it is a file's name too."""
    pattern = _text(value)
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError:
        raise _Unfit("has braces that do not match", hint="Say it like CN-{year}-{seq:06}.") from None
    names = {name for _, name, _, _ in parts if name is not None}
    if "seq" not in names or names - {"seq", "year"}:
        raise _Unfit("must have {seq} in it, and may have {year}", hint="Say it like CN-{year}-{seq:06}.")
    if any(conversion or not _NUMBER_WIDTH.fullmatch(spec or "") for _, _, spec, conversion in parts):
        raise _Unfit("may give {seq} and {year} only a width", hint="Say it like CN-{year}-{seq:06}.")
    _check_number_text(pattern.format(seq=_SAMPLE_SEQ, year=_SAMPLE_YEAR))
    return pattern


def _check_number_text(number: str) -> None:
    if not _NUMBER_TEXT.fullmatch(number) or ".." in number or "//" in number or number.endswith("/"):
        raise _Unfit("may make only numbers of A-Z a-z 0-9 . _ / -, beginning with a letter or digit")
    if len(number) > LONGEST_NUMBER:
        raise _Unfit(f"makes numbers longer than {LONGEST_NUMBER} characters")


_RATE = _Rule(float, _up_to(HIGHEST_RATE))
_TIMEOUT = _Rule(float, _up_to(LONGEST_TIMEOUT))


def _worded(check: Callable[[object], object]) -> dict[str, _Rule]:
    return {"rule": _Rule(str, check)}


_SECRET = _worded(_optional(_reference))
_API_BASE = _worded(_optional(_loopback_url))


# --- The settings ---


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    url: str = field(metadata=_worded(_store_url))


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    name: str = field(metadata=_worded(_operator_name))
    timezone: str = field(metadata=_worded(_timezone))

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which the books' days begin and end."""
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeSettings:
    api_key: str | None = field(default=None, metadata=_SECRET)
    webhook_secret: str | None = field(default=None, metadata=_SECRET)
    send_fraudulent: bool = field(default=False, metadata={"rule": _Rule(_flag_from_text, _flag)})
    api_base: str | None = field(default=None, metadata=_API_BASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdyenSettings:
    api_key: str | None = field(default=None, metadata=_SECRET)
    merchant_account: str | None = field(default=None, metadata=_worded(_optional(_merchant_account)))
    environment: str = field(default="test", metadata=_worded(_environment))
    live_endpoint_prefix: str | None = field(default=None, metadata=_worded(_optional(_live_endpoint_prefix)))
    hmac_key: str | None = field(default=None, metadata=_SECRET)
    api_base: str | None = field(default=None, metadata=_API_BASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundSettings:
    connect_timeout: float = field(default=5.0, metadata={"rule": _TIMEOUT})
    read_timeout: float = field(default=30.0, metadata={"rule": _TIMEOUT})
    stripe_rate: float = field(default=20.0, metadata={"rule": _RATE})
    adyen_rate: float = field(default=20.0, metadata={"rule": _RATE})
    in_flight: int = field(default=8, metadata={"rule": _Rule(int, _in_flight)})


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditNoteSettings:
    number_format: str = field(default="CN-{year}-{seq:06}", metadata=_worded(_number_format))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    store: StoreSettings
    operator: OperatorSettings
    stripe: StripeSettings = StripeSettings()
    adyen: AdyenSettings = AdyenSettings()
    refunds: RefundSettings = RefundSettings()
    credit_notes: CreditNoteSettings = CreditNoteSettings()


_SECTIONS: Mapping[str, Any] = {
    "store": StoreSettings,
    "operator": OperatorSettings,
    "stripe": StripeSettings,
    "adyen": AdyenSettings,
    "refunds": RefundSettings,
    "credit_notes": CreditNoteSettings,
}
_RULES: Mapping[str, Mapping[str, _Rule]] = {
    section: {each.name: each.metadata["rule"] for each in fields(kind)} for section, kind in _SECTIONS.items()
}
_VARIABLES: Mapping[str, tuple[str, str]] = {
    variable(section, key): (section, key) for section, rules in _RULES.items() for key in rules
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each `section.key` where its value was written."""

    settings: Settings
    origins: dict[str, str]
    path: Path | None

    def rows(self) -> Iterator[tuple[str, object, str]]:
        """Each key with its value and its origin, fit to be shown: an address comes without its password."""
        for section, rules in _RULES.items():
            for key in rules:
                value = getattr(getattr(self.settings, section), key)
                name = f"{section}.{key}"
                yield name, redact(value) if isinstance(value, str) else value, self.origins[name]


# --- Reading ---

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
    zone, zone_origin = _system_zone(environ)
    found: _Found = {
        (section, each.name): (each.default, "default") for section, kind in _SECTIONS.items() for each in fields(kind)
    }
    found["store", "url"] = (default_store_url(), "default")
    found["operator", "name"] = (_system_user(), "default")
    found["operator", "timezone"] = (zone, zone_origin)
    return found


def _from_file(path: Path) -> _Found:
    return _read_tables(_parsed(path), str(path), path.parent)


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


def _read_tables(tables: Mapping[str, object], place: str, folder: Path) -> _Found:
    """Every key of a file, checked; relative paths are meant from the file's folder."""
    found: _Found = {}
    for section, table in tables.items():
        if section not in _RULES:
            raise UnknownSection(section, place, list(_RULES))
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
        if name not in _VARIABLES:
            raise UnknownEnvironmentVariable(name, [*_VARIABLES, *ENVIRONMENT_APART])
        if environ[name]:
            place = f"environment {name}"
            section, key = _VARIABLES[name]
            value = _checked(section, key, _typed(section, key, environ[name]), place)
            found[section, key] = (_anchored(section, value, cwd), place)
    return found


def _typed(section: str, key: str, text: str) -> object:
    """The environment's text as the type the key has; text that is none of it is left for the check."""
    try:
        return _RULES[section][key].from_text(text)
    except ValueError:
        return text


def _checked(section: str, key: str, value: object, place: str) -> object:
    rule = _RULES[section].get(key)
    if rule is None:
        raise UnknownSetting(section, key, place, list(_RULES[section]))
    try:
        return rule.check(value)
    except _Unfit as unfit:
        raise InvalidSetting(f"{section}.{key}", place, unfit.why, unfit.hint) from None
    except _Literal:
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
        for section, kind in _SECTIONS.items()
    }
    settings = Settings(**built)
    if settings.adyen.environment == "live" and settings.adyen.api_base:
        raise ApiBaseWhenLive(found["adyen", "api_base"][1])
    return settings


def _origins(found: _Found) -> dict[str, str]:
    return {f"{section}.{key}": place for (section, key), (_, place) in found.items()}


# --- What the system says ---


def _system_user() -> str:
    try:
        return getpass.getuser() or "unknown"
    except (OSError, KeyError, ImportError):  # a user id that has no name, as in containers
        return "unknown"


def _system_zone(environ: Mapping[str, str]) -> tuple[str, str]:
    """The zone's name, and who says so: TZ, else what /etc/localtime links to, else UTC."""
    named = environ.get("TZ", "").removeprefix(":")
    if named:
        return (named, "environment TZ") if _is_zone(named) else ("UTC", "default")
    try:
        linked = os.readlink(_SYSTEM_ZONE).rpartition("zoneinfo/")[2]
    except OSError:
        return "UTC", "default"
    return (linked, str(_SYSTEM_ZONE)) if _is_zone(linked) else ("UTC", "default")


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a name; a folder of zones
        return False
    return True


# --- Writing ---


def write(path: Path, values: Mapping[str, Mapping[str, object]], *, force: bool = False) -> None:
    """Write a settings file whole or not at all, readable by its owner only.

    What `load` would refuse is not written; a file that exists is replaced only with `force`.
    """
    given = {
        section: {key: value for key, value in table.items() if value is not None} for section, table in values.items()
    }
    _read_tables(given, str(path), path.parent)
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
