"""Count rejected deliveries by provider and reason; apply events that were set aside as another account's."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from refundcli.domain.statuses import Provider
from refundcli.services.ports.rejection_reasons import RejectionReason
from refundcli.store.tables import DELIVERY_REJECTION, PROVIDER_EVENT


def count_rejected(
    connection: Connection, counts: Mapping[tuple[Provider | None, RejectionReason], int], *, at: datetime
) -> None:
    for (provider, reason), count in counts.items():
        provider_name = provider.value if provider else ""
        conditions = (DELIVERY_REJECTION.c.provider == provider_name, DELIVERY_REJECTION.c.reason == reason.value)
        statement = (
            update(DELIVERY_REJECTION).where(*conditions).values(count=DELIVERY_REJECTION.c.count + count, last_at=at)
        )
        if not connection.execute(statement).rowcount:
            key_and_count = {"provider": provider_name, "reason": reason.value, "count": count}
            connection.execute(insert(DELIVERY_REJECTION).values(**key_and_count, first_at=at, last_at=at))


def name_account_of_events(connection: Connection, provider: Provider, account: str) -> None:
    """Set the account of events stored before it was known, and apply those set aside as another account's."""
    other_event = PROVIDER_EVENT.alias()
    same_event_query = select(other_event.c.id).where(
        other_event.c.provider == PROVIDER_EVENT.c.provider,
        other_event.c.account == account,
        other_event.c.event_key == PROVIDER_EVENT.c.event_key,
    )
    events_update = update(PROVIDER_EVENT).where(PROVIDER_EVENT.c.provider == provider.value)
    is_unnamed = (PROVIDER_EVENT.c.account == "", ~same_event_query.exists())
    connection.execute(events_update.where(*is_unnamed).values(account=account))
    is_of_account = (PROVIDER_EVENT.c.account == account, PROVIDER_EVENT.c.state == "noted")
    set_aside_update = events_update.where(
        *is_of_account, PROVIDER_EVENT.c.not_applied == RejectionReason.OTHER_ACCOUNT
    )
    connection.execute(set_aside_update.values(not_applied="", state="waiting", note=""))
