"""The store for several threads of one process."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from refundcli.services.ports.books import Books, Reading, Writing

T = TypeVar("T")


@dataclass
class SerializedBooks:
    """Books that one thread at a time writes to: the next one is woken, where a database would let it try again."""

    books: Books
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def read(self, work: Callable[[Reading], T]) -> T:
        return self.books.read(work)

    def write(self, work: Callable[[Writing], T]) -> T:
        with self._turn:
            return self.books.write(work)
