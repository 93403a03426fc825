"""The clock that the use cases ask."""

from datetime import date, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...

    def today(self) -> date:
        """The date in the store's time zone, which is the books' date."""
        ...
