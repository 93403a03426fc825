"""Refunds that a killed process left unfinished."""

import os

from desk import Desk
from preloaded import run_script


def leave_it_ready(desk: Desk, how_much: str = "--amount 60", number: str = "INV-1") -> str:
    """A process that is killed between T1 and T2: the amount is reserved, nothing was sent."""
    script = (
        "import os; from refundcli.services.dispatch.protocol import Dispatch; from refundcli.cli.main import run\n"
        "Dispatch.first_send = lambda *a, **k: os.kill(os.getpid(), 9)\n"
        f"run('refund {number} {how_much} --reason other --yes'.split())"
    )
    assert run_script(script, os.environ | desk.environ).returncode == -9
    (refund,) = desk.invoice(number).refunds
    assert refund.state == "ready"
    return refund.id
