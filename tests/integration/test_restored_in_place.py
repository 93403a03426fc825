"""A backup is copied over a store, into the same file, while a process keeps its connection open."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from refundcli.store.databases.engine import store_engine


def _change(path: Path, statement: str) -> None:
    """By another process."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def _rows(engine: Engine) -> list[tuple[int, str]]:
    with engine.connect() as connection:
        return [(id_, word) for id_, word in connection.execute(text("SELECT id, word FROM t ORDER BY id"))]


def _write(engine: Engine, statement: str) -> None:
    with engine.connect() as connection:
        writing: Connection = connection.execution_options(writes=True)
        writing.execute(text(statement))
        writing.commit()


def test_a_kept_connection_sees_a_backup_copied_into_the_same_file(tmp_path: Path) -> None:
    """SQLite takes its cached pages for valid while the file has had as many changes; then it would write them."""
    path, backup = tmp_path / "store.db", tmp_path / "backup.db"
    _change(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT)")
    _change(path, "INSERT INTO t VALUES (1, 'at first'), (2, 'at first')")
    shutil.copyfile(path, backup)
    _change(path, "UPDATE t SET word = 'lost by the restore' WHERE id = 1")
    engine = store_engine(f"sqlite:///{path}")
    try:
        assert _rows(engine)[0] == (1, "lost by the restore")
        shutil.copyfile(backup, path)
        _change(path, "UPDATE t SET word = 'after the restore' WHERE id = 2")
        assert _rows(engine) == [(1, "at first"), (2, "after the restore")]
        _write(engine, "UPDATE t SET word = 'from here' WHERE id = 1")
        assert _rows(engine) == [(1, "from here"), (2, "after the restore")]
    finally:
        engine.dispose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id, word FROM t ORDER BY id").fetchall() == [
            (1, "from here"),
            (2, "after the restore"),
        ]
