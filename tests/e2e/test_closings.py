"""Voiding and writing off invoices that Stripe also holds: Stripe first, once, then here on its confirmation (R9)."""

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from typing import Any

import pytest
from sqlalchemy import text

from desk import Desk
from preloaded import exit_code, run_script, script_of, start
from refundcli.domain.statuses import ClosingState, InvoiceStatus
from refundcli.output.views.closing import owed_words
from refundcli.sandbox.core.records import LoggedRequest
from refundcli.services.ports.records import NewPayment
from refundcli.services.ports.store_problems import WouldContradict
from refundcli.store.checks.integrity import findings

ACTIONS = [("void", "void"), ("uncollectible", "mark_uncollectible")]


@pytest.fixture(autouse=True)
def _books_stay_sound(desk: Desk) -> object:
    yield
    assert findings(desk.books) == []


def pulled(desk: Desk, status: str = "open", **changes: Any) -> str:
    """INV-1 at Stripe and in the books; its Stripe id."""
    stripe_invoice = desk.sandbox.invoice("100.00 EUR", number="INV-1", status=status, **changes)
    desk.json("invoice pull stripe")
    return stripe_invoice.id


def at_stripe(desk: Desk, reference: str) -> str:
    return str(desk.sandbox.state.invoices[reference].status)


def stripe_says(desk: Desk, reference: str, status: str) -> None:
    desk.sandbox.state.invoices[reference].status = status


def sent(desk: Desk) -> list[LoggedRequest]:
    return [request for request in desk.sandbox.requests if request.method == "POST" and "/invoices/" in request.path]


def moved_at_stripe(desk: Desk) -> int:
    """How often an invoice was closed at Stripe, by its events."""
    types = [event.type for event in desk.sandbox.state.events.values()]
    return types.count("invoice.voided") + types.count("invoice.marked_uncollectible")


def lose_the_answer(desk: Desk, behaviour: str, command: str = "void INV-1") -> str:
    """A closing with an unknown outcome; its id."""
    desk.sandbox.faults(behaviour, call="invoice")
    answer = desk(f"{command} --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (8, "outcome-unknown"), answer
    (closing,) = [entry for entry in answer.json["closings"] if entry["status"] == "submitted"]
    assert f"refundcli resume {closing['id']}" in answer.error["hint"]
    return str(closing["id"])


def age(desk: Desk, *, hours: float) -> None:
    at = (datetime.now(UTC) - timedelta(hours=hours)).replace(tzinfo=None)
    with desk.books.engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        connection.execute(text("UPDATE closing SET first_sent_at = :at"), {"at": at})
        connection.commit()


def killed(desk: Desk, *, at: str) -> None:
    """`void INV-1` in a process that dies at the start of this step."""
    script = (
        "import os; from refundcli.services.dispatch import protocol\nfrom refundcli.cli.main import run\n"
        f"{at} = lambda *a, **k: os.kill(os.getpid(), 9)\n"
        "run('void INV-1 --yes'.split())"
    )
    assert run_script(script, os.environ | desk.environ).returncode == -9


def started(desk: Desk) -> BaseProcess:
    """`void INV-1` in a separate process."""
    return start(script_of("void", "INV-1", "--yes"), os.environ | desk.environ, desk.folder)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- done ---


@pytest.mark.parametrize(("action", "verb"), ACTIONS)
def test_an_invoice_at_stripe_is_closed_there_and_here(desk: Desk, action: str, verb: str) -> None:
    reference = pulled(desk)
    answer = desk.json(f"{action} INV-1 --memo 'ordered twice' --yes")
    (closing,) = answer["closings"]
    assert (answer["status"], closing["status"], closing["kind"]) == (action, "done", action)
    assert at_stripe(desk, reference) == action
    (request,) = sent(desk)
    assert (request.path, request.params) == (f"/v1/invoices/{reference}/{verb}", {})
    audit = [(entry["action"], entry["subject"]) for entry in desk.json("invoice history INV-1")]
    whole = [f"closing {state}" for state in ("ready", "submitted", "done")]
    assert audit[-4:] == [*((action_name, closing["id"]) for action_name in whole), (f"invoice {action}", "INV-1")]
    assert desk.json("invoice history INV-1")[-1]["after"]["memo"] == "ordered twice"
    assert desk.json(f"invoice show {closing['id']}")["number"] == "INV-1"
    assert desk("status").exit_code == 0


def test_the_key_and_the_address_are_written_down_before_they_are_used(desk: Desk) -> None:
    reference = pulled(desk)
    closing = lose_the_answer(desk, "drop_before")
    (request,) = sent(desk)
    stored = desk.books.read(lambda tx: tx.closings.get(closing))
    assert stored
    wire = stored.sending.request
    assert request.idempotency_key == stored.sending.idempotency_key
    assert (wire.endpoint, wire.livemode) == (f"{desk.sandbox.url}/v1/invoices/{reference}/void", False)
    assert (wire.account, wire.api_version) == (
        desk.sandbox.state.account_id,
        request.headers["stripe-version"],
    )


def test_what_was_written_off_can_still_be_voided(desk: Desk) -> None:
    reference = pulled(desk)
    desk.json("uncollectible INV-1 --yes")
    assert desk.json("void INV-1 --yes")["status"] == "void"
    assert at_stripe(desk, reference) == "void"
    desk.refused("void INV-1 --yes", "already-closed")
    assert moved_at_stripe(desk) == 2


def test_an_invoice_at_no_provider_is_closed_here_only(desk: Desk) -> None:
    del desk.environ["REFUNDCLI_STRIPE_API_KEY"]
    desk.unpaid("INV-3")
    desk.unpaid("INV-4", invoice_reference="9000-17")
    assert desk.json("void INV-3 --yes")["status"] == "void"
    assert desk.json("uncollectible INV-4 --yes")["status"] == "uncollectible"
    assert desk.sandbox.requests == []
    assert desk.count("closing") == 0


# --- refused before anything is sent ---


def test_without_a_key_it_is_not_closed_here_alone(desk: Desk) -> None:
    desk.unpaid("INV-1", invoice_reference="in_1Q")
    del desk.environ["REFUNDCLI_STRIPE_API_KEY"]
    error = desk.refused("void INV-1 --yes", "provider-not-configured", exit_code=4)
    assert "api_key" in str(error["hint"])
    assert desk.invoice("INV-1").status is InvoiceStatus.OPEN
    assert desk.count("closing") == 0


def test_a_key_of_the_other_mode_closes_nothing(desk: Desk) -> None:
    pulled(desk)
    desk.environ["STRIPE_API_KEY"] = "sk_" + "live_desk"
    del desk.environ["REFUNDCLI_STRIPE_API_BASE"]
    answer = desk("void INV-1 --yes -o json")
    # Stripe does not know the key, or is unreachable.
    assert (answer.exit_code in (4, 7), desk.count("closing")) == (True, 0)


@pytest.mark.parametrize("action", ["void", "uncollectible"])
def test_what_was_paid_at_stripe_meanwhile_is_not_closed(desk: Desk, action: str) -> None:
    reference = pulled(desk)
    stripe_says(desk, reference, "paid")
    error = desk.refused(f"{action} INV-1 --yes", "differs-from-provider")
    assert "invoice: open here, paid there" in str(error["message"])
    assert "refundcli invoice show INV-1 --refresh" in str(error["hint"])
    assert f"refundcli invoice pull stripe --number {reference}" in str(error["hint"])
    assert (sent(desk), desk.count("closing")) == ([], 0)
    assert desk.json("invoice show INV-1 --refresh")["status"] == "paid"
    desk.refused(f"{action} INV-1 --yes", "already-paid")


def test_a_payment_under_way_at_stripe_stops_it(desk: Desk) -> None:
    desk.sandbox.invoice(
        "100.00 EUR", number="INV-1", status="open", id="in_1Q", payments=[{"amount": "100.00", "processing": True}]
    )
    desk.unpaid("INV-1", invoice_reference="in_1Q")
    error = desk.refused("void INV-1 --yes", "differs-from-provider")
    assert "payment: not processing here, processing there" in str(error["message"])
    desk.json("invoice show INV-1 --refresh")
    desk.refused("void INV-1 --yes", "currently-processing")
    assert sent(desk) == []


def test_a_reference_to_another_invoice_or_to_none_stops_it(desk: Desk) -> None:
    stripe_invoice = desk.sandbox.invoice("75.00 EUR", number="X", status="open").id
    desk.unpaid("INV-1", invoice_reference=stripe_invoice)
    error = desk.refused("void INV-1 --yes", "differs-from-provider")
    assert "total: 100.00 EUR here, 75.00 EUR there" in str(error["message"])
    desk.unpaid("INV-2", invoice_reference="in_nowhere")
    error = desk.refused("void INV-2 --yes", "differs-from-provider")
    assert "invoice: open here, nothing there (in_nowhere)" in str(error["message"])
    assert "invoice_reference" in str(error["hint"])
    assert sent(desk) == []


def test_an_unreachable_stripe_is_sent_nothing(desk: Desk) -> None:
    pulled(desk)
    desk.sandbox.faults("500_before", call="lookup")
    answer = desk("void INV-1 --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (7, "provider-unreachable")
    assert answer.error["message"].endswith(" Nothing was sent.")
    assert (sent(desk), desk.count("closing")) == ([], 0)


def test_a_busy_stripe_is_reported_as_not_sent(desk: Desk) -> None:
    pulled(desk)
    desk.sandbox.faults("429", call="invoice", times=9)
    answer = desk("void INV-1 --memo 'made twice' --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (7, "not-sent")
    assert answer.error["hint"] == "INV-1 stays as it was. Repeat: refundcli void INV-1 --memo 'made twice'"
    desk.sandbox.clear_faults()
    assert desk.json("void INV-1 --yes")["status"] == "void"


@pytest.mark.parametrize("action", ["void", "uncollectible"])
def test_what_stripe_has_closed_already_is_taken_over_without_sending(desk: Desk, action: str) -> None:
    reference = pulled(desk)
    stripe_says(desk, reference, action)
    assert desk.json(f"{action} INV-1 --yes")["status"] == action
    assert (sent(desk), desk.count("closing")) == ([], 0)
    assert desk.json("invoice history INV-1")[-1]["after"]["evidence"] == "already in this status at Stripe"


def test_a_file_that_lacks_the_reference_does_not_take_it_away(desk: Desk) -> None:
    reference = pulled(desk)
    desk.unpaid("INV-1")
    assert desk.invoice("INV-1").invoice_reference == reference


# --- declined ---


@pytest.mark.parametrize("behaviour", ["401", "403"])
def test_a_definite_no_leaves_the_invoice_as_it_was(desk: Desk, behaviour: str) -> None:
    reference = pulled(desk)
    desk.sandbox.faults(behaviour, call="invoice")
    answer = desk("void INV-1 --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (6, "provider-declined")
    assert (answer.json["status"], at_stripe(desk, reference)) == ("open", "open")
    (closing,) = desk.json("invoice show INV-1")["closings"]
    assert closing["status"] == "failed"
    assert f"HTTP {behaviour}" in closing["failure"]
    assert desk("status").exit_code == 0
    # A new closing with a new key.
    assert desk.json("void INV-1 --yes")["status"] == "void"
    assert len({request.idempotency_key for request in sent(desk)}) == 2


def test_stripes_refusal_is_shown_verbatim(desk: Desk) -> None:
    reference = pulled(desk)
    # Paid between the look-up and the request.
    desk.sandbox.faults("delay_ms", call="invoice", delay_before_ms=1500)
    process = started(desk)
    wait_until(lambda: bool(sent(desk)))
    stripe_says(desk, reference, "paid")
    assert exit_code(process) == 6
    (closing,) = desk.invoice("INV-1").closings
    assert (closing.state, desk.invoice("INV-1").status) == (ClosingState.FAILED, InvoiceStatus.OPEN)
    assert "only one that is open or uncollectible can become void" in closing.failure


def test_an_invoice_at_stripe_is_one_invoice_here(desk: Desk) -> None:
    reference = pulled(desk)
    file = desk.folder / "again.csv"
    head = "number,customer,currency,total,status,issued_on,invoice_reference"
    file.write_text(f"{head}\nINV-2,cus_1,EUR,100.00,open,2026-09-01,{reference}\n")
    answer = desk(f"invoice import {file}")
    assert answer.exit_code == 3
    assert "It belongs to INV-1 in the store." in answer.err
    with pytest.raises(WouldContradict):
        desk.unpaid("INV-2", invoice_reference=reference)
    assert desk.json("void INV-1 --yes")["status"] == "void"
    assert len({request.idempotency_key for request in sent(desk)}) == 1


def test_a_busy_stripe_is_retried_after_a_while(desk: Desk) -> None:
    reference = pulled(desk)
    desk.sandbox.faults("429", call="invoice")
    assert desk.json("void INV-1 --yes")["status"] == "void"
    assert (at_stripe(desk, reference), moved_at_stripe(desk)) == ("void", 1)


# --- in doubt ---


@pytest.mark.parametrize("behaviour", ["drop_after", "500_after", "malformed", "empty_object"])
def test_a_closing_whose_response_was_lost_is_found_and_not_repeated(desk: Desk, behaviour: str) -> None:
    reference = pulled(desk)
    closing = lose_the_answer(desk, behaviour)
    assert (at_stripe(desk, reference), desk.invoice("INV-1").status) == ("void", InvoiceStatus.OPEN)
    (entry,) = desk.json("status", exit_code=8)["closings"]
    assert (entry["id"], entry["next"], entry["command"]) == (closing, "resume", f"refundcli resume {closing}")
    (settled,) = desk.json("resume")
    assert (settled["id"], settled["status"], settled["step"]) == (closing, "done", "settled")
    assert desk.invoice("INV-1").status is InvoiceStatus.VOID
    assert (len(sent(desk)), moved_at_stripe(desk)) == (1, 1)
    assert desk("status").exit_code == 0


@pytest.mark.parametrize("action", ["void", "uncollectible"])
@pytest.mark.parametrize("behaviour", ["drop_before", "500_before", "409"])
def test_a_closing_that_never_arrived_is_sent_again_with_its_own_key(desk: Desk, action: str, behaviour: str) -> None:
    reference = pulled(desk)
    closing = lose_the_answer(desk, behaviour, f"{action} INV-1")
    (settled,) = desk.json(f"resume {closing}")
    assert (settled["status"], settled["step"], desk.invoice("INV-1").status) == ("done", "settled", action)
    first, second = sent(desk)
    assert first.idempotency_key == second.idempotency_key
    assert (first.path, first.params) == (second.path, second.params)
    assert (at_stripe(desk, reference), moved_at_stripe(desk)) == (action, 1)
    assert desk.json(f"resume {closing}")[0]["step"] == "already-finished"


def test_while_it_is_in_doubt_the_invoice_is_neither_closed_again_nor_refunded(desk: Desk) -> None:
    pulled(desk)
    closing = lose_the_answer(desk, "drop_before")
    for command in ("void INV-1 --yes", "uncollectible INV-1 --yes", "refund INV-1 --full --reason other --yes"):
        error = desk.refused(command, "closing-unfinished")
        assert f"refundcli resume {closing}" in str(error["hint"])
    actions = desk.json("invoice show INV-1")["actions"]
    assert {action["code"] for action in actions} == {"closing-unfinished"}
    assert len(sent(desk)) == 1


def test_money_on_an_invoice_that_may_be_written_off_can_still_be_refunded(desk: Desk) -> None:
    stripe_invoice = desk.sandbox.invoice("100.00 EUR", number="INV-1", status="open", payments=[{"amount": "40.00"}])
    desk.json("invoice pull stripe")
    lose_the_answer(desk, "drop_before", "uncollectible INV-1")
    desk.json("refund INV-1 --full --reason other --yes")
    assert desk.refunded_at_provider(stripe_invoice.payments[0]) == [4000]
    desk.json("resume")
    assert (at_stripe(desk, stripe_invoice.id), desk.invoice("INV-1").status) == ("uncollectible", "uncollectible")


def test_a_payment_that_arrived_while_it_was_in_doubt_ends_it(desk: Desk) -> None:
    reference = pulled(desk)
    lose_the_answer(desk, "drop_before")
    stripe_says(desk, reference, "paid")
    desk.json("invoice pull stripe")
    desk.refused("refund INV-1 --full --reason other --yes", "closing-unfinished")
    (settled,) = desk.json("resume", exit_code=6)
    assert (settled["status"], settled["failure"]) == ("failed", "at Stripe, the invoice is paid")
    assert (desk.invoice("INV-1").status, len(sent(desk))) == (InvoiceStatus.PAID, 1)


def test_it_is_not_sent_again_when_a_rule_says_no_by_now(desk: Desk) -> None:
    reference = pulled(desk)
    lose_the_answer(desk, "drop_before")
    desk.paid_outside("INV-1", "100.00 EUR")
    (outcome,) = desk.json("resume", exit_code=8)
    assert outcome["step"] == "still-unknown"
    assert outcome["note"].startswith("not sent again: INV-1 has 100.00 EUR paid on it")
    assert len(sent(desk)) == 1
    # The void went through after all; money in the books is not void.
    stripe_says(desk, reference, "void")
    assert desk.json("resume")[0]["status"] == "done"
    assert desk.invoice("INV-1").status is InvoiceStatus.PAID


def test_a_pull_may_report_the_closing_first(desk: Desk) -> None:
    pulled(desk)
    lose_the_answer(desk, "drop_after")
    desk.json("invoice pull stripe")
    assert desk.invoice("INV-1").status is InvoiceStatus.VOID
    assert desk.json("resume")[0]["status"] == "done"
    assert [entry["action"] for entry in desk.json("invoice history INV-1")].count("invoice void") == 0


def test_a_closing_that_cannot_be_looked_up_stays_unknown(desk: Desk) -> None:
    pulled(desk)
    closing = lose_the_answer(desk, "drop_after")
    desk.sandbox.faults("500_before", call="lookup")
    assert desk.json("resume", exit_code=8)[0]["step"] == "still-unknown"
    key = desk.environ.pop("REFUNDCLI_STRIPE_API_KEY")
    assert desk.json("resume", exit_code=8)[0]["step"] == "not-asked"
    desk.environ["REFUNDCLI_STRIPE_API_KEY"] = key
    desk.sandbox.state.account_id, account = "acct_another", desk.sandbox.state.account_id
    desk.environ["STRIPE_API_KEY"] = "sk_test_another"
    assert desk.json("resume", exit_code=8)[0]["step"] == "other-account"
    desk.sandbox.state.account_id = account
    desk.environ["STRIPE_API_KEY"] = "sk_test_desk"
    assert desk.json(f"resume {closing}")[0]["status"] == "done"
    desk.refused("resume cl_none", "closing-not-found", exit_code=5)


# --- killed, interrupted ---


def test_a_kill_between_sending_and_writing_is_settled_by_resume(desk: Desk) -> None:
    reference = pulled(desk)
    killed(desk, at="protocol.Dispatch.record")
    (closing,) = desk.invoice("INV-1").closings
    assert (closing.state, at_stripe(desk, reference)) == (ClosingState.SUBMITTED, "void")
    assert desk.json("status", exit_code=8)["closings"][0]["next"] == "resume"
    assert desk.json("resume")[0]["status"] == "done"
    assert (desk.invoice("INV-1").status, len(sent(desk))) == (InvoiceStatus.VOID, 1)


def test_a_kill_after_the_claim_is_sent_again_with_the_key_that_was_written(desk: Desk) -> None:
    reference = pulled(desk)
    killed(desk, at="protocol.ask")
    (closing,) = desk.invoice("INV-1").closings
    assert (closing.state, sent(desk)) == (ClosingState.SUBMITTED, [])
    assert desk.json("resume")[0]["status"] == "done"
    assert [request.idempotency_key for request in sent(desk)] == [closing.sending.idempotency_key]
    assert at_stripe(desk, reference) == "void"


def test_what_was_never_sent_needs_a_confirmation(desk: Desk) -> None:
    reference = pulled(desk)
    killed(desk, at="protocol.Dispatch.first_send")
    (outcome,) = desk.json("resume", exit_code=8)
    assert (outcome["status"], outcome["step"]) == ("ready", "not-confirmed")
    assert (sent(desk), at_stripe(desk, reference)) == ([], "open")
    assert desk.json(outcome["note"].partition("Next: refundcli ")[2])[0]["status"] == "done"


@pytest.mark.parametrize(("there", "ends"), [("open", "done"), ("paid", "failed"), ("void", "done")])
def test_what_was_written_down_and_never_sent_is_looked_at_anew(desk: Desk, there: str, ends: str) -> None:
    reference = pulled(desk)
    killed(desk, at="protocol.Dispatch.first_send")
    assert desk.invoice("INV-1").closings[0].state is ClosingState.READY
    stripe_says(desk, reference, there)
    (settled,) = desk.json("resume --yes", exit_code=0 if ends == "done" else 6)
    assert settled["status"] == ends
    assert len(sent(desk)) == (there == "open")


def test_what_was_written_down_and_never_sent_is_dropped_on_request(desk: Desk) -> None:
    pulled(desk)
    killed(desk, at="protocol.Dispatch.first_send")
    (closing,) = desk.invoice("INV-1").closings
    answer = desk.json(f"resolve {closing.id} --not-executed --evidence 'thought better of it' --yes")
    assert (answer["status"], answer["closings"][0]["status"]) == ("open", "failed")
    assert sent(desk) == []


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_until_the_answer_is_written(desk: Desk, signal_: signal.Signals) -> None:
    reference = pulled(desk)
    desk.sandbox.faults("delay_ms", call="invoice", delay_ms=1000)
    process = started(desk)
    wait_until(lambda: bool(sent(desk)))
    os.kill(process.pid or 0, signal_)
    assert exit_code(process) == 130
    assert (at_stripe(desk, reference), desk.invoice("INV-1").status) == ("void", InvoiceStatus.VOID)
    assert desk("status").exit_code == 0


# --- by hand ---


def test_past_the_key_window_nothing_is_sent_and_a_person_ends_it(desk: Desk) -> None:
    reference = pulled(desk)
    closing = lose_the_answer(desk, "drop_before")
    failed = f"resolve {closing} --not-executed --evidence 'dashboard, A. Osei' --yes"
    desk.refused(failed, "resume-first")
    age(desk, hours=21)
    (outcome,) = desk.json("resume", exit_code=8)
    assert (outcome["step"], outcome["status"]) == ("needs-attention", "submitted")
    assert f"refundcli resolve {closing}" in outcome["note"]
    assert len(sent(desk)) == 1
    succeeded = f"resolve {closing} --provider-reference"
    desk.refused(f"{succeeded} {reference} --evidence 'I think so' --yes", "provider-says-otherwise")
    desk.refused(f"{succeeded} in_another --evidence x --yes", "another-invoice", exit_code=2)
    desk.refused(f"resolve {closing} --not-executed --yes", "evidence-needed", exit_code=2)
    assert desk.json(failed)["closings"][0]["status"] == "failed"
    assert "dashboard, A. Osei" in str(desk.json("invoice history INV-1"))
    desk.refused(failed, "not-unresolved")
    assert desk.json("void INV-1 --yes")["status"] == "void"


def test_stripes_answer_outweighs_any_evidence(desk: Desk) -> None:
    pulled(desk)
    closing = lose_the_answer(desk, "drop_after")
    age(desk, hours=24)
    command = f"resolve {closing} --not-executed --evidence 'saw nothing' --yes"
    desk.sandbox.faults("500_before", "500_before", call="lookup")
    desk.refused(command, "resume-first")
    assert desk.json(command)["status"] == "void"


def test_without_a_lookup_the_evidence_decides(desk: Desk) -> None:
    reference = pulled(desk)
    closing = lose_the_answer(desk, "drop_after")
    age(desk, hours=24)
    del desk.environ["REFUNDCLI_STRIPE_API_KEY"]
    answer = desk.json(f"resolve {closing} --provider-reference {reference} --evidence 'dashboard' --yes")
    assert (answer["status"], answer["closings"][0]["status"]) == ("void", "done")
    assert desk.json("invoice show INV-1")["closings"][0]["failure"] is None


def test_a_dry_run_of_a_write_off_names_what_is_owed(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    desk.unpaid("INV-1", payments=(NewPayment(6000, method="cash"),))
    assert desk.json("uncollectible INV-1 --dry-run")["owed"]["amount"] == "40.00"
    assert owed_words(desk.invoice("INV-1")) == "40.00 EUR still owed (of 100.00 EUR)"
    desk.unpaid("INV-2")
    assert owed_words(desk.invoice("INV-2")) == "100.00 EUR"
