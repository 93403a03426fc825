"""Open the books for a command that only reads, by the store's address."""

from refundcli.store.read_only.books import ReadOnlyBooks


def books_to_read(url: str, command: str, timezone: str) -> ReadOnlyBooks | None:
    """None for an address that only SQLAlchemy takes apart, and for PostgreSQL without its driver.

    `command`: what the server's list of connections calls it. `timezone`: of the books, if the store has none.
    """
    if url.startswith("sqlite:"):
        from refundcli.store.read_only.sqlite import SqliteBooks, plain_sqlite_path

        path = plain_sqlite_path(url)
        return SqliteBooks(path, timezone) if path else None
    try:
        from refundcli.store.read_only.postgres import PostgresBooks, plain_postgres_address
    except ModuleNotFoundError:
        return None
    address = plain_postgres_address(url)
    return PostgresBooks(url, address, command, timezone) if address is not None else None
