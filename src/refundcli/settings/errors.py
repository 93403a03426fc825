"""Errors of the settings, one class per cause."""

import shlex
from pathlib import Path

from refundcli.domain.errors import SettingsProblem, did_you_mean
from refundcli.settings.variables import ENVIRONMENT_PREFIX


class SettingsFileMissing(SettingsProblem):
    code = "settings-file-missing"

    def __init__(self, path: Path, option_or_variable: str) -> None:
        super().__init__(
            f"There is no settings file {path}, which {option_or_variable} names.",
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

    def __init__(self, section: str, origin: str, known_sections: list[str]) -> None:
        super().__init__(
            f"{origin} has a section [{section}] that refundcli does not know.",
            hint=did_you_mean(section, known_sections) or f"The sections are {', '.join(known_sections)}.",
            context={"place": origin, "section": section},
        )


class NotASection(SettingsProblem):
    code = "not-a-section"

    def __init__(self, section: str, origin: str) -> None:
        super().__init__(
            f"{section} in {origin} is a section, not a value.",
            hint=f"Write [{section}] on a line of its own, and its keys below.",
            context={"place": origin, "section": section},
        )


class UnknownSetting(SettingsProblem):
    code = "unknown-setting"

    def __init__(self, section: str, key: str, origin: str, known_keys: list[str]) -> None:
        super().__init__(
            f"{origin} has a key {section}.{key} that refundcli does not know.",
            hint=did_you_mean(key, known_keys) or f"The keys of [{section}] are {', '.join(known_keys)}.",
            context={"place": origin, "key": f"{section}.{key}"},
        )


class UnknownEnvironmentVariable(SettingsProblem):
    code = "unknown-environment-variable"

    def __init__(self, variable_name: str, known_names: list[str]) -> None:
        super().__init__(
            f"refundcli does not know the environment variable {variable_name}.",
            hint=did_you_mean(variable_name, known_names)
            or f"Unset it: names that begin with {ENVIRONMENT_PREFIX} are reserved for refundcli's settings.",
            context={"name": variable_name},
        )


class InvalidSetting(SettingsProblem):
    code = "invalid-setting"

    def __init__(self, key: str, origin: str, why: str, hint: str = "") -> None:
        super().__init__(
            f"{key} in {origin} {why}.",
            hint=hint or f"Correct {key} in {origin}.",
            context={"key": key, "place": origin},
        )


class ApiBaseWhenLive(SettingsProblem):
    code = "api-base-when-live"

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"adyen.api_base in {origin} is for testing, but adyen.environment is live.",
            hint='Remove adyen.api_base, or set adyen.environment = "test".',
            context={"key": "adyen.api_base", "place": origin},
        )


class SettingsExist(SettingsProblem):
    code = "settings-exist"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} already exists and was not changed.",
            hint="Edit it, or replace it with --force.",
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


class SettingsNotTrusted(SettingsProblem):
    """The working folder's file may be from anybody. Nothing in it was used."""

    code = "settings-not-trusted"

    def __init__(self, path: Path, *, is_changed: bool) -> None:
        why = (
            "has changed since you trusted it"
            if is_changed
            else "has settings other than [operator], and you have not trusted it yet"
        )
        super().__init__(
            f"{path} {why}. Nothing in it was used and nothing was sent.",
            hint="Read it. If you want these settings:   refundcli config trust\n"
            f"Or name a settings file of your own:   refundcli --config PATH   ({path.name} is then not read)",
            context={"file": str(path), "changed": is_changed},
        )


class NoSettingsHere(SettingsProblem):
    code = "no-settings-here"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"There is no settings file {path}.",
            hint="Go to the folder of the file that you want to trust, or make one here: refundcli init",
            context={"file": str(path)},
        )


class TrustNotRemembered(SettingsProblem):
    code = "trust-not-remembered"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"refundcli cannot record that you trust {path}: {why}.",
            hint=f"Name the file instead:   export REFUNDCLI_CONFIG={shlex.quote(str(path))}",
            context={"file": str(path)},
        )


class StoreNotNamed(SettingsProblem):
    code = "store-not-named"

    def __init__(self) -> None:
        super().__init__(
            "No store is set, and there is no home folder to put one in (HOME is not set).",
            hint="Name a file: refundcli --store sqlite:////data/refundcli.db …   or set REFUNDCLI_STORE_URL",
        )
