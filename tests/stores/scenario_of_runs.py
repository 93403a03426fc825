"""Runs from a file, and invoices closed at Stripe (schema 0003 and later)."""

import os
import signal
from typing import Any

from stores.scenario import Story, kill_at, until

HEAD = "invoice,amount,reason,memo,key"


def closings_at_stripe(story: Story) -> None:
    for name in ("DONE", "DECLINED", "READY", "SENT", "LOST-ANSWER", "WRITTEN-OFF"):
        story.desk.sandbox.invoice("100.00 EUR", number=f"C-{name}", status="open")
    story.do("invoice pull stripe")
    story.do("void C-DONE --memo 'ordered twice' --yes")
    story.do("uncollectible C-WRITTEN-OFF --yes")
    story.desk.sandbox.faults("401", call="invoice")
    story.do("void C-DECLINED --yes", 4, 6)
    story.desk.sandbox.faults("drop_after", call="invoice")
    story.do("void C-LOST-ANSWER --yes", 8)
    story.killed("void C-READY --memo 'a mistake' --yes", kill_at("refundcli.services.close_invoice", "send_closing"))
    story.killed("void C-SENT --yes", kill_at("refundcli.services.send_closing", "ask"))


def runs(story: Story) -> None:
    for name in "ABCDEFGHIJKLMNOPQ":
        story.card(f"R-{name}", "50.00 EUR", provider="adyen" if name in "CO" else "stripe")
    for n in range(1, 6):
        story.invoice(f"T-{n}", payment_method="bank transfer")
    story.bring_in("invoices-of-runs.csv")
    finished_run(story)
    stopped_run(story)
    killed_run(story)
    recorded_runs(story)


def finished_run(story: Story) -> None:
    rows = ["R-A,20.00,other,,", "R-B,,duplicate,second parcel,of-the-shop", "R-C,10.00,other,,"]
    # More than refundable, and one that Stripe declines.
    rows += ["R-D,60.00,other,,", "R-E,5.00,other,,"]
    story.keep("finished.csv", [HEAD, *rows])
    _faulty(story, "R-E", "401")
    story.do("refund --from finished.csv --yes", 9)


def stopped_run(story: Story) -> None:
    """Two errors were allowed; a lost response is among the rows done before."""
    names = "FGHIJ"
    story.keep("stopped.csv", [HEAD, *(f"R-{name},20.00,other,," for name in names)])
    _faulty(story, "R-F", "drop_after")
    for name in "GH":
        _faulty(story, f"R-{name}", "401")
    story.desk.environ["REFUNDCLI_REFUNDS_IN_FLIGHT"] = "1"
    story.do("refund --from stopped.csv --max-errors 1 --yes", 3, 4, 8, 9)


def killed_run(story: Story) -> None:
    """Killed with two rows on the wire: one arrives, one does not, and the rest were not begun."""
    story.keep("killed.csv", [HEAD, *(f"R-{name},20.00,other,," for name in "KLMNOPQ")])
    _faulty(story, "R-M", "drop_after", delay_before_ms=1500)
    _faulty(story, "R-N", "drop_before", delay_before_ms=1500)
    story.desk.environ["REFUNDCLI_REFUNDS_IN_FLIGHT"] = "2"
    story.desk.environ["REFUNDCLI_REFUNDS_READ_TIMEOUT"] = "30"
    before = len(story.desk.sandbox.refund_requests)
    pid = story.forked("refund --from killed.csv --yes")
    until(lambda: len(story.desk.sandbox.refund_requests) >= before + 4)
    os.kill(pid, signal.SIGKILL)
    story.ended_by_a_kill(pid)
    until(lambda: len(story.desk.sandbox.refunds_of(story.references["R-M"])) == 1)
    story.desk.sandbox.clear_faults()
    story.desk.environ["REFUNDCLI_REFUNDS_READ_TIMEOUT"] = "2"


def recorded_runs(story: Story) -> None:
    head = "invoice,amount,reason,method,reference,refunded_on,memo,key"
    story.keep(
        "transfers.csv", [head, "T-1,40.00,overcharged,bank transfer,SEPA 7,2026-10-02,,", "T-2,,other,cash,,,,"]
    )
    story.do("mark-refunded --from transfers.csv --yes")
    story.keep("undone.csv", [head, "T-3,40.00,overcharged,bank transfer,SEPA 8,2026-10-02,,", "T-4,,other,cash,,,,"])
    run = story.do("mark-refunded --from undone.csv --yes")["run"]
    story.do(f"mark-refunded --undo {run} --memo 'the wrong file' --yes")


def _faulty(story: Story, number: str, behaviour: str, **how: Any) -> None:
    story.desk.sandbox.faults(behaviour, payment=story.references[number], **how)
