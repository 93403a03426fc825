"""Workers of one run on separate machines: each a process with its own host name, machine id, clock and short leases.

A machine is another one by its pid namespace where `namespace` is asked for, else by what this module tells the
program.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from desk import Desk
from faults.processes import ShiftedClock
from refundcli import bootstrap
from refundcli.cli.main import run
from refundcli.services.bulk import refund_run
from refundcli.services.dispatch import leases
from refundcli.system import processes

UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
# Far longer than any successful step takes.
_LONGEST_SECONDS = 240
# A dead host's leases end after this long; a live one renews five times by then.
LEASE_SECONDS = 5.0
_QUICK = {"REFUNDCLI_REFUNDS_CONNECT_TIMEOUT": "2", "REFUNDCLI_REFUNDS_READ_TIMEOUT": "2"}


def may_unshare() -> bool:
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True, slots=True)
class Machine:
    """`ahead`: its clock error in seconds. `namespace`: its own pid namespace, with a shared host name."""

    host: str
    ahead: timedelta = timedelta(0)
    namespace: bool = False

    def start(self, desk: Desk, *command: str) -> "Worker":
        words = [sys.executable, "-m", "hosts", "--host", self.host]
        words += [] if self.namespace else ["--machine", f"boot of {self.host}/1"]
        # Not by libfaketime 0.9.10: under it, a sleeping Python 3.11 never wakes or fails with EINVAL.
        words += ["--ahead", str(int(self.ahead.total_seconds())), "--", *command, "-o", "json"]
        if self.namespace:
            words = [*UNSHARE, *words]
        environ = {**os.environ, **desk.environ, **_QUICK, "PYTHONPATH": str(Path(__file__).parent)}
        environ |= {"REFUNDCLI_REFUNDS_IN_FLIGHT": "2", "REFUNDCLI_REFUNDS_STRIPE_RATE": "0"}
        out, err = (desk.folder / f"{self.host}-{time.monotonic_ns()}.{name}" for name in ("out", "err"))
        with out.open("w") as to_out, err.open("w") as to_err:
            process = subprocess.Popen(
                words, env=environ, cwd=desk.folder, stdin=subprocess.DEVNULL, stdout=to_out, stderr=to_err
            )
        return Worker(self, process, out, err)


@dataclass
class Worker:
    machine: Machine
    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path
    _stopped: list[int] = field(default_factory=list)

    def ended(self) -> "Report":
        code = self.process.wait(_LONGEST_SECONDS)
        said = self.out.read_text()
        return Report(code, json.loads(said) if said.strip() else None, self.err.read_text())

    def kill(self) -> None:
        """With -9: the whole machine is gone."""
        self.process.kill()
        self.process.wait(_LONGEST_SECONDS)

    def stop(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    @property
    def is_at_work(self) -> bool:
        return self.process.poll() is None


@dataclass(frozen=True, slots=True)
class Report:
    """How a worker ended; `said` is its JSON, None if it was killed before any output."""

    code: int
    said: Any
    err: str

    @property
    def sent(self) -> int:
        """Rows that it counts as its own."""
        return int(self.said["refunded"]) + int(self.said["accepted"])

    @property
    def sum(self) -> int:
        counts = (
            "refunded",
            "accepted",
            "done_before",
            "partly_refunded",
            "refused_count",
            "unknown",
            "waiting",
            "leased_by_others",
        )
        return sum(self.said[name] for name in (*counts, "not_in_run"))


def wait_until(it_is_so: Callable[[], bool], workers: Sequence[Worker] = ()) -> None:
    """Or until none of the workers is at work."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not it_is_so() and time.monotonic() < deadline:
        if workers and not any(worker.is_at_work for worker in workers):
            return
        time.sleep(0.02)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--machine", default="")
    parser.add_argument("--ahead", type=int, default=0)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    patch.object(socket, "gethostname", lambda: options.host).start()
    if options.machine:
        patch.object(processes, "_this_machine", lambda: options.machine).start()
    if options.ahead:
        ahead = timedelta(seconds=options.ahead)
        patch.object(bootstrap, "SystemClock", lambda zone: ShiftedClock(ahead)).start()
    patch.object(leases, "_MARGIN_SECONDS", 1.0).start()
    patch.object(refund_run, "_ROW_LEASE_SECONDS", LEASE_SECONDS - 1.0).start()
    patch.object(refund_run, "_HOLD_SECONDS", LEASE_SECONDS / 5).start()
    patch.object(refund_run, "_PATIENCE_WITH_OTHERS_SECONDS", 4 * LEASE_SECONDS).start()
    return run(options.command)


if __name__ == "__main__":
    sys.exit(main())
