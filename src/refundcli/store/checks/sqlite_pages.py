"""Run SQLite's own check on a copy of the store's file, because the check may read for a minute.

The copy has the same pages, damaged ones included. It has no name, so it is deleted however the check ends.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing

from refundcli.store.copying import copy_in_steps
from refundcli.store.databases.engine import sqlite_path
from refundcli.store.errors import StoreCorrupt, StructureNotChecked
from refundcli.store.unit_of_work import SqlBooks

_CHECK = "PRAGMA integrity_check"


def structure_errors(books: SqlBooks) -> Iterator[str]:
    """What SQLite finds wrong with the file; nothing on PostgreSQL. Raises StructureNotChecked, StoreCorrupt."""
    path = sqlite_path(books.engine)
    if path is None:
        return
    # A missing, foreign or unreadable store gets the same error as with any other command.
    books.inspect(lambda connection: None)
    # Without a name: a temporary database on disk (https://sqlite.org/inmemorydb.html, section 3).
    with closing(sqlite3.connect("")) as copy_connection:
        try:
            copy_in_steps(path, copy_connection)
            sentences = [str(sentence) for (sentence,) in copy_connection.execute(_CHECK)]
        except sqlite3.OperationalError as error:
            raise StructureNotChecked(str(error)) from error
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(str(error)) from error
    yield from _wrong(sentences)


def _wrong(sentences: Iterable[str]) -> Iterator[str]:
    return (f"SQLite: {sentence}" for sentence in sentences if sentence != "ok")
