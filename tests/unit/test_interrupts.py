"""Ctrl-C while money moves is deferred, and takes effect afterwards."""

import os
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from refundcli.domain.errors import OutcomeUnknown
from refundcli.services.dispatch import send_refund
from refundcli.services.dispatch.send_refund import SendingPolicy
from refundcli.services.ports.store_problems import BooksUnavailable
from refundcli.services.recovery import resume_closings, resume_refunds
from refundcli.system import interrupts
from refundcli.system.interrupts import Interrupted, held_until_written, is_interrupted


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    yield
    interrupts._SIGNALS.clear()


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def fail_after_ctrl_c(*_given: object, **_named: object) -> Any:
    with held_until_written(lambda: None):
        press_ctrl_c()
        raise OutcomeUnknown("not written")


def test_it_is_raised_once_the_work_is_done() -> None:
    calls = []

    def work() -> None:
        with held_until_written(lambda: None):
            press_ctrl_c()
            calls.append(1)

    with pytest.raises(Interrupted):
        work()
    assert calls == [1]
    assert not is_interrupted()


def test_it_survives_failing_work_and_nothing_more_begins() -> None:
    with pytest.raises(OutcomeUnknown):
        fail_after_ctrl_c()
    begun = []
    with pytest.raises(Interrupted), held_until_written(lambda: None):
        begun.append(1)
    assert begun == []
    assert not is_interrupted()


def test_resume_stops_before_the_next_refund(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume_refunds, "resume_one", fail_after_ctrl_c)
    settled: list[Any] = []
    tools: Any = {"books": None, "providers": None, "clock": None, "policy": None}
    refunds: Any = ["rf_1", "rf_2"]
    with pytest.raises(Interrupted):
        resume_refunds.resume(refunds, outcomes=settled, **tools)
    assert [outcome.refund for outcome in settled] == ["rf_1"]


def test_resume_stops_before_the_next_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume_closings, "resume_closing", fail_after_ctrl_c)
    tools: Any = {"books": None, "providers": None, "clock": None, "policy": None}
    closings: Any = ["cl_1", "cl_2"]
    settled: list[Any] = []
    with pytest.raises(Interrupted):
        resume_closings.resume_closings(closings, outcomes=settled, **tools)
    assert [outcome.closing for outcome in settled] == ["cl_1"]


def test_an_answer_waits_for_the_store_without_hurry_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)

    def write(_work: object) -> str:
        if len(slept) < 2:
            raise BooksUnavailable("away")
        return "written"

    args: Any = ("rf_1", "answer", "re_1", None)
    books: Any = SimpleNamespace(write=write)

    def send() -> None:
        with held_until_written(lambda: None):
            press_ctrl_c()
            assert send_refund.write_outcome(*args, books=books, policy=SendingPolicy(7, "CN-{seq}")) == "written"

    with pytest.raises(Interrupted):
        send()
    assert slept == [1.0, 1.0]
