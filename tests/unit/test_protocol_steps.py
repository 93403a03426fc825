"""The protocol of refunds and closings, T1 to T4, with fakes of its ports (DESIGN §4)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundcli.domain.closing import Closing
from refundcli.domain.errors import Refused
from refundcli.domain.refund import Sending, WireRequest
from refundcli.domain.statuses import ClosingState, InvoiceStatus, Provider, RefundState
from refundcli.services.dispatch import leases
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.policy import SendingPolicy
from refundcli.services.dispatch.protocol import CannotBeChecked, OutcomeNotWritten, StaleSnapshot
from refundcli.services.dispatch.send_closing import ClosingDispatch, InvoiceSnapshot
from refundcli.services.ports.providers import ClosingAnswer, MaySend
from refundcli.services.recovery.resolve import NoEvidence, NotUnresolved, Resolution, Resolve, ResumeFirst
from refundcli.services.recovery.resume import Resume, Step
from refundcli.system.interrupts import Interrupted

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DONE = ClosingAnswer(Signal.ACCEPTED, state=ClosingState.DONE)
LOST = ClosingAnswer(Signal.NO_ANSWER, "no response")
ENDPOINT = "https://api.stripe.com/v1/invoices/in_1/void"


@dataclass
class FakeClock:
    time: datetime = NOW

    def now(self) -> datetime:
        return self.time


@dataclass
class FakeClosings:
    """Compare and set, as the store does it."""

    by_id: dict[str, Closing] = field(default_factory=dict)

    def get(self, closing_id: str) -> Closing | None:
        return self.by_id.get(closing_id)

    def add(self, closing: Closing) -> None:
        self.by_id[closing.id] = closing

    def in_states(self, *states: ClosingState) -> list[Closing]:
        return [closing for closing in self.by_id.values() if closing.state in states]

    def claim(self, closing: Closing, *, owner: str, until: datetime, at: datetime) -> Closing | None:
        if not self._is_as_it_was(closing):
            return None
        sending = closing.sending
        first_sent_at = sending.first_sent_at or at
        lease = replace(
            sending, fence=sending.fence + 1, lease_owner=owner, lease_until=until, first_sent_at=first_sent_at
        )
        self.by_id[closing.id] = replace(closing, state=ClosingState.SUBMITTED, sending=lease)
        return self.by_id[closing.id]

    def release_lease(self, closing: Closing) -> None:
        if self._is_as_it_was(closing):
            self.by_id[closing.id] = replace(
                closing, sending=replace(closing.sending, lease_owner="", lease_until=None)
            )

    def _is_as_it_was(self, closing: Closing) -> bool:
        stored = self.by_id[closing.id]
        return (stored.state, stored.sending.fence) == (closing.state, closing.sending.fence)


@dataclass
class FakeBooks:
    """One repository. `fails`: raised by the next transactions that write."""

    closings: FakeClosings = field(default_factory=FakeClosings)
    writes: int = 0
    is_open: bool = False
    fails: list[Exception | None] = field(default_factory=list)

    def read(self, work: Callable[[Any], Any]) -> Any:
        return work(self)

    def write(self, work: Callable[[Any], Any]) -> Any:
        error = self.fails.pop(0) if self.fails else None
        if error:
            raise error
        self.writes, self.is_open = self.writes + 1, True
        try:
            return work(self)
        finally:
            self.is_open = False


@dataclass
class FakeProvider:
    """What it answers, in turn, and what it saw: the key of each request that was sent."""

    books: FakeBooks
    answers: list[ClosingAnswer] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    in_the_meantime: Callable[[], None] = lambda: None
    name: Provider = Provider.STRIPE
    account: str = "acct_1"
    livemode: bool = False
    base_url: str = "https://api.stripe.com"

    def close(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> ClosingAnswer:
        assert not self.books.is_open, "a transaction is open across network I/O"
        (stored,) = self.books.closings.by_id.values()
        assert stored.state is ClosingState.SUBMITTED, "I2: what a provider sees is committed before"
        self.in_the_meantime()
        if not may_send():
            return ClosingAnswer(Signal.NOT_SENT, "the lease is over")
        self.keys.append(idempotency_key)
        return self.answers.pop(0)

    @property
    def pause_left(self) -> float:
        return 0.0

    # --- Providers ---

    def closer(self, provider: Provider) -> "FakeProvider":
        return self

    def pace(self, provider: Provider) -> "FakeProvider":
        return self


@dataclass(frozen=True)
class FakeDispatch(ClosingDispatch):
    """The rules and the look-ups of a test; everything else is the program's."""

    refusals: list[str] = field(default_factory=list)
    listed: list[bool] = field(default_factory=list)
    found: list[ClosingAnswer | None] = field(default_factory=list)
    looks: list[datetime] = field(default_factory=list)
    slow: timedelta = timedelta(0)

    def look(self, closing: Closing) -> InvoiceSnapshot:
        self.looks.append(self.clock.now())
        taken_at = self.clock.now() - self.slow
        return InvoiceSnapshot(None, taken_at)

    def is_listed(self, closing: Closing, snapshot: InvoiceSnapshot | None) -> bool:
        return bool(self.listed)

    def why_not_sent(self, reading: Any, closing: Closing, snapshot: InvoiceSnapshot | None) -> str:
        return self.refusals.pop(0) if self.refusals else ""

    def look_up(self, closing: Closing) -> tuple[ClosingAnswer | None, InvoiceSnapshot | None]:
        return (self.found.pop(0) if self.found else None), None

    def settle(self, tx: Any, closing: Closing, state: ClosingState | RefundState, answer: ClosingAnswer) -> None:
        if tx.closings._is_as_it_was(closing):
            sending = replace(closing.sending, lease_owner="", lease_until=None)
            ended = replace(closing, state=ClosingState(state), failure=answer.message, sending=sending)
            tx.closings.by_id[closing.id] = ended


@dataclass
class Desk:
    books: FakeBooks
    provider: FakeProvider
    clock: FakeClock
    dispatch: FakeDispatch
    waits: list[float]

    @property
    def resume(self) -> Resume:
        refunds: Any = self.dispatch
        return Resume(refunds, self.dispatch)

    @property
    def stored(self) -> Closing:
        (closing,) = self.books.closings.by_id.values()
        return closing

    def ready(self) -> Closing:
        self.books.closings.add(new_closing())
        return self.stored

    def submitted(self, **sending: Any) -> Closing:
        sent = replace(Sending("key-1", request(), fence=1, first_sent_at=NOW), **sending)
        self.books.closings.add(replace(new_closing(), state=ClosingState.SUBMITTED, sending=sent))
        return self.stored


def request() -> WireRequest:
    return WireRequest(Provider.STRIPE, ENDPOINT, "acct_1", False, "2026", {})


def new_closing() -> Closing:
    sending = Sending("key-1", request())
    return Closing("cl_1", 1, "INV-1", InvoiceStatus.VOID, ClosingState.READY, NOW, "Ada", sending)


@pytest.fixture
def desk() -> Desk:
    books, clock, waits = FakeBooks(), FakeClock(), list[float]()
    provider: Any = FakeProvider(books)
    policy = SendingPolicy(35, "CN-{seq}", sleep=waits.append)
    ports: Any = (books, provider, clock, policy)
    return Desk(books, provider, clock, FakeDispatch(*ports), waits)


# --- T1 to T4 ---


def reserve(tx: Any) -> list[Closing]:
    tx.closings.add(new_closing())
    return [tx.closings.get("cl_1")]


def test_it_is_reserved_claimed_sent_and_recorded_in_three_transactions(desk: Desk) -> None:
    desk.provider.answers = [DONE]
    (closing,) = desk.dispatch.reserve_and_send(reserve, lambda closing: None)
    assert (closing.state, desk.provider.keys, desk.books.writes) == (ClosingState.DONE, ["key-1"], 3)
    assert closing.sending.lease_until is None


def test_a_rule_that_refuses_in_the_claim_fails_it_and_nothing_is_sent(desk: Desk) -> None:
    desk.dispatch.refusals.append("the payment is disputed")
    closing = desk.dispatch.first_send(desk.ready())
    assert (closing.state, closing.failure) == (ClosingState.FAILED, "never sent: the payment is disputed")
    assert desk.provider.keys == []


def test_what_another_process_claimed_first_is_left_to_it(desk: Desk) -> None:
    closing = desk.ready()
    desk.books.closings.claim(closing, owner="another", until=NOW, at=NOW)
    assert desk.dispatch.first_send(closing).sending.lease_owner == "another"
    assert desk.provider.keys == []


def test_a_process_that_slept_past_its_lease_sends_nothing(desk: Desk) -> None:
    def sleep() -> None:
        desk.clock.time += timedelta(minutes=5)

    desk.provider.in_the_meantime = sleep
    closing = desk.dispatch.first_send(desk.ready())
    assert (closing.state, desk.provider.keys) == (ClosingState.FAILED, [])


@pytest.mark.parametrize("signal", [Signal.NO_ANSWER, Signal.SERVER_ERROR, Signal.MALFORMED, Signal.OTHER, "new"])
def test_an_answer_that_proves_nothing_leaves_it_submitted_without_a_lease(desk: Desk, signal: str) -> None:
    desk.provider.answers = [ClosingAnswer(signal, "who knows")]
    closing = desk.dispatch.first_send(desk.ready())
    assert (closing.state, closing.failure) == (ClosingState.SUBMITTED, "who knows")
    assert (desk.stored.sending.lease_until, desk.stored.failure) == (None, "")


@pytest.mark.parametrize("signal", [Signal.NOT_ALLOWED, Signal.DECLINED])
def test_a_refusal_is_proof_on_the_first_send_and_none_on_a_replay(desk: Desk, signal: Signal) -> None:
    desk.provider.answers = [ClosingAnswer(signal), ClosingAnswer(signal)]
    assert desk.dispatch.first_send(desk.ready()).state is ClosingState.FAILED
    assert desk.dispatch.send_again(desk.submitted()).state is ClosingState.SUBMITTED


def test_what_the_provider_already_has_is_recorded_and_not_sent(desk: Desk) -> None:
    desk.dispatch.listed.append(True)
    desk.dispatch.refusals.append("whatever the rules say")
    desk.dispatch.found.append(DONE)
    assert desk.dispatch.first_send(desk.ready()).state is ClosingState.DONE
    assert desk.provider.keys == []


def test_a_store_that_is_always_too_slow_sends_nothing(desk: Desk) -> None:
    slow = replace(desk.dispatch, slow=timedelta(seconds=11))
    with pytest.raises(StaleSnapshot):
        slow.first_send(desk.ready())
    assert (desk.stored.state, len(slow.looks), desk.provider.keys) == (ClosingState.READY, 3, [])


def test_after_a_short_wait_it_is_sent_again_and_after_a_long_one_it_is_checked(desk: Desk) -> None:
    too_many = ClosingAnswer(Signal.RATE_LIMITED, retry_after=0.5)
    desk.provider.answers = [too_many, DONE]
    assert desk.dispatch.first_send(desk.ready()).state is ClosingState.DONE
    assert (desk.waits, len(desk.dispatch.looks)) == ([0.5], 1)
    desk.provider.answers = [replace(too_many, retry_after=5.0), DONE]
    desk.dispatch.refusals[:] = ["", "a dispute was opened"]
    closing = desk.dispatch.first_send(desk.ready())
    assert (closing.state, closing.failure) == (ClosingState.FAILED, "never sent: a dispute was opened")
    assert desk.provider.answers == [DONE]


def test_an_outcome_that_cannot_be_written_names_what_it_is_about(desk: Desk) -> None:
    closing = desk.ready()
    desk.provider.answers = [DONE]
    desk.books.fails = [None, OSError("no space left")]
    with pytest.raises(OutcomeNotWritten) as caught:
        desk.dispatch.first_send(closing)
    assert "cl_1" in caught.value.message
    assert "in_1" in caught.value.message
    assert desk.stored.state is ClosingState.SUBMITTED


def test_what_was_not_sent_before_ctrl_c_fails(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_given: object) -> Any:
        raise Interrupted

    monkeypatch.setattr(FakeDispatch, "look", interrupt)
    with pytest.raises(Interrupted):
        desk.dispatch.reserve_and_send(reserve, lambda closing: None)
    assert (desk.stored.state, desk.stored.failure) == (ClosingState.FAILED, "never sent: interrupted")


def test_what_cannot_be_checked_fails_if_it_was_reserved_here(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(self: object, closing: Closing) -> Any:
        raise CannotBeChecked(closing, Refused("Stripe is away."))

    monkeypatch.setattr(FakeDispatch, "look", unreachable)
    (closing,) = desk.dispatch.reserve_and_send(reserve, lambda closing: None)
    assert (closing.state, closing.failure) == (ClosingState.FAILED, "never sent: Stripe is away.")


# --- resume ---


def test_resume_records_what_the_provider_has_and_sends_nothing(desk: Desk) -> None:
    desk.submitted()
    desk.dispatch.found.append(DONE)
    (resumed,) = desk.resume.settle([desk.stored])
    assert (resumed.step, desk.stored.state, desk.provider.keys) == (Step.SETTLED, ClosingState.DONE, [])


@pytest.mark.parametrize(("hours", "step", "keys"), [(1, Step.SETTLED, ["key-1"]), (21, Step.NEEDS_ATTENTION, [])])
def test_what_is_not_found_is_sent_again_only_while_its_key_is_known(
    desk: Desk, hours: int, step: Step, keys: list[str]
) -> None:
    desk.submitted(first_sent_at=NOW - timedelta(hours=hours))
    desk.provider.answers = [DONE]
    (resumed,) = desk.resume.settle([desk.stored])
    assert (resumed.step, desk.provider.keys) == (step, keys)


def test_a_rule_forbids_sending_it_again_and_it_stays_unknown(desk: Desk) -> None:
    desk.submitted()
    desk.dispatch.refusals.append("the invoice was paid")
    (resumed,) = desk.resume.settle([desk.stored])
    assert (resumed.step, resumed.note) == (Step.STILL_UNKNOWN, "not sent again: the invoice was paid")
    assert (desk.stored.state, desk.provider.keys) == (ClosingState.SUBMITTED, [])


def test_a_live_lease_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "is_gone", lambda owner: False)
    desk.submitted(lease_owner="another", lease_until=NOW + timedelta(seconds=1))

    def pass_time(seconds: float) -> None:
        assert desk.provider.keys == []
        desk.clock.time += timedelta(seconds=1)

    desk.dispatch.found.append(DONE)
    patient = replace(desk.dispatch, policy=SendingPolicy(35, "CN-{seq}", sleep=pass_time))
    (resumed,) = replace(desk.resume, closings=patient).settle([desk.stored])
    assert resumed.step is Step.SETTLED


def test_it_goes_to_no_other_account(desk: Desk) -> None:
    desk.submitted()
    desk.provider.account = "acct_2"
    (resumed,) = desk.resume.settle([desk.stored])
    assert (resumed.step, desk.provider.keys) == (Step.OTHER_ACCOUNT, [])


def test_one_that_cannot_be_settled_stops_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Resume, operation: Closing) -> Any:
        raise Refused(f"{operation.id} cannot be settled")

    monkeypatch.setattr(Resume, "settle_one", fails)
    closings = [new_closing(), replace(new_closing(), id="cl_2")]
    assert [resumed.step for resumed in desk.resume.settle(closings)] == [Step.NOT_ASKED] * 2


# --- resolve ---


@pytest.mark.parametrize(
    ("reference", "hours", "refusal"),
    [("", 1, ResumeFirst), ("in_1", 1, ResumeFirst), ("in_1", 21, None), ("", 21, None)],
)
def test_a_person_may_end_it_once_its_key_is_forgotten(
    desk: Desk, reference: str, hours: int, refusal: type[Refused] | None
) -> None:
    desk.submitted(first_sent_at=NOW - timedelta(hours=hours))
    resolve, resolution = Resolve(desk.resume), Resolution("cl_1", reference, "seen in the dashboard")
    if refusal:
        with pytest.raises(refusal):
            resolve.check(resolution)
    else:
        assert resolve.check(resolution) == desk.stored


def test_a_person_needs_evidence_and_something_to_end(desk: Desk) -> None:
    desk.ready()
    resolve = Resolve(desk.resume)
    assert resolve.check(Resolution("cl_1", "", "it was never sent")) == desk.stored
    with pytest.raises(NoEvidence):
        resolve.check(Resolution("cl_1", "", " "))
    with pytest.raises(ResumeFirst):
        resolve.check(Resolution("cl_1", "in_1", "it was never sent"))
    desk.books.closings.by_id["cl_1"] = replace(desk.stored, state=ClosingState.DONE)
    with pytest.raises(NotUnresolved):
        resolve.check(Resolution("cl_1", "", "seen"))
