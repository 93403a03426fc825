"""Ctrl-C while money moves is deferred, and takes effect afterwards."""

import os
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import built
from refundcli.domain.errors import OutcomeUnknown
from refundcli.services.dispatch.policy import SendingPolicy
from refundcli.services.dispatch.send_refund import RefundDispatch
from refundcli.services.ports.providers import RefundAnswer
from refundcli.services.ports.store_problems import BooksUnavailable
from refundcli.services.recovery.resume import Resume
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


@pytest.mark.parametrize("kind", ["rf", "cl"])
def test_resume_stops_before_the_next_one(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(Resume, "settle_one", fail_after_ctrl_c)
    settled: list[Any] = []
    operations: Any = [f"{kind}_1", f"{kind}_2"]
    with pytest.raises(Interrupted):
        built.resume(None, None, None, None).settle(operations, settled)
    assert [outcome.operation for outcome in settled] == [f"{kind}_1"]


def test_an_answer_waits_for_the_store_without_hurry_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)

    def write(_work: object) -> str:
        if len(slept) < 2:
            raise BooksUnavailable("away")
        return "written"

    books: Any = SimpleNamespace(write=write)
    monkeypatch.setattr(RefundDispatch, "with_answer", lambda self, stored, answer: stored)
    refund: Any = "rf_1"
    dispatch: Any = RefundDispatch(books, books, books, SendingPolicy(7, "CN-{seq}"))

    def send() -> None:
        with held_until_written(lambda: None):
            press_ctrl_c()
            assert dispatch.record(refund, RefundAnswer("accepted"), first_send=True) == "written"

    with pytest.raises(Interrupted):
        send()
    assert slept == [1.0, 1.0]
