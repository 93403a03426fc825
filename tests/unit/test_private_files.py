"""Files that appear whole or not at all, for their owner only, and never through a link."""

import os
import tempfile
from pathlib import Path

import pytest

from refundcli import private_files
from refundcli.private_files import NoTemporaryFolder, create, draft, new_file, temporary_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def wide_open() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("wide_open")
@pytest.mark.parametrize("replace", [True, False])
def test_a_file_is_its_owner_s_alone_and_appears_at_the_end(tmp_path: Path, replace: bool) -> None:
    path = tmp_path / "a"
    with new_file(path, replace=replace) as file:
        file.write(b"whole")
        assert not path.exists()
    assert (path.read_bytes(), path.stat().st_mode & 0o777, names(tmp_path)) == (b"whole", 0o600, ["a"])


def test_what_goes_wrong_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "a") as file:  # noqa: PT012
        file.write(b"half")
        raise ZeroDivisionError
    assert names(tmp_path) == []


@pytest.mark.parametrize("there", ["a file", "a link to a file", "a link to nothing", "a folder"])
@pytest.mark.parametrize("hard_links", [True, False])
def test_what_is_there_already_is_left_as_it_is(
    tmp_path: Path, there: str, hard_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, target = tmp_path / "a", tmp_path / "other"
    if there == "a file":
        path.write_text("mine")
    elif there == "a folder":
        path.mkdir()
    else:
        path.symlink_to(target)
        if there == "a link to a file":
            target.write_text("mine")
    if not hard_links:
        monkeypatch.setattr(os, "link", no_links)
    before = names(tmp_path)
    with pytest.raises(FileExistsError), new_file(path) as file:
        file.write(b"theirs")
    assert names(tmp_path) == before
    assert not target.exists() or target.read_text() == "mine"


def no_links(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_where_there_are_no_hard_links_a_file_is_made_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    with new_file(tmp_path / "a") as file:
        file.write(b"whole")
    assert ((tmp_path / "a").read_bytes(), names(tmp_path)) == (b"whole", ["a"])


def test_a_link_is_replaced_itself_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    target = tmp_path / "other"
    target.write_text("mine")
    (tmp_path / "a").symlink_to(target)
    with new_file(tmp_path / "a", replace=True) as file:
        file.write(b"new")
    assert not (tmp_path / "a").is_symlink()
    assert ((tmp_path / "a").read_bytes(), target.read_text()) == (b"new", "mine")


def test_a_draft_that_was_exchanged_for_a_link_is_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "other"
    target.write_text("mine")
    with pytest.raises(OSError, match="symbolic link"), draft(tmp_path / "a") as name:  # noqa: PT012
        name.unlink()
        name.symlink_to(target)
    assert (target.read_text(), names(tmp_path)) == ("mine", ["other"])


def test_a_name_that_is_taken_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "nothing")
    with pytest.raises(FileExistsError):
        create(tmp_path / "a")


def test_without_a_temporary_folder_the_hint_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(NoTemporaryFolder) as problem:
        temporary_folder()
    assert "TMPDIR" in problem.value.hint
    assert private_files.NoTemporaryFolder.code == "no-temporary-folder"
