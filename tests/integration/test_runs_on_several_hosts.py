"""Several machines at one run on PostgreSQL: each row is done once, and every report accounts for every row."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from conftest import NewStore
from desk import Desk
from hosts import LEASE_SECONDS, Machine, Report, Worker, may_unshare, wait_until
from refundcli.domain.bulk_run import BulkRun, RunState
from refundcli.sandbox.testing import RunningSandbox
from refundcli.store.checks.integrity import findings
from runs import RequestedRow, Runner

ROWS = 24
# Several processes start, and leases expire.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def desk(new_postgres: NewStore, sandbox: RunningSandbox, tmp_path: Path) -> Iterator[Desk]:
    new_desk = Desk(new_postgres(), sandbox, tmp_path)
    yield new_desk
    new_desk.books.engine.dispose()


@pytest.fixture
def references(desk: Desk) -> list[str]:
    """Every fourth row is at Adyen, whose refunds stay pending; each response is delayed."""
    desk.sandbox.faults("delay_ms", times=10 * ROWS, delay_ms=60)
    return [desk.paid_by_card(f"INV-{n}", provider="adyen" if n % 4 == 0 else "stripe") for n in range(1, ROWS + 1)]


@pytest.fixture
def run(desk: Desk, references: list[str]) -> BulkRun:
    assert references
    return Runner(desk).stage(*[RequestedRow(f"INV-{n}", "100.00 EUR") for n in range(1, ROWS + 1)])


def start(desk: Desk, run: BulkRun, *machines: Machine) -> list[Worker]:
    return [machine.start(desk, "refund", "--resume", run.id) for machine in machines]


def rows_done(desk: Desk, run: BulkRun) -> int:
    return desk.books.read(lambda tx: tx.runs.item_counts(run.id)).get("done", 0)  # type: ignore[call-overload,no-any-return]


def check(desk: Desk, run: BulkRun, references: Sequence[str], reports: Sequence[Report]) -> None:
    """Each row is refunded once and done in the books; each report accounts for every row."""
    for report in reports:
        assert report.code in (0, 4, 8, 9), report
        assert "bug" not in report.err, report
        if report.said["waiting"] is None:
            # Its connections were cut again at the end: it reports the run's state as unknown.
            assert report.code in (4, 8), report
        else:
            assert report.sum == report.said["rows"] == ROWS, report
    assert Counter(len(desk.refunded_at_provider(reference)) for reference in references) == {1: ROWS}
    assert Runner(desk).run_state(run) is RunState.FINISHED
    assert {item.state for item in Runner(desk).items(run)} == {"done"}
    assert findings(desk.books) == []


def two_machines(*, namespaces: bool = False, ahead: timedelta = timedelta(0)) -> tuple[Machine, Machine]:
    if namespaces and not may_unshare():
        pytest.skip("this machine does not allow pid namespaces")
    second = "web" if namespaces else "web-2"
    return Machine("web", namespace=namespaces), Machine(second, ahead=ahead, namespace=namespaces)


KINDS: dict[str, dict[str, Any]] = {
    "other host names": {},
    "the same host name": {"namespaces": True},
    "a clock five minutes ahead": {"ahead": timedelta(minutes=5)},
}


@pytest.fixture(params=[pytest.param(kind, marks=() if "clock" in kind else pytest.mark.thorough) for kind in KINDS])
def machines(request: pytest.FixtureRequest) -> tuple[Machine, Machine]:
    return two_machines(**KINDS[request.param])


def test_two_machines_share_a_run_and_their_reports_add_up(
    desk: Desk, run: BulkRun, references: list[str], machines: tuple[Machine, Machine]
) -> None:
    reports = [worker.ended() for worker in start(desk, run, *machines)]
    check(desk, run, references, reports)
    assert [report.code for report in reports] == [0, 0]
    # A row sent by one counts as done before for the other.
    assert sum(report.sent for report in reports) == ROWS
    assert [report.said["state"] for report in reports] == ["finished", "finished"]


@pytest.mark.thorough
def test_rows_of_a_machine_that_died_are_done_by_another_once_their_leases_end(
    desk: Desk, run: BulkRun, references: list[str], machines: tuple[Machine, Machine]
) -> None:
    first, second = start(desk, run, *machines)
    wait_until(lambda: rows_done(desk, run) >= ROWS // 4, [first, second])
    first.kill()
    report = second.ended()
    check(desk, run, references, [report])
    assert report.code == 0
    assert report.said["leased_by_others"] == 0


def test_a_machine_suspended_beyond_its_leases_reports_only_its_own_rows(
    desk: Desk, run: BulkRun, references: list[str], machines: tuple[Machine, Machine]
) -> None:
    first, second = start(desk, run, *machines)
    for _ in range(2):
        count = rows_done(desk, run)
        if count + 3 > ROWS or not first.is_at_work:
            # The other worker has done the rest meanwhile.
            break
        wait_until(lambda count=count: rows_done(desk, run) > count + 2, [first, second])  # type: ignore[misc]
        first.stop()
        time.sleep(2 * LEASE_SECONDS)
        first.wake()
    reports = [first.ended(), second.ended()]
    again = start(desk, run, machines[0])[0].ended() if Runner(desk).run_state(run) is not RunState.FINISHED else None
    check(desk, run, references, [*reports, *([again] if again else [])])
    assert sum(report.sent for report in [*reports, *([again] if again else [])]) <= ROWS


@pytest.mark.thorough
def test_machines_whose_connections_are_cut_report_what_they_sent(
    desk: Desk, run: BulkRun, references: list[str], machines: tuple[Machine, Machine]
) -> None:
    workers, reports = start(desk, run, *machines), []
    for _ in range(4):
        count = rows_done(desk, run)
        wait_until(lambda count=count: rows_done(desk, run) > count + 2, workers)  # type: ignore[misc]
        cut_connections(desk)
        for place, worker in enumerate(workers):
            if not worker.is_at_work:
                reports.append(worker.ended())
                workers[place] = machines[place].start(desk, "refund", "--resume", run.id)
    reports += [worker.ended() for worker in workers]
    finished = [report for report in reports if report.code == 3]
    assert all("run-finished" in report.err for report in finished)
    reports = [report for report in reports if report.code != 3]
    if Runner(desk).run_state(run) is not RunState.FINISHED:
        reports.append(start(desk, run, machines[0])[0].ended())
    check(desk, run, references, reports)
    assert all("Nothing was changed" not in report.err for report in reports if report.sent)


def cut_connections(desk: Desk) -> None:
    with desk.books.engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


def test_a_machine_waits_for_rows_leased_by_a_live_one_and_reports_it(
    desk: Desk, run: BulkRun, references: list[str]
) -> None:
    """The wait ends after a lease without progress: exit 9, with the holders and the next command."""
    desk.books.write(
        lambda tx: tx.runs.lease_items(run.id, worker="db-7|x/1|42|1", until=tomorrow(desk), at=now(desk), limit=3)
    )
    report = Machine("web").start(desk, "refund", "--resume", run.id).ended()
    assert report.code == 9, report
    assert report.sum == ROWS
    assert (report.said["leased_by_others"], report.said["state"]) == (3, "running")
    assert report.said["next"] == f"refundcli refund --resume {run.id}"
    (holder,) = report.said["leased_by"]
    assert (holder["process"], holder["rows"], holder["live"]) == ("db-7 (process 42)", 3, True)
    assert len(references) == ROWS


def now(desk: Desk) -> datetime:
    return desk.books.clock.now()


def tomorrow(desk: Desk) -> datetime:
    return now(desk) + timedelta(days=1)
