"""store: upgrade, backup, check, clock, number-format."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.audit_answers import AuditMismatch, compared_words, listing
from refundcli.cli.options import checked
from refundcli.domain.errors import SettingsProblem
from refundcli.output.serializers import setup as shapes

if TYPE_CHECKING:
    from refundcli.cli.context import App

group = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Upgrade, back up and check the store; manage its clock and number format.",
)


_STOP = "Stop refunding from it, copy it, and compare the copy with the last backup."


class StoreUnsound(SettingsProblem):
    """The store does not agree with itself."""

    code = "store-unsound"

    def __init__(self, problems: list[str]) -> None:
        super().__init__(
            "The store is inconsistent.", hint=f"{listing(problems)}\n{_STOP}", context={"problems": problems}
        )


@group.command("number-format", epilog="Example:  refundcli store number-format 'CN-{year}-{seq:06}'")
def number_format(
    ctx: typer.Context,
    number_format: Annotated[
        str, typer.Argument(metavar="FORMAT", help="The number format: must contain {seq} and may contain {year}.")
    ],
) -> None:
    """Change how new credit notes are numbered. Existing numbers stay.

    Then set credit_notes.number_format in the settings file to the same format.
    """
    from refundcli.settings import checks

    app: App = ctx.obj
    number_format = checked("the format", checks.number_format, number_format)
    format_before = app.services.number_format.change(number_format)
    before_words = f" (previously {format_before})" if format_before else ""
    words = f"From now on, credit notes are numbered {number_format}{before_words}."
    app.show_done(words, shapes.number_format(format_before or None, number_format))


@group.command(epilog="Examples:  refundcli store upgrade   ·   refundcli store upgrade --timezone Europe/Stockholm")
def upgrade(
    ctx: typer.Context,
    timezone: Annotated[
        str, typer.Option("--timezone", metavar="ZONE", help="Time zone for dates in the books, from now on.")
    ] = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Upgrade even if older versions seem to be running, or a different time zone is already set.",
        ),
    ] = False,
) -> None:
    """Upgrade the store to this version's schema. A SQLite store is first backed up to the same folder.

    This also sets the time zone of the books; the default is yours. Changing it later needs --force. Stored dates
    never change.
    """
    from refundcli.settings import checks

    app: App = ctx.obj
    if timezone:
        app.services.timezone = checked("--timezone", checks.timezone, timezone)
    upgraded = app.services.upgrade_store(force=force)
    if timezone:
        app.services.pin_timezone(timezone, force=force)
    zone = timezone or str(app.services.books.zone)
    schema_before, schema_after = upgraded.before, upgraded.after
    words = (
        f"Schema {schema_before or 'none'} → {schema_after}."
        if schema_before != schema_after
        else f"The store already has schema {schema_after}."
    )
    backup_path = str(upgraded.backup) if upgraded.backup else None
    shape = shapes.upgraded_store(schema_before or None, schema_after, zone, backup_path)
    app.show_done(f"{words} The books are kept in the time zone {zone}.", shape)


@group.command(epilog="Examples:  refundcli store clock   ·   refundcli store clock --accept")
def clock(
    ctx: typer.Context,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="Accept the computer's clock even though the newest audit entry is dated later."),
    ] = False,
) -> None:
    """Show the date and time used in the books; with --accept, accept the computer's clock after refundcli refused
    it.

    Acceptance is recorded in the audit trail; from then on the clock is compared with that entry.
    """
    app: App = ctx.obj
    if accept:
        app.services.books.write(lambda tx: tx.audit.accept_clock())
    now, zone = app.services.clock.now(), app.services.books.zone
    words = (
        f"The time in the books is {now.astimezone(zone):%Y-%m-%d %H:%M:%S} ({zone}).{' Accepted.' if accept else ''}"
    )
    app.show_done(words, shapes.store_clock(now, app.services.clock.today(), str(zone)))


@group.command(epilog="Example:  refundcli store backup /backups/refundcli-2026-11-23.db")
def backup(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Backup file. Default: next to the store, with the time in its name."),
    ] = None,
) -> None:
    """Back up a SQLite store while it is in use. An existing file is not overwritten."""
    app: App = ctx.obj
    backup_path = app.services.back_up_store(file)
    app.show_done(f"Backed up to {backup_path}.", shapes.store_backup(str(backup_path)))


@group.command(epilog="Example:  refundcli store check")
def check(ctx: typer.Context) -> None:
    """Recalculate every sum, verify the audit chain from its first entry, and compare the rows with it."""
    app: App = ctx.obj
    report = app.services.check_store()
    if report.audit.sentences:
        raise AuditMismatch(report.audit, report.problems)
    if report.problems:
        raise StoreUnsound(report.problems)
    words = "The store is consistent: sums, credit-note numbers and audit chain agree."
    shape = shapes.sound_store(report.audit.entries, report.audit.baseline)
    app.show_done(words + compared_words(report.audit), shape)
