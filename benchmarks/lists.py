"""Long lists: the query of one page in a large store and in a small one, and the memory of a whole list.

python -m benchmarks.lists [--scale small]
"""

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.bulk_records import COUNT, make_store
from benchmarks.figures import REFUNDCLI, Figure, Scale, environ, figure, print_figures, run, spread
from sqlalchemy import event

from refundcli.domain.statuses import InvoiceStatus
from refundcli.services.ports.reads import InvoiceFilter
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.databases.engine import store_engine
from refundcli.store.databases.sqlite_file import CACHE_KIB
from refundcli.store.queries.invoices import SqlInvoiceReads

Statements = Sequence[tuple[str, Any]]

# Every third invoice is still open: the filter has something to leave out.
OPEN = "UPDATE invoice SET status = 'open' WHERE id % 3 = 0"
REFUNDS = (
    COUNT + "INSERT INTO refund (id, invoice_id, payment_id, kind, amount, currency, reason, memo, state, request_key,"
    " content, try_number, operator, fence, lease_owner, provider_status, failure, dispute_decision, method, reference,"
    " evidence, acknowledged_by, created_at, updated_at) SELECT printf('rf_%026d', i), i, i, 'record', 10000, 'EUR',"
    " 'returned-goods', '', 'recorded', printf('row-%040d', i), '{}', 1, 'Ada Lovelace', 0, '', '', '', '',"
    " 'bank transfer', '', '', '', '2026-09-15 10:00:00.000000', '2026-09-15 10:00:00.000000' FROM n"
)
NOTES = (
    COUNT + "INSERT INTO credit_note (id, refund_id, invoice_id, number, status, amount, currency, reason, memo,"
    " issued_on, issued_at) SELECT printf('cn_%026d', i), printf('rf_%026d', i), i, printf('CN-2026-%06d', i),"
    " 'issued', 10000, 'EUR', 'returned-goods', '', date('2026-01-01', (i / 4000) || ' days'),"
    " date('2026-01-01', (i / 4000) || ' days') || ' 10:00:00.000000' FROM n"
)
EXPORTS = (["credit-notes", "list", "-o", "csv"], ["invoice", "list", "--all", "-o", "json"])


def figures(scale: Scale) -> Iterator[Figure]:
    many = scale.pick(full=1_000_000, small=100_000, tiny=200)
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        folder = Path(name)
        small, large = folder / "small.db", folder / "large.db"
        listed_store(small, 1_000)
        listed_store(large, many)
        for page, after in (("first", ""), ("last", "INV-{:07}")):
            yield _page(page, (large, after.format(many - 75)), (small, after.format(1_000 - 75)), many, scale)
    yield from _exports(many, scale)


def listed_store(path: Path, invoices: int, *, notes: bool = False) -> None:
    """A store of paid and open invoices; `notes`: with a refund and a credit note of each."""
    make_store(path, invoices)
    with closing(sqlite3.connect(path, isolation_level=None)) as line:
        line.execute("PRAGMA synchronous = OFF")
        line.execute("BEGIN")
        line.execute(OPEN)
        if notes:
            line.execute(REFUNDS, (invoices,))
            line.execute(NOTES, (invoices,))
        line.execute("COMMIT")


def _page(page: str, ours: tuple[Path, str], other: tuple[Path, str], many: int, scale: Scale) -> Figure:
    asked = [(path, _statements(path, after)) for path, after in (ours, other)]
    times = [tuple(1000 * _seconds(*each) for each in asked) for _ in range(scale.pick(full=15, small=7, tiny=1))]
    large, little = zip(*times, strict=True)
    return figure(
        f"the query of `invoice list --status paid --limit 50` of {many:,}, {page} page",
        spread(large, "ms", digits=2),
        "itself of 1,000",
        spread(little, "ms", digits=2),
        [mine / others for mine, others in times],
        at_most=2,
    )


def _statements(path: Path, after: str) -> Statements:
    """What the program asks the database for a page, and with which values."""
    said: list[tuple[str, Any]] = []
    engine = store_engine(f"sqlite:///{path}")

    def note(_line: Any, _cursor: Any, statement: str, values: Any, *_more: Any) -> None:
        said.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        wanted = InvoiceFilter(status=InvoiceStatus.PAID, after=after, limit=50)
        found = SqlInvoiceReads(ConnectionRows(connection)).matching(wanted)
    engine.dispose()
    assert found
    assert all(invoice.status is InvoiceStatus.PAID for invoice in found)
    return [(statement, values) for statement, values in said if statement.startswith("SELECT")]


def _seconds(path: Path, statements: Statements, times: int = 50) -> float:
    """The median of asking so many times, on a line that was opened before."""
    taken = []
    with closing(sqlite3.connect(path)) as line:
        line.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        for _ in range(times):
            began = time.perf_counter()
            for statement, values in statements:
                line.execute(statement, values).fetchall()
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _exports(many: int, scale: Scale) -> Iterator[Figure]:
    few = many // 10
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        folders = {count: Path(name, str(count)) for count in (many, few)}
        for count, folder in folders.items():
            folder.mkdir()
            listed_store(folder / "books.db", count, notes=True)
        for export in EXPORTS:
            of = {n: run([REFUNDCLI, *export], environ(folder), folder).memory_mb for n, folder in folders.items()}
            yield figure(
                f"`{' '.join(export)}` of {many:,}: most memory",
                f"{of[many]:.0f} MB",
                f"itself of {few:,}",
                f"{of[few]:.0f} MB",
                [of[many] / of[few]],
                at_most=1.2,
            )


if __name__ == "__main__":
    print_figures(figures)
