"""The command table, and the one place where an exception becomes text and an exit code."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import Abort, Exit, TyperException

from refundcli.cli.context import App
from refundcli.cli.exit_codes import OF_FAMILY, ExitCode
from refundcli.cli.options import Format
from refundcli.cli.streams import standard_streams
from refundcli.domain.errors import RefundcliError, UsageProblem

# Name → (module in cli/commands, summary). A module is imported when its command is used, not to list it.
COMMANDS = {
    "init": ("setup.init", "Write refundcli.toml and create the store."),
    "invoice": ("books.invoice", "Import, pull, list and inspect invoices."),
    "refund": ("refunds.refund", "Refund through the provider: money moves."),
    "mark-refunded": (
        "refunds.mark_refunded",
        "Record a refund made by other means: no money moves.",
    ),
    "void": ("refunds.void", "Cancel an invoice that was issued and never paid."),
    "uncollectible": ("refunds.uncollectible", "Write an unpaid invoice off as bad debt."),
    "status": ("books.status", "Show what needs attention now."),
    "resume": ("refunds.resume", "Finish refunds whose outcome is unknown."),
    "resolve": ("refunds.resolve", "Resolve a stuck refund by hand, with evidence."),
    "reconcile": ("providers.reconcile", "Compare with a provider; adopt external refunds."),
    "events": ("providers.events", "Receive and inspect provider webhooks."),
    "acknowledge": ("refunds.acknowledge", "Acknowledge a refund that failed late, or a loss."),
    "credit-notes": ("books.credit_notes", "List and show credit notes."),
    "store": (
        "setup.store",
        "Upgrade, back up and check the store; its clock and number format.",
    ),
    "config": ("setup.config", "Show the settings and where each comes from."),
    "sandbox": ("setup.sandbox", "Practise with stand-ins for Stripe and Adyen."),
}


# Commands that only look: they leave the store as it is, also one that should be upgraded.
LOOKS = frozenset(
    (
        "invoice list",
        "invoice show",
        "invoice history",
        "status",
        "events list",
        "events show",
        "credit-notes list",
        "credit-notes show",
        "store check",
        "store backup",
        "config",
        "sandbox",
    )
)


def _begin(invoke: Callable[[Any], Any], ctx: Any) -> Any:
    """Run a command, or a group of them; the app knows before whether it may change the store."""
    path = ctx.obj.command = ctx.command_path.partition(" ")[2]
    ctx.obj.only_looks = path in LOOKS or bool(ctx.params.get("dry_run"))
    return invoke(ctx)


class LazyGroup(TyperGroup):
    """Commands by name; each is loaded when it is asked for."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, summary = COMMANDS[cmd_name]
        if self._listing:
            return TyperCommand(cmd_name, help=summary)
        command = typer.main.get_command(import_module(f"refundcli.cli.commands.{module}").app)
        command.name = cmd_name
        for each in (command, *getattr(command, "commands", {}).values()):
            each.invoke = partial(_begin, each.invoke)
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # Typer looks here for "did you mean".
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        self._listing = True
        return super().shell_complete(ctx, incomplete)


cli = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from refundcli import __version__

        typer.echo(f"refundcli {__version__}")
        raise typer.Exit


@cli.callback()
def root(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="PATH", help="Read this settings file and no other.")
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", metavar="URL", help="sqlite:///PATH or postgresql://…")
    ] = None,
    output: Annotated[
        Format, typer.Option("-o", "--output", envvar="REFUNDCLI_OUTPUT", help="Output format.")
    ] = Format.TABLE,
    no_input: Annotated[bool, typer.Option("--no-input", help="Never ask; fail if a question is needed.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only results and errors.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show more: accounts, addresses, steps.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="On a bug, show where it happened.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Issue and record refunds: through Stripe or Adyen, or made by other means; void and write off invoices."""
    ctx.obj = App(
        config=config, store=store, format=output, no_input=no_input, quiet=quiet, verbose=verbose, debug=debug
    )
    ctx.call_on_close(ctx.obj.close)


def run(args: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code tells how it went, whether or not it could be shown (I11)."""
    given = list(sys.argv[1:] if args is None else args)
    _know_secrets(given)
    with standard_streams() as out:
        code = _run(given)
        if unshown := out.failed():
            told = _tell(unshown, given)
            return code or told
        return code


def _run(given: Sequence[str]) -> int:
    try:
        _check_text(given)
        code = typer.main.get_command(cli).main(list(given) or ["--help"], prog_name="refundcli", standalone_mode=False)
        # Typer answers Ctrl-C with a silent 130.
        return _tell_interrupted() if code == ExitCode.INTERRUPTED else int(code or ExitCode.DONE)
    except RefundcliError as problem:
        return _tell(problem, given)
    except TyperException as problem:
        return _tell(_usage(problem), given)
    except Exit as ending:
        return ending.exit_code
    except (KeyboardInterrupt, Abort, _interrupted()) as ending:
        return _tell_interrupted(str(ending) if isinstance(ending, _interrupted()) else "")
    except SystemExit as ending:
        # So Typer ends on a broken pipe, which is no reader of ours: they stop nobody.
        if isinstance(ending.__context__, BrokenPipeError):
            return _tell_bug(ending.__context__, debug="--debug" in given)
        raise
    except Exception as bug:
        return _tell_bug(bug, debug="--debug" in given)


def _know_secrets(given: Sequence[str]) -> None:
    """Before anything can go wrong with them: an error about the command line repeats it."""
    from refundcli.secrets import forget_secrets, remember_secret, remember_secrets_of_address

    forget_secrets()
    remember_secret(os.environ.get("PGPASSWORD", ""))
    for word in (*given, os.environ.get("REFUNDCLI_STORE_URL", "")):
        if "://" in word:
            remember_secrets_of_address(word.removeprefix("--store="))


class NotText(UsageProblem):
    code = "not-text"

    def __init__(self, word: str) -> None:
        super().__init__(
            f"{ascii(word[:80])[1:-1]} is not UTF-8 text.",
            hint="Write it in UTF-8, in a terminal or a script that says so: LC_ALL=C.UTF-8",
        )


def _check_text(given: Sequence[str]) -> None:
    """What is not text can be neither written in the books nor sent to a provider."""
    for word in given:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise NotText(word) from None


class Usage(UsageProblem):
    code = "usage"


def _usage(problem: TyperException) -> Usage:
    context = getattr(problem, "ctx", None)
    command = context.command_path if context else "refundcli"
    return Usage(problem.format_message(), hint=f"{command} --help")


def _tell(problem: RefundcliError, given: Sequence[str]) -> int:
    if _wants_json(given):
        from refundcli.output import json
        from refundcli.output.serializers.errors import error

        json.dump(error(problem), sys.stderr)
    else:
        from refundcli.output.errors import show_error
        from refundcli.output.terminal import Screen
        from refundcli.secrets import redact

        show_error(problem, Screen(sys.stderr, mask=redact))
    return OF_FAMILY[problem.family]


def _tell_bug(bug: Exception, *, debug: bool) -> int:
    from refundcli.output.sanitize import safe
    from refundcli.secrets import redact

    if debug:
        import traceback

        sys.stderr.write(safe(redact("".join(traceback.format_exception(bug))), multiline=True))
    sys.stderr.write(
        f" ✗ This is a bug in refundcli: {redact(f'{type(bug).__name__}: {bug}')!a}\n"
        "   Run it again with --debug before the command, and send what it shows with your report.\n"
    )
    return ExitCode.BUG


def _wants_json(given: Sequence[str]) -> bool:
    """Even a command line that could not be read is answered in JSON where it asked for JSON."""
    wanted = os.environ.get("REFUNDCLI_OUTPUT", "")
    for option, value in zip(given, [*given[1:], ""], strict=True):
        if option in ("-o", "--output"):
            wanted = value
        elif option.startswith("--output="):
            wanted = option.partition("=")[2]
        elif option.startswith("-o") and len(option) > 2:
            wanted = option[2:]
    return wanted in (Format.JSON, Format.NDJSON)


def _tell_interrupted(words: str = "") -> int:
    sys.stderr.write(f"\n {words or 'Interrupted.'}\n")
    return ExitCode.INTERRUPTED


def _interrupted() -> type[BaseException]:
    from refundcli.services.dispatch.interrupts import Interrupted

    return Interrupted
