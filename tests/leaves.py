"""The commands that do something, without the groups."""

from collections.abc import Iterator
from typing import Any

import typer

from refundcli.cli.main import COMMANDS, cli


def leaves() -> Iterator[tuple[str, Any]]:
    """The full name of every command that does something."""
    root: Any = typer.main.get_command(cli)
    for name in COMMANDS:
        command = root.get_command(None, name)
        if hasattr(command, "list_commands"):
            if command.invoke_without_command:
                yield name, command
            for part in command.list_commands(None):
                yield f"{name} {part}", command.get_command(None, part)
        else:
            yield name, command


LEAVES = dict(leaves())
