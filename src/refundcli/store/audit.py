"""The audit trail: every change of state leaves one entry, and each entry seals the one before it (I10)."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any

from sqlmodel import Session, col, select

from refundcli.store.many_rows import insert_many, stored
from refundcli.store.tables import AuditEntryRow

_COLUMNS = (
    "seq", "at", "operator", "host", "action", "subject", "before", "after", "previous_hash", "hash",
)  # fmt: skip
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str).encode


class AuditTrail:
    """Writes entries in the transaction of the change itself; only the writer that holds the store may."""

    def __init__(self, session: Session, at: datetime, operator: str, host: str) -> None:
        self._session = session
        self.at, self.operator, self._host = at, operator, host
        self._head: tuple[int, str] | None = None
        self._waiting: list[dict[str, Any]] = []

    @property
    def head(self) -> tuple[int, str] | None:
        """Number and seal of the newest entry written here; None when nothing was."""
        return self._head

    def write(self, action: str, subject: str, before: Mapping[str, object], after: Mapping[str, object]) -> None:
        seq, previous = self._head or self._stored_head()
        entry: dict[str, Any] = {
            "seq": seq + 1,
            "at": self.at,
            "operator": self.operator,
            "host": self._host,
            "action": action,
            "subject": subject,
            "before": _canonical(before),
            "after": _canonical(after),
            "previous_hash": previous,
        }
        entry["hash"] = seal(**entry)
        self._waiting.append(entry)
        self._head = (seq + 1, entry["hash"])

    def mark(self) -> tuple[tuple[int, str] | None, int]:
        """Where the trail is now, to go back to when what follows is undone."""
        return self._head, len(self._waiting)

    def back_to(self, mark: tuple[tuple[int, str] | None, int]) -> None:
        """Forget what was written since. It was not flushed: that is done just before the commit."""
        self._head, kept = mark
        del self._waiting[kept:]

    def flush(self) -> None:
        """Write down what waits: all entries of a transaction in one statement, just before its commit."""
        if self._waiting:
            connection = self._session.connection()
            at = stored(connection, self.at)
            rows = [[at if name == "at" else entry[name] for name in _COLUMNS] for entry in self._waiting]
            insert_many(connection, "audit_entry", _COLUMNS, rows)
            self._waiting = []

    def _stored_head(self) -> tuple[int, str]:
        newest = select(AuditEntryRow.seq, AuditEntryRow.hash).order_by(col(AuditEntryRow.seq).desc()).limit(1)
        row = self._session.exec(newest).first()
        return (row[0], row[1]) if row else (0, "")


def seal(
    *,
    seq: int,
    at: datetime,
    operator: str,
    host: str,
    action: str,
    subject: str,
    before: str,
    after: str,
    previous_hash: str,
) -> str:
    """A hash over every field, each with its length told by JSON's quotes, and over the seal before."""
    texts = (at.isoformat(timespec="microseconds"), operator, host, action, subject, before, after, previous_hash)
    # JSON's own list, put together here: a bulk run seals millions.
    fields = f"[{seq}, {', '.join(map(encode_basestring_ascii, texts))}]"
    return hashlib.sha256(fields.encode()).hexdigest()


def broken_seals(session: Session) -> Iterator[int]:
    """The entries whose seal or place in the chain is wrong; empty in an untouched store."""
    expected, previous = 1, ""
    for entry in session.exec(select(AuditEntryRow).order_by(col(AuditEntryRow.seq))):
        if entry.seq != expected or entry.previous_hash != previous or entry.hash != _seal_of(entry):
            yield entry.seq
        expected, previous = entry.seq + 1, entry.hash


def _seal_of(entry: AuditEntryRow) -> str:
    return seal(
        seq=entry.seq,
        at=entry.at,
        operator=entry.operator,
        host=entry.host,
        action=entry.action,
        subject=entry.subject,
        before=entry.before,
        after=entry.after,
        previous_hash=entry.previous_hash,
    )


def _canonical(fields: Mapping[str, object]) -> str:
    """As `json.dumps` writes it with sorted keys and no spaces, at a third of its cost: nearly all values are texts."""
    told = (
        f"{encode_basestring(name)}:{encode_basestring(value) if isinstance(value, str) else _encode(value)}"
        for name, value in sorted(fields.items())
    )
    return f"{{{','.join(told)}}}"
