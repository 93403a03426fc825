"""What can be typed after each command, read from the commands themselves."""

from typing import Any

import typer

from refundcli.cli.commands.setup.help import TOPICS
from refundcli.cli.completion import NUMBERS, Node
from refundcli.cli.main import COMMANDS, cli
from refundcli.domain.reasons import RefundReason
from refundcli.services.ports.provider_updates import EventState

_WORDS_OF_METAVAR: dict[str, list[str]] = {
    "REASON": [*RefundReason],
    "STATE": [*EventState],
    "TOPIC": [*COMMANDS, *TOPICS],
    "NUMBER": [NUMBERS],
    "[NUMBER]": [NUMBERS],
    "REFUND|INVOICE": [NUMBERS],
}


def command_table() -> dict[str, Node]:
    """Each command by its path, such as `invoice list`; that of `refundcli` itself is empty."""
    root = typer.main.get_command(cli)
    table = {"": _node(root)}
    context = typer.Context(root)
    for name in root.list_commands(context):  # type: ignore[attr-defined]
        command = root.get_command(context, name)  # type: ignore[attr-defined]
        table[name] = _node(command)
        table |= {f"{name} {below.name}": _node(below) for below in getattr(command, "commands", {}).values()}
    table[""]["commands"] = list(root.list_commands(context))  # type: ignore[attr-defined]
    return table


def _node(command: Any) -> Node:
    options: dict[str, list[str] | None] = {"--help": None}
    arguments: list[str] = []
    for param in command.params:
        if param.param_type_name == "argument":
            arguments += _words(param)
        else:
            has_value = not (param.is_flag or param.count)
            options |= dict.fromkeys(param.opts, _words(param) if has_value else None)
    return {"commands": list(getattr(command, "commands", {})), "options": options, "arguments": arguments}


def _words(param: Any) -> list[str]:
    choices = [str(getattr(choice, "value", choice)) for choice in getattr(param.type, "choices", ())]
    return choices or _WORDS_OF_METAVAR.get(param.metavar, [])
