"""What `--help` prints: options in groups, plain names for values, and one example a line that can be copied."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

COMMAND_GROUPS: Mapping[str, Sequence[str]] = {
    "Find and look": ("invoice", "find", "refunds", "runs", "credit-notes", "status"),
    "Give money back": ("refund", "mark-refunded", "void", "uncollectible", "plan"),
    "Finish and check": ("resume", "resolve", "acknowledge", "reconcile", "events", "audit"),
    "Set up": ("init", "config", "store", "formats", "completion", "sandbox", "help"),
}
# Options by what they are about. One in no group is a filter of a list, or else an option like any other.
_OPTION_GROUPS: Mapping[str, Sequence[str]] = {
    "How much and why": (
        "--full", "--amount", "--percent", "--keep", "--keep-amount", "--reason", "--memo", "--payment",
        "--dispute-decision", "--method", "--reference", "--refunded-on", "--after-failed", "--evidence",
    ),
    "Files and runs": (
        "--from", "--plan", "--apply", "--out", "--resume", "--undo", "--propose", "--to", "--to-csv", "--max-errors",
        "--atomic", "--skip-invalid", "--format", "--decimal", "--date", "--sheet", "--report", "--result",
    ),
    "Safety": ("--dry-run", "--yes", "--confirm", "--allow-duplicate", "--request-key"),
}  # fmt: skip
_LISTS, _SELECTS = ("list", "find"), ("list", "find", "make")
_OUTPUT = ("--output", "--help", "--limit", "--all", "--after", "--sort", "--columns")
# So many options are one group.
_FEW = 8
_WIDTH = 80


def write_command(command: Any, ctx: Any, formatter: Any) -> None:
    """The help of one command."""
    formatter.width = min(formatter.width, _WIDTH)
    shown = _shown(command.params, "argument")
    arguments = [(_value_name(argument), argument.help or "") for argument in shown]
    names = [_value_name(argument) if argument.required else f"[{_value_name(argument)}]" for argument in shown]
    formatter.write_usage(ctx.command_path, " ".join([*names, "[OPTIONS]"]))
    command.format_help_text(ctx, formatter)
    _write_rows(formatter, "Arguments", arguments)
    for title, options in _grouped(command, ctx).items():
        _write_rows(formatter, title, list(map(_option_row, options)))
    write_examples(formatter, command)


def write_group(group: Any, ctx: Any, formatter: Any) -> None:
    """The help of a command that has commands."""
    formatter.width = min(formatter.width, _WIDTH)
    formatter.write_usage(ctx.command_path, "COMMAND")
    group.format_help_text(ctx, formatter)
    rows = [(name, _first_sentence(command.help)) for name, command in group.commands.items() if not command.hidden]
    _write_rows(formatter, "Commands", rows)
    formatter.write_paragraph()
    formatter.write_text(f"{ctx.command_path} COMMAND --help   shows its options and examples")
    write_examples(formatter, group)


def write_root(root: Any, ctx: Any, formatter: Any, summaries: Mapping[str, str]) -> None:
    """The help of refundcli itself."""
    formatter.width = min(formatter.width, _WIDTH)
    formatter.write_usage(ctx.command_path, "COMMAND [OPTIONS]")
    root.format_help_text(ctx, formatter)
    for title, names in COMMAND_GROUPS.items():
        _write_rows(formatter, title, [(name, summaries[name]) for name in names])
    options = _shown(root.get_params(ctx), "option")
    _write_rows(formatter, "Options of every command", list(map(_option_row, options)))


def write_examples(formatter: Any, command: Any) -> None:
    """Each on a line of its own, never wrapped."""
    if examples := examples_of(command):
        formatter.write_paragraph()
        formatter.write("Examples:\n" + "".join(f"  {example}\n" for example in examples))


def examples_of(command: Any) -> list[str]:
    _, _, listed = (command.epilog or "").partition(":")
    return [example.strip() for example in re.split(r"·|\n", listed) if example.strip()]


def _shown(params: Sequence[Any], kind: str) -> list[Any]:
    return [param for param in params if param.param_type_name == kind and not param.hidden]


def _grouped(command: Any, ctx: Any) -> dict[str, list[Any]]:
    options = _shown(command.get_params(ctx), "option")
    if len(options) <= _FEW:
        return {"Options": options}
    verb = ctx.command_path.rpartition(" ")[2]
    groups: dict[str, list[Any]] = {title: [] for title in ("Which", *_OPTION_GROUPS, "Options", "Output")}
    for option in options:
        groups[_group_of(max(option.opts, key=len), verb)].append(option)
    return {title: members for title, members in groups.items() if members}


def _group_of(name: str, verb: str) -> str:
    if name in _OUTPUT:
        return "Output"
    title = next((title for title, names in _OPTION_GROUPS.items() if name in names), "")
    if verb in _LISTS and title != "Files and runs":
        return "Which"
    return title or ("Which" if verb in _SELECTS else "Options")


def _option_row(option: Any) -> tuple[str, str]:
    """The names, a plain name for the value, and the help with the default and the choices that it does not name."""
    names = ", ".join(sorted(option.opts, key=len))
    if not option.is_flag:
        names = f"{names} {_value_name(option)}"
    choices = [str(getattr(choice, "value", choice)) for choice in getattr(option.type, "choices", ())]
    text = option.help or ""
    if option.default not in (None, "", False) and option.show_default:
        text = f"{text}  [default: {getattr(option.default, 'value', option.default)}]"
    if option.required:
        text = f"{text}  [required]"
    if choices and not all(choice in text for choice in choices):
        text = f"{text} One of: {', '.join(choices)}."
    return names, text


def _value_name(param: Any) -> str:
    """`FORMAT` for `-o`, `NUMBER` for a count."""
    name = str(param.metavar or ("NUMBER" if "Int" in type(param.type).__name__ else param.name.upper()))
    if name.startswith("["):
        name = name[1:-1]
    return {"OUTPUT": "FORMAT"}.get(name, name).replace("_", "-")


def _write_rows(formatter: Any, title: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)


def _first_sentence(text: str | None) -> str:
    return (text or "").split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".") + "."
