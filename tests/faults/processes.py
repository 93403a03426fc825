"""Processes of a case: the sandbox, and each command that an operator types."""

import http.client
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

from faults.points import Fault, Saboteur, install
from refundcli import bootstrap
from refundcli.cli.main import run
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.server import bind, serve

# A command that takes longer is hanging.
LONGEST_SECONDS = 45
BROKE_OUT = 99
MERCHANT = "Shop"
WEBHOOK_SECRET, HMAC_KEY = "what-the-sweep-and-stripe-know", b"what the sweep and adyen know".hex()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, or minus the signal that killed it."""

    arguments: tuple[str, ...]
    code: int
    said: str
    notes: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self.arguments[0]

    @property
    def request_key(self) -> str:
        return self.arguments[self.arguments.index("--request-key") + 1]

    def __str__(self) -> str:
        return f"{' '.join(self.arguments)} → {self.code}  {' '.join(self.notes)}\n{self.said}"


def operator_environ(
    folder: Path, url: str, sandbox: str, *, stripe_key: str, adyen_key: str, **settings: str
) -> dict[str, str]:
    """The environment of an operator's process: the store, the sandbox and its settings."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "REFUNDCLI_STORE_URL": url,
        "REFUNDCLI_OPERATOR_NAME": "Ada Lovelace",
        "REFUNDCLI_OPERATOR_TIMEZONE": "UTC",
        "REFUNDCLI_STRIPE_API_KEY": "env:STRIPE_API_KEY",
        "REFUNDCLI_STRIPE_API_BASE": sandbox,
        "REFUNDCLI_ADYEN_API_KEY": "env:ADYEN_API_KEY",
        "REFUNDCLI_ADYEN_API_BASE": sandbox,
        "REFUNDCLI_ADYEN_MERCHANT_ACCOUNT": MERCHANT,
        "STRIPE_API_KEY": stripe_key,
        "ADYEN_API_KEY": adyen_key,
        **settings,
    }


@dataclass(frozen=True, slots=True)
class ShiftedClock:
    """A clock shifted by a fixed amount."""

    ahead: timedelta

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def today(self) -> date:
        return self.now().date()


@dataclass(frozen=True, slots=True)
class Command:
    """A running command in a separate process."""

    pid: int
    arguments: tuple[str, ...]
    folder: Path

    def ended(self) -> Ended:
        _, status = os.waitpid(self.pid, 0)
        return self._ended(status)

    def stopped(self) -> Ended | None:
        """None once it is suspended; its end if it ended first."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        return None if os.WIFSTOPPED(status) else self._ended(status)

    def continue_to_end(self) -> Ended:
        os.kill(self.pid, signal.SIGCONT)
        return self.ended()

    def ended_by_now(self) -> Ended | None:
        """None while it is at work."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return self._ended(status) if pid else None

    def has_ended(self) -> bool:
        """Whether it has ended; its status can still be collected."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def stop(self) -> None:
        """Suspends it, as closing a laptop does."""
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> Ended:
        """With SIGKILL, at any point; it may have ended just before."""
        os.kill(self.pid, signal.SIGKILL)
        return self.ended()

    def _ended(self, status: int) -> Ended:
        said, notes = self._read("said"), self._read("notes")
        return Ended(self.arguments, os.waitstatus_to_exitcode(status), said, tuple(notes.splitlines()))

    def _read(self, what: str) -> str:
        """Empty where it was killed before any output."""
        path = self.folder / f"{self.pid}.{what}"
        return path.read_text(errors="replace") if path.exists() else ""


def start(
    arguments: Sequence[str],
    *,
    folder: Path,
    environ: dict[str, str],
    faults: Sequence[Fault] = (),
    ahead: timedelta = timedelta(0),
    mutate: Callable[[], None] | None = None,
    host: str = "",
) -> Command:
    """Starts a command in a separate process with `faults`; `host` is another machine."""

    def work() -> int:
        become_an_operator(folder, environ)
        if ahead:
            patch.object(bootstrap, "books_clock", lambda services: ShiftedClock(ahead)).start()
        if host:
            patch.object(socket, "gethostname", lambda: host).start()
        install(Saboteur(faults, _noting(folder)))
        if mutate:
            mutate()
        return run(arguments)

    return Command(forked(work), tuple(arguments), folder)


def become_an_operator(folder: Path, environ: dict[str, str], *, longest: int = LONGEST_SECONDS) -> None:
    """Gives this forked process the environment, no terminal, and files for its output."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    said = os.open(folder / f"{os.getpid()}.said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ.clear()
    os.environ.update(environ)
    # A background process may inherit an ignored SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(longest)


def _noting(folder: Path) -> Callable[[str], None]:
    def note(text: str) -> None:
        target = os.open(folder / f"{os.getpid()}.notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(target, f"{text}\n".encode())
        os.close(target)

    return note


def forked(work: Callable[[], int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    return os.fork() or _run_and_leave(work)


def _run_and_leave(work: Callable[[], int]) -> NoReturn:
    code = BROKE_OUT
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Sandbox:
    """Stripe and Adyen in a process of their own, controlled over their own port."""

    def __init__(self) -> None:
        reading, writing = os.pipe()

        def announce(url: str) -> None:
            os.write(writing, url.encode())

        def work() -> int:
            serve(bind(0), announce=announce, state=SandboxState(merchant_account=MERCHANT))
            return 0

        self.pid = forked(work)
        os.close(writing)
        self.url = os.read(reading, 100).decode()
        os.close(reading)

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def charge(self, provider: str, amount: int, currency: str, reference: str) -> None:
        self._ask(
            "POST",
            "charges",
            {"provider": provider, "amount": amount, "currency": currency, "reference": reference},
        )

    def invoice(self, invoice_id: str, total: int, currency: str) -> None:
        """An open, unpaid invoice."""
        body = {"id": invoice_id, "number": "INV-1", "status": "open", "total": total, "currency": currency}
        self._ask("POST", "invoices", body)

    def close_in_the_dashboard(self, invoice_id: str, action: str) -> None:
        """Closed in the dashboard, without our key."""
        verb = "void" if action == "void" else "mark_uncollectible"
        self._send("POST", f"/v1/invoices/{invoice_id}/{verb}", "", {"Authorization": "Bearer sk_test_dashboard"})

    def dispute(self, reference: str) -> None:
        self._ask("POST", "disputes", {"charge": reference, "status": "open"})

    def refund_in_the_dashboard(self, reference: str, amount: int) -> None:
        self._ask("POST", "refunds", {"payment": reference, "amount": amount})

    def register_webhooks(self, provider: str) -> None:
        secret = {"secret": WEBHOOK_SECRET} if provider == "stripe" else {"hmac_key": HMAC_KEY}
        self._ask("POST", "webhooks", {"provider": provider, "url": f"{self.url}/_sandbox/elsewhere", **secret})

    def deliveries(self, provider: str, *, drain: bool = False) -> list[dict[str, Any]]:
        path = f"deliveries?provider={provider}" + ("&drain=true" if drain else "")
        answer: list[dict[str, Any]] = json.loads(self._ask("GET", path))
        return answer

    def settle(self, refund_id: str, outcome: dict[str, Any]) -> None:
        self._ask("POST", f"refunds/{refund_id}", outcome)

    def plan(self, *faults: dict[str, Any]) -> None:
        self._ask("POST", "faults", list(faults))

    def clear_faults(self) -> None:
        self._ask("DELETE", "faults")

    def advance(self, by: timedelta) -> None:
        self._ask("POST", "clock", {"advance_seconds": by.total_seconds()})

    def state(self) -> dict[str, Any]:
        """Every request, and every record."""
        answer: dict[str, Any] = json.loads(self._ask("GET", "state"))
        return answer

    def _ask(self, method: str, path: str, body: Any = None) -> bytes:
        return self._send(method, f"/_sandbox/{path}", json.dumps(body) if body is not None else "", {})

    def _send(self, method: str, path: str, body: str, headers: dict[str, str]) -> bytes:
        # A new connection each time: on a kept-alive one, delayed ACKs cost 40 ms per response.
        line = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=10)
        try:
            line.request(method, path, body, headers)
            answer = line.getresponse()
            content = answer.read()
        finally:
            line.close()
        assert answer.status < 300, content
        return content
