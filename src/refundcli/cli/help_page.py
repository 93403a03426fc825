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
# Fewer options than this are one group.
_FEW = 8
_RANGE = re.compile(r"\s*\[[^\]]*[<>]=?[^\]]*\]")
_ENVIRONMENT = re.compile(r"\[env var: [^\];]*(?:; )?")
_CHOICES = re.compile(r"<[^>]+>")
_WIDTH = 80


def write_command(command: Any, ctx: Any, formatter: Any) -> None:
    """The help of one command."""
    formatter.width = min(formatter.width, _WIDTH)
    arguments = [(_value_name(param, ctx), param.help or "") for param in _shown(command, "argument")]
    required = [param.required for param in _shown(command, "argument")]
    names = [name if is_needed else f"[{name}]" for (name, _), is_needed in zip(arguments, required, strict=True)]
    formatter.write_usage(ctx.command_path, " ".join([*names, "[OPTIONS]"]))
    command.format_help_text(ctx, formatter)
    _write_rows(formatter, "Arguments", arguments)
    for title, options in _grouped(command, ctx).items():
        _write_rows(formatter, title, [_option_row(option, ctx) for option in options])
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
    options = [param for param in root.get_params(ctx) if param.param_type_name == "option" and not param.hidden]
    _write_rows(formatter, "Options of every command", [_option_row(option, ctx) for option in options])


def write_examples(formatter: Any, command: Any) -> None:
    """Each on a line of its own, never wrapped."""
    if examples := examples_of(command):
        formatter.write_paragraph()
        formatter.write("Examples:\n" + "".join(f"  {example}\n" for example in examples))


def examples_of(command: Any) -> list[str]:
    _, _, listed = (command.epilog or "").partition(":")
    return [example.strip() for example in re.split(r"·|\n", listed) if example.strip()]


def _shown(command: Any, kind: str) -> list[Any]:
    return [param for param in command.params if param.param_type_name == kind and not param.hidden]


def _grouped(command: Any, ctx: Any) -> dict[str, list[Any]]:
    options = [param for param in command.get_params(ctx) if param.param_type_name == "option" and not param.hidden]
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


def _option_row(option: Any, ctx: Any) -> tuple[str, str]:
    """Values in words instead of `<int range>`; the choices that the help does not name follow it."""
    names, text = option.get_help_record(ctx)
    names = _CHOICES.sub(lambda _: _value_name(option, ctx), names).replace(" INTEGER", " NUMBER")
    text = _ENVIRONMENT.sub("[", _RANGE.sub("", text)).replace("[]", "").strip()
    choices = [str(getattr(choice, "value", choice)) for choice in getattr(option.type, "choices", ())]
    if choices and not all(choice in text for choice in choices):
        text = f"{text} One of: {', '.join(choices)}."
    return names, text


def _value_name(param: Any, ctx: Any) -> str:
    """`FORMAT` for `-o`, `NUMBER` for a count."""
    name = str(param.metavar or ("NUMBER" if "Int" in type(param.type).__name__ else param.name.upper()))
    return {"OUTPUT": "FORMAT", "OUTPUT_FORMAT": "FORMAT"}.get(name, name).strip("[]<>").replace("_", "-")


def _write_rows(formatter: Any, title: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)


def _first_sentence(text: str | None) -> str:
    return (text or "").split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".") + "."
