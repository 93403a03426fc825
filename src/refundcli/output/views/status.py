"""The state of the books at a glance: what needs attention first, then what is pending, then how fresh it all is."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from refundcli.domain.bulk_run import ItemState, RunKind
from refundcli.domain.dispute import review_command
from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import RefundState
from refundcli.output import serializers
from refundcli.output.terminal import DOUBT, GOOD, QUIET, STRONG, Line, Screen, local_time
from refundcli.output.views.closing import verdict
from refundcli.output.views.events import event_shape
from refundcli.services.bulk.unfinished_runs import RunHolder
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.provider_updates import StoredEvent
from refundcli.services.ports.records import FailedCapture
from refundcli.services.queries.status import (
    Deliveries,
    Freshness,
    Listed,
    Next,
    OpenClosing,
    OpenRefund,
    OpenRun,
    Status,
    Unapplied,
)
from refundcli.services.reconciliation.last_comparison import Agreement, ComparisonScope, LastComparison

_TO_ADD = {
    Next.RESOLVE: " --not-executed --evidence TEXT",
    Next.ADOPT: " --reason REASON",
    Next.MATCH: " --record REFUND",
}
_UNFINISHED = {
    RefundState.READY: "not sent yet",
    RefundState.SUBMITTED: "not confirmed",
    RefundState.AWAITING_APPROVAL: "awaits approval at the provider",
}
# What a reason is called on the screen; one that is not here is shown by its code.
_REASONS = {
    "unreadable": "unreadable",
    "unsigned": "unsigned",
    "forged": "wrong signature",
    "unauthorized": "wrong user name or password",
    "out-of-time": "timestamp too old or in the future",
    "too-large": "too large",
    "other-account": "another account",
    "other-mode": "another mode",
}
STATUS_COLUMNS = ("what", "id", "invoice", "amount", "age", "next")
_APPLY = "refundcli events apply"


# --- on a terminal ----------------------------------------------------------------------------------------------


def show_status(status: Status, store: Mapping[str, Any], screen: Screen, *, zone: ZoneInfo) -> None:
    screen.say(("! ", DOUBT) if status.needs_someone else ("✓ ", GOOD), headline(status))
    _section("Unreviewed provider updates: each blocks refunds of its payment", status.unreviewed, screen, _update)
    _section("Losses: more was refunded or lost to disputes than was captured", status.losses, screen, _loss)
    _section("Unfinished refunds", status.unfinished, screen, lambda each: _refund(each, zone))
    _section("Unfinished runs", status.runs, screen, lambda each: _run(each, zone))
    _section("Invoices being closed", status.closings, screen, lambda each: _closing(each, zone))
    _section("Failed or reversed after they were accepted", status.came_back, screen, lambda each: _refund(each, zone))
    _section("External refunds", status.elsewhere, screen, lambda each: _refund(each, zone))
    _unapplied(status.unapplied, screen, zone)
    _section("Accepted, not final", status.pending, screen, lambda each: _refund(each, zone))
    _section("Captures that failed", status.failed_captures, screen, lambda each: _capture(each, zone))
    _section("In dispute", status.disputed, screen, _invoice)
    _section("Currently processing", status.processing, screen, _invoice)
    screen.blank()
    _freshness(status, screen, zone)
    _deliveries(status.deliveries, screen)
    mode = {None: "not used yet", True: "LIVE", False: "test mode"}[status.livemode]
    screen.say((f"{store['url']}   schema {store['schema']}   {mode}", QUIET))
    for account in status.accounts:
        screen.say((f"{account.provider.label} account {account.account}", QUIET))


def headline(status: Status) -> str:
    if not status.needs_someone:
        return "Nothing needs attention." if any(each.count for each in status.lists.values()) else "All clear."
    return "1 thing needs attention." if status.attention == 1 else f"{status.attention} things need attention."


def _section(title: str, listed: Listed[Any], screen: Screen, entry: Any) -> None:
    """A list under its title and its count. `entry` makes the cells and the detail of each; the second is an amount."""
    if not listed.count:
        return
    attention = f", {listed.attention} to do" if 0 < listed.attention < listed.count else ""
    screen.blank()
    screen.say((f"{title} ({listed.count}{attention})", STRONG))
    screen.entries([entry(each) for each in listed.shown], right=(1,))
    if listed.count > len(listed.shown):
        screen.say(f"… and {listed.count - len(listed.shown)} more", indent=3)


def _update(stored: StoredEvent) -> tuple[Line, str]:
    cells = ((f"event {stored.id}", ""), (stored.event.provider.label, ""), (stored.event.kind, DOUBT))
    return cells, f"{stored.note}   {review_command(stored.id, stored.event.kind)}"


def _loss(invoice: Invoice) -> tuple[Line, str]:
    return ((invoice.number, ""), (str(invoice.loss), DOUBT), ("lost", "")), f"refundcli acknowledge {invoice.number}"


def _refund(each: OpenRefund, zone: ZoneInfo) -> tuple[Line, str]:
    refund = each.refund
    cells = (
        (refund.invoice_number, ""),
        (str(refund.amount), ""),
        (refund.provider.label if refund.provider else "", ""),
        (_state(each, zone), ""),
        (f"since {_age(each.age)}", DOUBT if each.next is not Next.WAIT else ""),
    )
    return cells, _detail(each, each.holder, zone)


def _closing(each: OpenClosing, zone: ZoneInfo) -> tuple[Line, str]:
    cells = (
        (each.closing.invoice_number, ""),
        ("", ""),
        (verdict(each.closing), ""),
        (f"since {_age(each.age)}", DOUBT if each.next is not Next.WAIT else ""),
    )
    return cells, _detail(each, each.holder, zone)


def _run(each: OpenRun, zone: ZoneInfo) -> tuple[Line, str]:
    run = each.run.run
    cells = (
        (run.id, ""),
        (f"{each.run.rows:,} rows", ""),
        (_progress(each), ""),
        (f"{run.state} since {_age(each.age)}", DOUBT if each.next is not Next.WAIT else ""),
    )
    held = [_held(holder, zone) for holder in each.run.holders]
    if each.run.last_record_at:
        held = [f"last record {local_time(each.run.last_record_at, zone)}"]
    return cells, "   ".join([*held, _next(each)])


def _progress(each: OpenRun) -> str:
    """`20 done, 6 waiting, 34 with workers`; the rows of a run of records are not in the store."""
    if each.run.run.kind is not RunKind.REFUND:
        return each.run.run.kind
    words = {
        ItemState.DONE: "done",
        ItemState.REFUSED: "refused",
        ItemState.UNKNOWN: "not confirmed",
        ItemState.LEASED: "with workers",
        ItemState.WAITING: "waiting",
    }
    counts = {**each.run.counts, ItemState.REFUSED: each.run.refused}
    told = [f"{counts[state]:,} {word}" for state, word in words.items() if counts.get(state)]
    return ", ".join([*told, f"{each.run.partly:,} partly refunded"] if each.run.partly else told)


def _held(holder: RunHolder, zone: ZoneInfo) -> str:
    rows = "1 row" if holder.rows == 1 else f"{holder.rows:,} rows"
    return f"{rows} held by {_who(holder, zone)}"


def _who(holder: RunHolder, zone: ZoneInfo) -> str:
    """`desk-2 (process 311) until 2026-10-02 14:03 CEST`, or that it is at work no more."""
    until = f" until {local_time(holder.until, zone)}" if holder.until and holder.is_live else ""
    return f"{holder.label}{until}" if holder.is_live else f"{holder.label}, which is gone or was stopped"


def _capture(each: FailedCapture, zone: ZoneInfo) -> tuple[Line, str]:
    cells = (
        (each.invoice, ""),
        (str(each.amount), DOUBT),
        (each.provider.label, ""),
        (f"not captured, {local_time(each.at, zone)}", ""),
    )
    return cells, each.reference


def _invoice(invoice: Invoice) -> tuple[Line, str]:
    cells = ((invoice.number, ""), (str(invoice.refundable), ""), ("left", ""))
    return cells, invoice.customer_name or invoice.customer


def _detail(each: OpenRefund | OpenClosing, holder: RunHolder | None, zone: ZoneInfo) -> str:
    """The next step; of what a living process is sending, who it is and how long it may."""
    if each.next is Next.WAIT and holder and holder.is_live:
        return f"with {_who(holder, zone)}"
    return _next(each)


def _state(each: OpenRefund, zone: ZoneInfo) -> str:
    refund = each.refund
    if refund.reversed_amount:
        return f"{refund.reversed_amount} returned"
    if each.is_held:
        until = f" until {local_time(refund.hold_until, zone)}" if refund.hold_until else ""
        return f"{refund.state}, still reserved{until}"
    return _UNFINISHED.get(refund.state, refund.state.value)


def _unapplied(unapplied: Unapplied, screen: Screen, zone: ZoneInfo) -> None:
    """Stored updates that are not applied. They ask for an action only where they are counted as needing attention."""
    lines = [
        (f"Stored events of {provider.label} must be read again by this version", True) for provider in unapplied.unread
    ]
    if unapplied.waiting and unapplied.oldest:
        since = local_time(unapplied.oldest, zone)
        is_late = unapplied.attention > unapplied.blocking + len(unapplied.unread)
        lines.append(
            (f"{_count(unapplied.waiting, 'update')} waiting to be applied, the oldest since {since}", is_late)
        )
    if unapplied.blocking:
        lines.append((f"{_count(unapplied.blocking, 'update')} about payments that are in the books by now", True))
    if unapplied.unmatched:
        lines.append((f"{_count(unapplied.unmatched, 'update')} about payments that are not in the books", False))
    if lines:
        screen.blank()
        screen.say(("Provider updates that are not applied", STRONG))
    for words, is_due in lines:
        screen.say((words, DOUBT if is_due else ""), f": {_APPLY}" if is_due else "", indent=3)


def _freshness(status: Status, screen: Screen, zone: ZoneInfo) -> None:
    """When the books last heard of each provider that they have to do with."""
    used = {account.provider for account in status.accounts}
    heard = {p: each for p, each in status.freshness.items() if p in used or each != Freshness()}
    if not heard:
        screen.say(("not compared with a provider yet, no delivery received yet", QUIET))
    for provider, each in heard.items():
        last = _compared(each.last_reconcile, zone) if each.last_reconcile else "not compared yet"
        at = each.last_delivery
        delivery = f"last delivery {local_time(at, zone)}" if at else "no delivery received yet"
        screen.say((f"{provider.label}: {last}; {delivery}", QUIET))


def _compared(last: LastComparison, zone: ZoneInfo) -> str:
    results = {
        None: "",
        Agreement.AGREES: ": agreed",
        Agreement.NOTHING: ": nothing to compare",
        Agreement.DIFFERS: f": {_count(last.left or 0, 'difference')} left",
        Agreement.INCOMPLETE: f": {last.not_compared} not compared, {_count(last.left or 0, 'difference')} left",
    }
    scope = f" ({_scope(last.scope)})" if last.scope else ""
    later = f"; later {_compared(last.narrower, zone)}" if last.narrower else ""
    return f"compared {local_time(last.at, zone)}{scope}{results[last.result]}{later}"


def _scope(scope: ComparisonScope) -> str:
    """`account Shop, report june.csv, 3 of 120 payments in the books`."""
    count = f"{min(scope.compared, scope.in_books):,} of {_count(scope.in_books, 'payment')} in the books"
    of = [f"account {scope.account}", f"report {scope.report}" if scope.report else ""]
    return ", ".join(filter(None, [*of, f"made since {scope.since}" if scope.since else "", count]))


def _deliveries(deliveries: Deliveries, screen: Screen) -> None:
    for title, counts in (
        ("Rejected deliveries", deliveries.rejected),
        ("Verified and stored, not applied", deliveries.not_applied),
    ):
        if counts:
            reasons = ", ".join(f"{count} {_REASONS.get(reason, reason)}" for reason, count in counts.items())
            screen.say((f"{title}: {sum(counts.values())} ({reasons})", QUIET))


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


# --- for programs -----------------------------------------------------------------------------------------------


def status_rows(status: Status) -> Iterator[tuple[str, ...]]:
    for name in ("unfinished", "came_back", "pending", "elsewhere"):
        for each in status.lists[name].shown:
            assert isinstance(each, OpenRefund)
            refund = each.refund
            yield refund.state, refund.id, refund.invoice_number, str(refund.amount), _age(each.age), _next(each)
    for run in status.runs.shown:
        yield "run", run.run.run.id, "", "", _age(run.age), _next(run)
    for closing in status.closings.shown:
        asked = closing.closing
        yield asked.target.value, asked.id, asked.invoice_number, "", _age(closing.age), _next(closing)
    for event in status.unreviewed.shown:
        yield "unreviewed", str(event.id), event.event.kind, "", "", review_command(event.id, event.event.kind)
    for invoice in status.losses.shown:
        yield "loss", "", invoice.number, str(invoice.loss), "", f"refundcli acknowledge {invoice.number}"
    if status.unapplied.attention:
        yield "not applied", "", "", "", "", _APPLY
    for capture in status.failed_captures.shown:
        yield "failed capture", capture.reference, capture.invoice, str(capture.amount), "", Next.WAIT
    for what, invoices in (("disputed", status.disputed), ("processing", status.processing)):
        for invoice in invoices.shown:
            yield what, "", invoice.number, str(invoice.refundable), "", Next.WAIT


def status_shape(status: Status, store: Mapping[str, Any]) -> dict[str, Any]:
    """Lists have their first fifty entries, `counts` all of them. What is not known is null."""
    return {
        "needs_someone": status.needs_someone,
        "attention": status.attention,
        "counts": {name: {"all": each.count, "need_attention": each.attention} for name, each in status.lists.items()},
        "unfinished": [_refund_shape(each) for each in status.unfinished.shown],
        "runs": [_run_shape(each) for each in status.runs.shown],
        "closings": [_closing_shape(each) for each in status.closings.shown],
        "came_back": [_refund_shape(each) | {"held": each.is_held} for each in status.came_back.shown],
        "pending": [_refund_shape(each) for each in status.pending.shown],
        "elsewhere": [_refund_shape(each) for each in status.elsewhere.shown],
        "unreviewed": [event_shape(each) for each in status.unreviewed.shown],
        "losses": [{"invoice": each.number, "amount": serializers.money(each.loss)} for each in status.losses.shown],
        "failed_captures": [_capture_shape(each) for each in status.failed_captures.shown],
        "disputed": [invoice.number for invoice in status.disputed.shown],
        "processing": [invoice.number for invoice in status.processing.shown],
        "store": store,
        "livemode": status.livemode,
        "events": status.events,
        "not_applied": {
            "waiting": status.unapplied.waiting,
            "oldest": status.unapplied.oldest,
            "blocking": status.unapplied.blocking,
            "read_again": list(status.unapplied.unread),
            "command": _APPLY if status.unapplied.attention else None,
        },
        "refused_deliveries": dict(status.deliveries.rejected),
        "deliveries_not_applied": dict(status.deliveries.not_applied),
        "last_reconcile": {
            provider.value: each.last_reconcile.at for provider, each in status.freshness.items() if each.last_reconcile
        },
        "providers": {provider.value: _provider_shape(each) for provider, each in status.freshness.items()},
        "accounts": [{"provider": a.provider, "account": a.account, "livemode": a.livemode} for a in status.accounts],
    }


def _refund_shape(each: OpenRefund) -> dict[str, Any]:
    return serializers.refund(each.refund) | _open_shape(each) | {"held_by": _holder_shape(each.holder)}


def _closing_shape(each: OpenClosing) -> dict[str, Any]:
    return serializers.closing(each.closing) | _open_shape(each) | {"held_by": _holder_shape(each.holder)}


def _run_shape(each: OpenRun) -> dict[str, Any]:
    """Of a run of records, how its rows stand is not known: its counts are null."""
    run = each.run.run
    is_known = run.kind is RunKind.REFUND
    counts = {**each.run.counts, ItemState.REFUSED: each.run.refused}
    return {
        "id": run.id,
        "kind": run.kind,
        "state": run.state,
        "file": run.source,
        "operator": run.operator,
        "created_at": run.created_at,
        "rows": each.run.rows,
        "counts": {state.value: counts.get(state, 0) if is_known else None for state in ItemState}
        | {"partly_refunded": each.run.partly if is_known else None},
        "held_by": [_holder_shape(holder) for holder in each.run.holders],
        "last_record_at": each.run.last_record_at,
    } | _open_shape(each)


def _open_shape(each: OpenRefund | OpenClosing | OpenRun) -> dict[str, Any]:
    return {"age_seconds": int(each.age.total_seconds()), "next": each.next, "command": _command(each)}


def _holder_shape(holder: RunHolder | None) -> dict[str, Any] | None:
    if holder is None:
        return None
    return {"process": holder.label, "rows": holder.rows, "lease_until": holder.until, "live": holder.is_live}


def _capture_shape(each: FailedCapture) -> dict[str, Any]:
    return {
        "provider": each.provider,
        "invoice": each.invoice,
        "reference": each.reference,
        "amount": serializers.money(each.amount),
        "failed_at": each.at,
    }


def _provider_shape(each: Freshness) -> dict[str, Any]:
    last = each.last_reconcile
    return _comparison_shape(last) | {
        "narrower": _comparison_shape(last.narrower) if last and last.narrower else None,
        "last_delivery": each.last_delivery,
    }


def _comparison_shape(last: LastComparison | None) -> dict[str, Any]:
    """What was compared is null where an older version stored it."""
    scope = last.scope if last else None
    return {
        "last_reconcile": last.at if last else None,
        "result": last.result if last else None,
        "differences_left": last.left if last else None,
        "not_compared": last.not_compared if last else None,
        "account": scope.account if scope else None,
        "report": scope.report or None if scope else None,
        "since": scope.since or None if scope else None,
        "compared": scope.compared if scope else None,
        "in_books": scope.in_books if scope else None,
        "complete": scope.is_complete and not last.not_compared if scope and last else None,
    }


# --- the next step ----------------------------------------------------------------------------------------------


def _command(each: OpenRefund | OpenClosing | OpenRun) -> str | None:
    if each.next is Next.WAIT:
        return None
    if isinstance(each, OpenRun):
        return each.run.command
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


def _next(each: OpenRefund | OpenClosing | OpenRun) -> str:
    return _command(each) or "wait"


def _age(age: timedelta) -> str:
    """The largest unit that fits: `3 days`, `2 h`, `5 min`, `12 s`."""
    seconds = int(age.total_seconds())
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{max(seconds, 0)} s"
