"""A refund killed at each system call that matters, with its code unpatched (needs strace).

`python -m faults.no_hooks`: kill -9 at the Nth write, fsync, connect, send or unlink of one refund, N rising until
a run ends clean. After each kill `resume` settles, the same command is given again, and store and provider agree.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from desk import MERCHANT, Desk
from engines import share_engines
from faults.verdict import summed
from memory import use_memory_for_temporary_files
from refundcli.sandbox.testing import RunningSandbox
from refundcli.store.checks.integrity import findings
from refundcli.store.databases.engine import store_engine
from refundcli.store.migrate import ensure_schema

# unlink removes SQLite's journal, which is its commit.
CALLS = ("pwrite64", "fsync", "fdatasync", "connect", "sendto", "unlink")
CALLS_OF_ANY_REFUND = ("pwrite64", "connect", "sendto", "unlink")
COMMAND = ["refund", "INV-1", "--amount", "60", "--reason", "other", "--request-key", "K", "--yes"]
KILLED = (-9, 137)


class Violation(Exception):
    """A violated invariant."""


def main() -> int:
    """Exit 0 without a violation or without strace (with a message), else 1."""
    if not _strace_works():
        print("no-hook sweep: strace cannot run here, skipped")
        return 0
    os.environ["NO_PROXY"] = "127.0.0.1"
    use_memory_for_temporary_files()
    share_engines()
    with RunningSandbox(merchant_account=MERCHANT) as sandbox, tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template.db"
        ensure_schema(store_engine(f"sqlite:///{template}"), at=datetime.now(UTC), writing=True)
        _check_order(_desk(sandbox, template, Path(folder) / "order"))
        kills: Counter[str] = Counter()
        for call in CALLS:
            for nth in count(1):
                desk = _desk(sandbox, template, Path(folder) / f"{call}-{nth}")
                if not _killed_at(desk, call, nth):
                    break
                kills[call] += 1
                _check(desk, f"{call} #{nth}")
        # A tracer that does not trace would never find a violation.
        if never := [call for call in CALLS_OF_ANY_REFUND if not kills[call]]:
            raise Violation(f"no kill at {', '.join(never)}: the tracer does not trace")
    counts = ", ".join(f"{times} {call}" for call, times in kills.items())
    print(
        f"no-hook sweep: {kills.total()} kills ({counts}), 0 violations; T1 and T2 are on the disk before the request"
    )
    print(f"    {summed(())}")
    return 0


def _desk(sandbox: RunningSandbox, template: Path, folder: Path) -> Desk:
    folder.mkdir()
    desk = Desk(f"sqlite:///{shutil.copy(template, folder / 'books.db')}", sandbox, folder)
    desk.paid_by_card()
    # Account and mode are known from here on; only the refund follows.
    desk.json("refund INV-1 --amount 1 --reason other --yes")
    return desk


def _killed_at(desk: Desk, call: str, nth: int) -> bool:
    code = _traced(desk, ["-e", f"inject={call}:signal=KILL:when={nth}"])
    if code not in (*KILLED, 0):
        raise Violation(f"{call} #{nth}: the command ended {code}")
    return code in KILLED


def _check(desk: Desk, where: str) -> None:
    (reference,) = desk.invoice("INV-1").payments[0].references
    desk("resume --yes")
    again = desk(" ".join(COMMAND))
    if again.exit_code != 0:
        raise Violation(f"{where}: the same command again ended {again.exit_code}: {again.err}")
    amounts = sorted(desk.refunded_at_provider(reference))
    invoice = desk.invoice("INV-1")
    problems = findings(desk.books)
    if amounts != [100, 6000] or invoice.refunded.minor != 6100 or invoice.reserved or problems:
        raise Violation(f"{where}: provider {amounts}, books {invoice.refunded} and {invoice.reserved}, {problems}")
    desk.books.engine.dispose()


def _check_order(desk: Desk) -> None:
    """T1 and T2 are on the disk before the request leaves (I2)."""
    log = desk.folder / "trace"
    _traced(desk, ["-o", str(log), "-e", "trace=fsync,fdatasync,unlink,connect,sendto"])
    before, _, _ = log.read_text().partition('"POST /v1/refunds')
    commits = len(re.findall(r"unlink\(\"[^\"]*-journal\"\)", before))
    if '"POST /v1/refunds' not in log.read_text() or commits < 2 or "sync(" not in before:
        raise Violation(f"{commits} commits before the request left")


def _traced(desk: Desk, options: list[str]) -> int:
    quiet = [] if "-o" in options else ["-o", os.devnull]
    command = ["strace", "-f", "-qq", *quiet, *options, sys.executable, "-m", "refundcli", *COMMAND]
    environ = {**os.environ, **desk.environ}
    return subprocess.run(command, env=environ, capture_output=True, timeout=120, check=False).returncode


def _strace_works() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
