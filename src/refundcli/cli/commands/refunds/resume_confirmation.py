"""Before `resume` sends anything for the first time: whose money it is, and the confirmation that it needs (R5).

Look-ups and replays never ask. A first send without a confirmation is left `ready`, and the others are settled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from refundcli.cli.commands.refunds.request import tell_connected
from refundcli.cli.context import App
from refundcli.cli.prompts import NotConfirmed, agreed, check_confirm, typed
from refundcli.domain.closing import Closing
from refundcli.domain.errors import RefundcliError
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import ClosingState, Provider, RefundState
from refundcli.services.dispatch import leases
from refundcli.services.ports.providers import PaymentProvider
from refundcli.services.recovery.resume_closings import ResumedClosing
from refundcli.services.recovery.resume_refunds import Resumed, Step, step_of

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Connected:
    """The providers of what is unfinished; those that could not be connected, and why."""

    providers: dict[Provider, PaymentProvider] = field(default_factory=dict)
    problems: dict[Provider, RefundcliError] = field(default_factory=dict)
    live: bool = False


def connect(app: App, unfinished: Sequence[Refund | Closing]) -> Connected:
    """Connect each provider, and say where real money moves. One that cannot be connected stops no other."""
    connected = Connected()
    for provider in dict.fromkeys(entry.provider for entry in unfinished if entry.provider):
        try:
            connected.providers[provider] = app.services.providers.of(provider)
        except RefundcliError as problem:
            connected.problems[provider] = problem
    return replace(connected, live=tell_connected(app, list(connected.providers.values())))


def refunds_to_leave(
    app: App, refunds: Sequence[Refund], connected: Connected, *, yes: bool, confirm: str
) -> dict[str, Resumed]:
    """The refunds that stay `ready`, by id, each with its reason: first sends that nobody has confirmed.

    What a living process is about to send is its own, and in no sum that is confirmed; --yes in test mode waits for it.
    Raises NotConfirmed for a --confirm that names another sum.
    """
    now = app.services.clock.now()
    first = [refund for refund in refunds if refund.state is RefundState.READY]
    waits = yes and not connected.live
    unsent = {entry.id: leased for entry in first if not waits and (leased := _held(entry, now))}
    for refund in first:
        if refund.id in unsent:
            continue
        problem = connected.problems.get(refund.provider) if refund.provider else None
        if problem:
            # Nobody can tell whether its money would be real.
            unsent[refund.id] = Resumed(refund, step_of(problem), problem.message, problem)
    to_confirm = [refund for refund in first if refund.id not in unsent]
    if to_confirm and not _are_confirmed(app, to_confirm, live=connected.live, yes=yes, confirm=confirm):
        for refund in to_confirm:
            answer = f'--confirm "{refund.amount}"' if connected.live else "--yes"
            note = f"not sent: it needs a confirmation. Next: refundcli resume {refund.id} {answer}"
            unsent[refund.id] = Resumed(refund, Step.NOT_CONFIRMED, note)
    return unsent


def _held(refund: Refund, now: datetime) -> Resumed | None:
    if not refund.sending or not leases.is_live(refund.sending, now):
        return None
    holder = leases.holder_of(refund.sending.lease_owner).shown
    return Resumed(refund, Step.HELD, f"{holder} is about to send it, until {refund.sending.lease_until:%H:%M:%S} UTC")


def closings_to_leave(app: App, closings: Sequence[Closing], *, yes: bool) -> dict[str, ResumedClosing]:
    """The same for invoices to be voided or written off at a provider. No money moves: a yes will do."""
    first = [closing for closing in closings if closing.state is ClosingState.READY]
    if not first or yes or (app.may_ask and _is_agreed(app, first)):
        return {}
    note = "not sent: it needs a confirmation. Next: refundcli resume {} --yes"
    return {entry.id: ResumedClosing(entry, Step.NOT_CONFIRMED, note.format(entry.id)) for entry in first}


def total_of(refunds: Sequence[Refund]) -> str:
    """What is to be typed or given: the total of each currency, `75.00 EUR, 20.00 USD`."""
    totals: dict[str, Money] = {}
    for refund in refunds:
        code = refund.amount.currency.code
        totals[code] = totals[code] + refund.amount if code in totals else refund.amount
    return ", ".join(str(totals[code]) for code in sorted(totals))


def _are_confirmed(app: App, refunds: Sequence[Refund], *, live: bool, yes: bool, confirm: str) -> bool:
    total = total_of(refunds)
    if confirm:
        check_confirm(confirm, total)
        return True
    if yes and not live:
        return True
    if not app.may_ask:
        return False
    what = "1 refund that was" if len(refunds) == 1 else f"{len(refunds):,} refunds that were"
    app.err.say(f"Send {what} never sent ({'LIVE' if live else 'test mode'}). This cannot be undone.")
    for refund in refunds[:_SHOWN]:
        app.err.say(
            f"{refund.amount} of {refund.invoice_number}   {refund.id}   {refund.created_at:%Y-%m-%d}", indent=3
        )
    if len(refunds) > _SHOWN:
        app.err.say(f"and {len(refunds) - _SHOWN:,} more", indent=3)
    try:
        typed(app, total)
    except NotConfirmed:
        return False
    return True


def _is_agreed(app: App, closings: Sequence[Closing]) -> bool:
    what = ", ".join(f"{closing.invoice_number} ({closing.wanted})" for closing in closings[:_SHOWN])
    more = f" and {len(closings) - _SHOWN:,} more" if len(closings) > _SHOWN else ""
    try:
        agreed(app, f"Close at the provider, for the first time: {what}{more}? It cannot be undone.")
    except NotConfirmed:
        return False
    return True
