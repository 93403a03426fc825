"""Translate SQLAlchemy's errors into our own."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, OperationalError

from refundcli.domain.errors import RefundcliError
from refundcli.store.databases.driver_errors import opening_problem, problem_of, translated_system_errors


@contextmanager
def translated_errors(store_address: str) -> Iterator[None]:
    """Translate errors while the store at `store_address` is opened, created or copied."""
    with translated_system_errors():
        try:
            yield
        except DBAPIError as error:
            raise opening_problem(error.orig, store_address, is_disconnected=_is_disconnected(error)) from error


def store_error(error: DBAPIError) -> RefundcliError:
    return problem_of(error.orig, is_disconnected=_is_disconnected(error))


def _is_disconnected(error: DBAPIError) -> bool:
    return isinstance(error, OperationalError) and error.connection_invalidated
