"""A provider run with fakes of its ports: each row once, by the protocol, whatever the provider answers."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from acting import Operator
from fakes import START, FakeBooks, FakeTransaction, accepted, money, paid_invoice, payment
from refundcli.domain.bulk_run import BulkRun, ItemState, RunItem, RunKind, RunState
from refundcli.domain.errors import Refused
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState
from refundcli.services.bulk.refund_run import RunWorker
from refundcli.services.bulk.report import RunLimits, RunReport, Stopped, StopPolicy
from refundcli.services.bulk.worker.leased_rows import InFlightRefund, Row, Stage
from refundcli.services.bulk.worker.refund_sending import RefundSending
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.send_refund import RefundDispatch
from refundcli.services.ports.providers import RefundAnswer

T = TypeVar("T")
RUN = BulkRun("run_1", RunKind.REFUND, RunState.RUNNING, "refunds.csv", "f1", 2, "Ada", START)


@dataclass
class FakeRuns:
    """One run and its rows. It stays outside of the facts: nothing here rolls a transaction back."""

    run: BulkRun
    items: dict[int, RunItem]

    def get(self, run_id: str) -> BulkRun:
        return self.run

    def change(self, run_id: str, state: RunState, *, note: str = "") -> None:
        self.run = replace(self.run, state=state)

    def requeue_unknown(self, run_id: str) -> int:
        unknown = [item for item in self.items.values() if item.state is ItemState.UNKNOWN]
        self.items |= {item.n: replace(item, state=ItemState.WAITING) for item in unknown}
        return len(unknown)

    def lease_items(self, run_id: str, *, limit: int, **lease: Any) -> list[RunItem]:
        waiting = [item for item in self.items.values() if item.state is ItemState.WAITING][:limit]
        self.items |= {item.n: replace(item, state=ItemState.LEASED) for item in waiting}
        return waiting

    def finish_items(self, items: Sequence[RunItem]) -> set[int]:
        own = {item.n: item for item in items if self.items[item.n].state is ItemState.LEASED}
        self.items |= own
        return set(own)

    def item_counts(self, run_id: str) -> dict[ItemState, int]:
        return dict(Counter(item.state for item in self.items.values()))

    def item_count_with_code(self, run_id: str, code: str) -> int:
        return sum(item.code == code for item in self.items.values())

    def row_leases(self, run_id: str) -> list[Any]:
        return []


@dataclass
class RunBooks(FakeBooks):
    runs: FakeRuns = field(default_factory=lambda: FakeRuns(RUN, {}))

    def read(self, work: Callable[[Any], T]) -> T:
        return super().read(lambda tx: work(self._with_runs(tx)))

    def write(self, work: Callable[[Any], T]) -> T:
        return super().write(lambda tx: work(self._with_runs(tx)))

    def _with_runs(self, tx: Any) -> Any:
        def by_keys(keys: Sequence[str]) -> dict[str, list[Refund]]:
            return {key: refunds for key in keys if (refunds := tx.refunds.by_key(key))}

        assert isinstance(tx, FakeTransaction)
        tx.runs, tx.refunds.by_keys = self.runs, by_keys  # type: ignore[attr-defined]
        return tx


@dataclass
class Run:
    """A run over paid invoices: a row is an invoice's number and the amount that was confirmed."""

    rows: Sequence[tuple[str, str]]
    stop: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        numbers = list(dict.fromkeys(number for number, _ in self.rows))
        invoices = tuple(
            paid_invoice(number, id=place, payments=(payment(id=place, references=(f"pi_{place}",)),))
            for place, number in enumerate(numbers, 1)
        )
        self.books = RunBooks(runs=FakeRuns(RUN, {n: _item(n, *row) for n, row in enumerate(self.rows, 1)}))
        self.operator = Operator(invoices, books=self.books)

    def work(self, **limits: int) -> RunReport:
        operator = self.operator
        return RunWorker(
            self.books.runs.run,
            dispatch=RefundDispatch(self.books.port, operator.providers.port, operator.clock, operator.policy),
            limits=RunLimits(**limits),
            on_row_end=lambda item, refunds: None,
            stop_request=self.stop,
        ).run()

    @property
    def states(self) -> list[str]:
        return [item.code or item.state.value for item in self.books.runs.items.values()]

    @property
    def refunds(self) -> list[Refund]:
        return [refund for invoice in self.books.facts.invoices.values() for refund in invoice.refunds]


def _item(n: int, number: str, expected: str) -> RunItem:
    amount = expected.partition(" ")[0]
    amount_text = "" if amount == "100" else amount
    return RunItem("run_1", n, n + 1, number, amount_text, RefundReason.OTHER, f"row-{n}", money(expected).minor)


def test_each_row_is_reserved_claimed_sent_and_settled_once() -> None:
    run = Run([("INV-1", "100 EUR"), ("INV-2", "100 EUR"), ("INV-3", "40 EUR")])
    report = run.work()
    assert report.bug is None
    assert (report.refunded, report.state, run.states) == (3, RunState.FINISHED, ["done"] * 3)
    assert [request.params["amount"] for request, _ in run.operator.stripe.sent] == [10_000, 10_000, 4_000]
    assert len({key for _, key in run.operator.stripe.sent}) == 3
    assert {refund.run_id for refund in run.refunds} == {"run_1"}
    # The rows share their transactions: far fewer than the five steps of each.
    assert run.books.writes < 5 * 3
    assert run.work().refunded == 0
    assert len(run.operator.stripe.sent) == 3


def test_rows_of_one_invoice_see_the_outcome_of_the_one_before() -> None:
    run = Run([("INV-1", "60 EUR"), ("INV-1", "60 EUR"), ("INV-1", "40 EUR")])
    report = run.work()
    assert report.bug is None
    assert run.states == ["done", "over-refund", "done"]
    assert [request.params["amount"] for request, _ in run.operator.stripe.sent] == [6_000, 4_000]


def test_a_declined_row_is_refused_and_its_amount_is_free() -> None:
    run = Run([("INV-1", "100 EUR"), ("INV-2", "100 EUR")])
    run.operator.stripe.answers = [RefundAnswer(Signal.DECLINED, message="no"), accepted()]
    report = run.work(in_flight=1)
    assert report.bug is None
    assert (run.states, report.refunded, report.refused) == (["provider-declined", "done"], 1, 1)
    assert run.books.invoice("INV-1").reserved.minor == 0


def test_an_unknown_outcome_stays_reserved_and_is_looked_up_by_the_next_worker() -> None:
    run = Run([("INV-1", "100 EUR")])
    run.operator.stripe.answers = [RefundAnswer(Signal.NO_ANSWER, message="no response")]
    report = run.work()
    assert report.bug is None
    assert (run.states, report.unknown, report.state) == (["outcome-unknown"], 1, RunState.STOPPED)
    (refund,) = run.refunds
    assert (refund.state, run.books.invoice().reserved.minor) == (RefundState.SUBMITTED, 10_000)
    request, _ = run.operator.stripe.sent[0]
    run.operator.stripe.list(request, accepted())
    assert (run.work().refunded, len(run.operator.stripe.sent)) == (1, 1)


def test_the_rules_are_checked_again_in_the_transaction_that_claims() -> None:
    run = Run([("INV-1", "100 EUR")])

    def process_it(number: int) -> None:
        if any(refund.state is RefundState.READY for refund in run.refunds):
            run.books.change(processing=True)

    run.books.before_write = process_it
    report = run.work()
    assert report.bug is None
    assert (run.states, run.operator.stripe.sent) == (["never-sent"], [])
    assert run.books.invoice().reserved.minor == 0


def test_a_stop_waits_for_what_was_sent_and_starts_no_other_row() -> None:
    run = Run([(f"INV-{n}", "100 EUR") for n in range(1, 6)])
    run.operator.stripe.before_first_byte = run.stop.set
    report = run.work(in_flight=1)
    assert report.bug is None
    assert (report.stopped, report.state) == (Stopped.ASKED, RunState.STOPPED)
    assert report.refunded == len(run.operator.stripe.sent) >= 1
    assert report.waiting == 5 - report.refunded
    assert all(refund.state in (RefundState.SUCCEEDED, RefundState.FAILED) for refund in run.refunds)
    run.stop.clear()
    run.operator.stripe.before_first_byte = lambda: None
    assert (run.work().state, run.states) == (RunState.FINISHED, ["done"] * 5)


def test_a_bug_ends_the_run_and_what_was_sent_is_stored() -> None:
    run = Run([("INV-1", "100 EUR"), ("INV-2", "100 EUR")])

    def fail(number: int) -> None:
        if run.operator.stripe.sent:
            run.books.before_write = lambda number: None
            raise KeyError(7)

    run.books.before_write = fail
    report = run.work(in_flight=1)
    assert isinstance(report.bug, KeyError)
    sent = len(run.operator.stripe.sent)
    assert sum(refund.state is RefundState.SUCCEEDED for refund in run.refunds) == sent >= 1


def test_a_lease_that_another_worker_took_over_is_not_reported_twice() -> None:
    run = Run([("INV-1", "100 EUR")])

    def take_over(number: int) -> None:
        if run.operator.stripe.sent:
            run.books.runs.items[1] = replace(run.books.runs.items[1], state=ItemState.DONE)

    run.books.before_write = take_over
    report = run.work()
    assert (report.bug, report.refunded) == (None, 0)


def test_a_bug_loses_no_answer_about_an_earlier_refund_that_a_row_waits_for() -> None:
    run = Run([("INV-1", "40 EUR")])
    run.operator.stripe.answers = [RefundAnswer(Signal.NO_ANSWER, message="no response"), accepted()]
    (earlier,) = run.operator.refund("60 EUR", key="earlier")
    assert earlier.state is RefundState.SUBMITTED

    def fail(number: int) -> None:
        if len(run.operator.stripe.sent) == 2:
            run.books.before_write = lambda number: None
            raise KeyError(7)

    run.books.before_write = fail
    report = run.work()
    assert isinstance(report.bug, KeyError)
    (refund,) = run.refunds
    assert (len(run.operator.stripe.sent), refund.state) == (2, RefundState.SUCCEEDED)


def test_an_error_of_ours_after_the_claim_is_not_reported_as_a_refused_row() -> None:
    """No adapter raises here: if one did, the refund may have been sent, so the run ends and the row stays open."""
    run = Run([("INV-1", "100 EUR")])

    def fail() -> None:
        raise Refused("odd")

    run.operator.stripe.before_first_byte = fail
    report = run.work()
    (refund,) = run.refunds
    assert isinstance(report.trouble, Refused)
    assert (refund.state, run.states) == (RefundState.SUBMITTED, ["waiting"])


def test_a_refund_is_not_dropped_once_another_one_of_its_row_is_claimed() -> None:
    """The claim of the other one is committed, and its task runs before the next commit."""
    run = Run([("INV-1", "100 EUR")])
    run.operator.stripe.answers = [RefundAnswer(Signal.NO_ANSWER, message="no response")]
    (refund,) = run.operator.refund("60 EUR")
    run.books.facts.put_refund(replace(refund, state=RefundState.READY))
    provider = run.operator.stripe
    flight, sibling = (InFlightRefund(refund, cast(Any, provider), Stage.OURS) for _ in range(2))
    row = Row(run.books.runs.items[1], own=[flight, sibling])

    async def settle(of: InFlightRefund, work: Callable[[Any], object]) -> Refund:
        sibling.claimed = True
        run.books.write(work)
        return run.books.refund()

    context = SimpleNamespace(
        commits=SimpleNamespace(settle=settle, closed=False),
        clock=run.operator.clock,
        policy=run.operator.policy,
        stop_policy=StopPolicy(RunLimits()),
    )
    asyncio.run(RefundSending(cast(Any, context))._give_up(flight, row))
    assert run.books.refund().state is RefundState.READY
