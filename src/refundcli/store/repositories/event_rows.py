"""Convert rows of provider events and audit entries to domain objects."""

import json
from typing import TYPE_CHECKING

from refundcli.domain.statuses import Provider
from refundcli.store.schema import AuditEntryRow, ProviderEventRow

if TYPE_CHECKING:
    from refundcli.services.ports.provider_updates import StoredEvent
    from refundcli.services.ports.records import AuditEntry


def audit_entry_of(row: AuditEntryRow) -> "AuditEntry":
    from refundcli.services.ports.records import AuditEntry

    return AuditEntry(
        seq=row.seq,
        at=row.at,
        operator=row.operator,
        host=row.host,
        action=row.action,
        subject=row.subject,
        before=json.loads(row.before),
        after=json.loads(row.after),
    )


def event_of(row: ProviderEventRow) -> "StoredEvent":
    from refundcli.services.ports.provider_updates import EventSource, EventState, NewEvent, StoredEvent
    from refundcli.services.ports.rejection_reasons import RejectionReason

    event = NewEvent(
        provider=Provider(row.provider),
        key=row.event_key,
        kind=row.kind,
        about=row.about,
        account=row.account,
        livemode=row.livemode,
        occurred_at=row.occurred_at,
        payload=row.payload,
        source=EventSource(row.source),
        not_applied=RejectionReason(row.not_applied) if row.not_applied else None,
    )
    return StoredEvent(row.id or 0, event, EventState(row.state), row.note, row.received_at)
