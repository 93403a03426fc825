"""The audit trail: every change of state leaves one entry, and each entry seals the one before it (I10)."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from functools import cached_property, lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any

from sqlalchemy import Connection, select

from refundcli.canonical import canonical
from refundcli.services.chunks import chunked
from refundcli.services.clock import is_plausible
from refundcli.store.databases.bulk_sql import insert_many, stored
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.errors import WrongClock
from refundcli.store.guarded.columns import GUARDED
from refundcli.store.guarded.rows_written import RowsWritten, all_pages
from refundcli.store.tables import AUDIT_ENTRY

_COLUMNS = (
    "seq", "at", "operator", "host", "login", "action", "subject", "before", "after", "previous_hash", "rows", "hash",
)  # fmt: skip
# Rows that were written without an entry of their own, as where a report only confirms the books.
_ROWS_WRITTEN = "rows written"
BASELINE = "store baseline"
_PAGES_AT_ONCE = 10


class AuditTrail:
    """Writes entries in the transaction of the change itself; only the writer that has locked the store may.

    It also provides the time of the books. If the clock cannot be right, nothing new is started (`check_clock`); what
    a provider did must still be recorded, and gets the time of the newest entry.
    """

    def __init__(
        self, connection: Connection, now: datetime, operator: str, host: str, *, login: str = "", zone: tzinfo = UTC
    ) -> None:
        """`now`: by the store's clock; `host`: of this process; `login`: the database's or the system's name of the
        user, which settings do not change; `zone`: of the books' days.
        """
        self._connection = connection
        self._now, self._zone = now, zone
        self.operator, self._host, self._login = operator, host, login or system_user()
        # The rows that the transaction writes: its last entry carries what is stored in them (docs/reliability.md).
        self.rows = RowsWritten(connection)
        self._last_written: tuple[int, str] | None = None
        self._unwritten_entries: list[tuple[Any, ...]] = []

    @cached_property
    def _newest(self) -> tuple[int, str, datetime | None]:
        """Number, seal and time of the newest entry at the start of the transaction."""
        query = select(AUDIT_ENTRY.c.seq, AUDIT_ENTRY.c.hash, AUDIT_ENTRY.c.at)
        newest_row = self._connection.execute(query.order_by(AUDIT_ENTRY.c.seq.desc()).limit(1)).first()
        return (newest_row[0], newest_row[1], newest_row[2]) if newest_row else (0, "", None)

    @cached_property
    def _is_clock_right(self) -> bool:
        newest_at = self._newest[2]
        return newest_at is None or is_plausible(self._now, newest_at)

    @cached_property
    def at(self) -> datetime:
        """The time of this transaction."""
        newest_at = self._newest[2]
        return self._now if newest_at is None or self._is_clock_right else newest_at

    @cached_property
    def _who(self) -> str:
        return _who(self.at, self.operator, self._host, self._login)

    def check_clock(self) -> None:
        """Called before a number, a date or a lease is assigned. Raises WrongClock."""
        newest_at = self._newest[2]
        if newest_at is not None and not self._is_clock_right:
            raise WrongClock(self._now, newest_at, is_database_clock=self._connection.dialect.name == "postgresql")

    def dated(self, at: datetime, on: date) -> tuple[datetime, date]:
        """The time and the day to record: those of the books if the clock cannot be right."""
        return (at, on) if self._is_clock_right else (self.at, self.today)

    @property
    def today(self) -> date:
        """The day of this transaction in the books' zone."""
        return self.at.astimezone(self._zone).date()

    def accept_clock(self) -> datetime | None:
        """Accept the clock and audit that. Returns the time of the entry that was the newest before."""
        newest_at = self._newest[2]
        self._is_clock_right, self.at = True, self._now
        facts_before = {"newest": newest_at.isoformat()} if newest_at else {}
        self.write("clock accepted", "store", facts_before, {"clock": self._now.isoformat()})
        return newest_at

    @property
    def head(self) -> tuple[int, str] | None:
        """Number and seal of the newest entry written here; None if there is none."""
        return self._last_written

    def write(self, action: str, subject: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        """`subject`: the number or id of what changes; `before` and `after`: its facts that change."""
        previous_seq, previous_seal = self._last_written or self._newest[:2]
        sealed_fields = (action, subject, canonical(before), canonical(after), previous_seal, "")
        seal = _seal(previous_seq + 1, self._who, sealed_fields)
        self._unwritten_entries.append((previous_seq + 1, *sealed_fields, seal))
        self._last_written = (previous_seq + 1, seal)

    def mark(self) -> tuple[tuple[int, str] | None, int]:
        """The current position, for `back_to` when later entries are undone."""
        return self._last_written, len(self._unwritten_entries)

    def back_to(self, mark: tuple[tuple[int, str] | None, int]) -> None:
        """Drop the entries written since. They were not flushed yet: that happens just before the commit."""
        self._last_written, waiting_count = mark
        del self._unwritten_entries[waiting_count:]

    def flush(self) -> None:
        """Insert all entries of the transaction in one statement, just before its commit."""
        self._carry(list(self.rows.texts()))
        if self._unwritten_entries:
            connection = self._connection
            shared_fields = (stored(connection, self.at), self.operator, self._host, self._login)
            entry_rows = [(seq, *shared_fields, *entry_fields) for seq, *entry_fields in self._unwritten_entries]
            insert_many(connection, "audit_entry", _COLUMNS, entry_rows)
            self._unwritten_entries = []

    def _carry(self, row_texts: list[str]) -> None:
        """Add rows to the last entry of the transaction, and seal it again."""
        if not row_texts:
            return
        if not self._unwritten_entries:
            self.write(_ROWS_WRITTEN, "store", {}, {})
        seq, *fields, _, _ = self._unwritten_entries.pop()
        sealed_fields = (*fields, "\n".join(row_texts))
        seal = _seal(seq, self._who, sealed_fields)
        self._unwritten_entries.append((seq, *sealed_fields, seal))
        self._last_written = (seq, seal)

    def write_baseline(self) -> None:
        """Entries that carry every guarded row, for a store of a release whose entries carried none."""
        rows = ConnectionRows(self._connection)
        for table in GUARDED:
            for page in chunked(all_pages(rows, table), _PAGES_AT_ONCE):
                self.write(BASELINE, table, {}, {})
                self._carry(list(page))
                self.flush()


def system_user() -> str:
    """The user of this process, as the system knows it and not the environment."""
    try:
        import pwd  # noqa: PLC0415 - not on Windows

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "?")


@lru_cache(maxsize=4)
def _who(at: datetime, operator: str, host: str, login: str) -> str:
    """The sealed fields that all entries of one transaction share. Entries before schema 0015 have no login."""
    login_fields = (login,) if login else ()
    return _quoted((at.isoformat(timespec="microseconds"), operator, host, *login_fields))


def _seal(seq: int, shared_fields: str, fields: Sequence[str]) -> str:
    """A hash over every field and the previous seal; JSON's quotes mark where each field ends."""
    # The text of a JSON list, built by hand for speed: a bulk run seals millions.
    return hashlib.sha256(f"[{seq}, {shared_fields}, {_quoted(fields)}]".encode()).hexdigest()


def _quoted(texts: Sequence[str]) -> str:
    return ", ".join(map(encode_basestring_ascii, texts))


@dataclass(slots=True)
class Chain:
    """The chain of entries, verified page by page from the first one."""

    verified_to: int = 0
    # Gets the number and the action of each entry that carries rows, and the rows.
    on_rows: Callable[[int, str, str], None] = lambda seq, action, rows_text: None
    _expected_seq: int = 1
    _previous_seal: str = ""

    def broken_seals(self, connection: Connection, *, newest_seq: int, row_count: int) -> list[int]:
        """The numbers of the entries of the next page whose seal or place in the chain is wrong."""
        seq_column = AUDIT_ENTRY.c.seq
        page_query = select(*(AUDIT_ENTRY.c[column] for column in _COLUMNS)).where(seq_column > self.verified_to)
        page_query = page_query.where(seq_column <= newest_seq).order_by(seq_column).limit(row_count)
        broken_seqs = []
        for seq, written_at, operator, host, login, *fields, seal in connection.execute(page_query):
            previous_seal, rows_text = fields[-2:]
            sealed_fields = fields if login else fields[:-1]
            is_seal_right = previous_seal == self._previous_seal and seal == _seal(
                seq, _who(written_at, operator, host, login), sealed_fields
            )
            if seq != self._expected_seq or not is_seal_right or (rows_text and not login):
                broken_seqs.append(seq)
            if rows_text:
                self.on_rows(seq, fields[0], rows_text)
            self._expected_seq, self._previous_seal, self.verified_to = seq + 1, seal, seq
        return broken_seqs
