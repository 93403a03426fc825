"""Which settings files count: one in the working folder only once trusted, by its path and its content."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from refundcli import settings as s
from refundcli.secrets import FileOpenToOthers, FileOwnedByOther

HOSTILE = "[stripe]\napi_base = 'http://127.0.0.1:1'\napi_key = 'file:~/.some-token'\n"


@pytest.fixture
def user_config(tmp_path: Path) -> Path:
    return tmp_path / "config"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    directory = tmp_path / "work"
    directory.mkdir()
    return directory


def write(folder: Path, text: str = HOSTILE) -> Path:
    path = folder / "refundcli.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def load(folder: Path, user_config: Path | None, **of: object) -> s.Loaded:
    arguments: dict[str, object] = {"config": None, "store_url": "sqlite:////a/b.db", "environ": {}} | of
    return s.load(cwd=folder, user_config=user_config, **arguments)  # type: ignore[arg-type]


def test_a_file_that_came_with_the_folder_is_refused_with_the_command(folder: Path, user_config: Path) -> None:
    path = write(folder)
    with pytest.raises(s.SettingsNotTrusted) as refused:
        load(folder, user_config)
    assert str(path) in refused.value.message
    assert "refundcli config trust" in refused.value.hint
    assert ".some-token" not in refused.value.message + refused.value.hint


@pytest.mark.parametrize("section", ["store", "stripe", "adyen", "refunds", "credit_notes", "operators", "x"])
def test_every_section_but_the_operator_s_needs_trust(folder: Path, user_config: Path, section: str) -> None:
    write(folder, f"[operator]\nname = 'Ada'\n[{section}]\n")
    with pytest.raises(s.SettingsNotTrusted):
        load(folder, user_config)


@pytest.mark.parametrize("text", ["", "[operator]\nname = 'Ada'\ntimezone = 'Europe/Stockholm'\n"])
def test_who_the_operator_is_may_be_said_by_anyone(folder: Path, user_config: Path, text: str) -> None:
    write(folder, text)
    assert load(folder, user_config).path == folder / "refundcli.toml"


def test_trust_is_for_this_content_and_needed_again_when_it_changes(folder: Path, user_config: Path) -> None:
    path = write(folder)
    s.trust(folder, user_config)
    assert load(folder, user_config).settings.stripe.api_base == "http://127.0.0.1:1"
    path.write_text(HOSTILE.replace(":1'", ":2'"))
    with pytest.raises(s.SettingsNotTrusted, match="has changed"):
        load(folder, user_config)
    path.write_text(HOSTILE)
    assert load(folder, user_config).path == path


def test_trust_is_for_this_folder_by_whichever_name_it_is_entered(
    folder: Path, user_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder)
    (tmp_path / "link").symlink_to(folder)
    s.trust(tmp_path / "link", user_config)
    monkeypatch.chdir(tmp_path)
    for name in (folder, tmp_path / "link", Path("work"), folder / ".." / "work"):
        assert load(name, user_config).settings.stripe.api_base
    second = tmp_path / "other"
    second.mkdir()
    write(second)
    with pytest.raises(s.SettingsNotTrusted):
        load(second, user_config)


def test_a_link_to_a_trusted_file_is_not_trusted_in_another_folder(
    folder: Path, user_config: Path, tmp_path: Path
) -> None:
    """Relative paths in it would lead into the other folder."""
    path = write(folder, "[store]\nurl = 'sqlite:///books.db'\n")
    s.trust(folder, user_config)
    linked = tmp_path / "other"
    linked.mkdir()
    (linked / "refundcli.toml").symlink_to(path)
    with pytest.raises(s.SettingsNotTrusted):
        load(linked, user_config)


def test_a_link_with_a_new_target_has_changed(folder: Path, user_config: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("[refunds]\nin_flight = 1\n")
    (folder / "refundcli.toml").symlink_to(mine)
    s.trust(folder, user_config)
    assert load(folder, user_config).settings.refunds.in_flight == 1
    (folder / "refundcli.toml").unlink()
    (folder / "refundcli.toml").symlink_to(write(tmp_path))
    with pytest.raises(s.SettingsNotTrusted, match="has changed"):
        load(folder, user_config)


def test_a_file_that_is_named_is_consent(folder: Path, user_config: Path) -> None:
    path = write(folder)
    assert load(folder, user_config, config=path).path == path
    assert load(folder, user_config, environ={"REFUNDCLI_CONFIG": "refundcli.toml"}).path == path


def test_a_variable_in_the_environment_is_consent(folder: Path, user_config: Path) -> None:
    assert load(
        folder, user_config, environ={"REFUNDCLI_STRIPE_API_BASE": "http://127.0.0.1:9"}
    ).settings.stripe.api_base


def test_the_user_s_own_file_needs_no_trust_even_from_within_its_folder(user_config: Path) -> None:
    user_config.mkdir()
    path = write(user_config)
    assert load(user_config, user_config).path == path


def test_a_parent_s_file_is_not_looked_for(folder: Path, user_config: Path) -> None:
    write(folder)
    (folder / "below").mkdir()
    assert load(folder / "below", user_config).path is None


def test_the_bytes_that_were_trusted_are_the_bytes_that_are_used(folder: Path, user_config: Path) -> None:
    """The file is replaced after each read, so it must be read only once."""
    path = write(folder, "[refunds]\nin_flight = 1\n")
    s.trust(folder, user_config)
    from refundcli.secrets import read_own_file

    times = []

    def exchanged(file: Path, **how: int) -> bytes:
        content = read_own_file(file, **how)
        times.append(file)
        path.write_text(HOSTILE)
        return content

    with patch("refundcli.settings.loading.read_own_file", exchanged):
        loaded = load(folder, user_config)
    assert times == [path]
    assert (loaded.settings.refunds.in_flight, loaded.settings.stripe.api_base) == (1, None)


def test_a_file_with_a_mistake_in_it_is_not_trusted(folder: Path, user_config: Path) -> None:
    write(folder, "[stripe]\napi_base = 'http://evil.example'\n")
    with pytest.raises(s.InvalidSetting):
        s.trust(folder, user_config)
    assert not user_config.exists()
    (folder / "refundcli.toml").unlink()
    with pytest.raises(s.NoSettingsHere):
        s.trust(folder, user_config)


def test_what_is_trusted_is_remembered_for_the_user_alone(folder: Path, user_config: Path) -> None:
    write(folder)
    s.trust(folder, user_config)
    (record,) = (user_config / "trusted").iterdir()
    assert record.stat().st_mode & 0o777 == 0o600
    assert record.parent.stat().st_mode & 0o777 == 0o700
    assert str(folder) in record.read_text()
    record.chmod(0o644)
    with pytest.raises(FileOpenToOthers):
        load(folder, user_config)
    if os.geteuid() == 0:
        record.chmod(0o600)
        os.chown(record, 12345, -1)
        with pytest.raises(FileOwnedByOther):
            load(folder, user_config)


def test_a_record_in_an_old_or_broken_form_trusts_nothing(folder: Path, user_config: Path) -> None:
    write(folder)
    s.trust(folder, user_config)
    (record,) = (user_config / "trusted").iterdir()
    record.write_bytes(b"")
    with pytest.raises(s.SettingsNotTrusted):
        load(folder, user_config)


def test_without_a_home_nothing_is_trusted_and_the_hint_says_how(folder: Path) -> None:
    path = write(folder)
    with pytest.raises(s.SettingsNotTrusted):
        load(folder, None)
    with pytest.raises(s.TrustNotRemembered) as problem:
        s.trust(folder, None)
    assert f"export REFUNDCLI_CONFIG={path}" in problem.value.hint


def test_an_unknown_home_does_not_fall_back_to_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a home, `~/.config` is not expanded and would be a folder named `~` in the working folder."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert s.default_user_config() is None
    from refundcli.settings.loading import default_store_url

    assert default_store_url() is None
    with pytest.raises(s.StoreNotNamed) as problem:
        s.load(config=None, store_url=None, environ={}, cwd=Path("/"), user_config=None)
    assert "--store" in problem.value.hint
