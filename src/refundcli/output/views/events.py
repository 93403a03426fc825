"""Provider events, and the outcome of applying or ingesting them."""

import json
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from refundcli.domain.refund import Refund
from refundcli.output.terminal import BAD, DOUBT, GOOD, QUIET, STRONG, Screen, local_time
from refundcli.services.ports.provider_updates import EventState, StoredEvent
from refundcli.services.ports.rejection_reasons import counts_text
from refundcli.services.webhooks.apply_events import EventOutcomes
from refundcli.services.webhooks.ingest import IngestSummary

EVENT_COLUMNS = ("id", "received_at", "provider", "kind", "about", "state", "note", "refund")
_STYLES = {
    EventState.UNREVIEWED: BAD,
    EventState.WAITING: DOUBT,
    EventState.UNMATCHED: DOUBT,
    EventState.APPLIED: GOOD,
}


def event_row(stored_event: StoredEvent, refund: Refund | None) -> tuple[object, ...]:
    """`refund` is the one that the event is about, as these books have it."""
    event = stored_event.event
    refund_id = refund.id if refund else ""
    return (
        stored_event.id,
        stored_event.received_at,
        event.provider,
        event.kind,
        event.about,
        stored_event.state,
        stored_event.note,
        refund_id,
    )


def show_events(
    events_with_refunds: Sequence[tuple[StoredEvent, Refund | None]], screen: Screen, *, zone: ZoneInfo
) -> None:
    rows = [
        (
            (
                (str(stored_event.id), ""),
                (local_time(stored_event.received_at, zone), ""),
                (stored_event.event.provider.label, ""),
                (stored_event.event.kind, ""),
                (stored_event.state, _STYLES.get(stored_event.state, QUIET)),
            ),
            "  ".join(
                filter(None, (stored_event.event.about, _refund_words(refund, stored_event.note), stored_event.note))
            ),
        )
        for stored_event, refund in events_with_refunds
    ]
    screen.entries(rows, right=(0,))


def _refund_words(refund: Refund | None, note: str) -> str:
    """`rf_01J… of INV-1`; empty where the note names it."""
    return f"{refund.id} of {refund.invoice_number}" if refund and refund.id not in note else ""


def show_event(stored_event: StoredEvent, screen: Screen, *, zone: ZoneInfo, refund: Refund | None = None) -> None:
    event = stored_event.event
    screen.say(
        (event.kind, STRONG),
        f"   {event.provider.label}   ",
        (stored_event.state, _STYLES.get(stored_event.state, QUIET)),
    )
    screen.say(f"about {event.about}, key {event.key}")
    screen.say(f"happened {local_time(event.occurred_at, zone)}, received {local_time(stored_event.received_at, zone)}")
    if refund:
        screen.say(f"refund {refund.id} of {refund.invoice_number}: {refund.amount}, {refund.state}")
    if stored_event.note:
        screen.say(stored_event.note)
    screen.blank()
    for line in json.dumps(json.loads(event.payload), indent=2, ensure_ascii=False).splitlines():
        screen.say((line, QUIET), indent=3)


def _counts_words(outcomes: EventOutcomes) -> str:
    """`1 applied, 1 unreviewed`"""
    return ", ".join(f"{outcomes.counts[state]} {state}" for state in EventState if state in outcomes.counts)


def show_applied(outcomes: EventOutcomes, screen: Screen) -> None:
    state_words, event_count = _counts_words(outcomes), sum(outcomes.counts.values())
    screen.say(
        ("✓ ", GOOD),
        f"{event_count} {'event' if event_count == 1 else 'events'} processed",
        f": {state_words}" if state_words else "",
        ".",
    )
    _show_problems(outcomes, screen)


def _show_problems(outcomes: EventOutcomes, screen: Screen) -> None:
    for stored_event, note in outcomes.contradictions:
        screen.say(("! ", BAD), f"{_event_words(stored_event)}: {note}")
    for stored_event, note in outcomes.failed:
        screen.say(("✗ ", BAD), f"{_event_words(stored_event)}: {note}: a bug in refundcli")


def _event_words(stored_event: StoredEvent) -> str:
    return f"event {stored_event.id}, {stored_event.event.kind} {stored_event.event.about}"


def show_ingested(summary: IngestSummary, screen: Screen) -> None:
    """How many events were stored, and their states. Marked as a doubt if any delivery was rejected."""
    again_words = f", {summary.duplicates} already stored" if summary.duplicates else ""
    state_words = _counts_words(summary.applied)
    mark = ("! ", DOUBT) if summary.rejected else ("✓ ", GOOD)
    stored_words = f"{summary.new} new {'event' if summary.new == 1 else 'events'} stored{again_words}"
    screen.say(mark, stored_words, f": {state_words}" if state_words else "", ".")
    if summary.not_applied:
        screen.say(("! ", DOUBT), f"Stored, not applied: {counts_text(summary.not_applied)}.")
    _show_problems(summary.applied, screen)


def show_rejected(summary: IngestSummary, screen: Screen) -> None:
    """How many, and each delivery by its line."""
    if summary.rejected:
        count = len(summary.rejected)
        screen.say(("✗ ", BAD), f"{count} {'delivery' if count == 1 else 'deliveries'} rejected; not stored:")
    for rejected in summary.rejected:
        item_words = f", item {rejected.item}" if rejected.item > 1 else ""
        screen.say(f"line {rejected.line}{item_words}: {rejected.why} [{rejected.reason}]", indent=3)
