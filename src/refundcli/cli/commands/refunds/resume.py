"""resume: finish refunds and closings whose outcome is unknown."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.exit_codes import ExitCode
from refundcli.cli.options import Output, Yes
from refundcli.domain.errors import RefundcliError
from refundcli.domain.money import Money, add_to
from refundcli.domain.statuses import ClosingState, Provider, RefundState

if TYPE_CHECKING:
    from datetime import datetime

    from refundcli.cli.context import App
    from refundcli.domain.closing import Closing
    from refundcli.domain.refund import Refund
    from refundcli.services.bulk.unfinished_runs import UnfinishedRun
    from refundcli.services.ports.providers import PaymentProvider
    from refundcli.services.recovery.resume_closings import ResumedClosing
    from refundcli.services.recovery.resume_refunds import Resumed

group = typer.Typer(rich_markup_mode=None, add_completion=False)

_SHOWN = 20


@group.command(
    epilog="Examples:  refundcli resume   ·   refundcli resume rf_01K2… --confirm '12.50 EUR'   ·   "
    "refundcli resume --yes -o json"
)
def resume(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="The ID of a refund (rf_…), or of a void or write-off (cl_…). Default: all."
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything unfinished; the same as without an ID.")] = False,
    yes: Yes = False,
    confirm: Annotated[
        str, typer.Option("--confirm", metavar="TEXT", help='Confirm the total of what was never sent: "12.50 EUR".')
    ] = "",
    output_format: Output = None,
) -> None:
    """Ask the provider about requests without a known outcome; send again only what never arrived.

    This covers refunds, and voids and write-offs requested at the provider. A request that was never sent needs the
    same confirmation as refund and void do; without it, the request stays unsent (exit code 8).
    """
    from refundcli.cli.commands.refunds.request import exit_code_of
    from refundcli.services.recovery.resume_closings import is_closing, unfinished_closings
    from refundcli.services.recovery.resume_refunds import unfinished

    app: App = ctx.obj
    services = app.services
    target_id = None if all_ else name
    is_one_closing = target_id is not None and is_closing(target_id)
    refunds = [] if is_one_closing else unfinished(services.books, target_id)
    closings = unfinished_closings(services.books, target_id) if target_id is None or is_one_closing else []
    resumed_refunds, resumed_closings, store_error = _settle(app, refunds, closings, yes=yes, confirm=confirm)
    runs: list[UnfinishedRun] = []
    try:
        run_ids = {refund.run_id for refund in refunds}
        runs = [run for run in _unfinished_runs(app) if target_id is None or run.run.id in run_ids]
    except RefundcliError as error:
        store_error = store_error or error
    _show(app, resumed_refunds, resumed_closings, runs)
    exit_code = exit_code_of([entry.refund for entry in resumed_refunds], [entry.closing for entry in resumed_closings])
    if not exit_code and target_id is None and any(not run.has_live_worker for run in runs):
        exit_code = ExitCode.PARTLY
    if store_error and not exit_code:
        raise store_error
    if store_error:
        app.note(("! ", "yellow"), store_error.message)
    if exit_code:
        raise typer.Exit(exit_code)


def _settle(
    app: "App", refunds: "Sequence[Refund]", closings: "Sequence[Closing]", *, yes: bool, confirm: str
) -> "tuple[list[Resumed], list[ResumedClosing], RefundcliError | None]":
    """Ask once, before any work; then settle all but the first sends that were not confirmed.

    If the store fails halfway, the error is returned with what was settled by then.
    """
    from refundcli.services.recovery.resume_closings import closings_as_interrupted, resume_closings
    from refundcli.services.recovery.resume_refunds import as_interrupted
    from refundcli.services.recovery.resume_refunds import resume as settle
    from refundcli.system.interrupts import Interrupted

    connected = _connect(app, [*refunds, *closings])
    unsent_refunds = _unconfirmed_refunds(app, refunds, connected, yes=yes, confirm=confirm)
    unsent_closings = _unconfirmed_closings(app, closings, yes=yes)
    books, providers, clock, policy = (
        app.services.books,
        app.services.providers,
        app.services.clock,
        app.services.policy,
    )
    confirmed_refunds = [refund for refund in refunds if refund.id not in unsent_refunds]
    confirmed_closings = [closing for closing in closings if closing.id not in unsent_closings]
    resumed_refunds: list[Resumed] = []
    resumed_closings: list[ResumedClosing] = []
    store_error: RefundcliError | None = None
    if confirmed_refunds:
        app.services.read_events_again()
    try:
        settle(
            confirmed_refunds, books=books, providers=providers, clock=clock, policy=policy, outcomes=resumed_refunds
        )
        resume_closings(
            confirmed_closings, books=books, providers=providers, clock=clock, policy=policy, outcomes=resumed_closings
        )
    except RefundcliError as error:
        store_error = error
    except (KeyboardInterrupt, Interrupted):
        resumed_refunds += [
            *unsent_refunds.values(),
            *as_interrupted(confirmed_refunds[len(resumed_refunds) :], books=books),
        ]
        resumed_closings += [
            *unsent_closings.values(),
            *closings_as_interrupted(confirmed_closings[len(resumed_closings) :], books=books),
        ]
        _show(app, resumed_refunds, resumed_closings, [])
        raise
    resumed_by_refund = unsent_refunds | {entry.refund.id: entry for entry in resumed_refunds}
    resumed_by_closing = unsent_closings | {entry.closing.id: entry for entry in resumed_closings}
    return (
        [resumed_by_refund[refund.id] for refund in refunds if refund.id in resumed_by_refund],
        [resumed_by_closing[closing.id] for closing in closings if closing.id in resumed_by_closing],
        store_error,
    )


def _unfinished_runs(app: "App") -> "list[UnfinishedRun]":
    """Bulk runs with rows left: settling their refunds does not finish them."""
    from refundcli.services.bulk.unfinished_runs import unfinished_runs

    now = app.services.clock.now()
    return app.services.books.read(lambda tx: unfinished_runs(tx, now=now))


def _show(
    app: "App",
    resumed_refunds: "Sequence[Resumed]",
    resumed_closings: "Sequence[ResumedClosing]",
    runs: "Sequence[UnfinishedRun]",
) -> None:
    from refundcli.output.serializers.refunds import resumed as resumed_shapes
    from refundcli.output.views.bulk import show_unfinished_runs
    from refundcli.output.views.closing import closing_row, show_resumed_closings
    from refundcli.output.views.refund import REFUND_COLUMNS, refund_row, show_resumed

    if app.wants_json:
        app.show_list(resumed_shapes(resumed_refunds, resumed_closings, runs))
    elif app.for_people:
        show_resumed(resumed_refunds, app.out)
        show_resumed_closings(resumed_closings, app.out)
    else:
        rows = [(*refund_row(entry.refund), entry.step) for entry in resumed_refunds]
        rows += [(*closing_row(entry.closing), entry.step) for entry in resumed_closings]
        app.show_rows((*REFUND_COLUMNS, "step"), rows, text_columns=("provider_reference", "reason", "step"))
        # The columns are fixed, so the reasons go to stderr.
        notes = [(entry.refund.id, entry.note) for entry in resumed_refunds]
        notes += [(entry.closing.id, entry.note) for entry in resumed_closings]
        for subject_id, note in notes:
            if note:
                app.note(f"{subject_id}: {note}")
    if not (resumed_refunds or resumed_closings):
        app.note("No refund, void or write-off to settle.")
    if not app.wants_json:
        show_unfinished_runs(runs, app.err)


# Look-ups and replays never ask. A first send without a confirmation stays `ready` (R5).


@dataclass(frozen=True, slots=True)
class _Connected:
    """The connected providers of the unfinished requests, and the error of each that could not be connected."""

    providers: "dict[Provider, PaymentProvider]" = field(default_factory=dict)
    problems: dict[Provider, RefundcliError] = field(default_factory=dict)
    live: bool = False


def _connect(app: "App", subjects: "Sequence[Refund | Closing]") -> _Connected:
    """Connect each provider, and announce where real money moves. One that fails does not stop the others."""
    from refundcli.cli.commands.refunds.request import announce_live

    connected = _Connected()
    for provider in dict.fromkeys(subject.provider for subject in subjects if subject.provider):
        try:
            connected.providers[provider] = app.services.providers.of(provider)
        except RefundcliError as problem:
            connected.problems[provider] = problem
    return replace(connected, live=announce_live(app, list(connected.providers.values())))


def _unconfirmed_refunds(
    app: "App", refunds: "Sequence[Refund]", connected: _Connected, *, yes: bool, confirm: str
) -> "dict[str, Resumed]":
    """The refunds that stay `ready`, by id, each with its reason: first sends that nobody confirmed.

    A refund that a live process is about to send is left to it and not part of the total to confirm; --yes in test
    mode waits for it. Raises NotConfirmed for a --confirm with another total.
    """
    from refundcli.services.recovery.resume_refunds import Resumed, Step, step_of

    now = app.services.clock.now()
    first_sends = [refund for refund in refunds if refund.state is RefundState.READY]
    waits_for_leases = yes and not connected.live
    unsent_by_id = {
        refund.id: leased_refund
        for refund in first_sends
        if not waits_for_leases and (leased_refund := _leased(refund, now))
    }
    for refund in first_sends:
        if refund.id in unsent_by_id:
            continue
        problem = connected.problems.get(refund.provider) if refund.provider else None
        if problem:
            # Whether real money would move is unknown.
            unsent_by_id[refund.id] = Resumed(refund, step_of(problem), problem.message, problem)
    to_confirm = [refund for refund in first_sends if refund.id not in unsent_by_id]
    if to_confirm and not _are_confirmed(app, to_confirm, is_live=connected.live, yes=yes, confirm=confirm):
        for refund in to_confirm:
            confirm_option = f'--confirm "{refund.amount}"' if connected.live else "--yes"
            note = f"not sent: it needs confirmation. Next: refundcli resume {refund.id} {confirm_option}"
            unsent_by_id[refund.id] = Resumed(refund, Step.NOT_CONFIRMED, note)
    return unsent_by_id


def _leased(refund: "Refund", now: "datetime") -> "Resumed | None":
    from refundcli.services.dispatch import leases
    from refundcli.services.recovery.resume_refunds import Resumed, Step
    from refundcli.system import processes

    if not refund.sending or not leases.is_live(refund.sending, now):
        return None
    holder = processes.process_named(refund.sending.lease_owner).shown
    return Resumed(
        refund,
        Step.LEASED,
        f"{holder} is about to send it, and has until {refund.sending.lease_until:%H:%M:%S} UTC to do so",
    )


def _unconfirmed_closings(app: "App", closings: "Sequence[Closing]", *, yes: bool) -> "dict[str, ResumedClosing]":
    """The same for invoices to be voided or written off at a provider. No money moves, so --yes is enough."""
    from refundcli.services.recovery.resume_closings import ResumedClosing
    from refundcli.services.recovery.resume_refunds import Step

    first_sends = [closing for closing in closings if closing.state is ClosingState.READY]
    if not first_sends or yes or (app.may_ask and _is_agreed(app, first_sends)):
        return {}
    note = "not sent: it needs confirmation. Next: refundcli resume {} --yes"
    return {closing.id: ResumedClosing(closing, Step.NOT_CONFIRMED, note.format(closing.id)) for closing in first_sends}


def _total_of(refunds: "Sequence[Refund]") -> str:
    """The total of each currency, as it is typed to confirm: `75.00 EUR, 20.00 USD`."""
    total_by_currency: dict[str, Money] = {}
    for refund in refunds:
        add_to(total_by_currency, refund.amount.currency.code, refund.amount)
    return ", ".join(str(total_by_currency[currency_code]) for currency_code in sorted(total_by_currency))


def _are_confirmed(app: "App", refunds: "Sequence[Refund]", *, is_live: bool, yes: bool, confirm: str) -> bool:
    from refundcli.cli.prompts import NotConfirmed, ask_to_type, check_confirm

    total = _total_of(refunds)
    if confirm:
        check_confirm(confirm, total)
        return True
    if yes and not is_live:
        return True
    if not app.may_ask:
        return False
    refund_words = "1 refund that was" if len(refunds) == 1 else f"{len(refunds):,} refunds that were"
    app.err.say(
        f"This will send {refund_words} never sent before ({'LIVE' if is_live else 'test mode'}). This cannot "
        "be undone."
    )
    for refund in refunds[:_SHOWN]:
        app.err.say(
            f"{refund.amount} of {refund.invoice_number}   {refund.id}   {refund.created_at:%Y-%m-%d}", indent=3
        )
    if len(refunds) > _SHOWN:
        app.err.say(f"and {len(refunds) - _SHOWN:,} more", indent=3)
    try:
        ask_to_type(app, total)
    except NotConfirmed:
        return False
    return True


def _is_agreed(app: "App", closings: "Sequence[Closing]") -> bool:
    from refundcli.cli.prompts import NotConfirmed, ask_yes_no

    closing_words = ", ".join(f"{closing.invoice_number} ({closing.target})" for closing in closings[:_SHOWN])
    more_words = f" and {len(closings) - _SHOWN:,} more" if len(closings) > _SHOWN else ""
    try:
        ask_yes_no(
            app,
            (
                f"Void or write off at the provider (not sent before): {closing_words}{more_words}? This cannot "
                "be undone."
            ),
        )
    except NotConfirmed:
        return False
    return True
