"""The options of `refundcli` itself, which are accepted after the command too; the later one wins."""

from collections.abc import Iterable
from copy import copy
from pathlib import Path
from typing import Any

from refundcli.cli.options import CsvDialect, Format

# Option → its attribute of the app, and how to read it.
_ATTRIBUTES: dict[str, tuple[str, Any]] = {
    "config": ("config", Path),
    "store": ("store", str),
    "output": ("format", Format),
    "to": ("to", Path),
    "dialect": ("dialect", CsvDialect),
    "no_input": ("no_input", bool),
    "quiet": ("quiet", bool),
    "verbose": ("verbose", bool),
    "debug": ("debug", bool),
    "accessible": ("accessible", bool),
    "no_pager": ("no_pager", bool),
    "read_only": ("only_reads", bool),
}
# These print text for a person or a shell.
_WITHOUT_FORMAT = ("completion", "sandbox", "help")


def accept_global_options(command: Any, root_options: Iterable[Any]) -> None:
    """Add the options of `refundcli` to a command, except those whose names it uses itself; its help names `-o`."""
    own_names = {name for option in command.params for name in option.opts}
    for root_option in root_options:
        if root_option.name in _ATTRIBUTES and own_names.isdisjoint(root_option.opts):
            option = copy(root_option)
            option.callback, option.default, option.envvar = _remember, None, None
            option.expose_value = False
            option.hidden = option.name != "output" or command.name in _WITHOUT_FORMAT
            command.params.append(option)


def _remember(ctx: Any, option: Any, value: Any) -> None:
    if value is not None and ctx.obj is not None:
        attribute, read = _ATTRIBUTES[option.name]
        setattr(ctx.obj, attribute, read(value))
