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


def event_row(stored: StoredEvent, refund: Refund | None) -> tuple[object, ...]:
    """`refund` is the one that the event is about, as these books have it."""
    event = stored.event
    of = refund.id if refund else ""
    return (stored.id, stored.received_at, event.provider, event.kind, event.about, stored.state, stored.note, of)


def show_events(events: Sequence[tuple[StoredEvent, Refund | None]], screen: Screen, *, zone: ZoneInfo) -> None:
    rows = [
        (
            (
                (str(stored.id), ""),
                (local_time(stored.received_at, zone), ""),
                (stored.event.provider.label, ""),
                (stored.event.kind, ""),
                (stored.state, _STYLES.get(stored.state, QUIET)),
            ),
            "  ".join(filter(None, (stored.event.about, _refund_words(refund, stored.note), stored.note))),
        )
        for stored, refund in events
    ]
    screen.entries(rows, right=(0,))


def _refund_words(refund: Refund | None, note: str) -> str:
    """`rf_01J… of INV-1`; empty where the note names it."""
    return f"{refund.id} of {refund.invoice_number}" if refund and refund.id not in note else ""


def show_event(stored: StoredEvent, screen: Screen, *, zone: ZoneInfo, refund: Refund | None = None) -> None:
    event = stored.event
    screen.say((event.kind, STRONG), f"   {event.provider.label}   ", (stored.state, _STYLES.get(stored.state, QUIET)))
    screen.say(f"about {event.about}, key {event.key}")
    screen.say(f"happened {local_time(event.occurred_at, zone)}, received {local_time(stored.received_at, zone)}")
    if refund:
        screen.say(f"refund {refund.id} of {refund.invoice_number}: {refund.amount}, {refund.state}")
    if stored.note:
        screen.say(stored.note)
    screen.blank()
    for line in json.dumps(json.loads(event.payload), indent=2, ensure_ascii=False).splitlines():
        screen.say((line, QUIET), indent=3)


def _counts_words(applied: EventOutcomes) -> str:
    """`1 applied, 1 unreviewed`"""
    return ", ".join(f"{applied.counts[state]} {state}" for state in EventState if state in applied.counts)


def show_applied(applied: EventOutcomes, screen: Screen) -> None:
    counts, count = _counts_words(applied), sum(applied.counts.values())
    screen.say(
        ("✓ ", GOOD), f"{count} {'event' if count == 1 else 'events'} processed", f": {counts}" if counts else "", "."
    )
    _show_problems(applied, screen)


def _show_problems(applied: EventOutcomes, screen: Screen) -> None:
    for event, note in applied.contradictions:
        screen.say(("! ", BAD), f"event {event.id}, {event.event.kind} {event.event.about}: {note}")
    for event, note in applied.failed:
        screen.say(("✗ ", BAD), f"event {event.id}, {event.event.kind} {event.event.about}: {note}: a bug in refundcli")


def show_ingested(ingested: IngestSummary, screen: Screen) -> None:
    """How many events were stored, and their states. Marked as a doubt if any delivery was rejected."""
    again = f", {ingested.duplicates} already stored" if ingested.duplicates else ""
    counts = _counts_words(ingested.applied)
    mark = ("! ", DOUBT) if ingested.rejected else ("✓ ", GOOD)
    stored = f"{ingested.new} new {'event' if ingested.new == 1 else 'events'} stored{again}"
    screen.say(mark, stored, f": {counts}" if counts else "", ".")
    if ingested.not_applied:
        screen.say(("! ", DOUBT), f"Stored, not applied: {counts_text(ingested.not_applied)}.")
    _show_problems(ingested.applied, screen)


def show_rejected(ingested: IngestSummary, screen: Screen) -> None:
    """How many, and each delivery by its line."""
    if ingested.rejected:
        count = len(ingested.rejected)
        screen.say(("✗ ", BAD), f"{count} {'delivery' if count == 1 else 'deliveries'} rejected; not stored:")
    for line in ingested.rejected:
        item = f", item {line.item}" if line.item > 1 else ""
        screen.say(f"line {line.line}{item}: {line.why} [{line.reason}]", indent=3)
