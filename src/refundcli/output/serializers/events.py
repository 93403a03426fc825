"""Provider events, and what came of applying or ingesting them."""

from typing import TYPE_CHECKING, Any

from refundcli.domain.refund import Refund
from refundcli.services.ports.provider_updates import EventState, StoredEvent

if TYPE_CHECKING:
    from refundcli.services.webhooks.apply_events import EventOutcomes
    from refundcli.services.webhooks.ingest import IngestSummary, RejectedLine


def event(stored_event: StoredEvent) -> dict[str, Any]:
    provider_event = stored_event.event
    return {
        "id": stored_event.id,
        "provider": provider_event.provider,
        "key": provider_event.key,
        "kind": provider_event.kind,
        "about": provider_event.about,
        "account": provider_event.account,
        "livemode": provider_event.livemode,
        "occurred_at": provider_event.occurred_at,
        "received_at": stored_event.received_at,
        "state": stored_event.state,
        "source": provider_event.source,
        "note": stored_event.note or None,
        "not_applied": provider_event.not_applied,
    }


def listed_event(stored_event: StoredEvent, refund: Refund | None) -> dict[str, Any]:
    return event(stored_event) | {"refund": refund.id if refund else None}


def event_details(stored_event: StoredEvent, refund: Refund | None, payload: object) -> dict[str, Any]:
    return listed_event(stored_event, refund) | {"payload": payload}


def applied(outcomes: "EventOutcomes") -> dict[str, Any]:
    return {
        "processed": sum(outcomes.counts.values()),
        "changed": outcomes.changed,
        "by_state": {state.value: outcomes.counts.get(state, 0) for state in EventState},
        "contradictions": [_noted(stored_event, note) for stored_event, note in outcomes.contradictions],
        "failed": [_noted(stored_event, note) for stored_event, note in outcomes.failed],
    }


def ingested(summary: "IngestSummary") -> dict[str, Any]:
    return applied(summary.applied) | {
        "new": summary.new,
        "already_stored": summary.duplicates,
        "not_applied": dict(summary.not_applied),
        "rejected_by_reason": summary.rejected_by_reason,
        "rejected": [rejected_line(line) for line in summary.rejected],
    }


def rejected_line(line: "RejectedLine") -> dict[str, Any]:
    return {"line": line.line, "item": line.item, "reason": line.reason, "message": line.why}


def acknowledged_code(code: str, effect: str, event_count: int) -> dict[str, Any]:
    return {"code": code, "effect": effect, "acknowledged": event_count}


def _noted(stored_event: StoredEvent, note: str) -> dict[str, Any]:
    """The event with the note that was written just now."""
    return event(stored_event) | {"note": note}
