"""The listener under load, killed repeatedly: every acknowledged event must be in the store.

PYTHONPATH=tests python -m faults.events_load --events 100000 --connections 8
"""

import argparse
import http.client
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sqlalchemy import text

from desk import MERCHANT
from refundcli.store.databases.engine import store_engine
from webhooks import ADYEN_KEY, RunningListener, adyen, item, signed

_RETRY_SECONDS = 0.05
_LONGEST_SECONDS = 120.0


@dataclass(slots=True)
class Tally:
    """What one connection saw: the events that were acknowledged, and how long each took."""

    acknowledged: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    acknowledged: int
    stored: int
    lost: int
    looked_at: int
    kills: int
    repeated: int
    seconds: float
    p50: float
    p99: float

    def __str__(self) -> str:
        return (
            f"{self.acknowledged:,} events acknowledged, {self.stored:,} in the store, {self.lost} lost; "
            f"{self.kills} kills, {self.repeated} tries again; "
            f"{self.acknowledged / self.seconds:,.0f} events/s in {self.seconds:.0f} s, "
            f"p50 {self.p50 * 1000:.1f} ms, p99 {self.p99 * 1000:.1f} ms; {self.looked_at:,} applied meanwhile"
        )


# --- the sender's side --------------------------------------------------------------------------------------


class Line:
    """A kept-alive connection, reopened after a kill."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._line: http.client.HTTPConnection | None = None

    def post(self, body: bytes) -> bool:
        try:
            self._line = self._line or http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            self._line.request("POST", "/adyen", body, {"Content-Type": "application/json"})
            answer = self._line.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            if self._line:
                self._line.close()
            self._line = None
            return False
        return answer.status == 200


def post_all(connection: int, count: int, port: int, progress: Any, folder: Path) -> None:
    """Sends each event until it is acknowledged."""
    tally, line = Tally(), Line(port)
    for number in range(count):
        name = f"LOAD{connection:03}X{number:09}"
        body = adyen(signed(item(pspReference=name))).body
        deadline = time.monotonic() + _LONGEST_SECONDS
        began = time.monotonic()
        while not line.post(body):
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} was never acknowledged")
            tally.repeated += 1
            time.sleep(_RETRY_SECONDS)
            began = time.monotonic()
        tally.acknowledged.append(name)
        tally.seconds.append(time.monotonic() - began)
        progress[connection] = number + 1
    report = {"acknowledged": tally.acknowledged, "seconds": tally.seconds, "repeated": tally.repeated}
    (folder / f"acknowledged-{connection}.json").write_text(json.dumps(report))


# --- the run ------------------------------------------------------------------------------------------------


def run(events: int, connections: int, kills: int, *, url: str, folder: Path, seed: int = 1) -> Outcome:
    listener = RunningListener(_settings(url), folder)
    shares = [events // connections + (number < events % connections) for number in range(connections)]
    fork = multiprocessing.get_context("fork")
    progress = fork.Array("q", connections)
    listener.start()
    processes: list[BaseProcess] = []
    try:
        started = time.monotonic()
        for number, count in enumerate(shares):
            processes.append(fork.Process(target=post_all, args=(number, count, listener.port, progress, folder)))
            processes[-1].start()
        killed = _kill_again_and_again(listener, processes, progress, _moments(events, kills, seed))
        seconds = time.monotonic() - started
        assert all(number.exitcode == 0 for number in processes), listener.output
        assert listener.stop() == 0, listener.output
    finally:
        for sender in processes:
            sender.kill()
        listener.__exit__()
    return _outcome(url, folder, connections, killed, seconds)


def _settings(url: str) -> dict[str, str]:
    return {
        "REFUNDCLI_STORE_URL": url,
        "REFUNDCLI_OPERATOR_NAME": "Load",
        "REFUNDCLI_ADYEN_MERCHANT_ACCOUNT": MERCHANT,
        "REFUNDCLI_ADYEN_HMAC_KEY": "env:ADYEN_HMAC_KEY",
        "ADYEN_HMAC_KEY": ADYEN_KEY,
    }


def _moments(events: int, kills: int, seed: int) -> list[int]:
    """The event counts at which the listener is killed."""
    return sorted(random.Random(seed).sample(range(1, max(events * 9 // 10, 2)), kills))


def _kill_again_and_again(
    listener: RunningListener, processes: Sequence[BaseProcess], progress: Any, moments: list[int]
) -> int:
    killed = 0
    while any(sender.is_alive() for sender in processes):
        if killed < len(moments) and sum(progress) >= moments[killed]:
            listener.process.kill()
            listener.process.wait()
            killed += 1
            listener.start()
        time.sleep(0.005)
    return killed


def _outcome(url: str, folder: Path, connections: int, kills: int, seconds: float) -> Outcome:
    acknowledged: list[str] = []
    took: list[float] = []
    repeated = 0
    for number in range(connections):
        answer = json.loads((folder / f"acknowledged-{number}.json").read_text())
        acknowledged += answer["acknowledged"]
        took += answer["seconds"]
        repeated += answer["repeated"]
    engine = store_engine(url)
    with engine.connect() as line:
        stored = {about for (about,) in line.execute(text("SELECT about FROM provider_event"))}
        looked_at = line.execute(text("SELECT count(*) FROM provider_event WHERE state <> 'waiting'")).scalar() or 0
    engine.dispose()
    took.sort()
    return Outcome(
        acknowledged=len(acknowledged),
        stored=len(stored),
        lost=len(set(acknowledged) - stored),
        looked_at=int(looked_at),
        kills=kills,
        repeated=repeated,
        seconds=seconds,
        p50=took[len(took) // 2],
        p99=took[len(took) * 99 // 100],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", help="postgresql://… of an empty database; else a SQLite file that goes after")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="refundcli-load-") as directory:
        folder = Path(directory)
        url = options.store or f"sqlite:///{folder / 'store.db'}"
        outcome = run(options.events, options.connections, options.kills, url=url, folder=folder, seed=options.seed)
    print(outcome)
    return 1 if outcome.lost else 0


if __name__ == "__main__":
    sys.exit(main())
