"""Compare every guarded row with what the audit trail says was written to it last.

The chain is verified on the way. Refunds may go on meanwhile: rows that differ are read again in one transaction
together with the entries that came since.
"""

# ruff: noqa: S608 - the parts of each query are constants of this program

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, text

from refundcli.store.audit import Chain
from refundcli.store.checks.page_size import PageSize
from refundcli.store.checks.replay import Key, Mismatch, Replay
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.guarded.columns import GUARDED, NUMBERED, json_rows
from refundcli.store.guarded.triggers import missing_triggers

T = TypeVar("T")
# Runs a read: in a transaction of its own, or all of them in one.
Look: TypeAlias = Callable[[Callable[[Connection], T]], T]
_NEWEST = text("SELECT coalesce(max(seq), 0) FROM audit_entry")
_AT_ONCE = 500


@dataclass(slots=True)
class AuditFindings:
    """`broken`: sentences about the chain itself; `mismatches`: rows that differ from it."""

    entries: int = 0
    # The first entry of the baseline from which rows are compared; 0 if that is the first entry of all.
    baseline: int = 0
    broken: list[str] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)

    @property
    def sentences(self) -> list[str]:
        return self.broken + list(map(str, self.mismatches))


def audit_findings(run_read: Look[Any]) -> AuditFindings:
    """Verify the chain up to the entry that was the newest at the start, then the rows."""
    findings = AuditFindings()
    with Replay() as replay:
        chain, page_size = Chain(on_rows=replay.on_rows), PageSize()
        newest_seq = run_read(lambda connection: connection.execute(_NEWEST).scalar())
        while chain.verified_to < newest_seq:
            verified_before = chain.verified_to
            findings.broken += run_read(partial(_broken, chain=chain, newest_seq=newest_seq, page_size=page_size))
            if chain.verified_to == verified_before:
                break
        for table in GUARDED:
            _compare(run_read, replay, table)
        findings.mismatches += run_read(partial(_confirmed, chain=chain, replay=replay, broken=findings.broken))
        findings.broken += [f"audit entry {seq}: its rows cannot be read" for seq in replay.unreadable]
        findings.mismatches += replay.rebased
        findings.entries, findings.baseline = chain.verified_to, replay.baseline
    missing = run_read(missing_triggers)
    findings.broken += [f"the trigger {name}, which refuses changes, is missing" for name in missing]
    return findings


def _broken(connection: Connection, *, chain: Chain, newest_seq: int, page_size: PageSize) -> list[str]:
    with page_size.timed() as row_count:
        seqs = chain.broken_seals(connection, newest_seq=newest_seq, row_count=row_count)
    return [f"audit entry {seq} was changed, or one before it is missing" for seq in seqs]


def _compare(run_read: Look[Any], replay: Replay, table: str) -> None:
    """Doubt every row that differs, also those that are missing."""
    after: Key | None = None
    page_size, row_count = PageSize(), 0
    while True:
        rows_json, last_key = run_read(partial(_page, table=table, after=after, page_size=page_size))
        if last_key is None:
            break
        row_count += replay.compare(table, rows_json)
        after = last_key
    if row_count == replay.count(table) and not replay.dubious(table, None, 1):
        return
    vouched_after: Key | None = None
    while keys := replay.keys(table, vouched_after, _AT_ONCE):
        stored_keys = run_read(partial(_stored_keys, table=table, keys=keys))
        replay.doubt(table, [key for key in keys if key not in stored_keys])
        vouched_after = keys[-1]


def _page(connection: Connection, *, table: str, after: Key | None, page_size: PageSize) -> tuple[str, Key | None]:
    rows = ConnectionRows(connection)
    condition, parameters = ("", {}) if after is None else ("WHERE id > :after", {"after": after})
    with page_size.timed() as row_count:
        query = (
            f"SELECT {json_rows(table, is_sqlite=rows.is_sqlite)}, max(id)"
            f" FROM (SELECT * FROM {table} {condition} ORDER BY id LIMIT {row_count}) page"
        )
        rows_json, last_key = rows.all(query, **parameters)[0]
    return rows_json, last_key


def _stored_keys(connection: Connection, *, table: str, keys: list[Key]) -> set[Key]:
    query = f"SELECT id FROM {table} WHERE id IN ({_keys_of(table)})"
    return {key for (key,) in ConnectionRows(connection).all(query, keys=keys)}


def _confirmed(connection: Connection, *, chain: Chain, replay: Replay, broken: list[str]) -> list[Mismatch]:
    """Read the dubious rows again, after the entries that were written since, all on one snapshot."""
    newest_seq = connection.execute(_NEWEST).scalar_one()
    seqs = chain.broken_seals(connection, newest_seq=newest_seq, row_count=newest_seq)
    broken += [f"audit entry {seq} was changed, or one before it is missing" for seq in seqs]
    return [mismatch for table in GUARDED for mismatch in _confirmed_of(connection, replay, table)]


def _confirmed_of(connection: Connection, replay: Replay, table: str) -> Iterator[Mismatch]:
    rows, after = ConnectionRows(connection), None
    of_rows = json_rows(table, is_sqlite=rows.is_sqlite)
    while keys := replay.dubious(table, after, _AT_ONCE):
        rows_json = rows.value(f"SELECT {of_rows} FROM {table} WHERE id IN ({_keys_of(table)})", keys=keys)
        yield from replay.mismatches(table, keys, rows_json or "[]")
        after = keys[-1]


def _keys_of(table: str) -> str:
    return f"SELECT {'CAST(key AS BIGINT)' if table in NUMBERED else 'key'} FROM json_each(:keys)"
