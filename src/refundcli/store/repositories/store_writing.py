"""Write the audited clock, what is pinned in the store, and the accounts of API keys."""

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func
from sqlmodel import SQLModel, select

from refundcli.domain.statuses import Provider
from refundcli.store.errors import DayTooEarly, ZonePinned
from refundcli.store.queries.store_facts import SqlAccountReads, SqlAuditReads, SqlStoreReads
from refundcli.store.repositories.delivery_counts import name_account_of_events
from refundcli.store.repositories.writes import Writes
from refundcli.store.schema import (
    ProviderAccountRow,
    StoreInfo,
    SyncStateRow,
)

_NOTE = SQLModel.metadata.tables["credit_note"]


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
        info = self._session.exec(select(StoreInfo)).one()
        if info.timezone != timezone:
            if info.timezone and not force:
                raise ZonePinned(info.timezone, timezone)
            newest_issue_date = self._session.execute(select(func.max(_NOTE.c.issued_on))).scalar()
            if newest_issue_date and self._audit.at.astimezone(ZoneInfo(timezone)).date() < newest_issue_date:
                raise DayTooEarly(timezone, newest_issue_date)
            previous_timezone, info.timezone = info.timezone, timezone
            self._session.add(info)
            self._audit.write(
                "store timezone changed", "store", {"timezone": previous_timezone}, {"timezone": timezone}
            )

    def pin_livemode(self, livemode: bool) -> bool:
        info = self._session.exec(select(StoreInfo)).one()
        if info.livemode is None:
            info.livemode = livemode
            self._session.add(info)
            self._audit.write("store mode pinned", "store", {}, {"livemode": livemode})
        return info.livemode

    def set_sync_state(self, name: str, value: str) -> None:
        """`name`: what is pulled or compared; `value`: how far it has come."""
        sync_row = self._session.get(SyncStateRow, name) or SyncStateRow(name=name)
        sync_row.value, sync_row.at = value, self._audit.at
        self._session.add(sync_row)
        self._session.flush()


class SqlAccounts(Writes, SqlAccountReads):
    """The accounts of API keys."""

    def remember(self, provider: Provider, key_fingerprint: str, account: str, *, livemode: bool) -> None:
        # Another process may have asked the provider at the same time.
        if self.of_key(provider, key_fingerprint) is not None:
            return
        account_row = ProviderAccountRow(
            provider=provider, key_fingerprint=key_fingerprint, account=account, livemode=livemode
        )
        self._session.add(account_row)
        self._audit.write("provider account seen", provider, {}, {"account": account, "livemode": livemode})
        name_account_of_events(self._session, provider, account)
