"""Where secrets are read from, and that they are never shown."""

import os
import pickle
import shlex
import sys
from pathlib import Path

import keyring
import pytest
from keyring.errors import NoKeyringError

from refundcli import secrets
from refundcli.domain.errors import SettingsProblem
from refundcli.secrets import Secret, is_reference, redact, resolve

KEY = "sk_test_51HunterTwo"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    return path


def _from_file(path: Path) -> str:
    return resolve(f"file:{path}", environ={}).reveal()


def test_a_secret_shows_only_on_request() -> None:
    secret = Secret(KEY)
    assert {str(secret), repr(secret), f"{secret}", f"{secret:>3}", "%s" % secret} == {"•••"}  # noqa: UP031
    assert KEY not in repr([secret])
    assert secret.reveal() == KEY


def test_a_secret_is_not_written_down() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(KEY))


def test_secrets_compare_by_what_they_hold() -> None:
    assert Secret(KEY) == Secret(KEY)
    assert Secret(KEY) != Secret("other")
    assert Secret(KEY) != KEY
    assert len({Secret(KEY), Secret(KEY)}) == 1


def test_a_secret_comes_from_the_environment() -> None:
    assert resolve("env:KEY", environ={"KEY": KEY}) == Secret(KEY)


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}])
def test_a_variable_that_is_missing_or_empty_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(secrets.SecretNotInEnvironment, match="KEY"):
        resolve("env:KEY", environ=environ)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_one_line_end_is_taken_off(key_file: Path, ending: str) -> None:
    key_file.write_bytes((KEY + ending).encode())
    assert _from_file(key_file) == KEY


@pytest.mark.parametrize("text", ["", "\n", "\r\n"])
def test_an_empty_file_is_a_problem(key_file: Path, text: str) -> None:
    key_file.write_bytes(text.encode())
    with pytest.raises(secrets.EmptySecret):
        _from_file(key_file)


@pytest.mark.parametrize("text", [f"{KEY}\n\n", f" {KEY}", f"{KEY} x", f"{KEY}\t", f"{KEY}\0", f"{KEY}å", "\x1b[2J"])
def test_a_text_no_header_can_carry_is_refused_and_not_repeated(key_file: Path, text: str) -> None:
    key_file.write_bytes(text.encode())
    with pytest.raises(secrets.MalformedSecret) as caught:
        _from_file(key_file)
    assert KEY not in caught.value.message + caught.value.hint + repr(caught.value.context)
    assert caught.value.__cause__ is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(secrets.FileNotReadable, match="no such file"):
        _from_file(tmp_path / "gone")


def test_a_folder_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(secrets.FileNotReadable):
        _from_file(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o644])
def test_a_file_others_may_read_is_refused_with_the_cure(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(secrets.FileOpenToOthers) as caught:
        _from_file(key_file)
    assert caught.value.hint == f"chmod go= {shlex.quote(str(key_file))}"


def test_another_user_s_file_is_refused(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(key_file, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(secrets.FileOwnedByOther):
        _from_file(key_file)


def test_a_huge_file_is_no_secret(key_file: Path) -> None:
    key_file.write_text("k" * 70_000)
    with pytest.raises(secrets.FileTooLarge):
        _from_file(key_file)


def test_a_secret_comes_from_the_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = {("refundcli", "stripe"): KEY}
    monkeypatch.setattr(keyring, "get_password", lambda service, name: passwords.get((service, name)))
    assert resolve("keyring:stripe", environ={}).reveal() == KEY
    with pytest.raises(secrets.SecretNotInKeyring, match="adyen"):
        resolve("keyring:adyen", environ={})


def test_a_machine_without_a_keyring_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_there(service: str, name: str) -> str:
        raise NoKeyringError

    monkeypatch.setattr(keyring, "get_password", none_there)
    with pytest.raises(secrets.KeyringUnavailable, match="stripe"):
        resolve("keyring:stripe", environ={})


def test_without_the_keyring_package_the_hint_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(secrets.KeyringNotInstalled) as caught:
        resolve("keyring:stripe", environ={})
    assert "refundcli[keyring]" in caught.value.hint


def test_a_secret_in_place_of_a_reference_is_refused_and_not_repeated() -> None:
    with pytest.raises(secrets.LiteralSecret) as caught:
        resolve(KEY, environ={})
    assert "Hunter" not in caught.value.message + caught.value.hint + repr(caught.value.context)


@pytest.mark.parametrize("text", ["", "env:", "env:1X", "env:A B", "file:", "keyring:", "http:x", f"env:{KEY}"])
def test_other_texts_are_no_references(text: str) -> None:
    assert not is_reference(text)


def test_every_problem_here_is_one_of_settings() -> None:
    problems = [
        variable
        for variable in vars(secrets).values()
        if isinstance(variable, type) and issubclass(variable, Exception)
    ]
    assert all(issubclass(variable, SettingsProblem) for variable in problems)
    codes = [variable.code for variable in problems if issubclass(variable, SettingsProblem)]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("key sk_live_51Abc, then", "key sk_live_•••, then"),
        ("rk_test_51Abc", "rk_test_•••"),
        ("sk_org_live_51Abc", "sk_org_live_•••"),
        ('{"secret":"whsec_a1+/="}', '{"secret":"whsec_•••"}'),
        ("postgresql://ada:pw@db:5432/books", "postgresql://ada:•••@db:5432/books"),
        ("postgresql://ada:p@w/x@db/books", "postgresql://ada:•••@db/books"),
        ("postgresql://db/books?user=a&password=pw&x=1", "postgresql://db/books?user=a&password=•••&x=1"),
        ("X-API-Key: abc.def", "X-API-Key: •••"),
        ("'x-api-key': 'abc'", "'x-api-key': '•••"),
        ("Authorization: Bearer abc", "Authorization: Bearer •••"),
        ("authorization: Basic abc=", "authorization: Basic •••"),
        ("AQEyhmfxK4vPaBFGw0m/n3Q5qf3V-xsd=-{4(7&:?<", "AQE•••"),
        (
            "resume cl_01M8P39D6ZAAQETM037VWW397V with AQEyhmfxK4vPaBFG",
            "resume cl_01M8P39D6ZAAQETM037VWW397V with AQE•••",
        ),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, masked: str) -> None:
    assert redact(text) == masked
    assert redact(masked) == masked


@pytest.mark.parametrize(
    "text",
    ["INV-1042 has 75.00 EUR left", "https://api.stripe.com/v1", "sqlite:////a/b.db", "env:STRIPE_API_KEY"],
)
def test_other_text_is_left_alone(text: str) -> None:
    assert redact(text) == text
