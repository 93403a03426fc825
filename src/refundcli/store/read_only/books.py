"""The books for a command that only reads: through the bare driver of the database, without loading an ORM."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

from refundcli.store.databases.rows import Rows
from refundcli.store.errors import NoStore, StoreOlder
from refundcli.store.queries.snapshot import SqlReading
from refundcli.store.schema_check import refuse_other_schema, schema_in, store_timezone

if TYPE_CHECKING:
    from refundcli.services.ports.books import Reading

T = TypeVar("T")


class ReadOnlyBooks(ABC):
    """Like `SqlBooks`, but they never create, upgrade or change a store.

    `timezone`: where the books' days begin and end, if the store does not say.
    """

    def __init__(self, timezone: str = "UTC") -> None:
        self._timezone, self._zone = timezone, ""

    @property
    def zone(self) -> ZoneInfo:
        if not self._zone:
            with suppress(NoStore, StoreOlder):
                self.read(lambda tx: None)
        return ZoneInfo(self._zone or self._timezone)

    def read(self, work: "Callable[[Reading], T]") -> T:
        """Run on one consistent snapshot. It is closed before anything is shown, because a reader blocks writers."""
        with self._snapshot() as rows:
            self._zone = store_timezone(rows) or self._timezone
            return work(SqlReading(rows))

    @abstractmethod
    def _snapshot(self) -> AbstractContextManager[Rows]:
        """A transaction of a store with this schema. Raises NoStore, NotAStore, StoreNewer and StoreOlder."""


def refuse_unusable(rows: Rows, address: str) -> None:
    """Raises NoStore, NotAStore, StoreNewer and StoreOlder."""
    schema = schema_in(rows, address)
    if not schema:
        raise NoStore(address)
    refuse_other_schema(schema)
