"""mark-refunded --propose: a file of records to review, from a bank statement. Nothing is recorded."""

import sys
from typing import TYPE_CHECKING

import typer

from refundcli.cli.exit_codes import ExitCode
from refundcli.cli.file_options import ReadingWishes, formats_of
from refundcli.domain.errors import UsageProblem
from refundcli.domain.reasons import parse_reason
from refundcli.files.formats.mapped import ReadingOptions
from refundcli.files.review_file import review_file
from refundcli.files.source import open_source
from refundcli.files.statements import read_statement
from refundcli.output.serializers.bulk import proposed_records
from refundcli.services.refunds.propose_records import COLUMNS, ProposeRecords

if TYPE_CHECKING:
    from refundcli.cli.context import App

_SHOWN = 20


class ProposalTarget(UsageProblem):
    code = "propose-to"

    def __init__(self) -> None:
        super().__init__(
            "--propose needs --to, and takes only --reason and how to read the file.",
            hint="refundcli mark-refunded --propose statement.xml --to transfers.csv",
        )


def propose_records(app: "App", file: str, target: str, wishes: ReadingWishes, *, reason: str) -> None:
    """Raises FileProblem and UnknownReason. Exits with 9 if a transfer is not in the file of proposals."""
    wishes.check()
    reason_word = parse_reason(reason).value if reason else ""
    books = app.services.reader
    with open_source(file, sys.stdin.buffer, any_encoding=True) as source:
        options = ReadingOptions(wishes.decimal, wishes.date)
        statement = read_statement(source, formats_of(app), wishes.format, options, sheet=wishes.sheet)
        app.note(f"Read as {statement.read_as}.")
        proposals = ProposeRecords(books)(statement.transfers)
        with review_file(target, COLUMNS) as write_row:
            for row in proposals.rows:
                write_row(row.cells(reason_word))
    left_out = [*statement.unread, *proposals.unmatched]
    shape = proposed_records(target, len(proposals.rows), statement.incoming, left_out)
    app.show_done(f"{target}: {len(proposals.rows)} records to review. Nothing was recorded.", shape)
    if not app.wants_json:
        for transfer in left_out[:_SHOWN]:
            app.err.say(("! ", "yellow"), f"line {transfer.line}: {transfer.why}")
        if len(left_out) > _SHOWN:
            app.err.say(f"… and {len(left_out) - _SHOWN} more transfers.", indent=3)
    if proposals.rows:
        fill_in = "" if reason else "Fill in the reason of each row, then: "
        app.note(f"{fill_in}refundcli mark-refunded --from {target}")
    if left_out:
        raise typer.Exit(ExitCode.PARTLY)
