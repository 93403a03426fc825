"""Files written beside the store: never through a link, never over an existing file, readable by the owner only."""

import os
import sqlite3
from pathlib import Path

import pytest

from desk import Desk


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    return new_sqlite


@pytest.mark.parametrize("target", ["mine", "nothing"])
@pytest.mark.parametrize(
    ("command", "code", "exit_code"),
    [
        ("store backup a", "backup-exists", 2),
        ("refund --from rows.csv --plan a --yes", "plan-exists", 2),
        ("--config a init", "settings-exist", 4),
        ("--store sqlite:///a init --force", "store-out-of-reach", 4),
    ],
)
def test_a_link_in_the_place_of_what_is_written_is_refused(
    desk: Desk, command: str, code: str, exit_code: int, target: str
) -> None:
    if "sqlite:///a" in command and target == "mine":
        pytest.skip("a store may be reached through a link")
    desk.paid_by_card()
    Path("rows.csv").write_text("invoice,amount,reason\nINV-1,10,other\n")
    Path("mine").write_text("mine")
    Path("a").symlink_to(target)
    desk.refused(command, code, exit_code=exit_code)
    assert Path("mine").read_text() == "mine"
    assert not Path("nothing").exists()
    assert Path("a").is_symlink()


def test_a_backup_is_whole_sound_and_the_owner_s_alone(desk: Desk) -> None:
    desk.paid_by_card()
    store = Path(desk.url.removeprefix("sqlite:///"))
    store.chmod(0o644)
    copy = Path(desk.json("store backup copies/books.db")["backup"])
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in copy.parent.iterdir()] == ["books.db"]
    with sqlite3.connect(copy) as line:
        assert line.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    line.close()
    desk.environ["REFUNDCLI_STORE_URL"] = f"sqlite:///{copy}"
    assert desk.json("store check")["sound"]
    assert desk.json("invoice list")[0]["number"] == "INV-1"


def test_a_backup_into_a_folder_that_is_a_file_says_so(desk: Desk) -> None:
    Path("file").write_text("")
    error = desk.refused("store backup file/books.db", "backup-failed", exit_code=4)
    assert "not a folder" in str(error["message"])


def test_rejected_rows_replace_a_link_and_not_what_it_leads_to(desk: Desk) -> None:
    Path("mine").write_text("mine")
    Path("rows.csv").write_text("invoice,amount,reason\nINV-9,10,other\n")
    Path("rows.csv.rejected.csv").symlink_to("mine")
    assert desk("refund --from rows.csv --yes").exit_code == 9
    rejected = Path("rows.csv.rejected.csv")
    assert not rejected.is_symlink()
    assert rejected.stat().st_mode & 0o777 == 0o600
    assert "INV-9" in rejected.read_text()
    assert Path("mine").read_text() == "mine"
    assert [name for name in os.listdir() if name.endswith(".tmp")] == []
