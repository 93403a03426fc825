"""`store check` page by page: the same findings as in one pass, without blocking writers."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from conftest import NewStore
from desk import Desk
from refundcli.store import copying
from refundcli.store.checks import audited_rows, integrity, page_size, sqlite_pages
from refundcli.store.checks.integrity import findings
from refundcli.store.checks.page_size import PageSize
from refundcli.store.copying import CopyTookTooLong
from refundcli.store.databases.engine import sqlite_path
from refundcli.store.errors import StructureNotChecked
from tampering import tamper


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows per page, whatever the machine's speed."""
    monkeypatch.setattr(page_size, "_MOST", 2)
    monkeypatch.setattr(page_size, "_FEWEST", 2)
    for module in (integrity, audited_rows):
        monkeypatch.setattr(module, "PageSize", lambda: PageSize(rows=2))


def test_what_is_wrong_is_found_on_whatever_page_it_is(desk: Desk, small_pages: None) -> None:
    for n in range(1, 8):
        desk.paid_outside(f"INV-{n}")
        desk.json(f"mark-refunded INV-{n} --amount 10 --reason other --yes")
    assert findings(desk.books) == []
    assert desk.json("store check")["sound"]
    tamper(
        desk.books.engine,
        "UPDATE payment SET refunded = refunded + 1 WHERE id = 5",
        "UPDATE invoice SET paid = paid + 1 WHERE number = 'INV-7'",
        "UPDATE audit_entry SET operator = 'Mallory' WHERE seq = 9",
        "DELETE FROM credit_note WHERE number LIKE '%000003'",
    )
    problems = desk.refused("store check", "audit-mismatch", exit_code=3)["context"]["problems"]
    assert "payment 5: the refunded amount does not match its refunds" in problems
    assert "invoice INV-7: the sums do not match its payments" in problems
    assert "audit entry 9 was changed, or one before it is missing" in problems
    assert sum("has no credit note" in problem for problem in problems) == 1
    assert "7 credit-note numbers were counted, but 6 were issued" in problems


@pytest.mark.parametrize(
    ("table", "query"), [(t, q) for t, checks in integrity._CHECKS.items() for q in checks.values()]
)
def test_each_check_reads_its_page_by_the_key_of_the_table(sqlite_desk: Desk, table: str, query: str) -> None:
    """By another index, each page would read the rows of the whole store."""
    with sqlite_desk.books.engine.connect() as connection:
        page = {"after": integrity._FIRST[table], "upto": integrity._FIRST[table]}
        steps = [row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}"), page)]
    reads = [step for step in steps if step.startswith(("SEARCH", "SCAN", "MULTI-INDEX"))]
    assert re.search(r"id>\? AND \w*id<\?", reads[0]), steps
    assert all(re.search(r"\(\w*(id|subject)[=>]", step) for step in reads), steps


def test_a_page_is_a_transaction_of_its_own(desk: Desk, small_pages: None) -> None:
    for n in range(1, 6):
        desk.paid_outside(f"INV-{n}")
    begun: list[int] = []
    event.listen(desk.books.engine, "begin", lambda connection: begun.append(1))
    assert findings(desk.books) == []
    # Three pages of payments and of invoices each, and the end of each.
    assert len(begun) >= 8


def test_refunds_beside_it_are_no_false_alarm(desk: Desk, small_pages: None) -> None:
    """Between two pages a refund is recorded, for payments before and after the check's position."""
    for n in range(1, 9):
        desk.paid_outside(f"INV-{n}")
    pages = iter(range(1, 9))

    def record(n: int) -> None:
        answer = desk(f"mark-refunded INV-{n} --amount 10 --reason other --yes")
        assert answer.exit_code == 0, answer

    class Beside:
        engine = desk.books.engine

        def inspect(self, look: Callable[[Connection], Any]) -> Any:
            inspected = desk.books.inspect(look)
            if (n := next(pages, None)) is not None:
                record(n)
            return inspected

    assert findings(Beside()) == []  # type: ignore[arg-type]
    assert desk.count("refund") == 8


def test_what_was_wrong_only_for_a_moment_is_not_reported(
    sqlite_desk: Desk, small_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, pages = integrity._wrong_rows, list[Any]()

    def once(connection: Connection, **page: Any) -> Any:
        upto, problems = real(connection, **page)
        if page["table"] == "payment" and upto is not None and not pages:
            pages.append(upto)
            return upto, ["payment 1 is wrong"]
        return upto, problems

    sqlite_desk.paid_outside()
    monkeypatch.setattr(integrity, "_wrong_rows", once)
    assert findings(sqlite_desk.books) == []
    assert pages


def test_a_page_grows_and_shrinks_with_the_time_it_takes() -> None:
    times = iter([0.0, 0.01, 1.0, 1.01, 2.0, 3.0, 4.0, 4.1])
    size = PageSize(rows=100, seconds=lambda: next(times))
    sizes = []
    for _ in range(4):
        with size.timed() as rows:
            sizes.append(rows)
    assert [*sizes, size.rows] == [100, 200, 400, 200, 200]


# --- SQLite's own check, and writers ---

WRITER = """
import sqlite3, sys
line = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
line.execute("BEGIN IMMEDIATE")
line.execute("UPDATE store_info SET number_format = 'W-{seq}'")
print("writing", flush=True)
line.execute("COMMIT")
print("written", flush=True)
"""


def test_sqlites_check_does_not_keep_a_writer_waiting(sqlite_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real, path = copying.copy_in_steps, sqlite_path(sqlite_desk.books.engine)
    wrote: list[str] = []

    def write() -> str:
        """Another process commits a change during the check."""
        process = subprocess.run([sys.executable, "-c", WRITER, str(path)], check=True, capture_output=True, text=True)
        wrote.extend(process.stdout.split())
        return "ok"

    def copy_to_check_slowly(source: Path, copy: sqlite3.Connection) -> None:
        real(source, copy)
        copy.create_function("check_slowly", 0, write)

    monkeypatch.setattr(sqlite_pages, "copy_in_steps", copy_to_check_slowly)
    monkeypatch.setattr(sqlite_pages, "_CHECK", "SELECT check_slowly()")
    assert list(sqlite_pages.structure_errors(sqlite_desk.books)) == []
    assert wrote == ["writing", "written"]


def test_without_sqlites_check_nothing_is_called_sound(sqlite_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise CopyTookTooLong("other programs were writing to it all the time")

    monkeypatch.setattr(sqlite_pages, "copy_in_steps", never)
    with pytest.raises(StructureNotChecked):
        findings(sqlite_desk.books)
    sqlite_desk.refused("store check", "store-not-checked", exit_code=8)


def test_a_damaged_page_is_found(sqlite_desk: Desk) -> None:
    for n in range(1, 60):
        sqlite_desk.paid_outside(f"INV-{n}")
    path = Path(sqlite_desk.url.removeprefix("sqlite:///"))
    content = bytearray(path.read_bytes())
    middle = content.index(b"INV-31") // 4096 * 4096
    content[middle : middle + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    assert sqlite_desk("store check").exit_code == 4


# --- backups ---


def test_a_backup_beside_a_writer_is_whole(sqlite_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change restarts the copy; its steps grow until it finishes between two changes."""
    monkeypatch.setattr(copying, "_STEPS", (1, 5, 100_000))
    sqlite_desk.paid_outside()
    real, changed = copying._Progress.__call__, list[int]()

    def change(self: Any, status: int, remaining: int, total: int) -> None:
        if remaining and len(changed) < 30:
            changed.append(remaining)
            sqlite_desk.books.write(lambda tx: tx.credit_notes.change_number_format(f"N{len(changed)}-{{seq}}"))
        real(self, status, remaining, total)

    monkeypatch.setattr(copying._Progress, "__call__", change)
    copy = tmp_path / "copy.db"
    sqlite_desk.json(f"store backup {copy}")
    assert changed
    copied = Desk(f"sqlite:///{copy}", sqlite_desk.sandbox, tmp_path)
    assert copied.json("store check")["sound"]
    copied.books.engine.dispose()


def test_an_empty_store_is_sound(new_store: NewStore, sqlite_desk: Desk) -> None:
    sqlite_desk.environ["REFUNDCLI_STORE_URL"] = new_store()
    assert sqlite_desk.json("store check")["sound"]
