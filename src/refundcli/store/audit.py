"""The audit trail: every change of state leaves one entry, and each entry seals the one before it (I10)."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import Any

from sqlmodel import Session, col, select

from refundcli.canonical import canonical
from refundcli.store.many_rows import insert_many, stored
from refundcli.store.tables import AuditEntryRow

_COLUMNS = (
    "seq", "at", "operator", "host", "action", "subject", "before", "after", "previous_hash", "hash",
)  # fmt: skip


class AuditTrail:
    """Writes entries in the transaction of the change itself; only the writer that holds the store may."""

    def __init__(self, session: Session, at: datetime, operator: str, host: str) -> None:
        self._session = session
        self.at, self.operator, self._host = at, operator, host
        self._who = _who(at, operator, host)
        self._head: tuple[int, str] | None = None
        self._waiting: list[tuple[Any, ...]] = []

    @property
    def head(self) -> tuple[int, str] | None:
        """Number and seal of the newest entry written here; None when nothing was."""
        return self._head

    def write(self, action: str, subject: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        seq, previous = self._head or self._stored_head()
        told = (action, subject, canonical(before), canonical(after), previous)
        sealed = _seal(seq + 1, self._who, told)
        self._waiting.append((seq + 1, *told, sealed))
        self._head = (seq + 1, sealed)

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
            who = (stored(connection, self.at), self.operator, self._host)
            rows = [(seq, *who, *rest) for seq, *rest in self._waiting]
            insert_many(connection, "audit_entry", _COLUMNS, rows)
            self._waiting = []

    def _stored_head(self) -> tuple[int, str]:
        newest = select(AuditEntryRow.seq, AuditEntryRow.hash).order_by(col(AuditEntryRow.seq).desc()).limit(1)
        row = self._session.exec(newest).first()
        return (row[0], row[1]) if row else (0, "")


def _who(at: datetime, operator: str, host: str) -> str:
    """What all entries of one transaction share of what is sealed."""
    return _quoted((at.isoformat(timespec="microseconds"), operator, host))


def _seal(seq: int, who: str, told: Sequence[str]) -> str:
    """A hash over every field, each with its length told by JSON's quotes, and over the seal before."""
    # JSON's own list, put together here: a bulk run seals millions.
    return hashlib.sha256(f"[{seq}, {who}, {_quoted(told)}]".encode()).hexdigest()


def _quoted(texts: Sequence[str]) -> str:
    return ", ".join(map(encode_basestring_ascii, texts))


def broken_seals(session: Session) -> Iterator[int]:
    """The entries whose seal or place in the chain is wrong; empty in an untouched store."""
    expected, previous = 1, ""
    for entry in session.exec(select(AuditEntryRow).order_by(col(AuditEntryRow.seq))):
        if entry.seq != expected or entry.previous_hash != previous or entry.hash != _seal_of(entry):
            yield entry.seq
        expected, previous = entry.seq + 1, entry.hash


def _seal_of(entry: AuditEntryRow) -> str:
    told = (entry.action, entry.subject, entry.before, entry.after, entry.previous_hash)
    return _seal(entry.seq, _who(entry.at, entry.operator, entry.host), told)
