"""Check that a store is ours and has this program's schema, before anything else is read."""

from refundcli.store.databases.rows import Rows
from refundcli.store.databases.sqlite_file import APPLICATION_ID
from refundcli.store.errors import NotAStore, StoreNewer, StoreOlder

# The newest revision in migrations/versions. Compared with one query: loading Alembic costs half a second.
HEAD = "0015"

_SQLITE_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite/_%' ESCAPE '/'"
_POSTGRES_TABLES = """
    SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
    WHERE relkind IN ('r', 'p') AND pg_table_is_visible(pg_class.oid) AND nspname <> 'pg_catalog'
"""


def schema_in(rows: Rows, address: str) -> str:
    """The revision of the refundcli store at `address`; empty if there is no schema yet. Raises NotAStore."""
    table_names = tables_in(rows)
    if rows.is_sqlite:
        application_id = rows.value("PRAGMA application_id")
        if application_id not in (0, APPLICATION_ID) or (application_id == 0 and table_names):
            raise NotAStore(address, "another program created this file")
    elif table_names and "store_info" not in table_names:
        raise NotAStore(address, "the database holds other tables")
    return str(rows.value("SELECT version_num FROM alembic_version") or "") if "alembic_version" in table_names else ""


def tables_in(rows: Rows) -> set[str]:
    return {row[0] for row in rows.all(_SQLITE_TABLES if rows.is_sqlite else _POSTGRES_TABLES)}


def refuse_other_schema(schema: str, *, is_older_allowed: bool = False) -> None:
    """Raises StoreNewer or StoreOlder for a store with another schema."""
    if schema > HEAD:
        raise StoreNewer(schema, HEAD)
    if schema != HEAD and not is_older_allowed:
        raise StoreOlder(schema, HEAD)


def store_timezone(rows: Rows) -> str:
    """The time zone of the books; empty if none is pinned.

    Asked in each transaction: another program may have upgraded the store since it was opened. Raises StoreNewer and
    StoreOlder.
    """
    refuse_other_schema(str(rows.value("SELECT version_num FROM alembic_version")))
    return str(rows.value("SELECT timezone FROM store_info"))
