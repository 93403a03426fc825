"""Events as people and programs read them, and what came of taking them in."""

import json
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from refundcli.domain.refund import Refund
from refundcli.output.terminal import BAD, DOUBT, GOOD, QUIET, STRONG, Screen, local_time
from refundcli.services.ports.provider_updates import EventState, StoredEvent
from refundcli.services.ports.rejections import counts_text
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


def listed_event_shape(stored: StoredEvent, refund: Refund | None) -> dict[str, Any]:
    return event_shape(stored) | {"refund": refund.id if refund else None}


def event_shape(stored: StoredEvent) -> dict[str, Any]:
    event = stored.event
    return {
        "id": stored.id,
        "provider": event.provider,
        "key": event.key,
        "kind": event.kind,
        "about": event.about,
        "account": event.account,
        "livemode": event.livemode,
        "occurred_at": event.occurred_at,
        "received_at": stored.received_at,
        "state": stored.state,
        "source": event.source,
        "note": stored.note or None,
        "not_applied": event.not_applied,
    }


def show_events(found: Sequence[tuple[StoredEvent, Refund | None]], screen: Screen, *, zone: ZoneInfo) -> None:
    rows = [
        (
            (
                (str(each.id), ""),
                (local_time(each.received_at, zone), ""),
                (each.event.provider.label, ""),
                (each.event.kind, ""),
                (each.state, _STYLES.get(each.state, QUIET)),
            ),
            "  ".join(filter(None, (each.event.about, _refund_words(refund, each.note), each.note))),
        )
        for each, refund in found
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


def applied_shape(done: EventOutcomes) -> dict[str, Any]:
    return {
        "looked_at": sum(done.counts.values()),
        "changed": done.changed,
        "by_state": {state.value: done.counts.get(state, 0) for state in EventState},
        "contradictions": [event_shape(event) | {"note": note} for event, note in done.contradictions],
        "failed": [event_shape(event) | {"note": note} for event, note in done.failed],
    }


def _counts_words(done: EventOutcomes) -> str:
    """`1 applied, 1 unreviewed`"""
    return ", ".join(f"{done.counts[state]} {state}" for state in EventState if state in done.counts)


def show_applied(done: EventOutcomes, screen: Screen) -> None:
    counts, count = _counts_words(done), sum(done.counts.values())
    screen.say(
        ("✓ ", GOOD), f"{count} {'event' if count == 1 else 'events'} looked at", f": {counts}" if counts else "", "."
    )
    _show_problems(done, screen)


def _show_problems(done: EventOutcomes, screen: Screen) -> None:
    for event, note in done.contradictions:
        screen.say(("! ", BAD), f"event {event.id}, {event.event.kind} {event.event.about}: {note}")
    for event, note in done.failed:
        screen.say(("✗ ", BAD), f"event {event.id}, {event.event.kind} {event.event.about}: {note}: a bug in refundcli")


def ingested_shape(done: IngestSummary) -> dict[str, Any]:
    lines = [{"line": each.line, "item": each.item, "flaw": each.reason, "why": each.why} for each in done.rejected]
    counts: dict[str, Any] = {"new": done.new, "known_already": done.duplicates, "not_applied": dict(done.not_applied)}
    return counts | {"refused_by_flaw": done.rejected_by_reason, "refused": lines} | applied_shape(done.applied)


def show_ingested(done: IngestSummary, screen: Screen) -> None:
    """One line of what was stored and what came of it; beside rejected deliveries it is no success."""
    again = f", {done.duplicates} known already" if done.duplicates else ""
    counts = _counts_words(done.applied)
    mark = ("! ", DOUBT) if done.rejected else ("✓ ", GOOD)
    stored = f"{done.new} new {'event' if done.new == 1 else 'events'} stored{again}"
    screen.say(mark, stored, f": {counts}" if counts else "", ".")
    if done.not_applied:
        screen.say(("! ", DOUBT), f"Stored, not applied: {counts_text(done.not_applied)}.")
    _show_problems(done.applied, screen)


def show_rejected(done: IngestSummary, screen: Screen) -> None:
    """How many, and each delivery by its line."""
    if done.rejected:
        count = len(done.rejected)
        screen.say(("✗ ", BAD), f"{count} {'delivery' if count == 1 else 'deliveries'} rejected; not stored:")
    for each in done.rejected:
        item = f", item {each.item}" if each.item > 1 else ""
        screen.say(f"line {each.line}{item}: {each.why} [{each.reason}]", indent=3)
