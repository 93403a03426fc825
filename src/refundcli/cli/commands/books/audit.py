"""audit: list, export, anchor and verify the audit trail."""

from datetime import date
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import day_option

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.services.ports.reads import AuditFilter

group = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="List, verify, export and anchor the audit trail.",
)
COLUMNS = ("seq", "at", "operator", "login", "host", "action", "subject", "details")


@group.command(
    "list",
    epilog="Examples:  refundcli audit list --since 2026-10-01 --operator Ada   ·   "
    "refundcli audit list --action refund -o csv",
)
def list_(
    ctx: typer.Context,
    operator: Annotated[str, typer.Option("--operator", metavar="NAME", help="Only by this operator or login.")] = "",
    action: Annotated[
        str, typer.Option("--action", metavar="WORDS", help="Only actions that begin with these words.")
    ] = "",
    invoice: Annotated[
        str, typer.Option("--invoice", metavar="NUMBER", help="Only of this invoice and its refunds.")
    ] = "",
    since: Annotated[date | None, day_option("--since", help="On this day or later.")] = None,
    until: Annotated[date | None, day_option("--until", help="On this day or before.")] = None,
) -> None:
    """List who changed what, oldest first."""
    from refundcli.cli.context import while_read
    from refundcli.output.serializers.invoices import audit_entry
    from refundcli.output.views.invoice import audit_line, changes
    from refundcli.services.invoices.pages import audit_pages

    app: App = ctx.obj
    criteria = _criteria(app, operator=operator, action=action, invoice=invoice, since=since, until=until)
    entries = chain.from_iterable(audit_pages(app.services.reader, criteria))
    if app.wants_json:
        app.show_long_list(map(audit_entry, entries))
    elif not app.for_people:
        rows = (
            (entry.seq, entry.at, entry.operator, entry.login, entry.host, entry.action, entry.subject, changes(entry))
            for entry in entries
        )
        app.show_rows(COLUMNS, while_read(rows), text_columns=COLUMNS[2:])
    else:
        entry = None
        for entry in while_read(entries):
            app.out.say(*audit_line(entry, app.settings.operator.zone))
        if entry is None:
            app.note("No entry matches.")


def _criteria(
    app: "App", *, operator: str, action: str, invoice: str, since: date | None, until: date | None
) -> "AuditFilter":
    from refundcli.services.invoices.history import history_of
    from refundcli.services.ports.reads import AuditFilter, period

    reader = app.services.reader
    subjects: list[str] | None = None
    import_entry = 0
    if invoice:
        found, entries = reader.read(lambda tx: history_of(tx, invoice))
        subjects = [found.number]
        subjects += [refund.id for refund in found.refunds]
        subjects += [closing.id for closing in found.closings]
        import_entry = entries[0].seq
    first, last = period(since, until, reader.zone)
    return AuditFilter(
        operator=operator,
        action=action,
        subjects=subjects,
        import_entry=import_entry,
        since=first,
        until=last,
    )


@group.command(
    epilog="Examples:  refundcli audit verify   ·   refundcli audit verify --anchor /mnt/worm/refundcli.anchors"
)
def verify(
    ctx: typer.Context,
    anchor: Annotated[
        Path | None, typer.Option("--anchor", metavar="FILE", help="Also compare with these anchors.")
    ] = None,
    key: Annotated[
        str, typer.Option("--key", metavar="HEX", help="The public key to trust. Default: that of the first anchor.")
    ] = "",
) -> None:
    """Verify the audit chain, and compare every guarded row with it.

    With --anchor, find a chain that was cut or written anew, and a restored backup.
    """
    from refundcli.cli.audit_answers import AuditMismatch, compared_words
    from refundcli.output.serializers import setup as shapes

    app: App = ctx.obj
    findings = app.services.verify_audit()
    anchor_count, problems = app.services.anchoring.compare(anchor, key) if anchor else (0, [])
    if findings.sentences or problems:
        raise AuditMismatch(findings, problems)
    words = f"The audit trail is sound: {findings.entries:,} entries, and all rows agree with it."
    anchor_words = f" {anchor_count:,} anchors agree." if anchor else ""
    shape = shapes.verified_audit(findings.entries, findings.baseline, anchor_count)
    app.show_done(words + anchor_words + compared_words(findings), shape)


@group.command(epilog="Example:  refundcli audit export audit-2026.jsonl")
def export(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, one JSON object a line.")],
) -> None:
    """Write the whole audit trail to a file that others can verify without refundcli: examples/verify_audit.py."""
    import json

    from refundcli.files.review_file import FileExists
    from refundcli.output.serializers import setup as shapes
    from refundcli.private_files import new_file
    from refundcli.services.invoices.pages import exported_audit_pages

    app: App = ctx.obj
    count = 0
    try:
        with new_file(file) as target:
            for page in exported_audit_pages(app.services.reader):
                target.writelines(f"{json.dumps(entry)}\n".encode() for entry in page)
                count += len(page)
    except FileExistsError:
        raise FileExists(str(file)) from None
    app.show_done(f"Exported {count:,} entries to {file}.", shapes.exported_audit(str(file), count))


@group.command("anchor", epilog="Example:  refundcli audit anchor --to /mnt/worm/refundcli.anchors")
def anchor_(
    ctx: typer.Context, to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The file to append to.")]
) -> None:
    """Append the newest entry's number and hash, signed, to a file outside the store."""
    from refundcli.output.serializers import setup as shapes

    app: App = ctx.obj
    anchor = app.services.anchoring.anchor(to)
    app.show_done(
        f"Anchored entry {anchor.seq:,} in {to}.", shapes.anchored_audit(str(to), anchor.seq, anchor.hash, anchor.key)
    )
