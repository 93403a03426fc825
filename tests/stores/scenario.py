"""What an operator does with a released program, so that its store holds a row of every kind.

This runs on the old program (see build.py), so it uses only what every released version has: the command line, the
sandbox and the fault points of the tests of that version.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from desk import Desk

COLUMNS = (
    "number", "customer", "customer_name", "currency", "total", "status", "issued_on", "due_on", "paid_on",
    "paid_amount", "payment_method", "provider", "payment_reference", "invoice_reference", "auto_refundable",
    "processing", "dispute", "dispute_amount", "refunded_amount", "products", "subscription",
)  # fmt: skip


class Time(Protocol):
    """The clock and the random numbers of the story."""

    def part(self) -> None: ...

    def later(self) -> None: ...


@dataclass
class Story:
    """One store as it grows."""

    desk: Desk
    schema: str
    time: Time
    rows: list[dict[str, str]] = field(default_factory=list)
    references: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def has(self, schema: str) -> bool:
        return self.schema >= schema

    # --- invoices ---

    def invoice(self, number: str, amount: str = "100.00 EUR", *, status: str = "paid", **columns: str) -> None:
        total, _, currency = amount.partition(" ")
        row = {
            "number": number,
            "customer": "cus_204",
            "customer_name": "Grace Hopper",
            "currency": currency,
            "total": total,
            "status": status,
            "issued_on": "2026-09-01",
        }
        if status == "paid":
            row |= {"paid_on": "2026-09-03", "payment_method": "card"}
        self.rows.append(row | columns)

    def card(self, number: str, amount: str = "100.00 EUR", provider: str = "stripe", **columns: str) -> str:
        """An invoice paid through the sandbox; the reference of its payment."""
        charge = self.desk.sandbox.charge(amount, provider=provider)  # type: ignore[arg-type]
        self.references[number] = charge.reference
        self.invoice(number, amount, provider=provider, payment_reference=charge.reference, **columns)
        return charge.reference

    def bring_in(self, name: str) -> None:
        lines = [",".join(COLUMNS), *(",".join(row.get(column, "") for column in COLUMNS) for row in self.rows)]
        self.rows.clear()
        self.keep(name, lines)
        self.do(f"invoice import {name}")

    def keep(self, name: str, lines: list[str]) -> None:
        """A file of the operator's, stored with the expectations."""
        (self.desk.folder / name).write_text("".join(f"{line}\n" for line in lines))
        self.files[name] = "".join(f"{line}\n" for line in lines)

    # --- commands ---

    def do(self, command: str, *exit_codes: int) -> Any:
        self.time.later()
        answer = self.desk(f"{command} -o json")
        assert answer.exit_code in (exit_codes or (0,)), (command, answer)
        return json.loads(answer.out) if answer.out else None

    def refund(self, number: str, amount: str = "", *faults: str, exit_code: int = 0, more: str = "") -> Any:
        provider = "adyen" if len(self.references.get(number, "_")) == 16 else "stripe"
        self.desk.sandbox.faults(*faults, provider=provider)  # type: ignore[arg-type]
        how = f"--amount {amount}" if amount else "--full"
        reason = "" if "--reason" in more else "--reason returned-goods"
        answer = self.do(f"refund {number} {how} {reason} --request-key key-{number} {more} --yes", exit_code)
        return answer["refunds"][0] if answer else None

    def killed(self, command: str, arm: Callable[[], None]) -> None:
        """The command in a process that kills itself where `arm` says."""
        self.ended_by_a_kill(self.forked(command, arm))

    def forked(self, command: str, arm: Callable[[], None] = lambda: None) -> int:
        self.time.part()
        pid = os.fork()
        if pid == 0:
            arm()
            self.desk(command)
            os._exit(0)
        self.time.part()
        return pid

    def ended_by_a_kill(self, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), f"the command ended by itself: {status}"
        assert os.WTERMSIG(status) == signal.SIGKILL

    # --- Adyen's events ---

    def event(self, code: str, reference: str, at: str = "2026-10-04T10:00:00+02:00", **changes: Any) -> dict[str, Any]:
        """An item about a payment, with its own reference; delivered by `ingest`."""
        from webhooks import item

        self._events += 1
        fields = {
            "originalReference": reference,
            "pspReference": f"EVENT{self._events:011}",
            "eventDate": at,
            "amount": {"currency": "EUR", "value": 10000},
        }
        return item(code, **(fields | changes))

    _events: int = 0

    def ingest(self, *items: dict[str, Any], exit_code: int = 0) -> Any:
        from webhooks import adyen, signed

        path = self.desk.folder / "deliveries.jsonl"
        posts = [adyen(signed(entry)) for entry in items]
        # Old versions of Post call this property differently.
        lines = (json.dumps({"headers": post.headers, "body": post.body.decode()}) for post in posts)
        path.write_text("".join(f"{line}\n" for line in lines))
        return self.do(f"events ingest {path}", exit_code, 8)


def strike(step: str, place: str) -> Callable[[], None]:
    """Kills the process at this fault point of that version's tests."""

    def arm() -> None:
        from faults.points import Fault, Saboteur, install

        install(Saboteur([Fault(step, place, "kill")], lambda note: None))

    return arm


def kill_at(module: str, name: str) -> Callable[[], None]:
    """Kills the process instead of calling this function."""

    def arm() -> None:
        from importlib import import_module

        setattr(import_module(module), name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))

    return arm


def tell(story: Story) -> None:
    import_all(story)
    refunds_in_every_state(story)
    records_and_closings_here(story)
    if story.has("0002"):
        from stores.scenario_of_events import event_that_waits, news_of_refunds, other_events

        news_of_refunds(story)
        other_events(story)
    if story.has("0003"):
        from stores.scenario_of_runs import closings_at_stripe, runs

        closings_at_stripe(story)
        runs(story)
    if story.has("0002"):
        event_that_waits(story)


def import_all(story: Story) -> None:
    story.card("S-PAID", products="Season pass 2026; Training kit", subscription="sub_88")
    story.card("A-PAID", provider="adyen")
    for state in ("PART", "FULL", "READY", "SENT", "LOST-ANSWER", "PENDING", "FAILED", "RETRIED", "INSTEAD"):
        story.card(f"S-{state}")
        story.card(f"A-{state}", provider="adyen")
    story.card("S-JPY", "12800 JPY")
    story.card("S-KWD", "45.500 KWD")
    for provider in ("stripe", "adyen"):
        first = provider[0].upper()
        story.card(f"{first}-D-OPEN", provider=provider, dispute="open")
        story.card(f"{first}-D-WON", provider=provider, dispute="won")
        story.card(f"{first}-D-LOST", provider=provider, dispute="lost")
        story.card(f"{first}-D-LOST-30", provider=provider, dispute="lost", dispute_amount="30.00")
        story.card(f"{first}-D-OPEN-30", provider=provider, dispute="open", dispute_amount="30.00")
        story.card(f"{first}-BEFORE", provider=provider, refunded_amount="20.00")
        story.card(f"{first}-PROCESSING", provider=provider, processing="true")
    story.card("S-OUT-OF-BAND", auto_refundable="false")
    story.card("S-OPEN-CAPTURED", status="open", paid_amount="40.00", paid_on="2026-09-03")
    story.invoice("CASH", payment_method="cash")
    story.invoice("BANK", payment_method="bank transfer")
    story.invoice("BANK-BEFORE", payment_method="bank transfer", refunded_amount="100.00")
    story.invoice("CHARGED-BACK", payment_method="card", dispute="lost", dispute_amount="30.00")
    for status in ("open", "draft", "void", "uncollectible"):
        story.invoice(status.upper(), status=status)
    story.invoice("TO-VOID", status="open", due_on="2026-09-30")
    story.invoice("TO-WRITE-OFF", status="open")
    story.invoice("BOTH", status="open")
    if story.has("0002"):
        from stores.scenario_of_events import invoices_of_events

        invoices_of_events(story)
    story.bring_in("invoices.csv")
    several_payments(story)


def several_payments(story: Story) -> None:
    stripe, adyen = (story.desk.sandbox.charge(f"{n}.00 EUR", provider=p) for n, p in ((60, "stripe"), (40, "adyen")))  # type: ignore[arg-type]
    payments: list[dict[str, Any]] = [
        {"paid_amount": "60.00", "payment_method": "card", "provider": "stripe", "payment_reference": stripe.reference},
        {"paid_amount": "40.00", "payment_method": "card", "provider": "adyen", "payment_reference": adyen.reference},
        {"paid_amount": "20.00", "payment_method": "cash"},
    ]
    row = {"number": "SEVERAL", "customer": "cus_204", "customer_name": "Grace Hopper", "currency": "EUR",
           "total": "120.00", "status": "paid", "issued_on": "2026-09-01", "payments": payments}  # fmt: skip
    story.keep("several.jsonl", [json.dumps(row)])
    story.do("invoice import several.jsonl")
    answer = story.desk(f"refund SEVERAL --amount 10 --payment {stripe.reference} --reason other --yes")
    assert answer.exit_code == 0, answer
    answer = story.desk(f"refund SEVERAL --amount 15 --payment {adyen.reference} --reason other --yes")
    assert answer.exit_code == 0, answer


def refunds_in_every_state(story: Story) -> None:
    for first in "SA":
        story.refund(f"{first}-PART", "30")
        story.refund(f"{first}-FULL")
        command = f"--amount 40 --reason duplicate --request-key key-{first}"
        story.killed(f"refund {first}-READY {command}-READY --yes", strike("T1", "after"))
        story.killed(f"refund {first}-SENT {command}-SENT --yes", strike("T2", "after"))
        story.refund(f"{first}-LOST-ANSWER", "40", "drop_after", exit_code=8)
        story.refund(f"{first}-FAILED", "40", "401", exit_code=6)
        story.refund(f"{first}-RETRIED", "40", "401", exit_code=6)
        story.refund(f"{first}-RETRIED", "40")
        story.refund(f"{first}-INSTEAD", "40", "401", exit_code=6)
        (failed,) = story.do(f"invoice show {first}-INSTEAD")["refunds"]
        story.do(
            f"mark-refunded {first}-INSTEAD --amount 40 --reason other --reference SEPA-{first}"
            f" --method 'bank transfer' --after-failed {failed['id']} --evidence 'bank statement 12' --yes"
        )
        story.refund(f"{first}-D-WON", "25", more="--dispute-decision 'the bank decided for us'")
    story.refund("S-PENDING", "40", "pending")
    story.refund("A-PENDING", "40")
    story.refund("S-JPY", "5000")
    story.refund("S-KWD", "1.250")
    story.refund("S-BEFORE", "10")


def records_and_closings_here(story: Story) -> None:
    story.do("mark-refunded CASH --amount 25 --reason overcharged --method cash --refunded-on 2026-10-02 --yes")
    story.do("mark-refunded BANK --full --reason billing-error --method 'bank transfer' --reference SEPA-1 --yes")
    story.do("mark-refunded S-OUT-OF-BAND --amount 10 --reason other --reference dashboard --yes")
    story.do("mark-refunded CHARGED-BACK --amount 30 --reason chargeback --yes")
    story.do("void TO-VOID --memo 'ordered twice' --yes")
    story.do("uncollectible TO-WRITE-OFF --memo 'moved away' --yes")
    story.do("uncollectible BOTH --yes")
    story.do("void BOTH --yes")


def until(holds: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
