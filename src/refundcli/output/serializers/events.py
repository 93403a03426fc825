"""Provider events, and what came of applying or ingesting them."""

from typing import TYPE_CHECKING, Any

from refundcli.domain.refund import Refund
from refundcli.services.ports.provider_updates import EventState, StoredEvent

if TYPE_CHECKING:
    from refundcli.services.webhooks.apply_events import EventOutcomes
    from refundcli.services.webhooks.ingest import IngestSummary, RejectedLine


def event(stored: StoredEvent) -> dict[str, Any]:
    of = stored.event
    return {
        "id": stored.id,
        "provider": of.provider,
        "key": of.key,
        "kind": of.kind,
        "about": of.about,
        "account": of.account,
        "livemode": of.livemode,
        "occurred_at": of.occurred_at,
        "received_at": stored.received_at,
        "state": stored.state,
        "source": of.source,
        "note": stored.note or None,
        "not_applied": of.not_applied,
    }


def listed_event(stored: StoredEvent, refund: Refund | None) -> dict[str, Any]:
    return event(stored) | {"refund": refund.id if refund else None}


def event_details(stored: StoredEvent, refund: Refund | None, payload: object) -> dict[str, Any]:
    return listed_event(stored, refund) | {"payload": payload}


def applied(outcome: "EventOutcomes") -> dict[str, Any]:
    return {
        "processed": sum(outcome.counts.values()),
        "changed": outcome.changed,
        "by_state": {state.value: outcome.counts.get(state, 0) for state in EventState},
        "contradictions": [_noted(stored, note) for stored, note in outcome.contradictions],
        "failed": [_noted(stored, note) for stored, note in outcome.failed],
    }


def ingested(outcome: "IngestSummary") -> dict[str, Any]:
    return applied(outcome.applied) | {
        "new": outcome.new,
        "already_stored": outcome.duplicates,
        "not_applied": dict(outcome.not_applied),
        "rejected_by_reason": outcome.rejected_by_reason,
        "rejected": [rejected_line(line) for line in outcome.rejected],
    }


def rejected_line(of: "RejectedLine") -> dict[str, Any]:
    return {"line": of.line, "item": of.item, "reason": of.reason, "message": of.why}


def acknowledged_code(code: str, effect: str, count: int) -> dict[str, Any]:
    return {"code": code, "effect": effect, "acknowledged": count}


def _noted(stored: StoredEvent, note: str) -> dict[str, Any]:
    """The event with the note that was written just now."""
    return event(stored) | {"note": note}
