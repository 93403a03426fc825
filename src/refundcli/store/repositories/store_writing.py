"""Write the audited clock, what is pinned in the store, and the accounts of API keys."""

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, insert, select, update

from refundcli.domain.statuses import Provider
from refundcli.store.errors import DayTooEarly, ZonePinned
from refundcli.store.queries.store_facts import SqlAccountReads, SqlAuditReads, SqlStoreReads
from refundcli.store.repositories.delivery_counts import name_account_of_events
from refundcli.store.repositories.writes import Writes
from refundcli.store.tables import CREDIT_NOTE, PROVIDER_ACCOUNT, STORE_INFO, SYNC_STATE


class SqlAudit(Writes, SqlAuditReads):
    """The audit trail of a transaction that changes the books."""

    def check_clock(self) -> None:
        self._audit.check_clock()

    def accept_clock(self) -> datetime | None:
        return self._audit.accept_clock()

    def newest_entry(self) -> int:
        return self._audit.head[0] if self._audit.head else super().newest_entry()


class SqlStore(Writes, SqlStoreReads):
    """What is pinned in the store."""

    def pin_timezone(self, timezone: str, *, force: bool = False) -> None:
        previous_timezone = str(self._connection.execute(select(STORE_INFO.c.timezone)).scalar_one())
        if previous_timezone != timezone:
            if previous_timezone and not force:
                raise ZonePinned(previous_timezone, timezone)
            newest_issue_date = self._connection.execute(select(func.max(CREDIT_NOTE.c.issued_on))).scalar()
            if newest_issue_date and self._audit.at.astimezone(ZoneInfo(timezone)).date() < newest_issue_date:
                raise DayTooEarly(timezone, newest_issue_date)
            self._connection.execute(update(STORE_INFO).values(timezone=timezone))
            self._audit.write(
                "store timezone changed", "store", {"timezone": previous_timezone}, {"timezone": timezone}
            )

    def pin_livemode(self, livemode: bool) -> bool:
        pinned_livemode = self.livemode()
        if pinned_livemode is None:
            self._connection.execute(update(STORE_INFO).values(livemode=livemode))
            self._audit.write("store mode pinned", "store", {}, {"livemode": livemode})
        return livemode if pinned_livemode is None else pinned_livemode

    def set_sync_state(self, name: str, value: str) -> None:
        """`name`: what is pulled or compared; `value`: how far it has come."""
        columns = {"value": value, "at": self._audit.at}
        if not self._hits(update(SYNC_STATE).where(SYNC_STATE.c.name == name).values(**columns)):
            self._connection.execute(insert(SYNC_STATE).values(name=name, **columns))


class SqlAccounts(Writes, SqlAccountReads):
    """The accounts of API keys."""

    def remember(self, provider: Provider, key_fingerprint: str, account: str, *, livemode: bool) -> None:
        # Another process may have asked the provider at the same time.
        if self.of_key(provider, key_fingerprint) is not None:
            return
        columns = {"key_fingerprint": key_fingerprint, "account": account, "livemode": livemode}
        self._connection.execute(insert(PROVIDER_ACCOUNT).values(provider=provider, **columns))
        self._audit.write("provider account seen", provider, {}, {"account": account, "livemode": livemode})
        name_account_of_events(self._connection, provider, account)
