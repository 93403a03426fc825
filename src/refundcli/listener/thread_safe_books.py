"""The store for several threads of one process."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from refundcli.services.ports.books import Books, Reading, Writing

T = TypeVar("T")


@dataclass
class SerializedBooks:
    """Books with one writing thread at a time: the next is woken, where the database would make it retry."""

    books: Books
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def read(self, work: Callable[[Reading], T]) -> T:
        return self.books.read(work)

    def write(self, work: Callable[[Writing], T]) -> T:
        with self._turn:
            return self.books.write(work)
