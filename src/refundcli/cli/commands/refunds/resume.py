"""resume: finish refunds and closings whose outcome is unknown."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.exit_codes import ExitCode
from refundcli.cli.options import Yes
from refundcli.domain.closing import Closing
from refundcli.domain.errors import RefundcliError
from refundcli.domain.money import Money, add_to
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import ClosingState, Provider, RefundState

if TYPE_CHECKING:
    from datetime import datetime

    from refundcli.cli.context import App
    from refundcli.services.bulk.unfinished_runs import UnfinishedRun
    from refundcli.services.dispatch.operations import Operation
    from refundcli.services.ports.providers import PaymentProvider
    from refundcli.services.recovery.resume import Resumed

group = typer.Typer(rich_markup_mode=None, add_completion=False)

_SHOWN = 20
_UNCONFIRMED = "not sent: it needs confirmation. Next: refundcli resume {} {}"


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
) -> None:
    """Ask the provider about requests without a known outcome; send again only what never arrived.

    This covers refunds, and voids and write-offs requested at the provider. A request that was never sent needs the
    same confirmation as refund and void do; without it, the request stays unsent (exit code 8).
    """
    from refundcli.cli.commands.refunds.request import exit_code_of

    app: App = ctx.obj
    target_id = None if all_ else name
    operations = app.services.resume.unfinished(target_id)
    entries, store_error = _settle(app, operations, yes=yes, confirm=confirm)
    runs: list[UnfinishedRun] = []
    try:
        run_ids = {operation.run_id for operation in operations if isinstance(operation, Refund)}
        runs = [run for run in _unfinished_runs(app) if target_id is None or run.run.id in run_ids]
    except RefundcliError as error:
        store_error = store_error or error
    _show(app, entries, runs)
    exit_code = exit_code_of([entry.operation for entry in entries])
    if not exit_code and target_id is None and any(not run.has_live_worker for run in runs):
        exit_code = ExitCode.PARTLY
    if store_error and not exit_code:
        raise store_error
    if store_error:
        app.note(("! ", "yellow"), store_error.message)
    if exit_code:
        raise typer.Exit(exit_code)


def _settle(
    app: "App", operations: "Sequence[Operation]", *, yes: bool, confirm: str
) -> "tuple[list[Resumed], RefundcliError | None]":
    """Ask once, before any work; then settle all but the first sends that were not confirmed.

    If the store fails halfway, the error is returned with what was settled by then.
    """
    from refundcli.system.interrupts import Interrupted

    connected = _connect(app, operations)
    unsent_by_id = _unconfirmed_refunds(app, operations, connected, yes=yes, confirm=confirm)
    unsent_by_id |= _unconfirmed_closings(app, operations, yes=yes)
    confirmed = [operation for operation in operations if operation.id not in unsent_by_id]
    service = app.services.resume
    resumed: list[Resumed] = []
    store_error: RefundcliError | None = None
    if any(isinstance(operation, Refund) for operation in confirmed):
        app.services.read_events_again()
    try:
        service.settle(confirmed, resumed)
    except RefundcliError as error:
        store_error = error
    except (KeyboardInterrupt, Interrupted):
        resumed += [*unsent_by_id.values(), *service.as_interrupted(confirmed[len(resumed) :])]
        _show(app, sorted(resumed, key=lambda entry: isinstance(entry.operation, Closing)), [])
        raise
    entry_by_id = unsent_by_id | {entry.operation.id: entry for entry in resumed}
    return [entry_by_id[operation.id] for operation in operations if operation.id in entry_by_id], store_error


def _unfinished_runs(app: "App") -> "list[UnfinishedRun]":
    """Bulk runs with rows left: settling their refunds does not finish them."""
    from refundcli.services.bulk.unfinished_runs import unfinished_runs

    now = app.services.clock.now()
    return app.services.books.read(lambda tx: unfinished_runs(tx, now=now))


def _show(app: "App", entries: "Sequence[Resumed]", runs: "Sequence[UnfinishedRun]") -> None:
    from refundcli.output.serializers.refunds import resumed as resumed_shapes
    from refundcli.output.views.bulk import show_unfinished_runs
    from refundcli.output.views.closing import show_resumed
    from refundcli.output.views.refund import REFUND_COLUMNS

    if app.wants_json:
        app.show_list(resumed_shapes(entries, runs))
    elif app.for_people:
        show_resumed(entries, app.out)
    else:
        rows = [(*_row(entry.operation), entry.step) for entry in entries]
        app.show_rows((*REFUND_COLUMNS, "step"), rows, text_columns=("provider_reference", "reason", "step"))
        # The columns are fixed, so the reasons go to stderr.
        for entry in entries:
            if entry.note:
                app.note(f"{entry.operation.id}: {entry.note}")
    if not entries:
        app.note("No refund, void or write-off to settle.")
    if not app.wants_json:
        show_unfinished_runs(runs, app.err)


def _row(operation: "Operation") -> tuple[str, ...]:
    from refundcli.output.views.closing import closing_row
    from refundcli.output.views.refund import refund_row

    return refund_row(operation) if isinstance(operation, Refund) else closing_row(operation)


# Look-ups and replays never ask. A first send without a confirmation stays `ready` (R5).


@dataclass(frozen=True, slots=True)
class _Connected:
    """The connected providers of the unfinished requests, and the error of each that could not be connected."""

    providers: "dict[Provider, PaymentProvider]" = field(default_factory=dict)
    problems: dict[Provider, RefundcliError] = field(default_factory=dict)
    live: bool = False


def _connect(app: "App", operations: "Sequence[Operation]") -> _Connected:
    """Connect each provider, and announce where real money moves. One that fails does not stop the others."""
    from refundcli.cli.commands.refunds.request import announce_live

    connected = _Connected()
    for provider in dict.fromkeys(operation.provider for operation in operations if operation.provider):
        try:
            connected.providers[provider] = app.services.providers.of(provider)
        except RefundcliError as problem:
            connected.problems[provider] = problem
    return replace(connected, live=announce_live(app, list(connected.providers.values())))


def _unconfirmed_refunds(
    app: "App", operations: "Sequence[Operation]", connected: _Connected, *, yes: bool, confirm: str
) -> "dict[str, Resumed]":
    """The refunds that stay `ready`, by id, each with its reason: first sends that nobody confirmed.

    A refund that a live process is about to send is left to it and not part of the total to confirm; --yes in test
    mode waits for it. Raises NotConfirmed for a --confirm with another total.
    """
    from refundcli.services.recovery.resume import Resumed, Step, step_of

    now = app.services.clock.now()
    waits_for_leases = yes and not connected.live
    unsent_by_id: dict[str, Resumed] = {}
    to_confirm: list[Refund] = []
    for refund in operations:
        if not isinstance(refund, Refund) or refund.state is not RefundState.READY:
            continue
        leased = None if waits_for_leases else _leased(refund, now)
        problem = connected.problems.get(refund.provider) if refund.provider else None
        if leased:
            unsent_by_id[refund.id] = leased
        elif problem:
            # Whether real money would move is unknown.
            unsent_by_id[refund.id] = Resumed(refund, step_of(problem), problem.message, problem)
        else:
            to_confirm.append(refund)
    if to_confirm and not _are_confirmed(app, to_confirm, is_live=connected.live, yes=yes, confirm=confirm):
        for refund in to_confirm:
            confirm_option = f'--confirm "{refund.amount}"' if connected.live else "--yes"
            note = _UNCONFIRMED.format(refund.id, confirm_option)
            unsent_by_id[refund.id] = Resumed(refund, Step.NOT_CONFIRMED, note)
    return unsent_by_id


def _leased(refund: Refund, now: "datetime") -> "Resumed | None":
    from refundcli.services.dispatch import leases
    from refundcli.services.recovery.resume import Resumed, Step
    from refundcli.system import processes

    if not refund.sending or not leases.is_live(refund.sending, now):
        return None
    holder = processes.process_named(refund.sending.lease_owner).shown
    return Resumed(
        refund,
        Step.LEASED,
        f"{holder} is about to send it, and has until {refund.sending.lease_until:%H:%M:%S} UTC to do so",
    )


def _unconfirmed_closings(app: "App", operations: "Sequence[Operation]", *, yes: bool) -> "dict[str, Resumed]":
    """The same for invoices to be voided or written off at a provider. No money moves, so --yes is enough."""
    from refundcli.services.recovery.resume import Resumed, Step

    first_sends = [
        operation
        for operation in operations
        if isinstance(operation, Closing) and operation.state is ClosingState.READY
    ]
    if not first_sends or yes or (app.may_ask and _is_agreed(app, first_sends)):
        return {}
    return {
        closing.id: Resumed(closing, Step.NOT_CONFIRMED, _UNCONFIRMED.format(closing.id, "--yes"))
        for closing in first_sends
    }


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
