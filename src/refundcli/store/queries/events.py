"""Read provider events, deliveries and decided words."""

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from refundcli.domain.statuses import Provider
from refundcli.store.databases.rows import Reads, Row, Rows, columns_of, moment, moment_or_none

if TYPE_CHECKING:
    from refundcli.services.ports.provider_updates import EventState, StoredEvent
    from refundcli.services.ports.reads import EventFilter
    from refundcli.services.ports.rejection_reasons import DeliveryCount

_EVENT = (
    "id", "provider", "account", "event_key", "kind", "about", "livemode", "occurred_at", "received_at", "payload",
    "state", "note", "source", "not_applied",
)  # fmt: skip
_EVENTS = f"SELECT {columns_of('provider_event', _EVENT)} FROM provider_event"
_OF_KNOWN_PAYMENTS = "FROM provider_event JOIN event_payment ON event_payment.event_id = provider_event.id WHERE"
# An event set aside needs a person as soon as a payment that it names is in the books.
_NOT_APPLIED = (
    "(provider_event.state IN ('waiting', 'unmatched')"
    " OR provider_event.state = 'noted' AND provider_event.not_applied <> '') AND provider_event.provider = :provider"
)
_TO_REREAD = f"""
    {_EVENTS} WHERE provider = :provider AND source = 'webhook' AND id > :after
    AND not_applied IN (SELECT key FROM json_each(:readable)) AND (
        state IN ('noted', 'waiting', 'unmatched')
        OR state = 'applied' AND note LIKE :acknowledged ESCAPE '/' AND note LIKE :decided ESCAPE '/'
        OR state = 'unreviewed' AND note LIKE :not_listed ESCAPE '/'
    ) ORDER BY id LIMIT :limit
"""
# In this form no index on the provider is used: only a few of the newest events are read.
_LAST_DELIVERY = """
    SELECT received_at FROM provider_event WHERE coalesce(provider, '') = :provider AND source = 'webhook'
    ORDER BY id DESC LIMIT 1
"""
_REJECTED = "SELECT provider, reason, count, first_at, last_at FROM delivery_rejection ORDER BY provider, reason"
_STORED = """
    SELECT provider, not_applied, count(*), min(received_at), max(received_at) FROM provider_event
    WHERE not_applied <> '' GROUP BY provider, not_applied ORDER BY provider, not_applied
"""


class SqlEventReads(Reads):
    """Reads the events that providers reported."""

    def unreviewed(self, *, limit: int) -> "list[StoredEvent]":
        return self._events("WHERE state = 'unreviewed' ORDER BY id LIMIT :limit", limit=limit)

    def payments_of(self, event_id: int) -> list[str]:
        text = "SELECT reference FROM event_payment WHERE event_id = :event"
        return sorted(row[0] for row in self._rows.all(text, event=event_id))

    def unreviewed_with_word(self, provider: Provider, word: str) -> "list[StoredEvent]":
        condition = "WHERE provider = :provider AND kind = :word AND state = 'unreviewed' ORDER BY id"
        return self._events(condition, provider=provider, word=word)

    def unreviewed_count(self, provider: Provider) -> int:
        text = "SELECT count(*) FROM provider_event WHERE provider = :provider AND state = 'unreviewed'"
        return int(self._rows.value(text, provider=provider))

    def matching(self, filters: "EventFilter") -> "list[StoredEvent]":
        parameters: dict[str, Any] = {"state": filters.state, "provider": filters.provider, "about": filters.about}
        conditions = [f"{column} = :{column}" for column, value in parameters.items() if value]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        return self._events(f"{where} ORDER BY id DESC LIMIT :limit", limit=filters.limit, **parameters)

    def get(self, event_id: int) -> "StoredEvent | None":
        return next(iter(self._events("WHERE id = :id", id=event_id)), None)

    def to_apply(self, *, after: int, limit: int) -> "list[StoredEvent]":
        """`after`: the number of the last event that was read."""
        condition = "WHERE state IN ('waiting', 'unmatched') AND id > :after ORDER BY id LIMIT :limit"
        return self._events(condition, after=after, limit=limit)

    def of_known_payments(self, provider: Provider, *, after: int, limit: int) -> "list[StoredEvent]":
        """`after`: the number of the last event that was read."""
        text = (
            f"SELECT {columns_of('provider_event', _EVENT)} {_OF_KNOWN_PAYMENTS} {_not_applied_to_known(provider)}"
            " AND provider_event.id > :after ORDER BY provider_event.id LIMIT :limit"
        )
        rows = self._rows.all(text, provider=provider, after=after, limit=limit)
        return list({row[0]: event_of(row) for row in rows}.values())

    def to_reread(self, provider: Provider, *, after: int, limit: int) -> "list[StoredEvent]":
        """`after`: the number of the last event that was read."""
        from refundcli.services.ports.provider_updates import ACKNOWLEDGED, NOT_LISTED, WORD_DECIDED
        from refundcli.services.ports.rejection_reasons import RejectionReason

        rows = self._rows.all(
            _TO_REREAD,
            provider=provider,
            after=after,
            limit=limit,
            readable=("", RejectionReason.OTHER_ACCOUNT, RejectionReason.OTHER_MODE),
            acknowledged=f"{ACKNOWLEDGED}%",
            decided=f"%{WORD_DECIDED}%",
            not_listed=f"%{NOT_LISTED}%",
        )
        return [event_of(row) for row in rows]

    def counts_of_known_payments(self) -> dict[str, int]:
        counts = Counter[str]()
        for provider in Provider:
            text = (
                f"SELECT provider_event.state, count(DISTINCT provider_event.id) {_OF_KNOWN_PAYMENTS}"
                f" {_not_applied_to_known(provider)} GROUP BY provider_event.state"
            )
            counts.update(self._rows.pairs(text, provider=provider))
        return counts

    def oldest(self, state: "EventState") -> datetime | None:
        text = "SELECT received_at FROM provider_event WHERE state = :state ORDER BY id LIMIT 1"
        return moment_or_none(self._rows.value(text, state=state))

    def counts(self) -> dict[str, int]:
        return self._rows.pairs("SELECT state, count(*) FROM provider_event GROUP BY state")

    def _events(self, condition: str, **parameters: object) -> "list[StoredEvent]":
        return [event_of(row) for row in self._rows.all(f"{_EVENTS} {condition}", **parameters)]


class SqlDeliveryReads(Reads):
    """Reads the newest delivery, and the counts of those that were not applied."""

    def newest(self, provider: Provider) -> datetime | None:
        """The one with the highest id. The index shows if there is any event at all."""
        if self._rows.first("SELECT id FROM provider_event WHERE provider = :provider LIMIT 1", provider=provider):
            return moment_or_none(self._rows.value(_LAST_DELIVERY, provider=provider))
        return None

    def counts(self) -> "list[DeliveryCount]":
        return [*_delivery_counts(self._rows, _REJECTED), *_delivery_counts(self._rows, _STORED, is_stored=True)]


class SqlWordReads(Reads):
    """Reads what people decided about unlisted words."""

    def decided(self, provider: Provider) -> dict[str, str]:
        text = "SELECT word, effect FROM word_decision WHERE provider = :provider"
        return self._rows.pairs(text, provider=provider)


def _not_applied_to_known(provider: Provider) -> str:
    """Stored events that are not applied and name a payment that is in the books."""
    columns = ("psp_reference",) if provider is Provider.ADYEN else ("payment_intent", "charge")
    is_known = (f"EXISTS (SELECT 1 FROM payment WHERE {column} = event_payment.reference)" for column in columns)
    return f"{_NOT_APPLIED} AND ({' OR '.join(is_known)})"


def _delivery_counts(rows: Rows, text: str, *, is_stored: bool = False) -> "list[DeliveryCount]":
    from refundcli.services.ports.rejection_reasons import DeliveryCount, RejectionReason

    return [
        DeliveryCount(
            Provider(provider) if provider else None,
            RejectionReason(reason),
            int(count),
            is_stored,
            moment_or_none(first_at),
            moment_or_none(last_at),
        )
        for provider, reason, count, first_at, last_at in rows.all(text)
    ]


def event_of(row: Row) -> "StoredEvent":
    from refundcli.services.ports.provider_updates import EventSource, EventState, NewEvent, StoredEvent
    from refundcli.services.ports.rejection_reasons import RejectionReason

    cells = dict(zip(_EVENT, row, strict=True))
    event = NewEvent(
        provider=Provider(cells["provider"]),
        key=cells["event_key"],
        kind=cells["kind"],
        about=cells["about"],
        account=cells["account"],
        livemode=bool(cells["livemode"]),
        occurred_at=moment(cells["occurred_at"]),
        payload=cells["payload"],
        source=EventSource(cells["source"]),
        not_applied=RejectionReason(cells["not_applied"]) if cells["not_applied"] else None,
    )
    return StoredEvent(cells["id"], event, EventState(cells["state"]), cells["note"], moment(cells["received_at"]))
