"""The clock of the use cases."""

from datetime import date, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...

    def today(self) -> date:
        """The date of the books: today in the store's time zone."""
        ...
