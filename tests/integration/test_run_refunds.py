"""Many refunds in one run: each row once, rows independent of each other, and a stop that loses nothing."""

import itertools
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from desk import Desk, new_invoice
from meanwhile import once
from refundcli.domain.bulk_run import ItemState, RunItem, RunState
from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.money import parse_money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.bulk.report import Stopped
from refundcli.services.bulk.worker import group_commit
from refundcli.services.bulk.worker.context import WorkerContext
from refundcli.services.bulk.worker.leased_rows import InFlightRefund
from refundcli.services.bulk.worker.refund_sending import RefundSending
from refundcli.services.dispatch import leases, protocol
from refundcli.services.ports.provider_updates import DisputeUpdate
from refundcli.services.ports.records import NewPayment
from refundcli.store.checks.integrity import findings
from refundcli.system.processes import this_process
from runs import RequestedRow, Runner, services_of
from updates import apply


@pytest.fixture
def runner(desk: Desk) -> Runner:
    desk.environ |= {"REFUNDCLI_REFUNDS_STRIPE_RATE": "0", "REFUNDCLI_REFUNDS_ADYEN_RATE": "0"}
    return Runner(desk)


def paid(desk: Desk, count: int, *, amount: str = "100.00 EUR", provider: str = "stripe", start: int = 1) -> list[str]:
    """Invoices paid by card; the references of their payments."""
    return [desk.paid_by_card(f"INV-{n}", amount, provider=provider) for n in range(start, start + count)]


def rows_of(count: int, expected: str = "100.00 EUR", amount: str = "") -> list[RequestedRow]:
    return [RequestedRow(f"INV-{n}", expected, amount) for n in range(1, count + 1)]


def test_every_row_is_refunded_once(runner: Runner, desk: Desk) -> None:
    references = [*paid(desk, 12), *paid(desk, 8, provider="adyen", start=13)]
    run = runner.stage(*rows_of(20))
    report = runner.work(run)
    assert (report.done, report.refused, report.unknown, report.stopped) == (20, 0, 0, None)
    assert [desk.refunded_at_provider(reference) for reference in references] == [[10_000]] * 20
    assert (report.refunded, str(report.totals["EUR"])) == (12, "1200.00 EUR")
    # Adyen reports the outcome later.
    assert (report.accepted, str(report.accepted_totals["EUR"])) == (8, "800.00 EUR")
    assert (report.state, runner.run_state(run)) == (RunState.FINISHED, RunState.FINISHED)
    assert sorted(item.n for item, _ in runner.reported) == list(range(1, 21))
    assert desk.invoice("INV-1").refunds[0].run_id == run.id
    assert findings(desk.books) == []


def two_payments(desk: Desk, number: str = "INV-1") -> list[str]:
    """One invoice, paid by two cards; the references of its payments."""
    references = [desk.sandbox.charge("100.00 EUR").reference for _ in range(2)]
    payments = tuple(
        NewPayment(10_000, Provider.STRIPE, "card", reference, auto_refundable=True) for reference in references
    )
    desk.bring_in(new_invoice(number, parse_money("200.00 EUR"), payments=payments))
    return references


# --- rows that are refused -----------------------------------------------------------------------------------


def test_refused_rows_do_not_block_the_others(runner: Runner, desk: Desk) -> None:
    references = paid(desk, 4)
    desk.sandbox.dispute(references[1])
    desk.paid_outside("INV-9")
    run = runner.stage(
        RequestedRow("INV-1", "100.00 EUR"),
        RequestedRow("INV-2", "100.00 EUR"),
        RequestedRow("INV-8", "100.00 EUR"),
        RequestedRow("INV-9", "100.00 EUR"),
        RequestedRow("INV-3", "900.00 EUR", "900"),
        RequestedRow("INV-4", "100.00 EUR"),
    )
    report = runner.work(run)
    assert runner.states(run) == [
        "done",
        "differs-from-provider",
        "invoice-not-found",
        "not-auto-refundable",
        "over-refund",
        "done",
    ]
    assert (report.done, report.refused, report.state) == (2, 4, RunState.FINISHED)
    assert [desk.refunded_at_provider(reference) for reference in references] == [[10_000], [], [], [10_000]]
    assert all(item.message for item in runner.items(run) if item.state is ItemState.REFUSED)
    assert findings(desk.books) == []


def test_a_row_whose_amount_is_not_what_was_confirmed_is_not_sent(runner: Runner, desk: Desk) -> None:
    (reference,) = paid(desk, 1)
    run = runner.stage(RequestedRow("INV-1", "60.00 EUR"))
    runner.work(run)
    assert runner.states(run) == ["changed-meanwhile"]
    assert desk.refunded_at_provider(reference) == []
    assert desk.invoice("INV-1").reserved.minor == 0


def test_what_the_provider_declines_is_refused_and_its_amount_free(runner: Runner, desk: Desk) -> None:
    references = paid(desk, 2)
    desk.sandbox.faults("failed", payment=references[0])
    run = runner.stage(*rows_of(2))
    report = runner.work(run)
    assert runner.states(run) == ["provider-declined", "done"]
    assert (report.done, report.refused) == (1, 1)
    assert desk.invoice("INV-1").refundable.number == "100.00"
    # The same run does not attempt it again.
    runner.work(run)
    assert len(desk.sandbox.refunds) == 2


def test_a_row_that_is_fed_back_after_it_failed_is_a_new_try_under_the_same_key(runner: Runner, desk: Desk) -> None:
    (reference,) = paid(desk, 1)
    desk.sandbox.faults("failed", payment=reference)
    runner.work(runner.stage(RequestedRow("INV-1", "100.00 EUR", key="mine")))
    again = runner.stage(RequestedRow("INV-1", "100.00 EUR", key="mine"), fingerprint="f2")
    report = runner.work(again)
    assert (report.done, report.done_before) == (1, 0)
    assert [(refund.state, refund.attempt) for refund in desk.invoice("INV-1").refunds] == [
        (RefundState.FAILED, 1),
        (RefundState.SUCCEEDED, 2),
    ]
    third = runner.work(runner.stage(RequestedRow("INV-1", "100.00 EUR", key="mine"), fingerprint="f3"))
    assert (third.done, third.done_before, third.totals) == (1, 1, {})
    assert findings(desk.books) == []


def test_a_run_that_goes_wrong_stops_at_so_many_errors_and_can_go_on(runner: Runner, desk: Desk) -> None:
    references = paid(desk, 12)
    for reference in references[:6]:
        desk.sandbox.dispute(reference)
    run = runner.stage(*rows_of(12))
    report = runner.work(run, in_flight=1, max_errors=2)
    assert (report.stopped, report.state) == (Stopped.MAX_ERRORS, RunState.STOPPED)
    # Rows in flight are finished: at most the number begun at once.
    assert 2 <= report.refused <= 4
    assert report.waiting == 12 - report.refused - report.done
    rest = runner.work(run)
    assert (report.refused + rest.refused, report.done + rest.done, rest.state) == (6, 6, RunState.FINISHED)
    assert findings(desk.books) == []


# --- several of one kind -------------------------------------------------------------------------------------


def test_both_payments_of_an_invoice_are_refunded_by_one_row(runner: Runner, desk: Desk) -> None:
    references = two_payments(desk)
    run = runner.stage(RequestedRow("INV-1", "200.00 EUR"))
    report = runner.work(run)
    assert runner.states(run) == ["done"]
    assert str(report.totals["EUR"]) == "200.00 EUR"
    assert [desk.refunded_at_provider(reference) for reference in references] == [[10_000], [10_000]]
    assert desk.invoice("INV-1").status == "refunded"


def test_a_row_with_one_of_two_payments_declined_is_partly_refunded(runner: Runner, desk: Desk) -> None:
    references = two_payments(desk)
    desk.sandbox.faults("failed", payment=references[1])
    run = runner.stage(RequestedRow("INV-1", "200.00 EUR"))
    report = runner.work(run)
    assert (report.partly, report.refused, str(report.totals["EUR"])) == (1, 0, "100.00 EUR")
    assert runner.states(run) == ["partly-refunded"]
    assert desk.invoice("INV-1").refunded.number == "100.00"
    # Its key has a refund that succeeded: the same row again reports it and sends nothing.
    fed_back = runner.work(runner.stage(RequestedRow("INV-1", "100.00 EUR"), fingerprint="f2"))
    assert (fed_back.partly, fed_back.refused, fed_back.totals) == (1, 0, {})
    again = runner.work(runner.stage(RequestedRow("INV-1", "100.00 EUR", key="another"), fingerprint="f3"))
    assert (again.done, desk.invoice("INV-1").status) == (1, "refunded")
    assert len(desk.refunded_at_provider(references[0])) == 1
    assert findings(desk.books) == []


def test_rows_of_one_invoice_are_done_one_after_the_other(runner: Runner, desk: Desk) -> None:
    (reference,) = paid(desk, 1)
    run = runner.stage(
        *[RequestedRow("INV-1", f"{amount}.00 EUR", amount) for amount in ("30", "30", "20")],
        RequestedRow("INV-1", "30.00 EUR", "30"),
        RequestedRow("INV-1", "20.00 EUR"),
    )
    report = runner.work(run, in_flight=16)
    assert runner.states(run) == ["done", "done", "done", "over-refund", "done"]
    assert desk.refunded_at_provider(reference) == [3000, 3000, 2000, 2000]
    assert (report.done, report.refused) == (4, 1)
    assert findings(desk.books) == []


def test_rows_with_one_key_are_one_request(runner: Runner, desk: Desk) -> None:
    (reference,) = paid(desk, 1)
    run = runner.stage(*[RequestedRow("INV-1", "30.00 EUR", "30", key="same")] * 3)
    report = runner.work(run, in_flight=16)
    assert (report.done, report.done_before) == (3, 2)
    assert desk.refunded_at_provider(reference) == [3000]


# --- outcomes that are not known -----------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["stripe", "adyen"])
@pytest.mark.parametrize("behaviour", ["drop_before", "drop_after", "500_after", "malformed"])
def test_an_unknown_outcome_is_settled_when_the_run_resumes(
    runner: Runner, desk: Desk, provider: str, behaviour: str
) -> None:
    references = paid(desk, 3, provider=provider)
    desk.sandbox.faults(behaviour, provider=provider, payment=references[1])  # type: ignore[arg-type]
    run = runner.stage(*rows_of(3))
    report = runner.work(run)
    assert (report.done, report.unknown, report.state) == (2, 1, RunState.STOPPED)
    assert runner.states(run) == ["done", "outcome-unknown", "done"]
    assert desk.invoice("INV-2").refundable.minor == 0
    desk.sandbox.clear_faults()
    again = runner.work(run)
    assert (again.done, again.unknown, again.state) == (1, 0, RunState.FINISHED)
    assert [desk.refunded_at_provider(reference) for reference in references] == [[10_000]] * 3
    assert findings(desk.books) == []


def test_a_provider_that_answers_nothing_clear_gets_no_more_refunds(runner: Runner, desk: Desk) -> None:
    references = paid(desk, 12)
    desk.sandbox.faults("drop_before", times=100)
    run = runner.stage(*rows_of(12))
    report = runner.work(run, in_flight=1, unknown_in_a_row=3)
    assert (report.stopped, report.state) == (Stopped.UNKNOWN_IN_A_ROW, RunState.STOPPED)
    assert len(desk.sandbox.refund_requests) == 3
    assert (report.unknown, report.waiting) == (3, 9)
    desk.sandbox.clear_faults()
    again = runner.work(run)
    assert (again.done, again.state) == (12, RunState.FINISHED)
    assert [desk.refunded_at_provider(reference) for reference in references] == [[10_000]] * 12
    assert findings(desk.books) == []


def test_a_definite_response_in_between_keeps_a_run_going(runner: Runner, desk: Desk) -> None:
    references = paid(desk, 9)
    for place, reference in enumerate(references):
        if place % 3:
            desk.sandbox.faults("drop_after", payment=reference)
    run = runner.stage(*rows_of(9))
    report = runner.work(run, in_flight=1, unknown_in_a_row=3)
    assert (report.stopped, report.done, report.unknown) == (None, 3, 6)


def test_an_unreachable_provider_stops_a_run_and_nothing_was_sent(runner: Runner, desk: Desk) -> None:
    paid(desk, 8, provider="adyen")
    run = runner.stage(*rows_of(8))
    away = {"REFUNDCLI_ADYEN_API_BASE": "http://127.0.0.1:9"}
    report = runner.work(run, environ=away, in_flight=1, unknown_in_a_row=3)
    assert report.stopped is Stopped.UNKNOWN_IN_A_ROW
    assert report.done == report.unknown == 0
    assert desk.sandbox.refund_requests == []
    assert [desk.invoice(f"INV-{n}").reserved.minor for n in range(1, 9)] == [0] * 8


# --- how fast ------------------------------------------------------------------------------------------------


def most_within(seconds: float, times: Sequence[float]) -> int:
    return max(sum(1 for time in times if began <= time < began + seconds) for began in times)


@contextmanager
def sandbox_of_its_own(seed: Path) -> Iterator[str]:
    """The sandbox in another process, so that this one's load does not delay its clock; its address."""
    command = [sys.executable, "-m", "refundcli", "sandbox", "--seed", str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout
        try:
            yield running.stdout.readline().strip()
        finally:
            running.terminate()


def arrivals(url: str) -> list[float]:
    """The arrival time of each request in the sandbox's log."""
    with urllib.request.urlopen(f"{url}/_sandbox/state") as answer:
        return sorted(request["time"] for request in json.load(answer)["requests"])


def test_the_rate_limit_holds_in_every_second_at_the_provider(runner: Runner, desk: Desk) -> None:
    file = desk.folder / "invoices.csv"
    header = "number,customer,currency,total,status,issued_on,paid_amount,provider,payment_reference"
    lines = [f"INV-{n},cus_1,EUR,100.00,paid,2026-09-01,100.00,stripe,pi_rate{n}" for n in range(1, 91)]
    file.write_text("\n".join([header, *lines]) + "\n")
    assert desk(f"invoice import {file}").exit_code == 0
    most = []
    # On a stalled machine requests sent apart arrive together: then the measurement is repeated.
    for nth in range(3):
        rows = [RequestedRow(f"INV-{n}", "100.00 EUR", key=f"rate-{n}") for n in range(30 * nth + 1, 30 * nth + 31)]
        run = runner.stage(*rows, fingerprint=f"f{nth}")
        with sandbox_of_its_own(file) as url:
            rated = {"REFUNDCLI_STRIPE_API_BASE": url, "REFUNDCLI_REFUNDS_STRIPE_RATE": "25"}
            report = runner.work(run, environ=rated, in_flight=16)
            times = arrivals(url)
        # The first use also retrieves the key's account.
        assert (report.done, len(times)) == (30, 61 if nth == 0 else 60)
        most.append(most_within(1.0, times))
        if most[-1] <= 25:
            return
    pytest.fail(f"{most} requests came within one second")


def test_a_429_is_waited_out_and_no_row_is_lost(runner: Runner, desk: Desk) -> None:
    references = paid(desk, 10)
    desk.sandbox.faults("429", "429", "429", retry_after=1)
    run = runner.stage(*rows_of(10))
    report = runner.work(run, in_flight=4)
    assert (report.done, report.refused, report.unknown) == (10, 0, 0)
    times = sorted(request.time for request in desk.sandbox.requests)
    assert max(after - before for before, after in itertools.pairwise(times)) >= 0.9
    assert [desk.refunded_at_provider(reference) for reference in references] == [[10_000]] * 10
    assert findings(desk.books) == []


# A provider that asks for a pause longer than a worker's lease.
QUICK = {"REFUNDCLI_REFUNDS_CONNECT_TIMEOUT": "0.5", "REFUNDCLI_REFUNDS_READ_TIMEOUT": "0.5"}
PAUSE = 4


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_MARGIN_SECONDS", 0.2)


@pytest.mark.usefixtures("short_leases")
def test_an_answer_proves_nothing_of_a_refund_that_another_has_sent_meanwhile(runner: Runner, desk: Desk) -> None:
    (reference,) = paid(desk, 1, provider="adyen")
    desk.sandbox.faults("429", provider="adyen", retry_after=PAUSE)
    run = runner.stage(*rows_of(1))

    def resume_and_lose_the_response() -> None:
        # It waits until the lease has ended. The refund is made, and both responses are lost.
        desk.sandbox.faults("drop_after", "403", provider="adyen")
        services = services_of(desk.environ | QUICK)
        services.resume.settle(services.resume.unfinished())

    with once(lambda: bool(desk.sandbox.refund_requests), resume_and_lose_the_response):
        report = runner.work(run, environ=QUICK, in_flight=1)
    assert desk.refunded_at_provider(reference) == [10_000]
    assert len([request for request in desk.sandbox.requests if request.path.endswith("/refunds")]) == 3
    assert (report.done, report.refused, report.unknown) == (0, 0, 1)
    assert [refund.state for refund in desk.invoice("INV-1").refunds] == [RefundState.SUBMITTED]
    assert findings(desk.books) == []


@pytest.mark.usefixtures("short_leases")
def test_after_a_long_pause_the_rules_are_checked_again(runner: Runner, desk: Desk) -> None:
    (reference,) = paid(desk, 1, provider="adyen")
    desk.sandbox.faults("429", provider="adyen", retry_after=PAUSE)
    run = runner.stage(*rows_of(1))

    def open_a_dispute() -> None:
        about = ((reference,), DisputeState.OPEN, DisputeStage.CHARGEBACK, "Undefended", datetime.now(UTC))
        update = DisputeUpdate(Provider.ADYEN, "PSPDISPUTE1", *about)
        assert apply(desk, update)[0].changed

    with once(lambda: bool(desk.sandbox.refund_requests), open_a_dispute):
        report = runner.work(run, environ=QUICK, in_flight=1)
    assert desk.refunded_at_provider(reference) == []
    # Refused while the lease is this worker's; unknown once the lease has ended.
    assert (report.done, report.unknown + report.refused) == (0, 1)
    assert "dispute" in runner.reported[0][0].message


@pytest.mark.usefixtures("short_leases")
def test_after_a_pause_beyond_its_lease_the_provider_is_checked_again(runner: Runner, desk: Desk) -> None:
    (reference,) = paid(desk, 1)
    desk.sandbox.faults("429", retry_after=PAUSE)
    run = runner.stage(RequestedRow("INV-1", "40.00 EUR", "40"))

    def refund_in_the_dashboard() -> None:
        desk.sandbox.dashboard_refund(reference, 4000)

    with once(lambda: bool(desk.sandbox.refund_requests), refund_in_the_dashboard):
        runner.work(run, environ=QUICK, in_flight=1)
    assert desk.refunded_at_provider(reference) == [4000]
    assert runner.states(run) == ["never-sent"]
    assert desk.invoice("INV-1").reserved.minor == 0
    assert findings(desk.books) == []


def test_a_snapshot_that_is_old_by_the_time_of_the_claim_is_taken_again(
    runner: Runner, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = paid(desk, 2)
    run = runner.stage(*rows_of(2))
    commit = group_commit.GroupCommit.commit
    groups: list[int] = []

    def late(self: Any, claims: Sequence[InFlightRefund], **more: Any) -> Any:
        # The store delays the first claiming transaction.
        if claims and not groups:
            groups.append(len(claims))
            for flight in claims:
                assert flight.snapshot
                flight.snapshot = replace(flight.snapshot, taken_at=flight.snapshot.taken_at - timedelta(minutes=1))
        return commit(self, claims, **more)

    monkeypatch.setattr(group_commit.GroupCommit, "commit", late)
    before = len(desk.sandbox.requests)
    assert runner.work(run).done == 2
    assert groups
    assert [desk.refunded_at_provider(reference) for reference in references] == [[10_000]] * 2
    # The account, twice two requests, and one for each repeated snapshot.
    assert len(desk.sandbox.requests) - before == 5 + groups[0]


def test_a_store_that_is_always_too_slow_sends_nothing(
    runner: Runner, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (reference,) = paid(desk, 1)
    run = runner.stage(*rows_of(1))
    monkeypatch.setattr(protocol, "FRESH", timedelta(0))
    report = runner.work(run)
    assert (report.stopped, report.waiting) == (Stopped.STORE, 1)
    assert desk.refunded_at_provider(reference) == []
    assert desk.invoice("INV-1").reserved.minor == 0
    assert desk("refund INV-1 --full --reason other --yes").exit_code == 4
    assert desk.refunded_at_provider(reference) == []


def test_nothing_is_sent_if_the_provider_cannot_be_checked_after_a_pause(runner: Runner, desk: Desk) -> None:
    (reference,) = paid(desk, 1)
    desk.sandbox.faults("429", retry_after=1)
    run = runner.stage(*rows_of(1))
    send = WorkerContext.send

    async def then(*args: Any) -> Any:
        answer = await send(*args)
        desk.sandbox.faults("500_before", call="lookup", times=9)
        return answer

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(WorkerContext, "send", then)
        runner.work(run)
    desk.sandbox.clear_faults()
    assert runner.states(run) == ["not-sent"]
    assert desk.refunded_at_provider(reference) == []
    assert desk.invoice("INV-1").reserved.minor == 0


def test_a_run_that_is_stopped_while_it_asks_the_provider_frees_what_it_holds(runner: Runner, desk: Desk) -> None:
    (reference,) = paid(desk, 1)
    desk.sandbox.faults("429", retry_after=1)
    run = runner.stage(*rows_of(1))
    look_again = RefundSending._look_again

    async def then(*args: Any) -> None:
        desk.sandbox.faults("delay_ms", call="lookup", delay_ms=1000)
        runner.stop.set()
        await look_again(*args)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RefundSending, "_look_again", then)
        assert runner.work(run).stopped is Stopped.ASKED
    assert desk.refunded_at_provider(reference) == []
    runner.stop.clear()
    assert runner.work(run).done == 1
    assert desk.refunded_at_provider(reference) == [10_000]
    assert findings(desk.books) == []


def test_a_half_done_row_is_finished_by_the_resumed_run(runner: Runner, desk: Desk) -> None:
    charges = [desk.sandbox.charge("100.00 EUR", provider=provider) for provider in ("stripe", "adyen")]
    payments = tuple(
        NewPayment(10_000, Provider(charge.provider), "card", charge.reference, auto_refundable=True)
        for charge in charges
    )
    desk.bring_in(new_invoice("INV-1", parse_money("200.00 EUR"), payments=payments))
    run = runner.stage(RequestedRow("INV-1", "200.00 EUR"))

    def half_is_done() -> bool:
        return any(refund.state is RefundState.SUCCEEDED for refund in desk.invoice("INV-1").refunds)

    with once(half_is_done, runner.stop.set):
        report = runner.work(run, pauses={Provider.ADYEN: 60})
    assert (report.stopped, report.waiting, report.refused) == (Stopped.ASKED, 1, 0)
    assert {refund.state for refund in desk.invoice("INV-1").refunds} == {RefundState.SUCCEEDED, RefundState.READY}
    runner.stop.clear()
    assert runner.work(run).done == 1
    assert [desk.refunded_at_provider(charge.reference) for charge in charges] == [[10_000], [10_000]]
    assert findings(desk.books) == []


def test_a_suspended_worker_does_not_lease_its_own_rows_again(runner: Runner, desk: Desk) -> None:
    paid(desk, 2)
    run = runner.stage(*rows_of(2))
    now = datetime.now(UTC)

    def leased_by(worker: str, at: datetime) -> list[int]:
        took = desk.books.write(
            lambda tx: tx.runs.lease_items(run.id, worker=worker, until=at + timedelta(minutes=2), at=at, limit=9)
        )
        return [item.n for item in took]

    ours = this_process()
    assert leased_by(ours, now) == [1, 2]
    assert leased_by(ours, now + timedelta(hours=1)) == []
    assert leased_by("elsewhere|1|1", now + timedelta(hours=1)) == [1, 2]


# --- stopped -------------------------------------------------------------------------------------------------


def test_a_stopped_run_finishes_requests_on_the_wire_and_no_others(runner: Runner, desk: Desk) -> None:
    references = paid(desk, 20)
    desk.sandbox.faults("delay_ms", times=100, delay_ms=30)
    run = runner.stage(*rows_of(20))

    def stop_at_the_third(item: RunItem, refunds: Sequence[Refund]) -> None:
        if len(runner.reported) == 3:
            runner.stop.set()

    report = runner.work(run, in_flight=2, tell=stop_at_the_third)
    assert (report.stopped, report.state) == (Stopped.ASKED, RunState.STOPPED)
    assert 3 <= report.done < 12
    assert (report.unknown, report.refused, report.waiting) == (0, 0, 20 - report.done)
    amounts = [desk.refunded_at_provider(reference) for reference in references]
    assert amounts.count([10_000]) == report.done
    assert sum(desk.invoice(f"INV-{n}").reserved.minor for n in range(1, 21)) == 0
    runner.stop.clear()
    rest = runner.work(run)
    assert (rest.done, rest.state) == (20 - report.done, RunState.FINISHED)
    assert [desk.refunded_at_provider(reference) for reference in references] == [[10_000]] * 20
    assert findings(desk.books) == []


def test_a_run_stops_soon_while_a_429_makes_it_wait(runner: Runner, desk: Desk) -> None:
    paid(desk, 3)
    desk.sandbox.faults(*["429"] * 30, retry_after=60)
    run = runner.stage(*rows_of(3))
    began = time.monotonic()
    runner.stop_after(0.5)
    report = runner.work(run, in_flight=2)
    assert time.monotonic() - began < 20
    assert (report.stopped, report.done) == (Stopped.ASKED, 0)
    desk.sandbox.clear_faults()
    runner.stop.clear()
    assert runner.work(run).done == 3
    assert findings(desk.books) == []


def test_settings_that_cannot_be_used_stop_the_run_and_every_row_waits_again(runner: Runner, desk: Desk) -> None:
    paid(desk, 3)
    run = runner.stage(*rows_of(3))
    report = runner.work(run, environ={"STRIPE_API_KEY": ""})
    assert (report.stopped, report.waiting, report.state) == (Stopped.SETTINGS, 3, RunState.STOPPED)
    assert report.trouble
    assert runner.work(run).done == 3
