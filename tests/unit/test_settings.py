"""Where a setting comes from, and which ones are refused."""

import getpass
import os
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from refundcli import settings as s
from refundcli.domain.errors import Family, SettingsProblem
from refundcli.secrets import FileNotReadable, FileOpenToOthers, FileOwnedByOther, FileTooLarge, LiteralSecret
from refundcli.settings import system
from refundcli.settings.model import SECTIONS

EXAMPLE = Path(__file__).parents[2] / "refundcli.toml.example"
SECRET_KEYS = ["stripe.api_key", "stripe.webhook_secret", "adyen.api_key", "adyen.hmac_key"]

Load = Callable[..., s.Loaded]


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    return _folder(tmp_path / "work")


@pytest.fixture
def user_config(tmp_path: Path) -> Path:
    return _folder(tmp_path / "config")


@pytest.fixture
def load(cwd: Path, user_config: Path) -> Load:
    def call(
        *,
        config: Path | None = None,
        store_url: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> s.Loaded:
        trust(cwd, user_config)
        return s.load(config=config, store_url=store_url, environ=environ or {}, cwd=cwd, user_config=user_config)

    return call


def trust(cwd: Path, user_config: Path) -> None:
    """What a file may set is tested here; whose file counts, in test_trust."""
    path = cwd / "refundcli.toml"
    if path.is_file():
        s.remember_trust(path, path.read_bytes(), user_config)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _file(folder: Path, text: str | bytes, *, mode: int = 0o600) -> Path:
    path = folder / "refundcli.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def _one(section: str, key: str, literal: str) -> str:
    return f"[{section}]\n{key} = {literal}\n"


# --- Precedence ---


def test_without_any_settings_the_defaults_hold(load: Load) -> None:
    loaded = load()
    assert loaded.path is None
    assert loaded.settings.refunds == s.RefundSettings()
    assert loaded.settings.credit_notes.number_format == "CN-{year}-{seq:06}"
    assert loaded.settings.store.url.startswith("sqlite:////")
    assert loaded.settings.store.url.endswith("/refundcli.db")
    assert loaded.origins["stripe.api_key"] == "default"


def test_every_key_has_an_origin(load: Load) -> None:
    loaded = load()
    keys = {
        f"{section.name}.{key.name}"
        for section in fields(s.Settings)
        if section.name != "formats"
        for key in fields(getattr(loaded.settings, section.name))
    }
    assert set(loaded.origins) == keys
    assert [row[0] for row in loaded.rows()] == list(loaded.origins)


def test_the_working_folder_beats_the_user_s_file_key_by_key(load: Load, cwd: Path, user_config: Path) -> None:
    users = _file(user_config, "[refunds]\nin_flight = 2\nread_timeout = 7\n")
    here = _file(cwd, "[refunds]\nin_flight = 3\n")
    loaded = load()
    assert (loaded.settings.refunds.in_flight, loaded.settings.refunds.read_timeout) == (3, 7.0)
    assert loaded.origins["refunds.in_flight"] == str(here)
    assert loaded.origins["refunds.read_timeout"] == str(users)
    assert loaded.path == here


def test_the_environment_beats_the_files(load: Load, cwd: Path) -> None:
    _file(cwd, "[refunds]\nin_flight = 3\n")
    loaded = load(environ={"REFUNDCLI_REFUNDS_IN_FLIGHT": "4"})
    assert loaded.settings.refunds.in_flight == 4
    assert loaded.origins["refunds.in_flight"] == "environment REFUNDCLI_REFUNDS_IN_FLIGHT"


def test_the_command_line_beats_the_environment(load: Load) -> None:
    loaded = load(store_url="sqlite:////a/b.db", environ={"REFUNDCLI_STORE_URL": "sqlite:////c/d.db"})
    assert loaded.settings.store.url == "sqlite:////a/b.db"
    assert loaded.origins["store.url"] == "--store"


def test_a_named_file_is_read_alone(load: Load, cwd: Path, user_config: Path, tmp_path: Path) -> None:
    _file(cwd, "[refunds]\nin_flight = 3\n")
    _file(user_config, "[refunds]\nread_timeout = 7\n")
    named = _file(tmp_path, "[operator]\nname = 'Ada'\n")
    loaded = load(config=named)
    assert loaded.settings.refunds == s.RefundSettings()
    assert loaded.settings.operator.name == "Ada"
    assert loaded.path == named


def test_the_environment_may_name_the_file_and_the_option_beats_it(load: Load, cwd: Path) -> None:
    (cwd / "other.toml").write_text("[operator]\nname = 'Eve'\n")
    (cwd / "other.toml").chmod(0o600)
    assert load(environ={"REFUNDCLI_CONFIG": "other.toml"}).settings.operator.name == "Eve"
    named = _file(cwd, "[operator]\nname = 'Ada'\n")
    assert load(config=named, environ={"REFUNDCLI_CONFIG": "other.toml"}).settings.operator.name == "Ada"


def test_a_named_file_must_exist(load: Load) -> None:
    with pytest.raises(s.SettingsFileMissing, match="--config"):
        load(config=Path("gone.toml"))
    with pytest.raises(s.SettingsFileMissing, match="REFUNDCLI_CONFIG"):
        load(environ={"REFUNDCLI_CONFIG": "gone.toml"})


def test_an_empty_variable_counts_as_not_set(load: Load) -> None:
    environ = {"REFUNDCLI_STORE_URL": "", "REFUNDCLI_CONFIG": "", "REFUNDCLI_REFUNDS_IN_FLIGHT": ""}
    assert load(environ=environ).origins["refunds.in_flight"] == "default"


def test_an_empty_optional_text_is_a_setting_that_is_not_there(load: Load, cwd: Path) -> None:
    _file(cwd, "[stripe]\napi_key = ''\napi_base = ''\n[adyen]\nmerchant_account = ''\n")
    loaded = load()
    assert loaded.settings.stripe == s.StripeSettings()
    assert loaded.settings.adyen.merchant_account is None


@pytest.mark.parametrize(
    ("word", "flag"),
    [("true", True), ("YES", True), ("1", True), ("false", False), ("no", False), ("0", False)],
)
def test_a_flag_in_the_environment_is_true_or_false(load: Load, word: str, flag: bool) -> None:
    loaded = load(environ={"REFUNDCLI_STRIPE_SEND_FRAUDULENT": word})
    assert loaded.settings.stripe.send_fraudulent is flag


# --- Unknown names ---


def test_an_unknown_section_is_refused_with_the_nearest_one(load: Load, cwd: Path) -> None:
    path = _file(cwd, "[refund]\nin_flight = 1\n")
    with pytest.raises(s.UnknownSection) as caught:
        load()
    assert str(path) in caught.value.message
    assert "refunds" in caught.value.hint


def test_an_unknown_key_is_refused_with_the_nearest_one(load: Load, cwd: Path) -> None:
    path = _file(cwd, "[refunds]\ninflight = 1\n")
    with pytest.raises(s.UnknownSetting) as caught:
        load()
    assert str(path) in caught.value.message
    assert "refunds.inflight" in caught.value.message
    assert "in_flight" in caught.value.hint


def test_an_unknown_key_is_refused_even_where_a_stronger_file_says_nothing(
    load: Load, cwd: Path, user_config: Path
) -> None:
    _file(user_config, "[refunds]\ninflight = 1\n")
    _file(cwd, "[refunds]\nin_flight = 1\n")
    with pytest.raises(s.UnknownSetting):
        load()


def test_an_unknown_variable_is_refused_without_its_value(load: Load) -> None:
    with pytest.raises(s.UnknownEnvironmentVariable) as caught:
        load(environ={"REFUNDCLI_STRIPE_APIKEY": "sk_live_abc"})
    assert "REFUNDCLI_STRIPE_API_KEY" in caught.value.hint
    assert "sk_live" not in caught.value.message + caught.value.hint + repr(caught.value.context)


def test_variables_of_other_modules_are_no_settings(load: Load) -> None:
    load(environ={"REFUNDCLI_OUTPUT": "json", "REFUNDCLI_FAULT": "after-send", "REFUNDER": "x"})


def test_a_value_where_a_section_belongs_is_refused(load: Load, cwd: Path) -> None:
    _file(cwd, "refunds = 3\n")
    with pytest.raises(s.NotASection):
        load()


# --- Files ---


def test_bad_toml_is_refused_with_the_line(load: Load, cwd: Path) -> None:
    _file(cwd, "[refunds]\nin_flight 3\n")
    with pytest.raises(s.SettingsNotToml, match="line 2"):
        load()


@pytest.mark.parametrize("text", ["x = " + "[" * 100_000, "x = " + "9" * 5000, "x = 2026-02-30"])
def test_toml_that_breaks_the_reader_is_refused_like_any_other(load: Load, cwd: Path, text: str) -> None:
    _file(cwd, text)
    with pytest.raises(s.SettingsNotToml):
        load()


def test_a_file_that_is_not_utf_8_is_refused_with_the_line(load: Load, cwd: Path) -> None:
    _file(cwd, b"[operator]\nname = '\xe5sa'\n")
    with pytest.raises(s.SettingsNotText, match="line 2"):
        load()


def test_a_byte_order_mark_is_no_obstacle(load: Load, cwd: Path) -> None:
    _file(cwd, b"\xef\xbb\xbf[operator]\nname = 'Ada'\n")
    assert load().settings.operator.name == "Ada"


def test_a_huge_file_is_refused(load: Load, cwd: Path) -> None:
    _file(cwd, "#" * (s.LARGEST_FILE + 1))
    with pytest.raises(FileTooLarge):
        load()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_change_is_refused_with_the_cure(load: Load, cwd: Path, mode: int) -> None:
    path = _file(cwd, "", mode=mode)
    with pytest.raises(FileOpenToOthers) as caught:
        load()
    assert caught.value.hint == f"chmod go-w {shlex.quote(str(path))}"


def test_a_file_that_others_may_only_read_is_fine(load: Load, cwd: Path) -> None:
    _file(cwd, "[operator]\nname = 'Ada'\n", mode=0o644)
    assert load().settings.operator.name == "Ada"


def test_another_user_s_file_is_refused(load: Load, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(cwd, "")
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(FileOwnedByOther):
        load()


def test_a_folder_or_a_pipe_in_the_file_s_place_is_refused(load: Load, cwd: Path) -> None:
    (cwd / "refundcli.toml").mkdir()
    with pytest.raises(FileNotReadable):
        load()
    (cwd / "refundcli.toml").rmdir()
    os.mkfifo(cwd / "refundcli.toml", 0o600)
    with pytest.raises(FileNotReadable, match="not a file"):
        load()


# --- Values ---

REFUSED = [
    ("store", "url", '"mysql://host/db"'),
    ("store", "url", '"sqlite:///"'),
    ("store", "url", '"sqlite:///:memory:"'),
    ("store", "url", '""'),
    ("operator", "name", '"  "'),
    ("operator", "name", '"a\\u001bb"'),
    ("operator", "timezone", '"Europe/Stokholm"'),
    ("operator", "timezone", '"../../etc/passwd"'),
    ("operator", "timezone", '"Europe"'),
    ("operator", "timezone", '""'),
    ("stripe", "send_fraudulent", '"true"'),
    ("stripe", "send_fraudulent", "1"),
    ("adyen", "environment", '"production"'),
    ("adyen", "merchant_account", '"two words"'),
    ("adyen", "live_endpoint_prefix", '"evil.example/x"'),
    ("adyen", "live_endpoint_prefix", '"a.b"'),
    ("refunds", "connect_timeout", "0"),
    ("refunds", "read_timeout", "-1"),
    ("refunds", "read_timeout", "nan"),
    ("refunds", "read_timeout", "inf"),
    ("refunds", "stripe_rate", "-0.5"),
    ("refunds", "adyen_rate", '"20"'),
    ("refunds", "adyen_rate", "true"),
    ("refunds", "in_flight", "0"),
    ("refunds", "in_flight", "65"),
    ("refunds", "in_flight", "8.0"),
    ("refunds", "in_flight", "true"),
    ("credit_notes", "number_format", '"CN-{year}"'),
    ("credit_notes", "number_format", '"CN-{seq"'),
    ("credit_notes", "number_format", '"CN-{seq}-{month}"'),
    ("credit_notes", "number_format", '"CN {seq}"'),
    ("credit_notes", "number_format", '"CN-{seq:6}"'),
    ("credit_notes", "number_format", '"CN-{seq!r}"'),
    ("credit_notes", "number_format", '"CN-{seq:0999999999}"'),
    ("credit_notes", "number_format", '"CN-{seq:{year}}"'),
    ("credit_notes", "number_format", '"CN-{seq:,}"'),
    ("credit_notes", "number_format", '"CN-{seq:099}"'),
    ("credit_notes", "number_format", '"CN-{seq.real}"'),
    ("credit_notes", "number_format", '"../{seq}"'),
    ("credit_notes", "number_format", '"CN/../{seq}"'),
    ("credit_notes", "number_format", '"-{seq}"'),
    ("credit_notes", "number_format", '"ÅÄ-{seq}"'),
]


@pytest.mark.parametrize(("section", "key", "literal"), REFUSED)
def test_an_impossible_value_is_refused(load: Load, cwd: Path, section: str, key: str, literal: str) -> None:
    path = _file(cwd, _one(section, key, literal))
    with pytest.raises(s.InvalidSetting) as caught:
        load()
    assert f"{section}.{key} in {path}" in caught.value.message
    assert caught.value.hint
    assert caught.value.family is Family.NOT_USABLE


@pytest.mark.parametrize("text", ["eight", "8.5", "0x8", "nan"])
def test_a_variable_of_the_wrong_type_is_refused(load: Load, text: str) -> None:
    with pytest.raises(s.InvalidSetting, match="environment REFUNDCLI_REFUNDS_IN_FLIGHT"):
        load(environ={"REFUNDCLI_REFUNDS_IN_FLIGHT": text})


@pytest.mark.parametrize("pattern", ["CN-{year}-{seq:06}", "{seq}", "R/{year}/{seq:04d}", "A.{seq:012}_b"])
def test_number_formats_that_make_plain_numbers_are_taken(load: Load, cwd: Path, pattern: str) -> None:
    _file(cwd, _one("credit_notes", "number_format", f'"{pattern}"'))
    assert load().settings.credit_notes.number_format == pattern


@pytest.mark.parametrize(
    "url",
    [
        "https://api.stripe.com",
        "http://127.0.0.1@evil.example",
        "http://user:pw@127.0.0.1:4242",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example:4242",
        "http://localhost@evil.example",
        "http://localhost:4242@evil.example/",
        "http://127.0.0.1#@evil.example",
        "http://127.0.0.1?@evil.example",
        "http://127.0.0.1\\t.evil.example",
        "http://127.0.0.1 .evil.example",
        "http://127.1",
        "http://2130706433",
        "http://0x7f000001",
        "http://0177.0.0.1",
        "http://127.0.0.2",
        "http://１２７.0.0.1",
        "http://127。0。0。1",
        "http://ⓛocalhost",
        "http://localhost.",
        "http://[::]:4242",
        "http://[::ffff:127.0.0.1]:4242",
        "http://[::1%25evil]:4242",
        "http://[::1]evil.example",
        "http://[::1].evil.example",
        "http://[fe80::1]",
        "http:///evil.example",
        "http:127.0.0.1:4242",
        "//127.0.0.1:4242",
        "HTTP://127.0.0.1:4242",
        "file:///etc/passwd",
        "http://127.0.0.1:4242/../v1",
        "http://127.0.0.1:4242/./v1",
        "http://127.0.0.1:4242/%2e%2e/v1",
        "http://127.0.0.1:4242/v1?x=1",
        "http://127.0.0.1:4242\\\\@evil.example",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://0.0.0.0:4242",
        "ftp://127.0.0.1",
        "127.0.0.1:4242",
    ],
)
@pytest.mark.parametrize("section", ["stripe", "adyen"])
def test_an_api_base_away_from_this_machine_is_refused(load: Load, cwd: Path, section: str, url: str) -> None:
    _file(cwd, _one(section, "api_base", f'"{url}"'))
    with pytest.raises(s.InvalidSetting):
        load()


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:4242", "https://localhost", "http://[::1]:4243/adyen", "http://127.0.0.1:1/a/b/"],
)
def test_an_api_base_on_this_machine_is_taken_without_its_last_slash(load: Load, cwd: Path, url: str) -> None:
    _file(cwd, _one("stripe", "api_base", f'"{url}"'))
    assert load().settings.stripe.api_base == url.rstrip("/")


def test_adyen_cannot_be_live_and_a_sandbox(load: Load, cwd: Path) -> None:
    _file(cwd, "[adyen]\nenvironment = 'live'\napi_base = 'http://127.0.0.1:4243'\n")
    with pytest.raises(s.ApiBaseWhenLive):
        load()


@pytest.mark.parametrize("name", SECRET_KEYS)
@pytest.mark.parametrize(
    "value", ["sk_live_51abcdef", "whsec_abcdef", "env:sk_live_51abcdef", "env:", "vault:x", "file:", "ENV:X"]
)
def test_a_secret_written_out_is_refused_and_not_repeated(load: Load, cwd: Path, name: str, value: str) -> None:
    section, key = name.split(".")
    path = _file(cwd, _one(section, key, f'"{value}"'))
    with pytest.raises(LiteralSecret) as caught:
        load()
    output = caught.value.message + caught.value.hint + repr(caught.value.context)
    assert name in output
    assert str(path) in output
    assert "51abcdef" not in output
    assert "whsec" not in output
    assert caught.value.__cause__ is None


def test_a_secret_of_another_type_is_refused_too(load: Load, cwd: Path) -> None:
    _file(cwd, "[stripe]\napi_key = 12345\n")
    with pytest.raises(LiteralSecret):
        load()


@pytest.mark.parametrize("value", ["env:STRIPE_API_KEY", "keyring:stripe/live", "file:/run/secrets/stripe"])
def test_references_to_secrets_are_taken(load: Load, cwd: Path, value: str) -> None:
    _file(cwd, _one("stripe", "api_key", f'"{value}"'))
    assert load().settings.stripe.api_key == value


def test_relative_paths_start_at_the_settings_file(load: Load, tmp_path: Path, cwd: Path) -> None:
    named = _file(tmp_path, "[store]\nurl = 'sqlite:///books.db'\n[stripe]\napi_key = 'file:key'\n")
    loaded = load(config=named)
    assert loaded.settings.store.url == f"sqlite:///{tmp_path}/books.db"
    assert loaded.settings.stripe.api_key == f"file:{tmp_path}/key"
    assert load(store_url="sqlite:///books.db").settings.store.url == f"sqlite:///{cwd}/books.db"


def test_a_password_in_the_store_s_address_is_never_shown(load: Load) -> None:
    loaded = load(store_url="postgresql://ada:hunter2@db/books")
    assert loaded.settings.store.url == "postgresql://ada:hunter2@db/books"
    rows = {key: value for key, value, _ in loaded.rows()}
    assert rows["store.url"] == "postgresql://ada:•••@db/books"


# --- The system ---


@pytest.mark.parametrize("text", ["Asia/Tokyo", ":Asia/Tokyo"])
def test_the_zone_is_the_system_s_unless_set(load: Load, cwd: Path, text: str) -> None:
    loaded = load(environ={"TZ": text})
    assert loaded.settings.operator.zone.key == "Asia/Tokyo"
    assert loaded.origins["operator.timezone"] == "environment TZ"
    _file(cwd, "[operator]\ntimezone = 'Europe/Stockholm'\n")
    assert load(environ={"TZ": text}).settings.operator.timezone == "Europe/Stockholm"


def test_the_zone_is_read_from_the_link_of_the_system(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "localtime"
    link.symlink_to("../usr/share/zoneinfo/America/New_York")
    monkeypatch.setattr(system, "_SYSTEM_ZONE", link)
    assert load().settings.operator.timezone == "America/New_York"


def test_an_unknown_zone_becomes_utc(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_SYSTEM_ZONE", tmp_path / "nothing")
    assert load().settings.operator.timezone == "UTC"
    assert load(environ={"TZ": "CET-1CEST"}).settings.operator.timezone == "UTC"


def test_a_user_without_a_name_is_unknown(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert load().settings.operator.name == "unknown"


# --- Writing ---

VALUES: Mapping[str, Mapping[str, object]] = {
    "store": {"url": "sqlite:////a/b.db"},
    "stripe": {"api_key": "env:KEY", "api_base": None},
}


def test_what_is_written_is_what_is_read(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "new" / "refundcli.toml"
    s.write(path, VALUES)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
    loaded = load(config=path)
    assert loaded.settings.store.url == "sqlite:////a/b.db"
    assert loaded.settings.stripe.api_key == "env:KEY"
    assert loaded.origins["stripe.api_base"] == "default"


def test_an_existing_file_is_overwritten_only_by_force(tmp_path: Path) -> None:
    path = _file(tmp_path, "# mine\n")
    with pytest.raises(s.SettingsExist):
        s.write(path, VALUES)
    assert path.read_text() == "# mine\n"
    assert list(tmp_path.iterdir()) == [path]
    s.write(path, VALUES, force=True)
    assert tomllib.loads(path.read_text())["stripe"] == {"api_key": "env:KEY"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "values",
    [{"stripe": {"api_key": "sk_live_1"}}, {"stripe": {"key": "env:X"}}, {"refunds": {"in_flight": 0}}],
)
def test_what_would_be_refused_is_not_written(tmp_path: Path, values: Mapping[str, Mapping[str, object]]) -> None:
    with pytest.raises(SettingsProblem):
        s.write(tmp_path / "refundcli.toml", values)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_clear_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(s.SettingsNotWritable):
        s.write(tmp_path / "file" / "refundcli.toml", VALUES)


# --- The example ---


def test_the_example_loads_and_names_every_key(load: Load, tmp_path: Path) -> None:
    path = _file(tmp_path, EXAMPLE.read_bytes())
    loaded = load(config=path)
    assert set(loaded.origins.values()) == {str(path)}
    assert loaded.settings.refunds == s.RefundSettings()
    assert loaded.settings.credit_notes == s.CreditNoteSettings()


def test_the_example_says_what_each_key_is_for() -> None:
    lines = EXAMPLE.read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(keys) == sum(len(fields(kind)) for kind in SECTIONS.values())
    assert all(lines[number - 1].startswith("# ") for number in keys)
