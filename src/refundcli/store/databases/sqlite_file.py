"""A SQLite store's file: how its connections are made, which are safe for money.

SQLite runs with a rollback journal and `synchronous=EXTRA`: of the modes that survive a power cut, it is the one
without the WAL-reset bug of SQLite 3.7.0 to 3.51.2.
"""

import sqlite3

# "RfCl": marks a SQLite file as a refundcli store.
APPLICATION_ID = 0x5266436C
BUSY_TIMEOUT_SECONDS = 30
# Large enough for a chunk of a bulk run: a transaction that spills locks readers out until its end.
CACHE_KIB = 32_768


def prepare_sqlite(connection: sqlite3.Connection) -> None:
    """Set up a new connection."""
    # The driver begins transactions too late (a read would have no snapshot), so ours are explicit.
    connection.isolation_level = None
    for pragma in ("foreign_keys=ON", "synchronous=EXTRA", "trusted_schema=OFF", f"cache_size=-{CACHE_KIB}"):
        connection.execute(f"PRAGMA {pragma}")
    # Only in our own store: the mode is saved in the file, and we must not change another program's file.
    if connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
        connection.execute("PRAGMA journal_mode=DELETE")
