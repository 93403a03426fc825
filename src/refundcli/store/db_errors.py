"""Translate errors of the database and the system into our own."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from refundcli.services.ports.books import WouldContradict
from refundcli.store.errors import (
    NotAStore,
    StoreBusy,
    StoreCorrupt,
    StoreFull,
    StoreOutOfReach,
    StoreReadOnly,
    StoreUnreachable,
    StoreUnusable,
)

# Words of SQLite, codes of PostgreSQL and words of its driver, each with our error.
_KINDS: tuple[tuple[str, type[StoreUnusable]], ...] = (
    ("readonly", StoreReadOnly),
    ("25006", StoreReadOnly),
    ("disk is full", StoreFull),
    ("53100", StoreFull),
    ("unable to open database file", StoreOutOfReach),
    ("malformed", StoreCorrupt),
    ("file is not a database", StoreCorrupt),
    ("Could not decode", StoreCorrupt),
    ("no such table", StoreCorrupt),
    ("no such column", StoreCorrupt),
    ("42P01", StoreCorrupt),
    ("42703", StoreCorrupt),
    ("XX001", StoreCorrupt),
    ("XX002", StoreCorrupt),
    ("invalid connection option", StoreUnreachable),
    ("failed to resolve host", StoreUnreachable),
    ("connection failed", StoreUnreachable),
    ("connection to server", StoreUnreachable),
    ("server closed the connection", StoreUnreachable),
    ("57P01", StoreUnreachable),
)


@contextmanager
def translated_errors(store_address: str) -> Iterator[None]:
    """Translate errors while the store at `store_address` is opened, created or copied."""
    try:
        yield
    except DBAPIError as error:
        if "not a database" in str(error.orig):
            raise NotAStore(store_address, "it is not a SQLite file") from error
        raise store_error(error) from error
    except OSError as error:
        raise StoreOutOfReach(reason_of(error)) from error


def store_error(error: DBAPIError) -> Exception:
    error_text = f"{getattr(error.orig, 'sqlstate', None) or ''} {error.orig}"
    if "locked" in error_text or "lock timeout" in error_text:
        return StoreBusy()
    if isinstance(error, IntegrityError):
        return WouldContradict(reason(error))
    default_class = StoreUnreachable if _is_cut_off(error) else StoreUnusable
    error_class = next((error_class for text_marker, error_class in _KINDS if text_marker in error_text), default_class)
    return error_class(reason(error))


def _is_cut_off(error: DBAPIError) -> bool:
    """Did the server or a pooler end the connection? SQLSTATE class 08 says so."""
    if (getattr(error.orig, "sqlstate", None) or "").startswith("08"):
        return True
    return isinstance(error, OperationalError) and error.connection_invalidated


def reason(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__


def reason_of(error: OSError) -> str:
    error_text = (error.strerror or str(error)).lower()
    return f"{error.filename}: {error_text}" if error.filename else error_text
