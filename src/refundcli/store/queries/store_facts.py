"""Read the audit trail, and what the store knows about itself: settings, accounts."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import Provider
from refundcli.store.databases.rows import Reads, Row, moment, moment_or_none

if TYPE_CHECKING:
    from refundcli.services.ports.reads import Account, AuditEntry

_ENTRIES = 'SELECT seq, at, operator, host, login, action, subject, "before", "after" FROM audit_entry'
_IMPORT = f"{_ENTRIES} WHERE subject = :source AND at = :at ORDER BY seq LIMIT 1"
_CHANGED = "SELECT seq FROM audit_entry WHERE seq > :seq AND subject <> :apart_from LIMIT 1"


class SqlAuditReads(Reads):
    """Reads the audit trail."""

    def changed_since(self, entry_number: int, *, apart_from: str) -> bool:
        """`apart_from`: the subject whose entries do not count."""
        return self._rows.first(_CHANGED, seq=entry_number, apart_from=apart_from) is not None

    def history(self, invoice: Invoice) -> "list[AuditEntry]":
        subjects = [
            invoice.number,
            *(refund.id for refund in invoice.refunds),
            *(closing.id for closing in invoice.closings),
        ]
        return self.about(subjects)

    def about(self, subjects: Sequence[str]) -> "list[AuditEntry]":
        text = f"{_ENTRIES} WHERE subject IN (SELECT key FROM json_each(:subjects)) ORDER BY seq"
        return [entry_of(row) for row in self._rows.all(text, subjects=subjects)]

    def import_of(self, invoice: Invoice) -> "AuditEntry":
        text = "SELECT source, created_at FROM invoice WHERE number = :number"
        ((source, created_at),) = self._rows.all(text, number=invoice.number)
        (entry_row,) = self._rows.all(_IMPORT, source=source, at=created_at)
        return replace(entry_of(entry_row), action="invoice imported", subject=invoice.number, after={"file": source})

    def newest_entry(self) -> int:
        return int(self._rows.value("SELECT coalesce(max(seq), 0) FROM audit_entry"))

    def newest_at(self) -> datetime | None:
        text = "SELECT at FROM audit_entry WHERE seq = (SELECT max(seq) FROM audit_entry)"
        return moment_or_none(self._rows.value(text))


class SqlStoreReads(Reads):
    """Reads what is pinned in the store, and how far a comparison or pull has come."""

    @cached_property
    def _secret(self) -> bytes:
        return bytes.fromhex(self._rows.value("SELECT secret FROM store_info"))

    def secret(self) -> bytes:
        return self._secret

    def livemode(self) -> bool | None:
        livemode = self._rows.value("SELECT livemode FROM store_info")
        return None if livemode is None else bool(livemode)

    def sync_state(self, name: str) -> tuple[str, datetime] | None:
        row = self._rows.first("SELECT value, at FROM sync_state WHERE name = :name", name=name)
        return (row[0], moment(row[1])) if row else None


class SqlAccountReads(Reads):
    """Reads the accounts of API keys."""

    def known(self) -> "list[Account]":
        from refundcli.services.ports.reads import Account

        rows = self._rows.all("SELECT DISTINCT provider, account, livemode FROM provider_account")
        return sorted((Account(Provider(provider), account, bool(live)) for provider, account, live in rows), key=str)

    def of_key(self, provider: Provider, key_fingerprint: str) -> str | None:
        text = "SELECT account FROM provider_account WHERE provider = :provider AND key_fingerprint = :fingerprint"
        account: str | None = self._rows.value(text, provider=provider, fingerprint=key_fingerprint)
        return account


def entry_of(row: Row) -> "AuditEntry":
    from refundcli.services.ports.reads import AuditEntry

    seq, at, operator, host, login, action, subject, before, after = row
    facts = (json.loads(before), json.loads(after))
    return AuditEntry(seq, moment(at), operator, host, action, subject, *facts, login=login)
