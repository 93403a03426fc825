"""One transaction for many rows: each takes one step, and none delays or rolls back another.

The steps of a row stay in order: each is committed before its row continues. A step changes nothing but the books,
because a transaction may be retried: it returns what it wrote, which counts once it is committed.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar

from refundcli.domain.bulk_run import BulkRun, RunItem
from refundcli.domain.errors import RefundcliError
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund
from refundcli.services.bulk.worker.leased_rows import InFlightRefund, Row
from refundcli.services.dispatch.leases import new_lease
from refundcli.services.dispatch.policy import SendingPolicy
from refundcli.services.dispatch.release_lapsed import apply_due_updates_in, is_due
from refundcli.services.ports.books import Books, RefundReading, Writing
from refundcli.services.ports.clock import Clock

T = TypeVar("T")


class Kind(Enum):
    """The order of the steps in a transaction: outcomes first, because they release or use amounts."""

    SETTLE = auto()
    CLAIM = auto()
    CHECK = auto()
    END = auto()


@dataclass(eq=False, slots=True)
class Step:
    """One row's part of a transaction, about a row or a refund; `result` is set once it is committed."""

    kind: Kind
    subject: Any
    work: Callable[..., Any]
    result: "asyncio.Future[Any]"


@dataclass(eq=False, slots=True)
class GroupCommit:
    """Collects the next steps of many rows and commits them at once.

    `row_lease_seconds`: another worker may take over a row after this long. `added` is set when a step is added.
    """

    run: BulkRun
    worker: str
    books: Books
    clock: Clock
    policy: SendingPolicy
    row_lease_seconds: float
    added: asyncio.Event = field(default_factory=asyncio.Event)
    # Nothing new is started any more; no step is committed any more.
    stopped: bool = False
    closed: bool = False
    _steps: list[Step] = field(default_factory=list)

    # --- steps -------------------------------------------------------------------------------------------

    async def settle(self, flight: InFlightRefund, work: Callable[[Writing], object]) -> Refund:
        """Change the refund; returns it as stored afterwards."""
        refund: Refund = await self._step(Kind.SETTLE, flight, work)
        return refund

    async def claim(self, flight: InFlightRefund, work: Callable[[Writing, RefundReading], T]) -> T:
        """T2 of a refund, when there is room on the wire. Raises CancelledError if the worker stops."""
        result: T = await self._step(Kind.CLAIM, flight, work)
        return result

    async def check(self, row: Row, work: Callable[[Writing, RefundReading], T]) -> T:
        """Check or reserve a row. Raises its refusal, and CancelledError if the worker stops."""
        result: T = await self._step(Kind.CHECK, row, work)
        return result

    async def finish(self, outcome: RunItem) -> bool:
        """Store the outcome of a row. False if another worker has taken it over."""
        return bool(await self._step(Kind.END, outcome, lambda tx: None))

    async def _step(self, kind: Kind, subject: object, work: Callable[..., Any]) -> Any:
        if self.closed or (self.stopped and kind in (Kind.CLAIM, Kind.CHECK)):
            raise asyncio.CancelledError
        step = Step(kind, subject, work, asyncio.get_running_loop().create_future())
        self._steps.append(step)
        self.added.set()
        return await step.result

    def stop(self) -> None:
        """Start nothing new: cancel claims and checks, now and from now on."""
        self.stopped = True
        for step in self._steps:
            if step.kind in (Kind.CLAIM, Kind.CHECK):
                step.result.cancel()
        self._steps = [step for step in self._steps if not step.result.cancelled()]

    # --- the transaction ---------------------------------------------------------------------------------

    def waiting_claims(self) -> list[InFlightRefund]:
        return [step.subject for step in self._steps if step.kind is Kind.CLAIM]

    def is_due(self) -> bool:
        """Is there a step that needs no room on the wire?"""
        return any(step.kind is not Kind.CLAIM for step in self._steps)

    def commit(self, claims: Sequence[InFlightRefund], *, take: int = 0, extend: bool = False) -> list[RunItem]:
        """Commit all steps, of the claims only these. Returns the rows that it leased, at most `take`.

        `extend`: extend the leases of all rows.
        """
        steps = [step for step in self._steps if step.kind is not Kind.CLAIM or step.subject in claims]
        results, leased = self.books.write(lambda tx: (self._write(tx, steps), self._lease(tx, take, extend=extend)))
        self._steps = [step for step in self._steps if step not in steps]
        for step, result in results:
            if isinstance(result, RefundcliError):
                step.result.set_exception(result)
            else:
                step.result.set_result(result)
        return leased

    def _write(self, tx: Writing, steps: Sequence[Step]) -> list[tuple[Step, Any]]:
        settling, claiming, checks, ends = ([step for step in steps if step.kind is kind] for kind in Kind)
        for step in settling:
            step.work(tx)
        refunds_by_id = tx.refunds.by_id([step.subject.refund.id for step in settling]) if settling else {}
        results: list[tuple[Step, Any]] = [(step, refunds_by_id[step.subject.refund.id]) for step in settling]
        if claiming:
            numbers = [step.subject.refund.invoice_number for step in claiming]
            reading = _ReadAhead(tx, self.clock, self.policy, numbers)
            results += [(step, step.work(tx, reading)) for step in claiming]
        if checks:
            # A wrong clock stops the whole run, not a single row.
            tx.audit.check_clock()
            rows = [step.subject.stored for step in checks]
            keys = [row.request_key for row in rows]
            reading = _ReadAhead(tx, self.clock, self.policy, [row.invoice for row in rows], keys)
            results += [(step, _checked(step, tx, reading)) for step in checks]
        own_row_numbers = tx.runs.finish_items([step.subject for step in ends])
        return results + [(step, step.subject.n in own_row_numbers) for step in ends]

    def _lease(self, tx: Writing, limit: int, *, extend: bool) -> list[RunItem]:
        now = self.clock.now()
        until = new_lease(now, self.row_lease_seconds, owner=self.worker).until
        if extend:
            tx.runs.extend_leases(self.run.id, worker=self.worker, until=until)
        if not limit:
            return []
        return tx.runs.lease_items(self.run.id, worker=self.worker, until=until, at=now, limit=limit)


def _checked(step: Step, tx: Writing, reading: RefundReading) -> Any:
    try:
        return step.work(tx, reading)
    except RefundcliError as refusal:
        return refusal


class _ReadAhead:
    """What the rules read, for all rows at once: no two rows of a group share an invoice or a key.

    Two refunds to be claimed may share an invoice; claiming one does not affect the other.
    """

    def __init__(
        self,
        tx: Writing,
        clock: Clock,
        policy: SendingPolicy,
        invoice_numbers: Sequence[str],
        request_keys: Sequence[str] = (),
    ) -> None:
        invoices_by_number = tx.invoices.by_number(list(dict.fromkeys(invoice_numbers)))
        due_numbers = [number for number, invoice in invoices_by_number.items() if is_due(invoice, clock.now())]
        for number in due_numbers:
            apply_due_updates_in(tx, number, policy=policy, clock=clock)
        invoices_by_number |= tx.invoices.by_number(due_numbers) if due_numbers else {}
        self.invoices = _InvoicesReadAhead(tx, invoices_by_number)
        self.refunds = _RefundsReadAhead(tx.refunds.by_keys(request_keys) if request_keys else {})
        self.payments = tx.payments


@dataclass(frozen=True, slots=True)
class _InvoicesReadAhead:
    tx: Writing
    by_number: Mapping[str, Invoice]

    def get(self, number: str) -> Invoice | None:
        return self.by_number.get(number)

    def numbers_near(self, number: str) -> list[str]:
        return self.tx.invoices.numbers_near(number)


@dataclass(frozen=True, slots=True)
class _RefundsReadAhead:
    refunds_by_key: Mapping[str, list[Refund]]

    def by_key(self, request_key: str) -> list[Refund]:
        return self.refunds_by_key.get(request_key, [])
