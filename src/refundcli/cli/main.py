"""The command table, and the one place where an exception becomes text and an exit code."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import Abort, Exit, TyperException

from refundcli.cli.context import App
from refundcli.cli.exit_codes import OF_FAMILY, ExitCode
from refundcli.cli.global_options import accept_global_options
from refundcli.cli.options import DAY_OF_BOOKS, CsvDialect, Format
from refundcli.cli.streams import standard_streams
from refundcli.domain.errors import RefundcliError, UsageProblem

# Name → (module in cli/commands, summary). A module is imported when its command is used, not to list it.
COMMANDS = {
    "init": ("setup.init", "Write refundcli.toml and create the store."),
    "invoice": ("books.invoice", "Import, pull, list and inspect invoices."),
    "find": ("books.find", "Find an invoice by name, e-mail, card, amount, date, product or ID."),
    "refund": ("refunds.refund", "Refund through the provider: money moves."),
    "mark-refunded": (
        "refunds.mark_refunded",
        "Record a refund made by other means: no money moves.",
    ),
    "void": ("refunds.void", "Cancel an invoice that was issued and never paid."),
    "uncollectible": ("refunds.uncollectible", "Write off an unpaid invoice as bad debt."),
    "plan": ("refunds.plan", "Select invoices, compute amounts and plan their refunds."),
    "status": ("books.status", "Show what needs attention now."),
    "resume": ("refunds.resume", "Finish refunds whose outcome is unknown."),
    "resolve": ("refunds.resolve", "Resolve a stuck refund by hand, with evidence."),
    "reconcile": ("providers.reconcile", "Compare with a provider; adopt external refunds."),
    "events": ("providers.events", "Receive and inspect provider webhooks."),
    "acknowledge": ("refunds.acknowledge", "Acknowledge a refund that failed after it was accepted, or a loss."),
    "refunds": ("books.refunds", "List refunds, and show what became of one."),
    "runs": ("books.runs", "List bulk runs, and show what became of one."),
    "credit-notes": ("books.credit_notes", "List, show and export credit notes."),
    "audit": ("books.audit", "List, verify, export and anchor the audit trail."),
    "store": (
        "setup.store",
        "Upgrade, back up and check the store; manage its clock and number format.",
    ),
    "formats": ("setup.formats", "List and show the layouts of files that can be read."),
    "config": ("setup.config", "Show the settings and where each comes from."),
    "completion": ("setup.completion", "Print a script for Tab completion in bash, zsh or fish."),
    "sandbox": ("setup.sandbox", "Run stand-ins for Stripe and Adyen for practice."),
    "help": ("setup.help", "Explain a command, the exit codes, files or the environment."),
}


# Commands that only read: they never change the store, not even to upgrade it.
READ_ONLY = frozenset(
    (
        "find",
        "invoice list",
        "invoice show",
        "invoice history",
        "status",
        "events list",
        "events show",
        "refunds list",
        "refunds show",
        "plan show",
        "runs list",
        "runs show",
        "credit-notes list",
        "credit-notes show",
        "credit-notes export",
        "audit list",
        "audit verify",
        "audit export",
        "audit anchor",
        "formats list",
        "formats show",
        "store check",
        "store backup",
        "completion",
        "config",
        "sandbox",
        "help",
    )
)

# Commands whose answer may be longer than the screen, and that ask nothing.
PAGED = READ_ONLY - {
    "audit verify",
    "audit export",
    "audit anchor",
    "status",
    "store check",
    "store backup",
    "completion",
    "config",
    "sandbox",
    "find",
}


def _begin(invoke: Callable[[Any], Any], ctx: Any) -> Any:
    """Run a command or a group; record in the app, before it starts, whether it may write to the store."""
    command_name = ctx.obj.command = ctx.command_path.partition(" ")[2]
    ctx.obj.read_only = command_name in READ_ONLY or any(map(ctx.params.get, ("dry_run", "propose")))
    if ctx.obj.only_reads and not ctx.obj.read_only and not hasattr(ctx.command, "commands"):
        raise OnlyReads(command_name)
    if hasattr(ctx.command, "commands"):
        return invoke(ctx)
    with ctx.obj.output_file(only_reads=command_name in READ_ONLY), ctx.obj.paged(command_name in PAGED):
        return invoke(ctx)


class OnlyReads(UsageProblem):
    code = "read-only"

    def __init__(self, command: str) -> None:
        super().__init__(
            f"{command} changes the books, and --read-only was given. Nothing was changed.",
            hint=f"To change them:   refundcli {command} …   without --read-only",
        )


def _write_help(command: Any, is_group: bool, ctx: Any, formatter: Any) -> None:
    from refundcli.cli import help_page

    (help_page.write_group if is_group else help_page.write_command)(command, ctx, formatter)


class LazyGroup(TyperGroup):
    """Commands by name; each is imported when it is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command = typer.main.get_command(import_module(f"refundcli.cli.commands.{module}").group)
        command.name = cmd_name
        for leaf_command in (command, *getattr(command, "commands", {}).values()):
            leaf_command.invoke = partial(_begin, leaf_command.invoke)
            is_group = hasattr(leaf_command, "commands")
            leaf_command.format_help = partial(_write_help, leaf_command, is_group)
            if not is_group or leaf_command.invoke_without_command:
                accept_global_options(leaf_command, self.params)
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # Typer looks here for "did you mean".
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from refundcli.cli.help_page import write_root

        write_root(self, ctx, formatter, {name: summary for name, (_, summary) in COMMANDS.items()})


cli = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(requested: bool) -> None:
    if requested:
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
        Format, typer.Option("-o", "--output", envvar="REFUNDCLI_OUTPUT", help="table, json, ndjson, csv, tsv or xlsx.")
    ] = Format.TABLE,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Write what is listed or shown to this file.")
    ] = None,
    dialect: Annotated[
        CsvDialect,
        typer.Option("--dialect", help="With -o csv: standard, or excel (semicolons, decimal commas, UTF-8 with BOM)."),
    ] = CsvDialect.STANDARD,
    no_input: Annotated[bool, typer.Option("--no-input", help="Never prompt; fail if input would be needed.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Show only results and errors.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show more: accounts, addresses, steps.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback if there is a bug in refundcli.")] = False,
    accessible: Annotated[
        bool,
        typer.Option(
            "--accessible", envvar="ACCESSIBLE", help="For screen readers: one fact a line, words instead of marks."
        ),
    ] = False,
    read_only: Annotated[
        bool,
        typer.Option(
            "--read-only",
            envvar="REFUNDCLI_READ_ONLY",
            help="Change nothing, and load no provider's key, so that no money can move.",
        ),
    ] = False,
    no_pager: Annotated[bool, typer.Option("--no-pager", help="Do not show long output in a pager.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Refund invoices through Stripe or Adyen, record refunds made by other means, void and write off invoices."""
    ctx.obj = App(
        config=config,
        store=store,
        format=output,
        to=to,
        dialect=dialect,
        no_input=no_input,
        quiet=quiet,
        verbose=verbose,
        debug=debug,
        accessible=accessible,
        no_pager=no_pager,
        only_reads=read_only,
    )
    DAY_OF_BOOKS.set(ctx.obj.day_of_books)
    ctx.call_on_close(ctx.obj.close)


def run(args: Sequence[str] | None = None) -> int:
    """Run one command line. The exit code is that of the outcome, even if its output could not be written (I11)."""
    argv = list(sys.argv[1:] if args is None else args)
    _register_secrets(argv)
    with standard_streams() as out:
        exit_code = _run(argv)
        if output_problem := out.failed():
            output_code = _report(output_problem, argv)
            return exit_code or output_code
        return exit_code


def _run(argv: Sequence[str]) -> int:
    try:
        _check_text(argv)
        exit_code = typer.main.get_command(cli).main(
            list(argv) or ["--help"], prog_name="refundcli", standalone_mode=False
        )
        # Typer answers Ctrl-C with a silent 130.
        return _report_interrupted() if exit_code == ExitCode.INTERRUPTED else int(exit_code or ExitCode.DONE)
    except RefundcliError as problem:
        return _report(problem, argv)
    except TyperException as problem:
        if type(problem).__name__ == "NoArgsIsHelpError":
            # A group by itself is a question, not a mistake.
            sys.stdout.write(problem.ctx.get_help() + "\n")  # type: ignore[attr-defined]
            return ExitCode.DONE
        return _report(_usage(problem, argv), argv)
    except Exit as ending:
        return ending.exit_code
    except (KeyboardInterrupt, Abort, _interrupted()) as ending:
        return _report_interrupted(str(ending) if isinstance(ending, _interrupted()) else "")
    except SystemExit as ending:
        # Typer exits on a broken pipe; ours do not raise, so this one is a bug.
        if isinstance(ending.__context__, BrokenPipeError):
            return _report_bug(ending.__context__, debug="--debug" in argv)
        raise
    except Exception as bug:
        return _report_bug(bug, debug="--debug" in argv)


def _register_secrets(argv: Sequence[str]) -> None:
    """Register secrets before any error can repeat the command line."""
    from refundcli.secrets import forget_secrets, remember_secret, remember_secrets_of_address

    forget_secrets()
    remember_secret(os.environ.get("PGPASSWORD", ""))
    for argument in (*argv, os.environ.get("REFUNDCLI_STORE_URL", "")):
        if "://" in argument:
            remember_secrets_of_address(argument.removeprefix("--store="))


class NotText(UsageProblem):
    code = "not-text"

    def __init__(self, argument: str) -> None:
        super().__init__(
            f"{ascii(argument[:80])[1:-1]} is not UTF-8 text.",
            hint="Use UTF-8, and a locale that declares it: LC_ALL=C.UTF-8",
        )


def _check_text(argv: Sequence[str]) -> None:
    """Raises NotText: what is not text can be neither stored nor sent to a provider."""
    for argument in argv:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise NotText(argument) from None


class Usage(UsageProblem):
    code = "usage"


def _usage(problem: TyperException, argv: Sequence[str]) -> Usage:
    context = getattr(problem, "ctx", None)
    # An option without its value is found before there is a context.
    command_name = next((argument for argument in argv if argument in COMMANDS), "")
    command = context.command_path if context else f"refundcli {command_name}".strip()
    return Usage(problem.format_message(), hint=f"{command} --help")


def _corrected(problem: RefundcliError, argv: Sequence[str]) -> str:
    """The whole command with the number that was meant, to be confirmed anew; empty where nothing is suggested."""
    typed, suggestion = getattr(problem, "typed", ""), getattr(problem, "suggestion", "")
    if not suggestion or typed not in (stripped := [argument.strip() for argument in argv]):
        return ""
    words = [suggestion if word == typed else word for word in stripped]
    options_before = ["", *words]
    kept_words = (
        word
        for word, before in zip(words, options_before, strict=False)
        if word not in ("-y", "--yes", "--confirm") and before != "--confirm"
    )
    return f"\nNext: refundcli {shlex.join(kept_words)}"


def _report(problem: RefundcliError, argv: Sequence[str]) -> int:
    problem.hint += _corrected(problem, argv)
    if _wants_json(argv):
        from refundcli.output import json
        from refundcli.output.serializers.errors import error

        json.dump(error(problem), sys.stderr)
    else:
        from refundcli.output.errors import show_error
        from refundcli.output.terminal import Screen
        from refundcli.secrets import redact

        show_error(problem, Screen(sys.stderr, mask=redact))
    return OF_FAMILY[problem.family]


def _report_bug(bug: Exception, *, debug: bool) -> int:
    from refundcli.output.sanitize import safe
    from refundcli.secrets import redact

    if debug:
        import traceback

        sys.stderr.write(safe(redact("".join(traceback.format_exception(bug))), multiline=True))
    sys.stderr.write(
        f" ✗ This is a bug in refundcli: {redact(f'{type(bug).__name__}: {bug}')!a}\n"
        "   Run it again with --debug before the command, and attach the output to your report.\n"
    )
    return ExitCode.BUG


def _wants_json(argv: Sequence[str]) -> bool:
    """Read from the arguments themselves, so that an invalid command line is answered in JSON too."""
    format_name = os.environ.get("REFUNDCLI_OUTPUT", "")
    for option, value in zip(argv, [*argv[1:], ""], strict=True):
        if option in ("-o", "--output"):
            format_name = value
        elif option.startswith("--output="):
            format_name = option.partition("=")[2]
        elif option.startswith("-o") and len(option) > 2:
            format_name = option[2:]
    return format_name in (Format.JSON, Format.NDJSON)


def _report_interrupted(words: str = "") -> int:
    sys.stderr.write(f"\n {words or 'Interrupted.'}\n")
    return ExitCode.INTERRUPTED


def _interrupted() -> type[BaseException]:
    from refundcli.system.interrupts import Interrupted

    return Interrupted
