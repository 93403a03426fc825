"""The sandbox as a command: its port, and its state between two runs."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from refundcli.sandbox.core import state_file, webhooks
from refundcli.sandbox.testing import RunningSandbox

DAY = 86400


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class Command:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process, self.url, self.notes = process, process.stdout.readline().strip(), ""

    def post(self, path: str, **body: object) -> requests.Response:
        return requests.post(f"{self.url}/_sandbox/{path}", json=body, timeout=10)

    def state(self) -> dict[str, object]:
        answer: dict[str, object] = requests.get(f"{self.url}/_sandbox/state", timeout=10).json()
        return answer


@contextmanager
def sandbox(folder: Path, *options: str) -> Iterator[Command]:
    words = [sys.executable, "-m", "refundcli", "sandbox", *options]
    with subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        command = Command(process)
        command.state()  # It answers, so it also handles signals.
        try:
            yield command
        finally:
            process.send_signal(signal.SIGINT)
            command.notes = process.communicate(timeout=20)[1]
        assert process.returncode == 0, command.notes


def test_its_state_is_lost_at_the_end_and_it_says_so(tmp_path: Path) -> None:
    with sandbox(tmp_path) as command:
        pass
    assert "Its state is lost when it ends. To keep it: --state FILE" in command.notes


def test_a_state_file_carries_payments_keys_clock_and_webhooks_to_the_next_run(tmp_path: Path) -> None:
    options = ("--port", "0", "--state", "practice.state")
    with sandbox(tmp_path, *options) as first:
        first.post("webhooks", provider="stripe", secret="whsec_practice")
        first.post("clock", advance_seconds=40 * DAY)
        payment = first.post("charges", provider="stripe", amount=5000, currency="EUR").json()["reference"]
        first.post("refunds", payment=payment, amount=2000)
        before = first.state()
    assert "Its state is kept in practice.state." in first.notes
    assert (tmp_path / "practice.state").stat().st_mode & 0o777 == 0o600
    with sandbox(tmp_path, *options) as second:
        after = second.state()
        deliveries = requests.get(f"{second.url}/_sandbox/deliveries?provider=stripe", timeout=10).json()
    assert {**after, "now": 0} == {**before, "now": 0}
    assert 0 <= after["now"] - before["now"] < DAY  # type: ignore[operator]
    assert [delivery["headers"]["Stripe-Signature"][:2] for delivery in deliveries] == ["t="] * len(deliveries) != []


@pytest.mark.parametrize("content", [b"", b"refundcli sandbox state 00000000\n", state_file.HEADING + b"\x80\x04oh"])
def test_a_damaged_or_foreign_state_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s").write_bytes(content)
    words = [sys.executable, "-m", "refundcli", "sandbox", "--state", "s"]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, "[sandbox-state-unreadable]" in ended.stderr) == (2, True), ended.stderr
    assert (tmp_path / "s").read_bytes() == content


def test_a_state_file_cannot_name_code(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(state_file.HEADING + b"cos\nsystem\n(S'touch broken'\ntR.")
    with pytest.raises(ValueError, match="damaged"):
        state_file.load(tmp_path / "s")


def test_another_port_is_used_where_the_usual_one_is_taken(tmp_path: Path) -> None:
    with socket.socket() as holder:
        try:
            holder.bind(("127.0.0.1", 4242))
            holder.listen()
        except OSError:
            pass  # Taken already, which is as good.
        with sandbox(tmp_path) as command:
            assert not command.url.endswith(":4242")
    assert "Port 4242 is in use; another one is used." in command.notes


def test_webhooks_are_signed_with_the_real_time_after_the_clock_was_moved() -> None:
    with RunningSandbox() as running:
        webhooks.register(running.state, {"provider": "stripe", "secret": "whsec_practice"})
        before = running.state.now()
        running.advance(400 * DAY)
        running.dashboard_refund(running.charge("50.00 EUR").reference, 1000)
        times = [
            int(delivery.headers["Stripe-Signature"][2:].split(",")[0])
            for delivery in webhooks.deliveries(running.state, "stripe")
        ]
    assert times
    assert all(abs(signed_at - before) < DAY for signed_at in times)
