"""The state of the books at a glance: what needs a person first."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from refundcli.domain.dispute import review_command
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState
from refundcli.output import shapes
from refundcli.output.closing_screen import verdict
from refundcli.output.events_screen import event_shape
from refundcli.output.terminal import DOUBT, GOOD, QUIET, STRONG, Screen, local_time
from refundcli.services.provider_limits import CAN_LOOK_UP
from refundcli.services.provider_news import EventState
from refundcli.services.status import Next, OpenClosing, OpenRefund, Status

_TO_ADD = {
    Next.RESOLVE: " --not-executed --evidence TEXT",
    Next.ADOPT: " --reason REASON",
    Next.MATCH: " --record REFUND",
}
_EVENTS_TOLD = {
    EventState.WAITING: "events wait to be applied",
    EventState.UNMATCHED: "events are about payments that are not here",
}
_UNFINISHED = {
    RefundState.READY: "not sent yet",
    RefundState.SUBMITTED: "not confirmed",
    RefundState.AWAITING_APPROVAL: "awaits approval at the provider",
}
STATUS_COLUMNS = ("what", "id", "invoice", "amount", "age", "next")


def show_status(status: Status, store: dict[str, str], screen: Screen, *, zone: ZoneInfo) -> None:
    if status.needs_someone:
        screen.say(("! ", DOUBT), "Something needs you.")
    else:
        screen.say(("✓ ", GOOD), "All clear.")
    _unreviewed(status, screen)
    _losses(status, screen)
    _refunds("Unfinished refunds", status.unfinished, screen)
    _closings(status.closings, screen)
    _refunds("Failed or reversed after they were accepted", status.came_back, screen)
    _refunds("Accepted, not final", status.pending, screen)
    _refunds("External refunds", status.elsewhere, screen)
    _invoices("In dispute", status.disputed, screen)
    _invoices("Currently processing", status.processing, screen)
    screen.blank()
    mode = {None: "not used yet", True: "LIVE", False: "test mode"}[status.livemode]
    screen.say((f"{store['url']}   schema {store['schema']}   {mode}", QUIET))
    if not status.compared:
        screen.say(("not compared with a provider yet", QUIET))
    for provider, at in status.compared.items():
        screen.say((f"compared with {provider.label} at {local_time(at, zone)}", QUIET))
    _events(status, screen)
    for account in status.accounts:
        screen.say((f"{account.provider.label} account {account.account}", QUIET))


def _unreviewed(status: Status, screen: Screen) -> None:
    if not status.unreviewed:
        return
    screen.blank()
    screen.say(("Unreviewed provider updates: each blocks refunds of its payment", STRONG))
    screen.entries(
        [
            (
                ((f"event {each.id}", ""), (each.event.provider.label, ""), (each.event.kind, DOUBT)),
                f"{each.note}   {review_command(each.id, each.event.kind)}",
            )
            for each in status.unreviewed
        ]
    )


def _losses(status: Status, screen: Screen) -> None:
    if not status.losses:
        return
    screen.blank()
    screen.say(("Losses: more was refunded or lost to disputes than was captured", STRONG))
    screen.entries(
        [
            (
                ((invoice.number, ""), (str(invoice.loss), DOUBT), ("lost", "")),
                f"refundcli acknowledge {invoice.number}",
            )
            for invoice in status.losses
        ],
        right=(1,),
    )


def _events(status: Status, screen: Screen) -> None:
    """Only what somebody may want to look at."""
    for state, what in _EVENTS_TOLD.items():
        if count := status.events.get(state):
            screen.say((f"{count} {what}: refundcli events list --state {state}", DOUBT))
    if status.refused_deliveries:
        flaws = ", ".join(f"{count} {flaw}" for flaw, count in status.refused_deliveries.items())
        screen.say((f"rejected deliveries: {flaws}", QUIET))


def status_rows(status: Status) -> Iterator[tuple[str, ...]]:
    for each in (*status.unfinished, *status.came_back, *status.pending, *status.elsewhere):
        refund = each.refund
        yield refund.state, refund.id, refund.invoice_number, str(refund.amount), _age(each.age), _next(each)
    for each_closing in status.closings:
        asked = each_closing.closing
        told = (asked.wanted.value, asked.id, asked.invoice_number, "", _age(each_closing.age))
        yield *told, _next(each_closing)
    for event in status.unreviewed:
        command = review_command(event.id, event.event.kind)
        yield "unreviewed", str(event.id), event.event.kind, "", "", command
    for invoice in status.losses:
        yield "loss", "", invoice.number, str(invoice.loss), "", f"refundcli acknowledge {invoice.number}"
    for what, invoices in (("disputed", status.disputed), ("processing", status.processing)):
        for invoice in invoices:
            yield what, "", invoice.number, str(invoice.refundable), "", Next.WAIT


def status_shape(status: Status, store: dict[str, str]) -> dict[str, Any]:
    return {
        "needs_someone": status.needs_someone,
        "unfinished": [_shape(each) for each in status.unfinished],
        "closings": [_closing_shape(each) for each in status.closings],
        "came_back": [_shape(each) for each in status.came_back],
        "pending": [_shape(each) for each in status.pending],
        "elsewhere": [_shape(each) for each in status.elsewhere],
        "unreviewed": [event_shape(each) for each in status.unreviewed],
        "losses": [{"invoice": each.number, "amount": shapes.money(each.loss)} for each in status.losses],
        "disputed": [invoice.number for invoice in status.disputed],
        "processing": [invoice.number for invoice in status.processing],
        "store": store,
        "livemode": status.livemode,
        "events": status.events,
        "refused_deliveries": status.refused_deliveries,
        "last_reconcile": {provider.value: at for provider, at in status.compared.items()},
        "accounts": [{"provider": a.provider, "account": a.account, "livemode": a.livemode} for a in status.accounts],
    }


def _shape(each: OpenRefund) -> dict[str, Any]:
    return shapes.refund(each.refund) | {
        "age_seconds": int(each.age.total_seconds()),
        "next": each.next,
        "command": _command(each),
    }


def _closing_shape(each: OpenClosing) -> dict[str, Any]:
    return shapes.closing(each.closing) | {
        "age_seconds": int(each.age.total_seconds()),
        "next": each.next,
        "command": _command(each),
    }


def _closings(closings: Sequence[OpenClosing], screen: Screen) -> None:
    if not closings:
        return
    screen.blank()
    screen.say(("Invoices being closed", STRONG))
    rows = [
        (
            (
                (each.closing.invoice_number, ""),
                (verdict(each.closing), ""),
                (f"since {_age(each.age)}", DOUBT if each.next is not Next.WAIT else ""),
            ),
            _next(each),
        )
        for each in closings
    ]
    screen.entries(rows)


def _refunds(title: str, refunds: Sequence[OpenRefund], screen: Screen) -> None:
    if not refunds:
        return
    screen.blank()
    screen.say((title, STRONG))
    rows = [
        (
            (
                (each.refund.invoice_number, ""),
                (str(each.refund.amount), ""),
                (each.refund.provider.label if each.refund.provider else "", ""),
                (_state(each.refund), ""),
                (f"since {_age(each.age)}", DOUBT if each.next is not Next.WAIT else ""),
            ),
            _next(each),
        )
        for each in refunds
    ]
    screen.entries(rows, right=(1,))


def _state(refund: Refund) -> str:
    if refund.reversed_amount:
        return f"{refund.reversed_amount} returned"
    return _UNFINISHED.get(refund.state, refund.state.value)


def _invoices(title: str, invoices: Sequence[Invoice], screen: Screen) -> None:
    if not invoices:
        return
    screen.blank()
    screen.say((title, STRONG))
    screen.entries(
        [(((i.number, ""), (str(i.refundable), ""), ("left", "")), i.customer_name or i.customer) for i in invoices],
        right=(1,),
    )


def _command(each: OpenRefund | OpenClosing) -> str | None:
    if each.next is Next.WAIT:
        return None
    if each.next in (Next.APPROVE, Next.TOP_UP):
        # Done in the provider's dashboard first; this command then fetches the outcome.
        return f"refundcli {'resume' if each.next is Next.APPROVE else 'reconcile'}"
    if isinstance(each, OpenClosing):
        return f"refundcli {each.next} {each.closing.id}{_TO_ADD.get(each.next, '')}"
    if each.next is Next.RECONCILE:
        # Only Stripe can be asked how it stands.
        asked = each.refund.provider in CAN_LOOK_UP
        return f"refundcli reconcile {f'--provider {each.refund.provider}' if asked else '--report FILE'}"
    return f"refundcli {each.next} {each.refund.id}{_TO_ADD.get(each.next, '')}"


def _next(each: OpenRefund | OpenClosing) -> str:
    return _command(each) or "wait"


def _age(age: timedelta) -> str:
    """The largest unit that fits: `3 days`, `2 h`, `5 min`, `12 s`."""
    seconds = int(age.total_seconds())
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{max(seconds, 0)} s"
