"""Tab completion: what it offers, in a real bash, and what it never does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from refundcli.cli.completion import completions, remember_numbers
from refundcli.cli.completion_table import command_table
from refundcli.cli.main import run

HEAVY = ("typer", "rich", "click", "sqlite3", "tomllib", "sqlalchemy", "pydantic")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "refundcli"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("in", {"init", "invoice"}),
        ("invoice ", {"import", "pull", "list", "show", "history"}),
        ("refund INV-1 --reason d", {"duplicate"}),
        ("invoice list --status v", {"void"}),
        ("-o j", {"json"}),
        ("invoice list -o j", {"json"}),
        ("completion ", {"bash", "zsh", "fish"}),
        ("invoice pull s", {"stripe"}),
        ("refunds list --state p", {"pending"}),
        ("runs list --state s", {"stopped"}),
        ("events list --state un", {"unmatched", "unreviewed"}),
        ("plan ", {"make", "show"}),
        ("help e", {"events", "exit-codes", "environment"}),
    ],
)
def test_commands_options_and_their_values_are_offered(line: str, words: set[str]) -> None:
    assert words <= set(completions(line.split(" ")))


def test_every_command_and_visible_option_is_in_the_table() -> None:
    from refundcli.cli.main import COMMANDS

    table = command_table()
    assert set(table[""]["commands"]) == set(COMMANDS)
    for path, node in table.items():
        for command in node["commands"]:
            assert f"{path} {command}".strip() in table
    assert "--reason" in table["refund"]["options"]


def _loaded_by_a_tab() -> str:
    code = (
        "import sys; sys.argv[1:] = ['__complete', 'refund', '']\n"
        "from refundcli.__main__ import main; main()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_completing_loads_no_command_and_no_database() -> None:
    completions([""])
    assert _loaded_by_a_tab() == "[]\n"


def test_the_first_tab_after_the_script_loads_no_command(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "bash"]) == 0
    assert "__complete" in capsys.readouterr().out
    (table,) = own_cache.glob("commands-*.json")
    assert json.loads(table.read_bytes()) == command_table()
    assert _loaded_by_a_tab() == "[]\n"


def test_the_script_is_printed_where_nothing_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert run(["completion", "zsh"]) == 0


def test_only_words_that_no_shell_can_run_are_stored_and_offered(own_cache: Path) -> None:
    numbers = ["INV-1", "$(touch x)", "INV 2", "a;b", "`id`", "--yes", "\\$(id)", "Ada Lovelace", "é"]
    remember_numbers(numbers, config="", store="")
    assert completions(["refund", ""]) == ["INV-1"]
    (stored,) = own_cache.glob("numbers-*")
    assert stored.stat().st_mode & 0o777 == 0o600
    assert stored.read_text() == "INV-1"


def test_numbers_of_another_store_or_folder_are_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember_numbers(["INV-1"], config="", store="sqlite:///a.db")
    assert completions(["refund", ""]) == []
    assert completions(["--store", "sqlite:///a.db", "refund", ""]) == ["INV-1"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert completions(["--store", "sqlite:///a.db", "refund", ""]) == []


def test_a_full_or_forbidden_cache_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    remember_numbers(["INV-1"], config="", store="")
    assert completions(["inv"]) == ["invoice"]


def test_bash_completes_commands_reasons_and_listed_invoices(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "refundcli"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m refundcli "$@"\n')
    program.chmod(0o755)
    sample = Path(__file__).parents[2] / "examples" / "invoices.csv"
    environ = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "TERM": "dumb",
        "PS1": "$ ",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }
    for command in ("init", f"invoice import {sample}", "invoice list"):
        subprocess.run([program, *command.split()], env=environ, check=True, capture_output=True)
    bash = pexpect.spawn("bash", ["--norc", "--noprofile"], env=environ, encoding="utf-8", timeout=60)
    bash.sendline('eval "$(refundcli completion bash)"; echo rea""dy')
    bash.expect_exact("ready")
    for typed, completed in (
        ("refundcli mark-r\t", "mark-refunded "),
        ("refundcli refund INV-1001 --reason dupl\t", "duplicate "),
        ("refundcli refund INV-1001 --reas\t", "--reason "),
        ("refundcli invoice show INV-100\t\t", "INV-1003"),
    ):
        bash.send(typed)
        bash.expect_exact(completed)
        bash.sendcontrol("u")
    bash.sendline("exit")
    bash.expect(pexpect.EOF)
    bash.close()
