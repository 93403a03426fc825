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
    wanted = None if all_ else name
    one_closing = wanted is not None and is_closing(wanted)
    refunds = [] if one_closing else unfinished(services.books, wanted)
    closings = unfinished_closings(services.books, wanted) if wanted is None or one_closing else []
    done, closed, lost = _settled(me, refunds, closings, yes=yes, confirm=confirm)
    runs: list[UnfinishedRun] = []
    try:
        of = {each.run_id for each in refunds}
        runs = [run for run in _unfinished_runs(me) if wanted is None or run.run.id in of]
    except RefundcliError as trouble:
        lost = lost or trouble
    _show(me, done, closed, runs)
    code = exit_code_of([each.refund for each in done], [each.closing for each in closed])
    if not code and wanted is None and any(not run.is_held for run in runs):
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
    left = refunds_to_leave(me, refunds, connected, yes=yes, confirm=confirm)
    open_ = closings_to_leave(me, closings, yes=yes)
    books, providers, clock, policy = me.services.books, me.services.providers, me.services.clock, me.services.policy
    confirmed = [each for each in refunds if each.id not in left]
    agreed = [each for each in closings if each.id not in open_]
    done: list[Resumed] = []
    closed: list[ResumedClosing] = []
    lost: RefundcliError | None = None
    try:
        settle(confirmed, books=books, providers=providers, clock=clock, policy=policy, done=done)
        resume_closings(agreed, books=books, providers=providers, clock=clock, policy=policy, done=closed)
    except RefundcliError as trouble:
        lost = trouble
    except (KeyboardInterrupt, Interrupted):
        done += [*left.values(), *as_interrupted(confirmed[len(done) :], books=books)]
        closed += [*open_.values(), *closings_as_interrupted(agreed[len(closed) :], books=books)]
        _show(me, done, closed, [])
        raise
    settled = left | {each.refund.id: each for each in done}
    ends = open_ | {each.closing.id: each for each in closed}
    return (
        [settled[each.id] for each in refunds if each.id in settled],
        [ends[each.id] for each in closings if each.id in ends],
        lost,
    )


def _unfinished_runs(me: "App") -> "list[UnfinishedRun]":
    """Bulk runs with rows left: settling their refunds does not finish them."""
    from refundcli.services.bulk.unfinished_runs import unfinished_runs

    now = me.services.clock.now()
    return me.services.books.read(lambda tx: unfinished_runs(tx, now=now))


def _show(
    me: "App", done: "Sequence[Resumed]", closed: "Sequence[ResumedClosing]", runs: "Sequence[UnfinishedRun]"
) -> None:
    from refundcli.output.serializers.refunds import resumed
    from refundcli.output.views.bulk import show_unfinished_runs
    from refundcli.output.views.closing import closing_row, show_resumed_closings
    from refundcli.output.views.refund import REFUND_COLUMNS, refund_row, show_resumed

    if me.wants_json:
        me.show_list(resumed(done, closed, runs))
    elif me.for_people:
        show_resumed(done, me.out)
        show_resumed_closings(closed, me.out)
    else:
        rows = [(*refund_row(each.refund), each.step) for each in done]
        rows += [(*closing_row(each.closing), each.step) for each in closed]
        me.show_rows((*REFUND_COLUMNS, "step"), rows, text_columns=("provider_reference", "reason", "step"))
        # The columns are fixed, so the reasons go to stderr.
        notes = [(each.refund.id, each.note) for each in done] + [(each.closing.id, each.note) for each in closed]
        for name, note in notes:
            if note:
                me.note(f"{name}: {note}")
    if not (done or closed):
        me.note("No refund or closing to settle.")
    if not me.wants_json:
        show_unfinished_runs(runs, me.err)
