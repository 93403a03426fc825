"""The command line itself: what it loads, what it prints, and what scripts rely on."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from desk import ZONE, Answer, Desk
from refundcli.cli.exit_codes import ExitCode

HEAVY = (
    *("sqlalchemy", "sqlalchemy.orm", "sqlmodel", "pydantic", "alembic", "psycopg"),
    *("stripe", "Adyen", "requests", "httpx", "starlette", "uvicorn"),
)


def modules_of(*command: str, environ: Mapping[str, str] = {}, exit_code: int | None = None) -> set[str]:
    """The heavy modules that a command line imports. `exit_code`: how it must end."""
    code = (
        "import sys; from refundcli.__main__ import main\n"
        f"sys.argv[1:] = {list(command)!r}\n"
        "try: main()\n"
        f"except SystemExit as ending: assert {exit_code!r} in (None, ending.code), ending.code\n"
        f"sys.stderr.write('HEAVY ' + ' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    )
    environ = {**os.environ, **environ}
    process = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return set(process.stderr.rpartition("HEAVY ")[2].split())


@pytest.mark.parametrize(
    "command",
    [
        ["--version"],
        ["--help"],
        ["refund", "--help"],
        ["invoice", "--help"],
        ["config"],
        ["formats", "list"],
        ["refund", "--nonsense"],
    ],
)
def test_help_version_and_config_load_neither_the_store_nor_a_provider(command: list[str]) -> None:
    assert modules_of(*command) == set()


@pytest.mark.parametrize(
    "command",
    [
        *("invoice show INV-2", "invoice show INV-2 -o json", "invoice list", "invoice list --refundable -o csv"),
        *(
            "events list",
            "config",
            "invoice history INV-2",
            "status",
            "status -o json",
            "refunds list",
            "refunds show {note}",
            "runs list",
            "runs show {run}",
            "plan show {plan}",
            "credit-notes list",
            "credit-notes show {note}",
        ),
    ],
)
def test_a_reading_command_loads_the_bare_driver_and_neither_an_orm_nor_an_sdk(desk: Desk, command: str) -> None:
    desk.paid_by_card()
    desk.paid_outside()
    assert desk("mark-refunded INV-2 --amount 1 --reason other --yes").exit_code == 0
    refund = desk.invoice("INV-2").refunds[0]
    assert refund.credit_note
    driver = set() if desk.url.startswith("sqlite") else {"psycopg"}
    plan, file = desk.folder / "plan.json", desk.folder / "marks.csv"
    file.write_text("invoice,amount,reason\nINV-2,2.00,other\n")
    assert desk(f"mark-refunded --from {file} --plan {plan}").exit_code == 0
    run = desk.json(f"mark-refunded --from {file} --yes")["run"]
    words = command.format(note=refund.credit_note.number, run=run, plan=plan).split()
    assert modules_of(*words, environ=desk.environ, exit_code=0) <= driver


def test_a_refund_loads_its_own_provider_and_no_models(desk: Desk) -> None:
    desk.paid_by_card()
    words = ["refund", "INV-1", "--amount", "1", "--reason", "other", "--yes"]
    driver = set() if desk.url.startswith("sqlite") else {"psycopg"}
    assert modules_of(*words, environ=desk.environ, exit_code=0) == {"sqlalchemy", "stripe"} | driver


@pytest.mark.parametrize("command", ["invoice list --status opne", "-o jsno invoice list"])
def test_a_misspelt_choice_is_answered_in_plain_words(new_desk: Desk, command: str) -> None:
    answer = new_desk(command)
    assert answer.exit_code == ExitCode.USAGE
    assert f": '{'opne' if 'opne' in command else 'jsno'}' is not one of " in answer.err
    assert "Value error" not in answer.err


def test_the_exit_codes_are_a_promise() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0,
        "BUG": 1,
        "USAGE": 2,
        "REFUSED": 3,
        "SETTINGS": 4,
        "NOT_FOUND": 5,
        "DECLINED": 6,
        "NOT_SENT": 7,
        "OUTCOME_UNKNOWN": 8,
        "PARTLY": 9,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize(
    ("command", "word"),
    [("refnd INV-1", "refund"), ("invoice shw X", "show"), ("refund INV-1 --ful", "--full"), ("", "Usage")],
)
def test_a_typo_is_answered_with_the_likely_spelling(new_desk: Desk, command: str, word: str) -> None:
    answer = new_desk(command)
    assert word in answer.out + answer.err
    assert answer.exit_code == (2 if command else 0)


def test_an_option_without_its_value_points_to_the_help_of_its_command(new_desk: Desk) -> None:
    assert new_desk.refused("init --sandbox", "usage", exit_code=2)["hint"] == "refundcli init --help"


def test_the_output_option_may_precede_or_follow_the_command(desk: Desk) -> None:
    desk.paid_by_card()
    before, after = desk("-o json invoice show INV-1"), desk("invoice show INV-1 -o json")
    assert before.json == after.json
    assert desk("-o tsv invoice show INV-1 -o json").json == after.json


def test_a_usage_error_is_json_with_the_json_option(new_desk: Desk) -> None:
    answer = new_desk("-o json refund INV-1 --ful")
    assert (answer.exit_code, answer.error["code"]) == (2, "usage")


def test_a_script_never_meets_a_prompt(desk: Desk) -> None:
    """Every writing command, without a terminal and with --yes, ends without a prompt."""
    desk.paid_by_card()
    desk.paid_outside()
    desk.unpaid("INV-3")
    desk.unpaid("INV-4")
    for command in (
        "refund INV-1 --amount 1 --reason other --yes",
        'refund INV-1 --amount 2 --reason other --confirm "2.00 EUR"',
        "mark-refunded INV-2 --full --reason other --yes",
        "void INV-3 --yes",
        "uncollectible INV-4 --yes",
        "resume",
        "invoice list",
        "invoice show INV-1",
        "invoice history INV-1",
        "credit-notes list",
        "config",
        "store check",
    ):
        answer = desk(f"--no-input {command} -o json")
        assert answer.exit_code == 0, (command, answer)
        json.loads(answer.out)


@pytest.mark.parametrize(
    "command", ["invoice list", "refunds list", "credit-notes list", "resume", "invoice list --status void"]
)
def test_an_empty_list_is_an_empty_list(desk: Desk, command: str) -> None:
    assert desk.json(command) == []
    assert desk(f"{command} -o ndjson").out == ""


def test_a_pipe_gets_tabs_whole_values_and_no_box(desk: Desk) -> None:
    desk.paid_by_card("INV-1", customer_name="A very long name" * 9)
    (row,) = desk("invoice list").rows
    assert row[0] == "INV-1"
    assert row[1:4] == ["paid", "cus_204", "A very long name" * 9]


def test_csv_has_a_heading_and_guards_formulas(desk: Desk) -> None:
    desk.paid_by_card("INV-1", customer_name='=HYPERLINK("http://evil")')
    lines = desk("invoice list -o csv").out.splitlines()
    assert lines[0].startswith("number,status,customer,customer_name,")
    assert "'=HYPERLINK" in lines[1]


def test_what_comes_from_outside_never_reaches_the_terminal_raw(desk: Desk) -> None:
    desk.paid_by_card("INV-1", customer_name="Eve \x1b]0;owned\x07\x1b[31m[bold]x[/bold]\u202e")
    for command in ("invoice show INV-1", "invoice list", "invoice history INV-1"):
        answer = desk(command)
        assert not {"\x1b", "\x07", "\u202e"} & set(answer.out + answer.err)
    assert "[bold]x[/bold]" in desk("invoice show INV-1").out


def test_a_reader_that_went_away_is_no_error(desk: Desk) -> None:
    for n in range(300):
        desk.unpaid(f"INV-{n:04}")
    command = f"{sys.executable} -m refundcli invoice list --limit 301 | head -1"
    shell = ["bash", "-o", "pipefail", "-c", command]
    process = subprocess.run(shell, env=os.environ | desk.environ, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr.strip()) == (0, "")


# --- settings, store, sandbox ---


@pytest.fixture
def new_desk(tmp_path: Path) -> Desk:
    """A desk without any set-up."""
    desk = Desk.__new__(Desk)
    desk.folder, desk.url = tmp_path, ""
    desk.environ = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "COLUMNS": "120",
    }
    return desk


def test_init_writes_settings_that_load_and_makes_the_store(new_desk: Desk) -> None:
    answer = new_desk.json("--store sqlite:///books.db init --sandbox http://127.0.0.1:4242")
    settings = tomllib.loads(Path(answer["settings"]).read_text())
    assert settings["stripe"] == {"api_key": "env:STRIPE_API_KEY", "api_base": "http://127.0.0.1:4242"}
    assert (new_desk.folder / "books.db").exists()
    assert new_desk.json("invoice list") == []
    again: Answer = new_desk("--store sqlite:///books.db init -o json")
    assert (again.exit_code, again.error["code"]) == (4, "settings-exist")
    assert new_desk("--store sqlite:///books.db init --force").exit_code == 0


def test_init_force_keeps_the_store_and_every_setting_and_backs_the_file_up(new_desk: Desk) -> None:
    new_desk("--store sqlite:///books.db --config refundcli.toml init --sandbox http://127.0.0.1:4242")
    path = new_desk.folder / "refundcli.toml"
    old_text = (
        path.read_text() + '\n[refunds]\npending_days = 9\n[seller]\nname = "Club"\n[alert]\ncommand = ["true"]\n'
    )
    path.write_text(old_text)
    answer = new_desk("--config refundcli.toml init --force --merchant-account Club")
    settings = tomllib.loads(path.read_text())
    expected = tomllib.loads(old_text)
    expected["adyen"]["merchant_account"] = "Club"
    assert settings == expected
    (copy,) = new_desk.folder.glob("refundcli.toml.bak-????-??-??")
    assert (copy.read_text(), copy.stat().st_mode & 0o777) == (old_text, 0o600)
    new_desk("--config refundcli.toml init --force")
    assert len(list(new_desk.folder.glob("refundcli.toml.bak-*"))) == 2
    assert answer.exit_code == 0


@pytest.mark.parametrize("text", ['[alert]\ncommand = ["touch", "run"]\n', "not TOML", "[store]\nurl = 5\n"])
def test_init_force_uses_no_setting_of_a_file_that_is_untrusted_or_invalid(new_desk: Desk, text: str) -> None:
    path = new_desk.folder / "refundcli.toml"
    path.write_text(text)
    path.chmod(0o600)
    answer = new_desk("--store sqlite:///books.db init --force")
    assert answer.exit_code == 0, answer.err
    assert tomllib.loads(path.read_text()).keys() == {"store", "operator", "stripe", "adyen"}
    (copy,) = new_desk.folder.glob("refundcli.toml.bak-*")
    assert copy.read_text() == text


def test_config_shows_the_source_of_each_setting_and_no_secret(new_desk: Desk) -> None:
    new_desk("--store sqlite:///books.db init")
    new_desk.environ |= {"STRIPE_API_KEY": "sk_test_hidden", "REFUNDCLI_REFUNDS_READ_TIMEOUT": "7"}
    answer = new_desk("config -o json")
    settings = {row["setting"]: (row["value"], row["from"]) for row in answer.json}
    assert settings["refunds.read_timeout"] == (7.0, "environment REFUNDCLI_REFUNDS_READ_TIMEOUT")
    assert settings["stripe.api_key"][0] == "env:STRIPE_API_KEY"
    assert settings["stripe.api_key"][1].endswith("refundcli.toml")
    assert "hidden" not in answer.out + answer.err


def test_without_a_store_the_hint_says_how_to_make_one(new_desk: Desk) -> None:
    error = new_desk.refused("--store sqlite:///none.db invoice list", "no-store", exit_code=4)
    assert "refundcli init" in str(error["hint"])


def test_without_a_key_the_setting_is_named(desk: Desk) -> None:
    desk.paid_by_card()
    del desk.environ["REFUNDCLI_STRIPE_API_KEY"]
    error = desk.refused("refund INV-1 --full --reason other --yes", "provider-not-configured", exit_code=4)
    assert "api_key" in str(error["message"]) + str(error["hint"])


def test_the_store_is_backed_up_checked_and_upgraded(new_desk: Desk) -> None:
    new_desk("--store sqlite:///books.db init")
    copy = new_desk.json("store backup copy.db")["backup"]
    assert Path(copy).exists()
    new_desk.refused("store backup copy.db", "backup-exists", exit_code=2)
    assert new_desk.json("store check")["sound"]
    answer = new_desk.json("store upgrade")
    assert answer["before"] == answer["after"]


def test_a_bug_is_reported_as_a_bug(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refundcli.store.queries.invoices.SqlInvoiceReads.matching", lambda *_: 1 / 0)
    answer = desk("invoice list")
    assert answer.exit_code == 1
    assert "bug in refundcli" in answer.err
    assert "Traceback" not in answer.err
    assert "Traceback" in desk("--debug invoice list").err


def test_config_shows_the_time_zone_of_a_store_that_is_a_file(sqlite_desk: Desk) -> None:
    def books() -> list[str]:
        return [row["value"] for row in sqlite_desk.json("config") if row["setting"] == "books.timezone"]

    assert books() == [ZONE]
    sqlite_desk.environ["REFUNDCLI_STORE_URL"] = f"sqlite:///{sqlite_desk.folder}/none.db"
    assert books() == []
    sqlite_desk.environ["REFUNDCLI_STORE_URL"] = "postgresql://127.0.0.1:1/none"
    assert books() == []
