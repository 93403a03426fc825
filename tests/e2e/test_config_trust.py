"""A refundcli.toml found in the working folder: nothing is read from it, and nothing is sent, until it is trusted."""

import shutil
from pathlib import Path

import pytest

from desk import Desk
from left_behind import leave_it_ready
from wire import Reply, Stub

COMMANDS = [
    "config",
    "status",
    "resume --yes",
    "refund INV-1 --full --reason other --yes",
    "refund INV-1 --full --reason other --dry-run",
    "mark-refunded INV-1 --full --reason other --yes",
    "invoice list",
    "invoice show INV-1",
    "reconcile",
    "events list",
    "store check",
    "store backup copy.db",
    "void INV-1 --yes",
]


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    return new_sqlite


@pytest.fixture
def hostile(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hostile folder whose settings send this user's token to a foreign port."""
    folder = tmp_path / "archive"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def settings_of(folder: Path, port_of: Stub, token: Path) -> Path:
    path = folder / "refundcli.toml"
    path.write_text(f"[stripe]\napi_base = '{port_of.url}'\napi_key = 'file:{token}'\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_it_and_sends_nothing(desk: Desk, hostile: Path, command: str) -> None:
    desk.paid_by_card()
    leave_it_ready(desk, "--amount 40")
    token = desk.folder / "token"
    token.write_text("sk_test_taken")
    token.chmod(0o600)
    for name in ("REFUNDCLI_STRIPE_API_BASE", "REFUNDCLI_STRIPE_API_KEY"):
        del desk.environ[name]
    before, read_at = desk.invoice("INV-1"), token.stat().st_atime_ns
    with Stub(Reply(500)) as stub:
        path = settings_of(hostile, stub, token)
        error = desk.refused(command, "settings-not-trusted", exit_code=4)
        assert stub.connections == 0
    assert error["context"] == {"file": str(path), "changed": False}
    assert "refundcli config trust" in str(error["hint"])
    assert "taken" not in str(error)
    assert token.stat().st_atime_ns == read_at
    assert desk.invoice("INV-1") == before
    assert desk.sandbox.refund_requests == []
    assert {path_inside.name for path_inside in hostile.iterdir()} == {"refundcli.toml"}


def test_once_trusted_it_counts_until_it_changes(desk: Desk, hostile: Path) -> None:
    path = hostile / "refundcli.toml"
    path.write_text("[refunds]\nin_flight = 3\n")
    desk.refused("status", "settings-not-trusted", exit_code=4)
    answer = desk.json("config trust")
    assert answer == {"schema": "1", "trusted": str(path), "sets": ["refunds.in_flight = 3"]}
    assert desk("status").exit_code == 0
    path.write_text("[refunds]\nin_flight = 4\n")
    assert "changed since" in str(desk.refused("status", "settings-not-trusted", exit_code=4)["message"])
    assert desk(f"--config {path} status").exit_code == 0
    desk.environ["REFUNDCLI_CONFIG"] = str(path)
    assert desk("status").exit_code == 0


def test_init_trusts_what_it_writes_and_only_there(desk: Desk, hostile: Path, tmp_path: Path) -> None:
    desk.json("init")
    assert desk("status").exit_code == 0
    moved = tmp_path / "moved"
    shutil.copytree(hostile, moved)
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.chdir(moved)
        desk.refused("status", "settings-not-trusted", exit_code=4)


def test_init_says_that_an_edited_file_must_be_trusted_again(desk: Desk, hostile: Path) -> None:
    assert "After you edit it: refundcli config trust" in desk("init").err
    assert "config trust" not in desk("--config own.toml init").err


def test_init_in_such_a_folder_uses_nothing_of_what_is_there(desk: Desk, hostile: Path) -> None:
    path = hostile / "refundcli.toml"
    path.write_text("[store]\nurl = 'sqlite:////tmp/theirs.db'\n[adyen]\nmerchant_account = 'Theirs'\n")
    desk.refused("--store sqlite:///mine.db init", "settings-exist", exit_code=4)
    desk.json("--store sqlite:///mine.db init --force")
    assert "Theirs" not in path.read_text().replace("SandboxMerchant", "")
    assert "theirs" not in path.read_text()
    assert desk("--store sqlite:///mine.db status").exit_code == 0


def test_where_trust_cannot_be_remembered_init_says_how_to_go_on(desk: Desk, hostile: Path) -> None:
    desk.environ["XDG_CONFIG_HOME"] = "/proc/none"
    answer = desk("init")
    assert answer.exit_code == 0
    assert f"export REFUNDCLI_CONFIG={hostile / 'refundcli.toml'}" in answer.err
    desk.refused("status", "settings-not-trusted", exit_code=4)
    desk.environ["REFUNDCLI_CONFIG"] = str(hostile / "refundcli.toml")
    assert desk("status").exit_code == 0
