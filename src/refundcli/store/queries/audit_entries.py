"""Lists and exports of the audit trail, a page at a time."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from refundcli.store.databases.rows import Reads, moment

if TYPE_CHECKING:
    from refundcli.services.ports.reads import AuditEntry, AuditFilter

_LIST = """
    SELECT seq, at, operator, host, login, action, subject, "before", "after" FROM audit_entry
    WHERE seq > :after AND (:operator = '' OR operator = :operator OR login = :operator)
        AND substr(action, 1, length(:action)) = :action AND at >= :since AND at < :until
        AND (:everything = 1 OR seq = :import_entry OR subject IN (SELECT key FROM json_each(:subjects)))
    ORDER BY seq LIMIT :limit
"""
# The fields in the order in which an entry's hash covers them, and the hash.
EXPORTED = (
    "seq", "at", "operator", "host", "login", "action", "subject", "before", "after", "previous_hash", "rows", "hash",
)  # fmt: skip
_EXPORT = f"""
    SELECT {", ".join(f'"{name}"' for name in EXPORTED)} FROM audit_entry WHERE seq > :after ORDER BY seq LIMIT :limit
"""
_HASHES = """SELECT seq, hash FROM audit_entry WHERE seq IN (SELECT CAST(key AS BIGINT) FROM json_each(:seqs))"""
_HEAD = "SELECT seq, hash, at FROM audit_entry WHERE seq = (SELECT max(seq) FROM audit_entry)"


class SqlAuditLists(Reads):
    """Reads many entries of the audit trail."""

    def matching(self, criteria: "AuditFilter") -> "list[AuditEntry]":
        from refundcli.store.queries.store_facts import entry_of

        rows = self._rows.all(
            _LIST,
            after=criteria.after,
            operator=criteria.operator,
            action=criteria.action,
            since=criteria.since,
            until=criteria.until,
            everything=int(criteria.subjects is None),
            import_entry=criteria.import_entry,
            subjects=list(criteria.subjects or ()),
            limit=criteria.limit,
        )
        return list(map(entry_of, rows))

    def exported(self, *, after: int, limit: int) -> list[dict[str, object]]:
        """Whole entries as an export has them: `before` and `after` are texts, because the hash covers them so."""
        entries = [dict(zip(EXPORTED, row, strict=True)) for row in self._rows.all(_EXPORT, after=after, limit=limit)]
        return [entry | {"at": moment(entry["at"]).isoformat(timespec="microseconds")} for entry in entries]

    def hashes(self, seqs: Sequence[int]) -> dict[int, str]:
        return self._rows.pairs(_HASHES, seqs=seqs)

    def head(self) -> tuple[int, str, datetime] | None:
        """Number, hash and time of the newest entry."""
        row = self._rows.first(_HEAD)
        return (row[0], row[1], moment(row[2])) if row else None
