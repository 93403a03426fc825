"""One transaction for many rows: each takes one step, and none delays or rolls back another.

The order of a row's steps is kept: a step is committed before its row continues. A step changes nothing but the books,
because a transaction may be retried: it returns what it wrote, which counts once it is committed.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from refundcli.domain.bulk_run import BulkRun, RunItem
from refundcli.domain.errors import RefundcliError
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund
from refundcli.services.bulk.worker.leased_rows import InFlightRefund, Row
from refundcli.services.dispatch.leases import new_lease
from refundcli.services.dispatch.release_lapsed import apply_due_updates_in, is_due
from refundcli.services.dispatch.send_refund import SendingPolicy
from refundcli.services.ports.books import Books, RefundReading, Writing
from refundcli.services.ports.clock import Clock

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Step:
    """One row's part of a transaction, about a row or a refund; `result` is set once it is committed."""

    work: Callable[..., Any]
    result: "asyncio.Future[Any]"
    row: Row | None = None
    flight: InFlightRefund | None = None


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
    _settling: list[Step] = field(default_factory=list)
    _claims: list[Step] = field(default_factory=list)
    _checks: list[Step] = field(default_factory=list)
    _ends: list[tuple[RunItem, "asyncio.Future[Any]"]] = field(default_factory=list)
    _stopped: bool = False
    closed: bool = False

    # --- steps -------------------------------------------------------------------------------------------

    async def settle(self, flight: InFlightRefund, work: Callable[[Writing], object]) -> Refund:
        """Change the refund; returns it as stored afterwards."""
        refund: Refund = await self._added(self._settling, Step(work, self._result(), flight=flight))
        return refund

    async def claim(self, flight: InFlightRefund, work: Callable[[Writing, RefundReading], T]) -> T:
        """T2 of a refund, when there is room on the wire. Raises CancelledError if the worker stops."""
        result: T = await self._added(self._claims, Step(work, self._result(), flight=flight))
        return result

    async def check(self, row: Row, work: Callable[[Writing, RefundReading], T]) -> T:
        """Check or reserve a row. Raises its refusal, and CancelledError if the worker stops."""
        result: T = await self._added(self._checks, Step(work, self._result(), row=row))
        return result

    async def finish(self, outcome: RunItem) -> bool:
        """Store the outcome of a row. False if another worker has taken it over."""
        result = self._result()
        self._ends.append((outcome, result))
        self.added.set()
        return bool(await result)

    def stop(self) -> None:
        """Start nothing new: cancel claims and checks, now and from now on."""
        self._stopped = True
        for step in [*self._claims, *self._checks]:
            step.result.cancel()
        self._claims, self._checks = [], []

    def _result(self) -> "asyncio.Future[Any]":
        if self.closed:
            raise asyncio.CancelledError
        return asyncio.get_running_loop().create_future()

    async def _added(self, steps: list[Step], step: Step) -> Any:
        if self._stopped and steps is not self._settling:
            raise asyncio.CancelledError
        steps.append(step)
        self.added.set()
        return await step.result

    # --- the transaction ---------------------------------------------------------------------------------

    def waiting_claims(self) -> list[InFlightRefund]:
        return [step.flight for step in self._claims if step.flight]

    def is_due(self) -> bool:
        """Is there a step that needs no room on the wire?"""
        return bool(self._settling or self._checks or self._ends)

    def commit(self, claims: Sequence[InFlightRefund], *, take: int = 0, extend: bool = False) -> list[RunItem]:
        """Commit all steps, of the claims only these. Returns the rows that it leased, of `take` at most.

        `extend`: extend the leases of all rows. Outcomes come first, because the amounts that they release or use
        affect the rows checked next.
        """
        settling, checks, ends = self._settling, self._checks, self._ends
        claiming = [step for step in self._claims if step.flight in claims]
        results, own_row_numbers, leased = self.books.write(
            lambda tx: self._write(tx, settling, claiming, checks, [outcome for outcome, _ in ends], take, extend)
        )
        self._settling, self._checks, self._ends = [], [], []
        self._claims = [step for step in self._claims if step not in claiming]
        for step, result in results:
            if isinstance(result, RefundcliError):
                step.result.set_exception(result)
            else:
                step.result.set_result(result)
        for outcome, future in ends:
            future.set_result(outcome.n in own_row_numbers)
        return leased

    def _write(
        self,
        tx: Writing,
        settling: Sequence[Step],
        claiming: Sequence[Step],
        checks: Sequence[Step],
        outcomes: Sequence[RunItem],
        take: int,
        extend: bool,
    ) -> tuple[list[tuple[Step, Any]], set[int], list[RunItem]]:
        for step in settling:
            step.work(tx)
        flights = [(step, step.flight) for step in settling if step.flight]
        refunds_by_id = tx.refunds.by_id([flight.refund.id for _, flight in flights]) if flights else {}
        results: list[tuple[Step, Any]] = [(step, refunds_by_id[flight.refund.id]) for step, flight in flights]
        if claiming:
            numbers = [step.flight.refund.invoice_number for step in claiming if step.flight]
            reading = _ReadAhead(tx, self.clock, self.policy, numbers)
            results += [(step, step.work(tx, reading)) for step in claiming]
        if checks:
            # A wrong clock stops the whole run, not a single row.
            tx.audit.check_clock()
            rows = [step.row.stored for step in checks if step.row]
            reading = _ReadAhead(
                tx, self.clock, self.policy, [row.invoice for row in rows], [row.request_key for row in rows]
            )
            results += [(step, _checked(step, tx, reading)) for step in checks]
        own_row_numbers = tx.runs.finish_items(outcomes)
        now = self.clock.now()
        until = new_lease(now, self.row_lease_seconds, owner=self.worker).until
        leased = tx.runs.lease_items(self.run.id, worker=self.worker, until=until, at=now, limit=take) if take else []
        if extend:
            tx.runs.extend_leases(self.run.id, worker=self.worker, until=until)
        return results, own_row_numbers, leased


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
