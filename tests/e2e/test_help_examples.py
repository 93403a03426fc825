"""Every example in the help of a command runs, in a store that has what it names."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from sqlalchemy import text

from adyen_rows import HEADER, row
from desk import Answer, Desk
from leaves import LEAVES
from left_behind import leave_it_ready
from refundcli.cli.help_page import examples_of
from webhooks import adyen, item, settle_secrets, signed

ROOT = Path(__file__).parents[2]
EXPORTS = ROOT / "tests" / "data" / "exports"
EXAMPLES = [(name, example) for name, command in LEAVES.items() for example in examples_of(command)]
# What an example names, and what it is called in the store of the test.
Names = Mapping[str, str]


def practice(desk: Desk) -> Names:
    """Invoices INV-1042, INV-7 and INV-8, a refund with its credit note, a run, and the files."""
    desk.paid_by_card("INV-1042", customer_name="Ama Osei", products=("Cup U12",))
    desk.paid_outside("INV-7")
    desk.unpaid("INV-8")
    (refund,) = desk.json("refund INV-1042 --amount 5 --reason other --yes")["refunds"]
    run = desk.json(f"mark-refunded --from {records('1.00')} --yes")["run"]
    return {
        "CN-2026-000017": refund["credit_note"]["number"],
        "rf_01K2…": refund["id"],
        "re_1Q2w3e": refund["provider_reference"],
        "run_01K": run,
    }


def written(name: str, *lines: str) -> str:
    Path(name).write_text("\n".join(lines) + "\n")
    return name


def records(amount: str = "40.00") -> str:
    return written("transfers.csv", "invoice,amount,reason", f"INV-7,{amount},other")


def files(desk: Desk) -> Names:
    names = practice(desk)
    records()
    written("refunds.csv", "invoice,amount", "INV-1042,12.50")
    written("invoices-to-close.csv", "invoice", "INV-8")
    return names


def files_to_import(desk: Desk) -> Names:
    shutil.copy(ROOT / "examples" / "invoices.csv", "invoices.csv")
    shutil.copy(EXPORTS / "stripe_payments.csv", "payments.csv")
    written(
        "invoices.jsonl",
        '{"number": "J-1", "customer": "c", "currency": "EUR", "total": "10.00", "status": "open",'
        ' "issued_on": "2026-09-01"}',
    )
    return {}


def bank_statement(desk: Desk) -> Names:
    heading = "number,customer,currency,total,status,issued_on,payment_method"
    rows = [f"INV-{number},c,EUR,2000.00,paid,2026-08-01,bank transfer" for number in (1009, 1011)]
    desk.json(f"invoice import {written('books.csv', heading, *rows)}")
    shutil.copy(EXPORTS / "camt053.xml", "statement.xml")
    return {}


def plan(desk: Desk) -> Names:
    names = practice(desk)
    desk.json("plan make --product 'Cup*' --keep 10% --reason other --out plan.json")
    return names


def reserved(desk: Desk) -> Names:
    desk.paid_by_card("INV-1042")
    return {"rf_01K2…": leave_it_ready(desk, "--amount 12.50", "INV-1042")}


def unknown(desk: Desk) -> Names:
    """A refund whose response was lost a day ago."""
    desk.paid_by_card("INV-1042")
    desk.sandbox.faults("drop_before")
    (refund,) = desk.json("refund INV-1042 --amount 40 --reason other --yes", exit_code=8)["refunds"]
    with desk.books.engine.begin() as connection:
        yesterday = (datetime.now(UTC) - timedelta(hours=24)).replace(tzinfo=None)
        connection.execute(text("UPDATE refund SET first_sent_at = :at"), {"at": yesterday})
    return {"rf_01K2…": refund["id"]}


def unknown_and_made(desk: Desk) -> Names:
    names = unknown(desk)
    payment = desk.invoice("INV-1042").payments[0].reference
    return {**names, "re_1Q…": desk.sandbox.dashboard_refund(payment, 4000)}


def adyen_report(desk: Desk) -> Names:
    payment = desk.paid_by_card("INV-9", provider="adyen")
    written("payments_accounting_report.csv", HEADER, row("Settled", payment, minor=10000))
    return {}


def external(desk: Desk) -> Names:
    refund_id = desk.sandbox.dashboard_refund(desk.paid_by_card("INV-1042"), 3000)
    desk("reconcile")
    return {"re_1Q…": refund_id}


def external_and_recorded(desk: Desk) -> Names:
    refund_id = desk.sandbox.dashboard_refund(desk.paid_by_card("INV-1042", auto_refundable=False), 4000)
    marking = "mark-refunded INV-1042 --amount 40 --reason other --reference dashboard --yes"
    (record,) = desk.json(marking)["refunds"]
    desk("reconcile")
    return {"re_1Q…": refund_id, "rf_01K2…": record["id"]}


def deliveries(desk: Desk, kind: str = "CAPTURE") -> Names:
    settle_secrets(desk)
    payment = desk.paid_by_card("INV-1042", provider="adyen")
    delivery = adyen(signed(item(kind, originalReference=payment, pspReference="N1"))).as_line
    written("deliveries.jsonl", delivery)
    written("delivery.json", delivery)
    return {"re_1Q…": payment}


def unreviewed(desk: Desk, kind: str = "FOO") -> Names:
    names = deliveries(desk, kind)
    assert desk("events ingest deliveries.jsonl").exit_code == 8
    return {**names, " 17": " 1", " 18": " 1"}


def unreviewed_dispute(desk: Desk) -> Names:
    return unreviewed(desk, "DISPUTE_FOO")


def failed_late(desk: Desk) -> Names:
    names = practice(desk)
    desk.sandbox.settle(desk.sandbox.refunds[-1].id, status="failed", failure_reason="declined")
    desk("reconcile")
    return names


def loss(desk: Desk) -> Names:
    payment = desk.paid_by_card("INV-1042", "60.00 EUR")
    desk.json("refund INV-1042 --full --reason other --yes")
    desk.sandbox.state.find_charge(payment).amount_captured = 5000
    desk("reconcile")
    return {}


def seller(desk: Desk) -> Names:
    of_seller = {"NAME": "Club", "ADDRESS": "Sportstrasse 1; 10115 Berlin", "COUNTRY": "DE", "VAT_ID": "DE123456789"}
    desk.environ |= {f"REFUNDCLI_SELLER_{key}": value for key, value in of_seller.items()}
    Path("out").mkdir()
    written(
        "invoices.jsonl",
        '{"number": "INV-1", "customer": "c", "customer_name": "Ama Osei", "currency": "EUR", "total": "119.00",'
        ' "status": "paid", "issued_on": "2026-09-01", "payment_method": "cash", "products": ["Season pass"],'
        ' "customer_address": "Storgatan 1; 111 22 Stockholm", "customer_country": "SE", "tax_rate": "19"}',
    )
    desk.json("invoice import invoices.jsonl")
    (refund,) = desk.json("mark-refunded INV-1 --full --reason other --yes")["refunds"]
    return {"CN-2026-000017": refund["credit_note"]["number"]}


def audit_key(desk: Desk) -> Names:
    practice(desk)
    desk.environ |= {"REFUNDCLI_AUDIT_KEY": "env:AUDIT_KEY", "AUDIT_KEY": "5f" * 32}
    desk.json("audit anchor --to refundcli.anchors")
    return {"/mnt/worm/": ""}


def alerted(desk: Desk) -> Names:
    desk.environ["REFUNDCLI_ALERT_COMMAND"] = "true"
    return practice(desk)


def settings_file(desk: Desk) -> Names:
    written("refundcli.toml", "[refunds]", "in_flight = 4")
    return {}


def nothing(desk: Desk) -> Names:
    return {}


# By command, or by what an example of it contains; the longest that fits is used, `practice` where none does.
PREPARED: dict[str, Callable[[Desk], Names]] = {
    "init": nothing,
    "invoice import": files_to_import,
    "refund --from": files,
    "mark-refunded --from": files,
    "mark-refunded --propose": bank_statement,
    "void --from": files,
    "uncollectible --from": files,
    "plan show": plan,
    "resume rf_": reserved,
    "resume --yes": reserved,
    "resolve": unknown,
    "resolve rf_01K2… --provider-reference": unknown_and_made,
    "reconcile --report": adyen_report,
    "reconcile --adopt": external,
    "reconcile --match": external_and_recorded,
    "events": deliveries,
    "events show": unreviewed,
    "events list": unreviewed,
    "events acknowledge": unreviewed,
    "events acknowledge 18 --as lost": unreviewed_dispute,
    "acknowledge rf_": failed_late,
    "acknowledge INV-": loss,
    "credit-notes export": seller,
    "audit verify --anchor": audit_key,
    "audit anchor": audit_key,
    "status --max-age": alerted,
    "store backup": lambda desk: {"/backups/": ""},
    "config trust": settings_file,
}
# These go on until they are interrupted.
SERVERS = ("sandbox", "events listen")
# 8: something needs attention, which is what `status` is asked for.
MAY_END_WITH_8 = ("status",)


@pytest.mark.parametrize(
    ("name", "example"), [pair for pair in EXAMPLES if pair[0] not in SERVERS], ids=lambda value: value
)
def test_an_example_runs(sqlite_desk: Desk, name: str, example: str) -> None:
    before, _, typed = example.rpartition("refundcli ")
    fitting = [known for known in PREPARED if typed.removeprefix("-q ").startswith(known)]
    names = PREPARED[max(fitting, key=len)](sqlite_desk) if fitting else practice(sqlite_desk)
    for word, actual in names.items():
        typed = typed.replace(word, actual)
    assert "…" not in typed
    command = typed.partition(" || ")[0]
    if "--yes" in {option for param in LEAVES[name].params for option in param.opts}:
        command += "" if any(option in command for option in ("--yes", "--confirm", "--dry-run")) else " --yes"
    piped = Path(before.split()[1]).read_text() if before.startswith("cat ") else ""
    answer: Answer = sqlite_desk(command, stdin=piped)
    assert answer.exit_code == 0 or (name in MAY_END_WITH_8 and answer.exit_code == 8), (command, answer)


@pytest.mark.parametrize("example", [example for name, example in EXAMPLES if name in SERVERS])
def test_an_example_of_a_server_runs_until_it_is_interrupted(sqlite_desk: Desk, example: str) -> None:
    settle_secrets(sqlite_desk)
    Path("examples").mkdir()
    shutil.copy(ROOT / "examples" / "invoices.csv", "examples")
    # Only this machine, and a port that is free.
    words = shlex.split(example.replace("10.0.0.5", "127.0.0.1").replace("8443", "0"))[1:]
    if "--port" not in words:
        words += ["--port", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "refundcli", *words],
        env=os.environ | sqlite_desk.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        said = next(filter(None, (re.search(r"http://127\.0\.0\.1:[0-9]+", line) for line in lines)))[0]
        # It answers, so it also handles signals.
        requests.get(said, timeout=10)
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=30)[0]
    assert process.returncode == 0, rest
