"""The audit trail: every change of state leaves one entry, and each entry seals the one before it (I10)."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime

from sqlmodel import Session, col, select

from refundcli.store.tables import AuditEntryRow


class AuditTrail:
    """Writes entries in the transaction of the change itself; only the writer that holds the store may."""

    def __init__(self, session: Session, at: datetime, operator: str, host: str) -> None:
        self._session = session
        self.at, self.operator, self._host = at, operator, host
        self._head: tuple[int, str] | None = None

    @property
    def last_hash(self) -> str:
        """The seal of the newest entry written here; empty when nothing was."""
        return self._head[1] if self._head else ""

    def write(self, action: str, subject: str, before: Mapping[str, object], after: Mapping[str, object]) -> None:
        seq, previous = self._head or self._stored_head()
        entry = AuditEntryRow(
            seq=seq + 1,
            at=self.at,
            operator=self.operator,
            host=self._host,
            action=action,
            subject=subject,
            before=_canonical(before),
            after=_canonical(after),
            previous_hash=previous,
        )
        entry.hash = seal(entry)
        self._session.add(entry)
        self._head = (entry.seq, entry.hash)

    def _stored_head(self) -> tuple[int, str]:
        newest = select(AuditEntryRow.seq, AuditEntryRow.hash).order_by(col(AuditEntryRow.seq).desc()).limit(1)
        row = self._session.exec(newest).first()
        return (row[0], row[1]) if row else (0, "")


def seal(entry: AuditEntryRow) -> str:
    """A hash over every field, each with its length told by JSON's quotes, and over the seal before."""
    fields = [
        entry.seq,
        entry.at.isoformat(timespec="microseconds"),
        entry.operator,
        entry.host,
        entry.action,
        entry.subject,
        entry.before,
        entry.after,
        entry.previous_hash,
    ]
    return hashlib.sha256(json.dumps(fields, ensure_ascii=True).encode()).hexdigest()


def broken_seals(session: Session) -> Iterator[int]:
    """The entries whose seal or place in the chain is wrong; empty in an untouched store."""
    expected, previous = 1, ""
    for entry in session.exec(select(AuditEntryRow).order_by(col(AuditEntryRow.seq))):
        if entry.seq != expected or entry.previous_hash != previous or entry.hash != seal(entry):
            yield entry.seq
        expected, previous = entry.seq + 1, entry.hash


def _canonical(fields: Mapping[str, object]) -> str:
    return json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
