"""help: a command's help, or a page about exit codes, files or the environment."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from refundcli.domain.errors import UsageProblem, did_you_mean

group = typer.Typer(rich_markup_mode=None, add_completion=False)


class UnknownTopic(UsageProblem):
    code = "unknown-topic"

    def __init__(self, topic: str, known: list[str]) -> None:
        hint = did_you_mean(topic, known) or f"Topics: {', '.join(TOPICS)}; or a command."
        super().__init__(f"There is no help about {topic[:40]!a}.", hint=hint)


@group.command("help", epilog="Examples:  refundcli help refund   ·   refundcli help exit-codes")
def help_(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="TOPIC", help="A command, or exit-codes, files or environment."),
    ] = None,
) -> None:
    """Explain a command, the exit codes, the columns of files, or the environment.

    Without a topic it lists all commands.
    """
    topic = " ".join(words or ())
    if topic in TOPICS:
        typer.echo("\n".join(TOPICS[topic]()))
        return
    page, parent = _page_of(ctx, topic.split())
    if page is None:
        raise UnknownTopic(topic, [*TOPICS, *parent.command.list_commands(parent)])
    typer.echo(page.get_help())


def _page_of(ctx: typer.Context, names: list[str]) -> tuple[Any, Any]:
    """The context of the command with these names, None if there is none; and that of the last one found."""
    found: Any = ctx.find_root()
    for name in names:
        command = found.command.get_command(found, name) if hasattr(found.command, "get_command") else None
        if command is None:
            return None, found if hasattr(found.command, "list_commands") else ctx.find_root()
        found = type(found)(command, info_name=name, parent=found)
    return found, found


def _exit_codes() -> Iterator[str]:
    from refundcli.cli.exit_codes import ALWAYS, ENDINGS, MEANINGS

    yield "Exit codes\n"
    yield from (_entry(f"{code.value:>5}  ", meaning) for code, meaning in MEANINGS.items())
    yield f"\nAny command may end with {', '.join(str(code.value) for code in sorted(ALWAYS))}. Besides:\n"
    yield from (
        f"  {name:<20} {', '.join(str(code.value) for code in sorted(codes))}"
        for name, codes in ENDINGS.items()
        if codes
    )


def _files() -> Iterator[str]:
    from refundcli.files.bulk import closings, file
    from refundcli.files.invoices import rows

    layouts = [
        ("invoice import FILE", rows.COLUMNS, rows.REQUIRED),
        *((f"{kind} --from FILE", columns, file.REQUIRED) for kind, columns in file.COLUMNS.items()),
        ("void --from FILE, uncollectible --from FILE", closings.COLUMNS, closings.COLUMNS[:1]),
    ]
    yield "Files: CSV in UTF-8 with a heading, or as a spreadsheet saves it."
    yield "Columns marked * are required.\n"
    for command, columns, required in layouts:
        yield f"{command}"
        yield _entry("  ", ", ".join(f"{column}*" if column in required else column for column in columns))
        yield ""
    yield "Amounts are like 12.50, days like 2026-11-28. The whole file is checked first;"
    yield "rejected rows go to FILE.rejected.csv, to be corrected and run again."
    yield "Other programs' files: refundcli formats list"


def _environment() -> Iterator[str]:
    from refundcli.settings.variables import ENVIRONMENT

    yield "Environment\n"
    yield from (_entry(f"  {name:<31} ", meaning) for name, meaning in ENVIRONMENT.items())
    yield "\nA secret in the settings can name an environment variable: env:NAME."
    yield "To see all settings: refundcli config"


def _entry(start: str, text: str) -> str:
    """The text after its start, in 80 columns; further lines begin below the text."""
    import textwrap

    below = " " * len(start)
    return textwrap.fill(text, 80, initial_indent=start, subsequent_indent=below, break_on_hyphens=False)


TOPICS = {"exit-codes": _exit_codes, "files": _files, "environment": _environment}
