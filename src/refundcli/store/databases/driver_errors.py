"""Translate errors of the databases' drivers and the system into our own."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from refundcli.domain.errors import RefundcliError
from refundcli.services.ports.store_problems import WouldContradict
from refundcli.store.errors import (
    NotAStore,
    PermissionDenied,
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
    ("42501", PermissionDenied),
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


def problem_of(error: BaseException | None, *, is_disconnected: bool = False) -> RefundcliError:
    """Our error for one of a driver. `is_disconnected`: the connection ended with it."""
    state = sqlstate(error)
    error_text = f"{state} {error}"
    if "locked" in error_text or "lock timeout" in error_text:
        return StoreBusy()
    if isinstance(error, sqlite3.IntegrityError) or state.startswith("23"):
        return WouldContradict(reason(error))
    # SQLSTATE class 08: the server or a pooler ended the connection.
    default_class = StoreUnreachable if is_disconnected or state.startswith("08") else StoreUnusable
    error_class = next((error_class for text_marker, error_class in _KINDS if text_marker in error_text), default_class)
    return error_class(reason(error))


def opening_problem(error: BaseException | None, address: str, *, is_disconnected: bool = False) -> RefundcliError:
    """The same while the store at `address` is opened, created or copied."""
    if "not a database" in str(error):
        return NotAStore(address, "it is not a SQLite file")
    return problem_of(error, is_disconnected=is_disconnected)


def unchanged(problem: RefundcliError) -> RefundcliError:
    """The error of a command that has changed nothing, which says so."""
    problem.message += " Nothing was changed."
    problem.args = (problem.message,)
    return problem


@contextmanager
def translated_system_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreOutOfReach(reason_of(error)) from error


def sqlstate(error: BaseException | None) -> str:
    """The code of PostgreSQL's error; empty on SQLite and without one."""
    return getattr(error, "sqlstate", None) or ""


def reason(error: BaseException | None) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def reason_of(error: OSError) -> str:
    error_text = (error.strerror or str(error)).lower()
    return f"{error.filename}: {error_text}" if error.filename else error_text
