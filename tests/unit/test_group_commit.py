"""One transaction for the next steps of many rows: in order, each refused by itself, and nothing new once stopped."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from refundcli.domain.bulk_run import ItemState, RunItem
from refundcli.domain.errors import Refused
from refundcli.domain.reasons import RefundReason
from refundcli.services.bulk.worker.group_commit import GroupCommit
from refundcli.services.bulk.worker.leased_rows import InFlightRefund, Row


class Books:
    """Does each transaction twice, as after a lost race, and notes what the steps of the last one did."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.transactions = 0
        self.leased: list[RunItem] = []
        reads = SimpleNamespace(by_number=lambda numbers: {}, by_keys=lambda keys: {})
        self._tx = SimpleNamespace(
            invoices=reads,
            payments=None,
            refunds=SimpleNamespace(by_id=lambda ids: {name: f"stored {name}" for name in ids}, by_keys=reads.by_keys),
            audit=SimpleNamespace(check_clock=lambda: self.done.append("clock")),
            runs=SimpleNamespace(finish_items=self._finish, lease_items=lambda *args, **more: self.leased),
        )

    def _finish(self, outcomes: Sequence[RunItem]) -> set[int]:
        self.done += [f"end {outcome.n}" for outcome in outcomes]
        return {outcome.n for outcome in outcomes if outcome.n < 9}

    def write(self, work: Callable[[Any], Any]) -> Any:
        self.transactions += 1
        work(self._tx)
        self.done.clear()
        return work(self._tx)

    def step(self, name: str) -> Callable[..., str]:
        def work(*_: object) -> str:
            self.done.append(name)
            return name

        return work


class Too(Refused):
    code = "too-late"


def group_of(books: Books) -> GroupCommit:
    clock: Any = SimpleNamespace(now=lambda: datetime(2026, 10, 2, tzinfo=UTC))
    run: Any = SimpleNamespace(id="run_1")
    policy: Any = None
    any_books: Any = books
    return GroupCommit(run, "host|1|1", any_books, clock, policy, 120.0)


def row(n: int) -> Row:
    return Row(RunItem("run_1", n, n + 1, f"INV-{n}", "", RefundReason.OTHER, f"row-{n}", 100))


def flight(name: str) -> InFlightRefund:
    refund: Any = SimpleNamespace(id=name, invoice_number="INV-1")
    provider: Any = None
    return InFlightRefund(refund, provider)


async def results(group: GroupCommit, *steps: Awaitable[Any], claims: Sequence[InFlightRefund] = ()) -> list[Any]:
    """Adds the steps, commits, and returns what each one got, "waits" if it still waits."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    await asyncio.sleep(0)
    group.commit(claims)
    await asyncio.wait(tasks, timeout=0.01)
    return [(task.exception() or task.result()) if task.done() else "waits" for task in tasks]


def test_outcomes_come_before_claims_and_claims_before_new_rows() -> None:
    books = Books()
    group, sent, ready = group_of(books), flight("rf_1"), flight("rf_2")

    async def work() -> list[Any]:
        checked = group.check(row(3), books.step("check"))
        claimed = group.claim(ready, books.step("claim"))
        return await results(
            group,
            group.finish(row(4).stored),
            checked,
            claimed,
            group.settle(sent, books.step("settle")),
            claims=[ready],
        )

    assert asyncio.run(work()) == [True, "check", "claim", "stored rf_1"]
    assert books.done == ["settle", "claim", "clock", "check", "end 4"]
    assert books.transactions == 1


def test_a_refused_row_delays_and_rolls_back_no_other() -> None:
    books, refusal = Books(), Too("It is too late.")
    group = group_of(books)

    def refuse(*_: object) -> None:
        raise refusal

    async def work() -> list[Any]:
        return await results(group, group.check(row(1), refuse), group.check(row(2), books.step("second")))

    assert asyncio.run(work()) == [refusal, "second"]


def test_a_row_that_another_worker_took_over_is_not_counted() -> None:
    group = group_of(Books())

    async def work() -> list[Any]:
        return await results(group, group.finish(row(8).stored), group.finish(row(9).stored))

    assert asyncio.run(work()) == [True, False]


def test_a_claim_waits_for_room_on_the_wire() -> None:
    books = Books()
    group, first, second = group_of(books), flight("rf_1"), flight("rf_2")

    async def work() -> list[Any]:
        claims = group.claim(first, books.step("first")), group.claim(second, books.step("second"))
        found = await results(group, *claims, claims=[first])
        assert (group.waiting_claims(), group.is_due()) == ([second], False)
        group.stop()
        return found

    assert asyncio.run(work()) == ["first", "waits"]


def test_a_stopped_group_starts_nothing_new_and_still_stores_outcomes() -> None:
    books = Books()
    group = group_of(books)

    async def work() -> list[Any]:
        waiting = asyncio.ensure_future(group.check(row(1), books.step("check")))
        await asyncio.sleep(0)
        group.stop()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(asyncio.CancelledError):
            await group.claim(flight("rf_2"), books.step("claim"))
        return await results(group, group.settle(flight("rf_1"), books.step("settle")))

    assert asyncio.run(work()) == ["stored rf_1"]
    assert books.done == ["settle"]


def test_a_row_waits_again_unless_all_its_refunds_have_an_outcome() -> None:
    some_row, part = row(1), flight("rf_1")
    assert some_row.outcome_by_refunds().state is ItemState.WAITING
    some_row.own = [part]
    assert some_row.outcome_by_refunds().state is ItemState.WAITING
    part.ended = part.given_up = True
    assert some_row.outcome_by_refunds().state is ItemState.WAITING
