"""The state of the books at a glance: what needs attention first, then what is pending, then how fresh it all is."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from refundcli.domain.bulk_run import RunKind
from refundcli.domain.dispute import review_command
from refundcli.domain.invoice import Invoice
from refundcli.output.findings import STATE_WORDS, age_words, checks, dispute_command, rejection_words
from refundcli.output.next_steps import APPLY_EVENTS, compare_again, next_command, next_step
from refundcli.output.terminal import DOUBT, GOOD, QUIET, STRONG, Line, Screen, local_time
from refundcli.output.views.bulk import progress_words
from refundcli.output.views.closing import verdict
from refundcli.services.bulk.unfinished_runs import RunHolder
from refundcli.services.ports.provider_updates import StoredEvent
from refundcli.services.ports.reads import FailedCapture
from refundcli.services.queries.freshness import Freshness
from refundcli.services.queries.status import (
    Deliveries,
    Listed,
    Next,
    OpenClosing,
    OpenRefund,
    OpenRun,
    Status,
    Unapplied,
)
from refundcli.services.reconciliation.last_comparison import Agreement, ComparisonScope, LastComparison

STATUS_COLUMNS = ("what", "id", "invoice", "amount", "age", "next")


# --- on a terminal ----------------------------------------------------------------------------------------------


def show_status(status: Status, store_description: Mapping[str, Any], screen: Screen, *, zone: ZoneInfo) -> None:
    screen.say(("! ", DOUBT) if status.needs_attention else ("✓ ", GOOD), headline(status))
    _checks(status, screen)
    _section("Unreviewed provider updates: each blocks refunds of its payment", status.unreviewed, screen, _update)
    _section("Losses: refunds and lost disputes exceed the captured amount", status.losses, screen, _loss)
    _section("Unfinished refunds", status.unfinished, screen, lambda entry: _refund(entry, zone))
    _section("Unfinished runs", status.runs, screen, lambda entry: _run(entry, zone))
    _section("Invoices being voided or written off", status.closings, screen, lambda entry: _closing(entry, zone))
    _section(
        "Failed or reversed after they were accepted", status.came_back, screen, lambda entry: _refund(entry, zone)
    )
    _section("External refunds", status.elsewhere, screen, lambda entry: _refund(entry, zone))
    _unapplied(status.unapplied, screen, zone)
    _differing(status, screen, zone)
    _section("Accepted, not final", status.pending, screen, lambda entry: _refund(entry, zone))
    _pending_ages(status, screen)
    _section("Failed in the last 7 days: the customer has not got the money", status.failed, screen, _failed)
    _section("Captures that failed", status.failed_captures, screen, lambda entry: _capture(entry, zone))
    _section("In dispute", status.disputed, screen, lambda invoice: _disputed(status, invoice))
    _section("Currently processing", status.processing, screen, _processing)
    screen.blank()
    _freshness(status, screen, zone)
    _deliveries(status.deliveries, screen)
    mode_words = {None: "not used yet", True: "LIVE", False: "test mode"}[status.livemode]
    screen.say((f"{store_description['url']}   schema {store_description['schema']}   {mode_words}", QUIET))
    for account in status.accounts:
        screen.say((f"{account.provider.label} account {account.account}", QUIET))


def headline(status: Status) -> str:
    if not status.needs_attention:
        return "Nothing needs attention." if any(entries.count for entries in status.lists.values()) else "All clear."
    return "1 thing needs attention." if status.attention == 1 else f"{status.attention} things need attention."


def _section(title: str, listed: Listed[Any], screen: Screen, cells_of: Any) -> None:
    """A list under its title and its count.

    `cells_of` makes the cells of each entry and its detail; the second cell is an amount.
    """
    if not listed.count:
        return
    attention_words = f", {listed.attention} to do" if 0 < listed.attention < listed.count else ""
    screen.blank()
    screen.say((f"{title} ({listed.count}{attention_words})", STRONG))
    screen.entries([cells_of(entry) for entry in listed.first], right=(1,))
    if listed.count > len(listed.first):
        screen.say(f"… and {listed.count - len(listed.first)} more", indent=3)


def _checks(status: Status, screen: Screen) -> None:
    """What `--max-age` found, and the store's disk and clock."""
    problems = checks(status)
    if problems:
        screen.blank()
        screen.say((f"Checks that failed ({len(problems)})", STRONG))
        screen.entries([(((problem.summary, DOUBT),), problem.command or "") for problem in problems])


def _pending_ages(status: Status, screen: Screen) -> None:
    ages = status.pending_ages
    if status.pending.count:
        limit_words = age_words(ages.limit)
        words = (
            f"{ages.recent:,} for less than a day, {ages.older:,} for up to {limit_words}, {ages.overdue:,} for longer"
        )
        screen.say((words, QUIET), indent=3)


def _failed(open_refund: OpenRefund) -> tuple[Line, str]:
    refund = open_refund.refund
    cells = (
        (refund.invoice_number, ""),
        (str(refund.amount), ""),
        (refund.provider.label if refund.provider else "", ""),
        (f"failed, {age_words(open_refund.age)} ago", ""),
    )
    return cells, "   ".join(filter(None, (refund.failure, next_command(open_refund))))


def _update(stored_event: StoredEvent) -> tuple[Line, str]:
    cells = (
        (f"event {stored_event.id}", ""),
        (stored_event.event.provider.label, ""),
        (stored_event.event.kind, DOUBT),
    )
    return cells, f"{stored_event.note}   {review_command(stored_event.id, stored_event.event.kind)}"


def _loss(invoice: Invoice) -> tuple[Line, str]:
    return ((invoice.number, ""), (str(invoice.loss), DOUBT), ("lost", "")), f"refundcli acknowledge {invoice.number}"


def _refund(open_refund: OpenRefund, zone: ZoneInfo) -> tuple[Line, str]:
    refund = open_refund.refund
    cells = (
        (refund.invoice_number, ""),
        (str(refund.amount), ""),
        (refund.provider.label if refund.provider else "", ""),
        (_state(open_refund, zone), ""),
        (f"for {age_words(open_refund.age)}", DOUBT if open_refund.next is not Next.WAIT else ""),
    )
    return cells, _detail(open_refund, open_refund.holder, zone)


def _closing(open_closing: OpenClosing, zone: ZoneInfo) -> tuple[Line, str]:
    cells = (
        (open_closing.closing.invoice_number, ""),
        ("", ""),
        (verdict(open_closing.closing), ""),
        (f"for {age_words(open_closing.age)}", DOUBT if open_closing.next is not Next.WAIT else ""),
    )
    return cells, _detail(open_closing, open_closing.holder, zone)


def _run(open_run: OpenRun, zone: ZoneInfo) -> tuple[Line, str]:
    unfinished = open_run.run
    bulk_run = unfinished.run
    cells = (
        (bulk_run.id, ""),
        (f"{unfinished.rows:,} rows", ""),
        (_progress(open_run), ""),
        (f"{bulk_run.state} for {age_words(open_run.age)}", DOUBT if open_run.next is not Next.WAIT else ""),
    )
    lease_words = [_lease(holder, zone) for holder in unfinished.holders]
    if unfinished.last_record_at:
        lease_words = [f"last record {local_time(unfinished.last_record_at, zone)}"]
    return cells, "   ".join([*lease_words, next_step(open_run)])


def _progress(open_run: OpenRun) -> str:
    """The rows of a run of records are not in the store."""
    unfinished = open_run.run
    return progress_words(unfinished) if unfinished.run.kind is RunKind.REFUND else unfinished.run.kind


def _lease(holder: RunHolder, zone: ZoneInfo) -> str:
    row_words = "1 row" if holder.rows == 1 else f"{holder.rows:,} rows"
    return f"{row_words} being processed by {_who(holder, zone)}"


def _who(holder: RunHolder, zone: ZoneInfo) -> str:
    """`desk-2 (process 311) until 2026-10-02 14:03 CEST`, or that it has stopped."""
    until_words = f" until {local_time(holder.until, zone)}" if holder.until and holder.is_live else ""
    return f"{holder.label}{until_words}" if holder.is_live else f"{holder.label}, which is no longer running"


def _capture(capture: FailedCapture, zone: ZoneInfo) -> tuple[Line, str]:
    cells = (
        (capture.invoice, ""),
        (str(capture.amount), DOUBT),
        (capture.provider.label, ""),
        (f"not captured, {local_time(capture.at, zone)}", ""),
    )
    return cells, capture.reference


def _disputed(status: Status, invoice: Invoice) -> tuple[Line, str]:
    cells = ((invoice.number, ""), (str(invoice.refundable), ""), ("left", ""))
    command = dispute_command(invoice) if status.disputed.attention else ""
    return cells, "   ".join(filter(None, (invoice.customer_name or invoice.customer, command)))


def _processing(invoice: Invoice) -> tuple[Line, str]:
    return ((invoice.number, ""), (_in_process(invoice), "")), invoice.customer_name or invoice.customer


def _in_process(invoice: Invoice) -> str:
    """`130.00 EUR`; empty if the books do not know the amount."""
    return str(invoice.in_process) if invoice.in_process else ""


def _detail(entry: OpenRefund | OpenClosing, holder: RunHolder | None, zone: ZoneInfo) -> str:
    """The next step, or the process that is sending it and until when."""
    if entry.next is Next.WAIT and holder and holder.is_live:
        return f"with {_who(holder, zone)}"
    return next_step(entry)


def _state(open_refund: OpenRefund, zone: ZoneInfo) -> str:
    refund = open_refund.refund
    if refund.reversed_amount:
        return f"{refund.reversed_amount} returned"
    if open_refund.is_held:
        until_words = f" until {local_time(refund.hold_until, zone)}" if refund.hold_until else ""
        return f"{refund.state}, still reserved{until_words}"
    return STATE_WORDS.get(refund.state, refund.state.value)


def _unapplied(unapplied: Unapplied, screen: Screen, zone: ZoneInfo) -> None:
    """Stored updates that are not applied. They ask for an action only where they are counted as needing attention."""
    lines_to_show = [
        (f"Stored events from {provider.label} must be read again by this version", True)
        for provider in unapplied.unread
    ]
    if unapplied.waiting and unapplied.oldest:
        since = local_time(unapplied.oldest, zone)
        is_late = unapplied.attention > unapplied.blocking + len(unapplied.unread)
        lines_to_show.append(
            (f"{_count(unapplied.waiting, 'update')} waiting to be applied, the oldest since {since}", is_late)
        )
    if unapplied.blocking:
        lines_to_show.append((f"{_count(unapplied.blocking, 'update')} about payments that are now in the books", True))
    if unapplied.unmatched:
        lines_to_show.append(
            (f"{_count(unapplied.unmatched, 'update')} about payments that are not in the books", False)
        )
    if lines_to_show:
        screen.blank()
        screen.say(("Provider updates that are not applied", STRONG))
    for words, is_due in lines_to_show:
        screen.say((words, DOUBT if is_due else ""), f": {APPLY_EVENTS}" if is_due else "", indent=3)


def _differing(status: Status, screen: Screen, zone: ZoneInfo) -> None:
    """Comparisons whose differences were not applied, each with the command that compares again."""
    entries = [
        (
            ((f"{provider.label}: {_compared(replace(last_comparison, narrower=None), zone)}", ""),),
            compare_again(provider, last_comparison),
        )
        for provider, comparisons in status.differing.items()
        for last_comparison in comparisons
    ]
    if entries:
        screen.blank()
        screen.say((f"Differences from a provider ({len(entries)})", STRONG))
        screen.entries(entries)


def _freshness(status: Status, screen: Screen, zone: ZoneInfo) -> None:
    """The last comparison with each provider in use, and its last webhook delivery."""
    used_providers = {account.provider for account in status.accounts}
    freshness_by_provider = {
        provider: freshness
        for provider, freshness in status.freshness.items()
        if provider in used_providers or freshness != Freshness()
    }
    if not freshness_by_provider:
        screen.say(("not compared with a provider yet, no delivery received yet", QUIET))
    for provider, freshness in freshness_by_provider.items():
        comparison_words = _compared(freshness.last_reconcile, zone) if freshness.last_reconcile else "not compared yet"
        last_delivery = freshness.last_delivery
        delivery_words = (
            f"last delivery {local_time(last_delivery, zone)}" if last_delivery else "no delivery received yet"
        )
        seen = freshness.listener_seen
        listener_words = f"; listener seen {local_time(seen, zone)}" if seen else ""
        screen.say((f"{provider.label}: {comparison_words}; {delivery_words}{listener_words}", QUIET))


def _compared(last_comparison: LastComparison, zone: ZoneInfo) -> str:
    differences = _count(last_comparison.remaining or 0, "difference")
    words_by_agreement = {
        None: "",
        Agreement.AGREES: ": agreed",
        Agreement.NOTHING: ": nothing to compare",
        Agreement.DIFFERS: f": {differences} left",
        Agreement.INCOMPLETE: f": {last_comparison.not_compared} not compared, {differences} left",
    }
    scope_words = f" ({_scope(last_comparison.scope)})" if last_comparison.scope else ""
    later_words = f"; later {_compared(last_comparison.narrower, zone)}" if last_comparison.narrower else ""
    agreement_words = words_by_agreement[last_comparison.result]
    return f"compared {local_time(last_comparison.at, zone)}{scope_words}{agreement_words}{later_words}"


def _scope(scope: ComparisonScope) -> str:
    """`account Shop, report june.csv, 3 of 120 payments in the books`."""
    count_words = f"{min(scope.compared, scope.in_books):,} of {_count(scope.in_books, 'payment')} in the books"
    scope_words = [f"account {scope.account}", f"report {scope.report}" if scope.report else ""]
    return ", ".join(
        filter(None, [*scope_words, f"payments made since {scope.since}" if scope.since else "", count_words])
    )


def _deliveries(deliveries: Deliveries, screen: Screen) -> None:
    for title, count_by_reason in (
        ("Rejected deliveries", deliveries.rejected),
        ("Verified and stored, not applied", deliveries.not_applied),
    ):
        if count_by_reason:
            reason_words = ", ".join(f"{count} {rejection_words(reason)}" for reason, count in count_by_reason.items())
            screen.say((f"{title}: {sum(count_by_reason.values())} ({reason_words})", QUIET))


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


# --- for programs -----------------------------------------------------------------------------------------------


def status_rows(status: Status) -> Iterator[tuple[str, ...]]:
    """In the order of the screen."""
    for problem in checks(status):
        yield problem.kind, problem.subject, "", "", "", problem.command or ""
    for stored_event in status.unreviewed.first:
        kind = stored_event.event.kind
        yield "unreviewed", str(stored_event.id), kind, "", "", review_command(stored_event.id, kind)
    for invoice in status.losses.first:
        yield "loss", "", invoice.number, str(invoice.loss), "", f"refundcli acknowledge {invoice.number}"
    yield from map(_refund_row, status.unfinished.first)
    for open_run in status.runs.first:
        yield "run", open_run.run.run.id, "", "", age_words(open_run.age), next_step(open_run)
    for open_closing in status.closings.first:
        closing, age = open_closing.closing, age_words(open_closing.age)
        yield closing.target.value, closing.id, closing.invoice_number, "", age, next_step(open_closing)
    yield from map(_refund_row, (*status.came_back.first, *status.elsewhere.first))
    if status.unapplied.attention:
        yield "not applied", "", "", "", "", APPLY_EVENTS
    for provider, comparisons in status.differing.items():
        for last_comparison in comparisons:
            yield "differences", "", "", str(last_comparison.remaining), "", compare_again(provider, last_comparison)
    yield from map(_refund_row, (*status.pending.first, *status.failed.first))
    for capture in status.failed_captures.first:
        yield "failed capture", capture.reference, capture.invoice, str(capture.amount), "", Next.WAIT
    for invoice in status.disputed.first:
        yield "disputed", "", invoice.number, str(invoice.refundable), "", _dispute_step(status, invoice)
    for invoice in status.processing.first:
        yield "processing", "", invoice.number, _in_process(invoice), "", Next.WAIT


def _refund_row(entry: OpenRefund) -> tuple[str, ...]:
    refund = entry.refund
    return refund.state, refund.id, refund.invoice_number, str(refund.amount), age_words(entry.age), next_step(entry)


def _dispute_step(status: Status, invoice: Invoice) -> str:
    return dispute_command(invoice) if status.disputed.attention else Next.WAIT
