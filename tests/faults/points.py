"""Fault points: where and how a command is interrupted, wrapped around the store and the provider in a forked process.

Nothing of this is in the program. A process that is to be struck puts these wrappers around its own SQLite
connections, around `SqlBooks.write`, around the providers and around the connection to them, and then runs the
command line as anybody would.
"""

import os
import select
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine, event

from refundcli.providers.adyen.refunds import AdyenProvider
from refundcli.providers.stripe.closings import StripeInvoiceCloser
from refundcli.providers.stripe.lookup import StripeRecords
from refundcli.providers.stripe.refunds import StripeProvider
from refundcli.providers.transport import _Connection
from refundcli.services.dispatch import policy
from refundcli.store.unit_of_work import SqlBooks

# A transaction is identified by the function that starts it.
STEPS = {
    "IssueRefunds.issue.<locals>.reserve": "T1",
    "CloseInvoices._reserve": "T1",
    "CloseInvoices._close_here": "here",
    "Dispatch._claim_first": "T2",
    "Dispatch._claim_again": "T2",
    "Dispatch._record": "T4",
    "Dispatch._drop_unsent": "drop",
    "store_events": "keep",
    "_Application": "apply",
}
# `snapshot`: the payment as the provider has it, before a first send.
CALLS = ("send", "lookup", "snapshot")

# `statement`: at the first INSERT or UPDATE. `inside`: all statements are done, COMMIT is not.
# `committed`: COMMIT is done, and nothing was printed yet.
IN_A_TRANSACTION = {
    "before": ("kill", "exception", "sigint"),
    "statement": ("kill", "disk", "full"),
    "inside": ("kill", "exception", "sigint", "sigterm", "disk", "full", "dead"),
    "committed": ("kill", "exception", "sigint", "disk", "dead"),
    "after": ("kill", "exception", "sigint"),
}
# `connected`: nothing sent yet. `sent`: all sent. `answered`: response arrived, not read.
IN_A_CALL = {
    "before": ("kill", "exception", "sigint"),
    "connect": ("kill", "exception", "sigint", "unreachable"),
    "connected": ("kill", "exception", "sigint"),
    "sent": ("kill", "exception", "sigint", "sigterm"),
    "answered": ("kill", "exception", "sigint"),
    "after": ("kill", "exception", "sigint"),
}


class Broken(Exception):
    """An unexpected error, such as a library's bug."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`manner` happens the nth time that `step` reaches `place`."""

    step: str
    place: str
    manner: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.step}.{self.place}.{self.manner}" + (f".{self.nth}" if self.nth > 1 else "")


def faults_at(*steps: str, nth: int = 1) -> Iterator[Fault]:
    for step in steps:
        places = IN_A_CALL if step in CALLS else IN_A_TRANSACTION
        for place, manners in places.items():
            yield from (Fault(step, place, manner, nth) for manner in manners)


class Saboteur:
    """Tracks the process's position and triggers each fault once."""

    def __init__(self, faults: Sequence[Fault], note: Callable[[str], None]) -> None:
        self._faults, self._note = list(faults), note
        self._reached: Counter[tuple[str, str]] = Counter()
        self.transaction = ""
        self.call = ""
        self.disk_is_dead = False

    def reach(self, step: str, place: str) -> None:
        self._reached[step, place] += 1
        for fault in self._faults:
            if (step, place, self._reached[step, place]) == (fault.step, fault.place, fault.nth):
                self._note(f"struck {fault}")
                self._strike(fault)
            elif (step, place, "unreachable") == (fault.step, fault.place, fault.manner):
                self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        match fault.manner:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "sigint":
                os.kill(os.getpid(), signal.SIGINT)
            case "sigterm":
                os.kill(os.getpid(), signal.SIGTERM)
            case "disk" | "dead":
                self.disk_is_dead = fault.manner == "dead"
                raise disk_error()
            case "full":
                raise sqlite3.OperationalError("database or disk is full")
            case "unreachable":
                raise ConnectionRefusedError("nobody listens there")
            case "exception" if fault.place == "connect":
                raise ConnectionRefusedError("nobody listens there")
            case "exception" if fault.place in ("connected", "sent", "answered"):
                raise ConnectionResetError("the line was cut")
            case _:
                raise Broken(str(fault))

    def is_waited_for(self, place: str) -> bool:
        return any((fault.step, fault.place) == (self.call, place) for fault in self._faults)

    def check_disk(self) -> None:
        if self.disk_is_dead:
            raise disk_error()

    def check_no_transaction_is_open(self) -> None:
        if self.transaction:
            self._note("broken: a transaction is open across network I/O")


def disk_error() -> sqlite3.OperationalError:
    return sqlite3.OperationalError("disk I/O error")


def install(saboteur: Saboteur) -> None:
    """Only in a separate process: it cannot be undone."""
    _wrap_sqlite(saboteur)
    _wrap_books(saboteur)
    for provider in (StripeProvider, AdyenProvider):
        _wrap_calls(provider, {"refund": "send", "find_refund": "lookup"}, saboteur)
    _wrap_calls(StripeInvoiceCloser, {"close": "send"}, saboteur)
    _wrap_calls(StripeRecords, {"invoice": "lookup", "payment": "snapshot"}, saboteur)
    _wrap_connections(saboteur)
    # Waits are skipped to save time.
    patch.object(policy, "SendingPolicy", partial(policy.SendingPolicy, sleep=nap)).start()


def nap(seconds: float) -> None:
    select.select([], [], [], min(seconds, 0.02))


def _wrap_sqlite(saboteur: Saboteur) -> None:
    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, *args: Any) -> "Cursor":
            saboteur.check_disk()
            if sql.startswith(("INSERT", "UPDATE")):
                saboteur.reach(saboteur.transaction, "statement")
            super().execute(sql, *args)
            return self

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def commit(self) -> None:
            saboteur.check_disk()
            writes = self.in_transaction and bool(saboteur.transaction)
            if writes:
                saboteur.reach(saboteur.transaction, "inside")
            super().commit()
            if writes:
                saboteur.reach(saboteur.transaction, "committed")

    def connect(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:
        options["factory"] = Connection

    event.listen(Engine, "do_connect", connect)


def _wrap_books(saboteur: Saboteur) -> None:
    write = SqlBooks.write

    def write_or_not(books: SqlBooks, work: Callable[[Any], Any]) -> Any:
        step = _step_of(work)
        saboteur.reach(step, "before")
        saboteur.transaction = step or "another"
        try:
            result = write(books, work)
        finally:
            saboteur.transaction = ""
        saboteur.reach(step, "after")
        return result

    patch.object(SqlBooks, "write", write_or_not).start()


def _step_of(work: Callable[[Any], Any]) -> str:
    function: Any = getattr(work, "func", work)
    name = function.__qualname__
    return STEPS.get(name, "") or STEPS.get(name.partition(".")[0], "")


def _wrap_calls(kind: type[Any], calls: dict[str, str], saboteur: Saboteur) -> None:
    def wrapped(call: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **options: Any) -> Any:
            saboteur.check_no_transaction_is_open()
            with _on_the_line(saboteur, call):
                saboteur.reach(call, "before")
                answer = original(self, *args, **options)
                saboteur.reach(call, "after")
                return answer

        return method

    for method, call in calls.items():
        patch.object(kind, method, wrapped(call, getattr(kind, method))).start()


@contextmanager
def _on_the_line(saboteur: Saboteur, call: str) -> Iterator[None]:
    saboteur.call = call
    try:
        yield
    finally:
        saboteur.call = ""


def _wrap_connections(saboteur: Saboteur) -> None:
    connect, request, answer = _Connection.connect, _Connection.request, _Connection.answer

    def connect_or_not(line: _Connection) -> None:
        saboteur.reach(saboteur.call, "connect")
        connect(line)
        saboteur.reach(saboteur.call, "connected")

    def request_or_not(line: _Connection, *args: Any, **options: Any) -> None:
        request(line, *args, **options)
        saboteur.reach(saboteur.call, "sent")

    def answer_or_not(line: _Connection) -> Any:
        if saboteur.is_waited_for("answered"):
            select.select([line.sock], [], [], 2)
            saboteur.reach(saboteur.call, "answered")
        return answer(line)

    patch.object(_Connection, "connect", connect_or_not).start()
    patch.object(_Connection, "request", request_or_not).start()
    patch.object(_Connection, "answer", answer_or_not).start()
