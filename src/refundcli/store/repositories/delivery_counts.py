"""Count rejected deliveries by provider and reason; apply events that were set aside as another account's."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlmodel import Session, SQLModel

from refundcli.domain.statuses import Provider
from refundcli.services.ports.rejection_reasons import RejectionReason

_REJECTED, _EVENT = (SQLModel.metadata.tables[name] for name in ("delivery_rejection", "provider_event"))


def count_rejected(
    session: Session, counts: Mapping[tuple[Provider | None, RejectionReason], int], *, at: datetime
) -> None:
    for (provider, reason), count in counts.items():
        provider_name = provider.value if provider else ""
        conditions = (_REJECTED.c.provider == provider_name, _REJECTED.c.reason == reason.value)
        statement = update(_REJECTED).where(*conditions).values(count=_REJECTED.c.count + count, last_at=at)
        if not _hits(session, statement):
            key_and_count = {"provider": provider_name, "reason": reason.value, "count": count}
            session.execute(insert(_REJECTED).values(**key_and_count, first_at=at, last_at=at))


def name_account_of_events(session: Session, provider: Provider, account: str) -> None:
    """Set the account of events stored before it was known, and apply those set aside as another account's."""
    other_event = _EVENT.alias()
    same_event_query = select(other_event.c.id).where(
        other_event.c.provider == _EVENT.c.provider,
        other_event.c.account == account,
        other_event.c.event_key == _EVENT.c.event_key,
    )
    unnamed_events_update = update(_EVENT).where(_EVENT.c.provider == provider.value, _EVENT.c.account == "")
    session.execute(unnamed_events_update.where(~same_event_query.exists()).values(account=account))
    of_account = (_EVENT.c.account == account, _EVENT.c.not_applied == RejectionReason.OTHER_ACCOUNT.value)
    set_aside_update = update(_EVENT).where(_EVENT.c.provider == provider.value, *of_account, _EVENT.c.state == "noted")
    session.execute(set_aside_update.values(not_applied="", state="waiting", note=""))


def _hits(session: Session, statement: Any) -> bool:
    cursor: Any = session.execute(statement)
    return bool(cursor.rowcount)
