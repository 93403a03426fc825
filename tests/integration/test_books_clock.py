"""The clock of the books: the database's on PostgreSQL, in the store's zone, compared with the newest audit entry."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, text

from conftest import NewStore
from desk import Desk
from left_behind import leave_it_ready
from refundcli import bootstrap
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.bulk.worker.claims import claim_listed
from refundcli.services.clock import BooksClock, SystemClock, is_plausible
from refundcli.store.checks.integrity import findings
from refundcli.store.databases.database_time import DatabaseTime, _Measured, in_transaction
from refundcli.store.databases.engine import engine_clock, store_engine
from refundcli.store.errors import StoreUnreachable
from refundcli.store.unit_of_work import SqlBooks

FIVE_MINUTES = timedelta(minutes=5)


@dataclass
class Machine:
    """A machine clock that is wrong."""

    ahead: timedelta = timedelta(0)
    zone: tzinfo = UTC

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def today(self) -> date:
        return self.now().astimezone(self.zone).date()


@contextmanager
def machine_clock(ahead: timedelta) -> Iterator[None]:
    """Commands at this machine use this clock meanwhile."""
    with patch.object(bootstrap, "SystemClock", lambda zone: Machine(ahead, zone)):
        yield


@pytest.fixture
def postgres_desk(new_postgres: NewStore, sandbox: RunningSandbox, tmp_path: Any) -> Iterator[Desk]:
    new_desk = Desk(new_postgres(), sandbox, tmp_path)
    yield new_desk
    new_desk.books.engine.dispose()


def query(desk: Desk, statement: str) -> Any:
    with desk.books.engine.connect() as connection:
        return connection.execute(text(statement)).all()


# --- the database's time ---


@dataclass
class Steady:
    """A monotonic clock that the test moves."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_the_databases_time_does_not_depend_on_the_machines_clock(new_postgres: NewStore) -> None:
    engine = store_engine(new_postgres())
    skews: list[timedelta] = []
    ours = DatabaseTime(partial(engine_clock, engine), Machine(FIVE_MINUTES), skews.append)
    before = datetime.now(UTC)
    assert before - timedelta(seconds=1) <= ours() <= datetime.now(UTC) + timedelta(seconds=1)
    assert abs(ours.skew() - FIVE_MINUTES) < timedelta(seconds=5)
    ours()
    assert len(skews) == 1
    engine.dispose()


def test_a_small_clock_skew_is_not_reported(new_postgres: NewStore) -> None:
    engine = store_engine(new_postgres())
    skews: list[timedelta] = []
    DatabaseTime(partial(engine_clock, engine), Machine(timedelta(seconds=20)), skews.append)()
    assert skews == []
    engine.dispose()


@dataclass
class Remeasured:
    """Counts how often a database's time is measured."""

    time: DatabaseTime
    measured: list[Any] = field(default_factory=list)

    def times(self) -> int:
        self.time()
        if not self.measured or self.measured[-1] is not self.time._measurement:
            self.measured.append(self.time._measurement)
        return len(self.measured)


def test_it_is_measured_anew_when_old_and_after_the_machine_slept(new_postgres: NewStore) -> None:
    engine = store_engine(new_postgres())
    steady, machine = Steady(), Machine()
    measured = Remeasured(DatabaseTime(partial(engine_clock, engine), machine, steady=steady))
    assert measured.times() == 1
    assert measured.times() == 1
    steady.seconds += 61
    machine.ahead += timedelta(seconds=61)
    assert measured.times() == 2
    machine.ahead += timedelta(hours=8)
    assert measured.times() == 3
    engine.dispose()


def test_a_measured_database_time_survives_an_unreachable_database() -> None:
    engine = store_engine("postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(StoreUnreachable):
        DatabaseTime(partial(engine_clock, engine), SystemClock(UTC))()


@dataclass
class Measured(DatabaseTime):
    """Scripted measurements: the error of each in seconds, None for a failure."""

    errors: list[float | None] = field(default_factory=list)
    queries: int = 0

    def _measure(self) -> _Measured:
        self.queries += 1
        error = self.errors.pop(0) if self.errors else 0.0
        if error is None:
            raise StoreUnreachable("away")
        return _Measured(NEWEST, self.machine.now(), self.steady(), error)


@dataclass
class Still:
    """A machine clock that follows the steady clock."""

    steady: Steady

    def now(self) -> datetime:
        return NEWEST + timedelta(seconds=self.steady.seconds)

    def today(self) -> date:
        return self.now().date()


def measured(*errors: float | None) -> tuple[Measured, Steady]:
    steady = Steady()
    return Measured(Any, Still(steady), steady=steady, errors=list(errors)), steady  # type: ignore[arg-type]


def test_the_clock_is_not_measured_inside_a_transaction() -> None:
    ours, steady = measured()
    ours()
    steady.seconds += 61
    with in_transaction():
        assert ours() == NEWEST + timedelta(seconds=61)
    assert ours.queries == 1
    ours()
    assert ours.queries == 2


def test_a_measurement_that_failed_is_not_tried_again_at_once() -> None:
    ours, steady = measured(0.0, None, 0.0)
    ours()
    steady.seconds += 61
    for _ in range(3):
        assert ours() == NEWEST + timedelta(seconds=61)
    assert ours.queries == 2
    steady.seconds += 31
    ours()
    assert ours.queries == 3


def test_a_measurement_that_took_long_replaces_none_that_is_known() -> None:
    ours, steady = measured(0.0, 12.0)
    ours()
    steady.seconds += 61
    assert ours() == NEWEST + timedelta(seconds=61)
    assert ours.queries == 2


def test_while_one_thread_measures_the_others_go_on() -> None:
    ours, steady = measured()
    ours()
    steady.seconds += 61
    with ours._lock:
        assert ours() == NEWEST + timedelta(seconds=61)


def test_the_wait_for_a_connection_is_no_part_of_the_round_trip(new_postgres: NewStore) -> None:
    """Simulates a pooler that queues at the first statement of a transaction."""
    engine, steady = store_engine(new_postgres()), Steady()

    def wait(_connection: Any) -> None:
        steady.seconds += 25

    event.listen(engine, "begin", wait)
    assert DatabaseTime(partial(engine_clock, engine), Machine(), steady=steady)._measure().error == 0
    engine.dispose()


def test_the_shortest_round_trip_is_used(new_postgres: NewStore) -> None:
    engine, steady, trips = store_engine(new_postgres()), Steady(), [3.0, 0.2]

    def answer_late(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "clock_timestamp" in statement:
            steady.seconds += trips.pop(0)

    event.listen(engine, "before_cursor_execute", answer_late)
    assert DatabaseTime(partial(engine_clock, engine), Machine(), steady=steady)._measure().error == pytest.approx(0.1)
    assert trips == []
    engine.dispose()


def test_a_writer_behind_a_pooler_of_one_connection_does_not_wait_for_itself(new_postgres: NewStore) -> None:
    engine = store_engine(new_postgres())
    steady, machine = Steady(), Machine()
    ours = DatabaseTime(partial(engine_clock, engine), machine, steady=steady)
    books = SqlBooks(engine, BooksClock(ours, lambda: UTC), "Ada")
    books.read(lambda tx: tx.store.livemode())
    steady.seconds += 61
    machine.ahead += timedelta(seconds=61)
    checked_out: list[int] = []

    def count(*_given: Any) -> None:
        checked_out.append(engine.pool.checkedout())  # type: ignore[attr-defined]

    event.listen(engine, "checkout", count)
    before = ours._measurement
    books.write(lambda tx: ours())
    assert ours._measurement is not before
    assert set(checked_out) <= {0, 1}
    engine.dispose()


def test_leases_audit_and_credit_notes_have_the_databases_time(postgres_desk: Desk) -> None:
    postgres_desk.paid_by_card()
    with machine_clock(timedelta(days=40)):
        refunded = postgres_desk("refund INV-1 --amount 10 --reason other --yes")
    assert refunded.exit_code == 0, refunded
    assert "ahead of the database's" in refunded.err
    assert refunded.err.count("ahead of") == 1
    soon = datetime.now(UTC) + timedelta(minutes=1)
    for column in ("audit_entry.at", "refund.first_sent_at", "refund.created_at", "credit_note.issued_at"):
        table = column.partition(".")[0]
        assert all(at < soon for (at,) in query(postgres_desk, f"SELECT {column} FROM {table}")), column
    (day,) = query(postgres_desk, "SELECT issued_on FROM credit_note")[0]
    assert day <= datetime.now(ZoneInfo("Europe/Stockholm")).date()


def test_status_names_the_skew_and_the_zone(postgres_desk: Desk) -> None:
    with machine_clock(FIVE_MINUTES):
        store = postgres_desk.json("status")["store"]
    assert 290 <= store["clock_skew_seconds"] <= 310
    assert store["timezone"] == "Europe/Stockholm"


# --- a clock that cannot be right ---

WRONG = {"1969": timedelta(days=-57 * 365), "behind": timedelta(minutes=-11), "2099": timedelta(days=73 * 365)}
NEWEST = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "plausible"),
    [
        (NEWEST, True),
        (NEWEST - timedelta(minutes=9), True),
        (NEWEST - timedelta(minutes=11), False),
        (NEWEST + timedelta(days=365), True),
        (NEWEST + timedelta(days=367), False),
    ],
)
def test_a_clock_is_compared_with_the_newest_entry(now: datetime, plausible: bool) -> None:
    assert is_plausible(now, NEWEST) is plausible


@pytest.mark.parametrize("shift", WRONG.values(), ids=WRONG)
def test_no_number_is_given_under_a_clock_that_cannot_be_right(sqlite_desk: Desk, shift: timedelta) -> None:
    desk = sqlite_desk
    reference = desk.paid_by_card()
    desk.paid_outside()
    with machine_clock(shift):
        error = desk.refused("refund INV-1 --amount 10 --reason other --yes", "wrong-clock", exit_code=4)
        desk.refused("mark-refunded INV-2 --full --reason other --yes --allow-duplicate", "wrong-clock", exit_code=4)
    assert "refundcli store clock --accept" in error["hint"]
    assert str(datetime.now(UTC).year) in error["message"]
    assert f"{datetime.now(UTC) + shift:%Y-%m-%d}" in error["message"]
    assert desk.refunded_at_provider(reference) == []
    assert desk.json("credit-notes list") == []
    assert desk.count("refund") == 0


def test_an_accepted_clock_is_the_newest_entry(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    desk.paid_outside()
    with machine_clock(WRONG["2099"]):
        year = (datetime.now(UTC) + WRONG["2099"]).year
        desk.json("store clock --accept")
        (action, at) = query(desk, "SELECT action, at FROM audit_entry ORDER BY seq DESC LIMIT 1")[0]
        assert (action, str(at)[:4]) == ("clock accepted", str(year))
        answer = desk.json("mark-refunded INV-2 --amount 10 --reason other --yes --allow-duplicate")
        assert answer["refunds"][0]["credit_note"]["number"] == f"CN-{year}-000001"
    # Back again: the correct clock must be accepted as well.
    desk.refused("mark-refunded INV-2 --amount 10 --reason other --yes --allow-duplicate", "wrong-clock", exit_code=4)
    desk.json("store clock --accept")
    desk.json("mark-refunded INV-2 --amount 10 --reason other --yes --allow-duplicate")
    assert findings(desk.books) == []


@pytest.mark.parametrize("shift", WRONG.values(), ids=WRONG)
def test_what_was_sent_is_recorded_whatever_became_of_the_clock(sqlite_desk: Desk, shift: timedelta) -> None:
    """The clock is set back between T1 and T4: the outcome is recorded with the newest entry's date."""
    desk = sqlite_desk
    reference = desk.paid_by_card()
    machine = Machine()

    def jumps() -> None:
        machine.ahead = shift

    with patch.object(bootstrap, "SystemClock", lambda zone: machine), _after_the_answer(jumps):
        answer = desk("refund INV-1 --amount 10 --reason other --yes -o json")
    assert answer.exit_code == 0, answer
    assert desk.refunded_at_provider(reference) == [1000]
    (note,) = desk.json("credit-notes list")
    assert note["number"] == f"CN-{datetime.now(ZoneInfo('Europe/Stockholm')).year}-000001"
    assert all(str(at)[:4] == str(datetime.now(UTC).year) for (at,) in query(desk, "SELECT at FROM audit_entry"))
    assert findings(desk.books) == []


@pytest.mark.parametrize("shift", WRONG.values(), ids=WRONG)
def test_what_the_provider_has_already_is_recorded_under_a_wrong_clock(sqlite_desk: Desk, shift: timedelta) -> None:
    """It was sent before the books were restored; recording it starts nothing."""
    desk = sqlite_desk
    reference = desk.paid_by_card()
    refund = leave_it_ready(desk)
    desk.sandbox.dashboard_refund(reference, 6000, metadata={"refundcli_refund": refund})
    with machine_clock(shift):
        (outcome,) = desk.json("resume --yes")
    assert (outcome["status"], outcome["step"]) == ("succeeded", "settled")
    assert desk.sandbox.refund_requests == []
    assert findings(desk.books) == []


@pytest.mark.parametrize("shift", WRONG.values(), ids=WRONG)
def test_a_group_takes_down_what_the_provider_has_already_under_a_wrong_clock(
    sqlite_desk: Desk, shift: timedelta
) -> None:
    desk = sqlite_desk
    desk.paid_by_card()
    leave_it_ready(desk)
    (refund,) = desk.invoice("INV-1").refunds
    books = SqlBooks(desk.books.engine, Machine(shift), "Ada")
    flight: Any = SimpleNamespace(refund=refund, snapshot=None)
    assert books.write(lambda tx: claim_listed(tx, flight, books.clock.now())).state == "submitted"


@contextmanager
def _after_the_answer(happens: Callable[[], None]) -> Iterator[None]:
    from refundcli.providers.stripe.refunds import StripeProvider

    real = StripeProvider.refund

    def refund(*args: Any, **named: Any) -> Any:
        answer = real(*args, **named)
        happens()
        return answer

    with patch.object(StripeProvider, "refund", refund):
        yield


def test_a_run_stops_under_a_wrong_clock_and_refuses_no_row(sqlite_desk: Desk, tmp_path: Any) -> None:
    desk = sqlite_desk
    for n in range(3):
        desk.paid_by_card(f"R-{n}")
    file = tmp_path / "refunds.csv"
    file.write_text("invoice,amount,reason\n" + "".join(f"R-{n},10.00,other\n" for n in range(3)))
    with machine_clock(WRONG["2099"]):
        stopped = desk(f"refund --from {file} --yes -o json")
    assert stopped.exit_code in (4, 9), stopped
    assert desk.count("refund") == 0
    assert {state for (state,) in query(desk, "SELECT DISTINCT state FROM bulk_item")} <= {"waiting"}
    answer = desk(f"refund --from {file} --yes -o json")
    assert answer.exit_code == 0, answer
    assert desk.count("refund") == 3


# --- the zone of the books ---


def test_two_operators_in_different_zones_keep_one_day(
    new_store: NewStore, sandbox: RunningSandbox, tmp_path: Any
) -> None:
    """An hour before midnight in Stockholm it is tomorrow in Tokyo: the books have one day, and one series."""
    url = new_store()
    ada = Desk(url, sandbox, tmp_path)
    emi = Desk(url, sandbox, tmp_path, {"REFUNDCLI_OPERATOR_TIMEZONE": "Asia/Tokyo"}, operator="Emi")
    ada.paid_outside("INV-1")
    new_years_eve = _next_new_years_eve(23, ZoneInfo("Europe/Stockholm"))
    with books_time(new_years_eve):
        numbers = [
            operator.json("mark-refunded INV-1 --amount 10 --reason other --yes --allow-duplicate")["refunds"][0][
                "credit_note"
            ]["number"]
            for operator in (ada, emi, ada)
        ]
    year = new_years_eve.astimezone(ZoneInfo("Europe/Stockholm")).year
    assert numbers == [f"CN-{year}-00000{n}" for n in (1, 2, 3)]
    days = {str(day) for (day,) in query(ada, "SELECT issued_on FROM credit_note")}
    assert days == {f"{year}-12-31"}
    ada.books.engine.dispose()


def _next_new_years_eve(hour: int, zone: ZoneInfo) -> datetime:
    return datetime(datetime.now(UTC).year, 12, 31, hour, tzinfo=zone).astimezone(UTC)


@contextmanager
def books_time(at: datetime) -> Iterator[None]:
    """Freezes the time of the books, whatever its source."""
    from refundcli.services.clock import BooksClock

    with patch.object(bootstrap, "books_clock", lambda services: BooksClock(lambda: at, lambda: services.books.zone)):
        yield


def test_init_pins_the_zone_and_upgrade_changes_it_but_no_date(sqlite_desk: Desk, tmp_path: Any) -> None:
    desk = sqlite_desk
    desk.url = f"sqlite:///{tmp_path}/own.db"
    desk.environ["REFUNDCLI_STORE_URL"] = desk.url
    assert desk.json("init --timezone America/New_York")["timezone"] == "America/New_York"
    assert desk.json("status")["store"]["timezone"] == "America/New_York"
    desk.paid_outside()
    desk.json("mark-refunded INV-2 --amount 10 --reason other --yes --allow-duplicate")
    before = query(desk, "SELECT issued_on FROM credit_note")
    desk.refused("store upgrade --timezone Asia/Tokyo", "timezone-pinned", exit_code=2)
    assert desk.json("store upgrade --timezone America/New_York")["timezone"] == "America/New_York"
    changed = desk.json("store upgrade --timezone Asia/Tokyo --force")
    assert (changed["before"], changed["timezone"]) == (changed["after"], "Asia/Tokyo")
    assert query(desk, "SELECT issued_on FROM credit_note") == before
    assert query(desk, "SELECT action FROM audit_entry ORDER BY seq DESC LIMIT 1") == [("store timezone changed",)]
    desk.refused("store upgrade --timezone Europe/Stokholm", "invalid-option", exit_code=2)


def test_no_zone_is_pinned_in_which_the_newest_credit_notes_day_has_not_begun(sqlite_desk: Desk, tmp_path: Any) -> None:
    """Number 1 of 2027 would come before the next number of 2026."""
    desk = sqlite_desk
    desk.environ["REFUNDCLI_STORE_URL"] = f"sqlite:///{tmp_path}/own.db"
    with books_time(datetime(2026, 12, 31, 12, 0, tzinfo=UTC)):
        desk.json("init --timezone Pacific/Kiritimati")
        desk.url = desk.environ["REFUNDCLI_STORE_URL"]
        desk.paid_outside()
        desk.json("mark-refunded INV-2 --amount 10 --reason other --yes")
        assert query(desk, "SELECT issued_on FROM credit_note") == [("2027-01-01",)]
        desk.refused("store upgrade --timezone UTC --force", "day-too-early", exit_code=2)
        assert desk.json("status")["store"]["timezone"] == "Pacific/Kiritimati"
    with books_time(datetime(2027, 1, 1, 0, 0, tzinfo=UTC)):
        assert desk.json("store upgrade --timezone UTC --force")["timezone"] == "UTC"


def test_an_untrusted_file_does_not_set_the_zone(
    sqlite_desk: Desk, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may set the operator's display zone."""
    desk = sqlite_desk
    desk.environ |= {"REFUNDCLI_STORE_URL": f"sqlite:///{tmp_path}/own.db", "TZ": "Asia/Tokyo"}
    del desk.environ["REFUNDCLI_OPERATOR_TIMEZONE"]
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "refundcli.toml").write_text("[operator]\ntimezone = 'Pacific/Kiritimati'\n")
    monkeypatch.chdir(folder)
    file = desk.folder / "invoices.csv"
    file.write_text("number,customer,currency,total,status,issued_on\nINV-1,cus_1,EUR,10.00,open,2026-09-01\n")
    assert "Kiritimati" in desk("config").out
    desk.json(f"invoice import {file}")
    assert desk.json("status")["store"]["timezone"] == "Asia/Tokyo"


def test_the_operators_zone_is_pinned_without_an_option(sqlite_desk: Desk, tmp_path: Any) -> None:
    desk = sqlite_desk
    desk.environ |= {"REFUNDCLI_STORE_URL": f"sqlite:///{tmp_path}/own.db", "REFUNDCLI_OPERATOR_TIMEZONE": "Asia/Tokyo"}
    assert desk.json("init")["timezone"] == "Asia/Tokyo"
