"""What --help and help print: groups, examples that run, no machine's words, and 80 columns."""

import re

import pytest
import typer

from conftest import NewStore
from desk import Desk
from leaves import LEAVES
from refundcli.cli.commands.setup.help import TOPICS
from refundcli.cli.exit_codes import MEANINGS
from refundcli.cli.help_page import COMMAND_GROUPS, examples_of
from refundcli.cli.main import COMMANDS, cli
from refundcli.settings.variables import ENVIRONMENT, ENVIRONMENT_APART, ENVIRONMENT_PREFIX


@pytest.fixture
def new_store(new_sqlite: NewStore) -> NewStore:
    return new_sqlite


def test_each_command_is_in_one_group() -> None:
    listed = [name for names in COMMAND_GROUPS.values() for name in names]
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("name", LEAVES)
def test_help_is_for_people(desk: Desk, name: str) -> None:
    answer = desk(f"{name} --help")
    assert answer.exit_code == 0
    assert max(map(len, answer.out.splitlines())) <= 80
    body, _, examples = answer.out.partition("Examples:\n")
    assert not re.search(r"\[\[|<int|<[a-z]+[|>]|\[x[<>]|\[[<>0-9]", body), body
    assert examples.strip().splitlines()[0].split()[0] in ("refundcli", "cat")
    assert len(examples.strip().splitlines()) == len(examples_of(LEAVES[name]))
    assert desk(f"help {name}").out.rstrip() == answer.out.rstrip()


@pytest.mark.parametrize("group", [name for name in COMMANDS if name not in LEAVES])
def test_a_group_by_itself_shows_its_commands(desk: Desk, group: str) -> None:
    answer = desk(group)
    assert (answer.exit_code, answer.err) == (0, "")
    assert "Commands:" in answer.out
    assert answer.out.strip() == desk(f"{group} --help").out.strip()


def test_pages_about_files_exit_codes_and_the_environment(desk: Desk) -> None:
    codes = " ".join(desk("help exit-codes").out.split())
    assert all(f"{code.value} {meaning}" in codes for code, meaning in MEANINGS.items())
    assert "invoice*, amount, reason*" in desk("help files").out
    assert "REFUNDCLI_CONFIG" in desk("help environment").out


@pytest.mark.parametrize("topic", ["", *TOPICS, *(name for name in COMMANDS if name not in LEAVES)])
def test_a_page_has_80_columns(desk: Desk, topic: str) -> None:
    assert max(map(len, desk(f"help {topic}").out.splitlines())) <= 80


def test_the_page_names_each_variable_of_the_global_options() -> None:
    root = typer.main.get_command(cli)
    variables = {param.envvar for param in root.params if param.envvar}
    assert "REFUNDCLI_READ_ONLY" in variables
    assert variables <= set(ENVIRONMENT)
    assert {name for name in variables if str(name).startswith(ENVIRONMENT_PREFIX)} <= ENVIRONMENT_APART


def test_a_topic_that_is_not_there_is_answered_with_the_likely_one(desk: Desk) -> None:
    answer = desk("help refnd")
    assert (answer.exit_code, "Did you mean refund?" in answer.err) == (2, True)
    assert desk("help exit-code").exit_code == 2


@pytest.mark.parametrize("name", LEAVES)
def test_each_help_names_the_output_format_where_there_is_one(desk: Desk, name: str) -> None:
    assert ("-o, --output FORMAT" in desk(f"{name} --help").out or name == "config") == (
        name not in ("completion", "sandbox", "help")
    )


@pytest.mark.parametrize("command", ["invoice list", "config", "credit-notes list", "formats list"])
def test_the_output_format_stands_before_or_after_the_command(desk: Desk, command: str) -> None:
    after = desk(f"{command} -o json")
    assert (after.exit_code, after.err, after.json) == (0, "", desk(f"-o json {command}").json)
    assert after.json == desk(f"-o csv {command} --output=json").json
