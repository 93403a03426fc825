"""resume: finish refunds and closings whose outcome is unknown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.exit_codes import ExitCode
from refundcli.cli.options import Output, Yes
from refundcli.domain.errors import RefundcliError

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.domain.closing import Closing
    from refundcli.domain.refund import Refund
    from refundcli.services.bulk.unfinished_runs import UnfinishedRun
    from refundcli.services.recovery.resume_closings import ResumedClosing
    from refundcli.services.recovery.resume_refunds import Resumed

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog="Examples:  refundcli resume   ·   refundcli resume rf_01K2… --confirm '12.50 EUR'   ·   "
    "refundcli resume --yes -o json"
)
def resume(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A refund's id, rf_…, or a closing's, cl_…; by default all.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything unfinished; the same as without ID.")] = False,
    yes: Yes = False,
    confirm: Annotated[
        str, typer.Option("--confirm", metavar="TEXT", help='Confirm the total of what was never sent: "12.50 EUR".')
    ] = "",
    output: Output = None,
) -> None:
    """Ask the provider about requests without a known outcome; send again only what never arrived.

    This covers refunds, and invoices that are voided or written off at the provider. What was never sent needs the
    confirmation that refund and void need; without it, it stays ready (exit 8).
    """
    from refundcli.cli.commands.refunds.request import exit_code_of
    from refundcli.services.recovery.resume_closings import is_closing, unfinished_closings
    from refundcli.services.recovery.resume_refunds import unfinished

    me: App = ctx.obj
    services = me.services
    target = None if all_ else name
    one_closing = target is not None and is_closing(target)
    refunds = [] if one_closing else unfinished(services.books, target)
    closings = unfinished_closings(services.books, target) if target is None or one_closing else []
    resumed, closed, lost = _settled(me, refunds, closings, yes=yes, confirm=confirm)
    runs: list[UnfinishedRun] = []
    try:
        of = {entry.run_id for entry in refunds}
        runs = [run for run in _unfinished_runs(me) if target is None or run.run.id in of]
    except RefundcliError as trouble:
        lost = lost or trouble
    _show(me, resumed, closed, runs)
    code = exit_code_of([entry.refund for entry in resumed], [entry.closing for entry in closed])
    if not code and target is None and any(not run.is_held for run in runs):
        code = ExitCode.PARTLY
    if lost and not code:
        raise lost
    if lost:
        me.note(("! ", "yellow"), lost.message)
    if code:
        raise typer.Exit(code)


def _settled(
    me: "App", refunds: "Sequence[Refund]", closings: "Sequence[Closing]", *, yes: bool, confirm: str
) -> "tuple[list[Resumed], list[ResumedClosing], RefundcliError | None]":
    """Ask once, before anything is done; then settle each, but for first sends that were not confirmed.

    Where the store is lost meanwhile, what was settled by then is shown all the same; the trouble comes with it.
    """
    from refundcli.cli.commands.refunds.resume_confirmation import closings_to_leave, connect, refunds_to_leave
    from refundcli.services.dispatch.interrupts import Interrupted
    from refundcli.services.recovery.resume_closings import closings_as_interrupted, resume_closings
    from refundcli.services.recovery.resume_refunds import as_interrupted
    from refundcli.services.recovery.resume_refunds import resume as settle

    connected = connect(me, [*refunds, *closings])
    unsent = refunds_to_leave(me, refunds, connected, yes=yes, confirm=confirm)
    unsent_closings = closings_to_leave(me, closings, yes=yes)
    books, providers, clock, policy = me.services.books, me.services.providers, me.services.clock, me.services.policy
    confirmed = [entry for entry in refunds if entry.id not in unsent]
    agreed = [entry for entry in closings if entry.id not in unsent_closings]
    resumed: list[Resumed] = []
    closed: list[ResumedClosing] = []
    lost: RefundcliError | None = None
    try:
        settle(confirmed, books=books, providers=providers, clock=clock, policy=policy, done=resumed)
        resume_closings(agreed, books=books, providers=providers, clock=clock, policy=policy, done=closed)
    except RefundcliError as trouble:
        lost = trouble
    except (KeyboardInterrupt, Interrupted):
        resumed += [*unsent.values(), *as_interrupted(confirmed[len(resumed) :], books=books)]
        closed += [*unsent_closings.values(), *closings_as_interrupted(agreed[len(closed) :], books=books)]
        _show(me, resumed, closed, [])
        raise
    settled = unsent | {entry.refund.id: entry for entry in resumed}
    ends = unsent_closings | {entry.closing.id: entry for entry in closed}
    return (
        [settled[entry.id] for entry in refunds if entry.id in settled],
        [ends[entry.id] for entry in closings if entry.id in ends],
        lost,
    )


def _unfinished_runs(me: "App") -> "list[UnfinishedRun]":
    """Bulk runs with rows left: settling their refunds does not finish them."""
    from refundcli.services.bulk.unfinished_runs import unfinished_runs

    now = me.services.clock.now()
    return me.services.books.read(lambda tx: unfinished_runs(tx, now=now))


def _show(
    me: "App", resumed: "Sequence[Resumed]", closed: "Sequence[ResumedClosing]", runs: "Sequence[UnfinishedRun]"
) -> None:
    from refundcli.output import serializers
    from refundcli.output.views.bulk import show_unfinished_runs, unfinished_run_shape
    from refundcli.output.views.closing import closing_row, show_resumed_closings
    from refundcli.output.views.refund import REFUND_COLUMNS, refund_row, show_resumed

    if me.wants_json:
        shapes = [(serializers.refund(entry.refund), str(entry.step), entry.note) for entry in resumed]
        shapes += [(serializers.closing(entry.closing), str(entry.step), entry.note) for entry in closed]
        shapes += [(unfinished_run_shape(entry), "run unfinished", entry.command) for entry in runs]
        me.show_list(shape | {"step": step, "note": note or None} for shape, step, note in shapes)
    elif me.for_people:
        show_resumed(resumed, me.out)
        show_resumed_closings(closed, me.out)
    else:
        rows = [(*refund_row(entry.refund), entry.step) for entry in resumed]
        rows += [(*closing_row(entry.closing), entry.step) for entry in closed]
        me.show_rows((*REFUND_COLUMNS, "step"), rows, text_columns=("provider_reference", "reason", "step"))
        # The columns are fixed, so the reasons go to stderr.
        notes = [(entry.refund.id, entry.note) for entry in resumed] + [
            (entry.closing.id, entry.note) for entry in closed
        ]
        for name, note in notes:
            if note:
                me.note(f"{name}: {note}")
    if not (resumed or closed):
        me.note("No refund or closing to settle.")
    if not me.wants_json:
        show_unfinished_runs(runs, me.err)
