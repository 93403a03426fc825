"""Event files: verified or rejected with a reason, stored, applied; every order gives the same state."""

import json
import random
from collections.abc import Iterable
from dataclasses import asdict
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from desk import Desk
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import CreditNoteStatus, Dispute, InvoiceStatus, RefundState
from refundcli.services.provider_updates.apply_update import ApplyUpdates
from refundcli.store.checks.integrity import findings
from webhooks import ADYEN_KEY, STRIPE_SECRET, Post, adyen, item, settle_secrets, signed, stripe, stripe_event


@pytest.fixture(autouse=True)
def _webhooks(desk: Desk) -> None:
    settle_secrets(desk)
    desk.sandbox.webhooks("adyen", hmac_key=ADYEN_KEY)
    desk.sandbox.webhooks("stripe", secret=STRIPE_SECRET)


def delivery_file(desk: Desk, lines: Iterable[str], name: str = "deliveries.jsonl") -> Path:
    path = desk.folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def ingest(desk: Desk, *deliveries: Post | str, exit_code: int | None = None) -> dict[str, Any]:
    path = delivery_file(desk, (delivery if isinstance(delivery, str) else delivery.as_line for delivery in deliveries))
    command = f"events ingest {path}"
    summary: dict[str, Any] = desk.ingest(path) if exit_code is None else desk.json(command, exit_code=exit_code)
    return summary


def queued_lines(desk: Desk, provider: str) -> list[str]:
    """The sandbox's queued deliveries as lines of a file; empties the queue."""
    deliveries = desk.sandbox.deliveries(provider, drain=True)  # type: ignore[arg-type]
    return [json.dumps(asdict(delivery)) for delivery in deliveries]


def only_refund(desk: Desk, number: str = "INV-1") -> Refund:
    (refund,) = desk.invoice(number).refunds
    return refund


# --- what money events do -----------------------------------------------------------------------------------


@pytest.mark.parametrize("known_as", ["submitted", "pending"])
def test_success_then_reversal_ends_the_same_in_every_order(desk: Desk, known_as: str) -> None:
    ends = set()
    for number, order in {"INV-1": (0, 1), "INV-2": (1, 0)}.items():
        desk.paid_by_card(number, provider="adyen")
        desk.sandbox.faults(*(["drop_after"] if known_as == "submitted" else []), provider="adyen")
        desk(f"refund {number} --full --reason other --yes")
        assert only_refund(desk, number).state == known_as
        desk.sandbox.settle(desk.sandbox.refunds[-1].id, event="REFUNDED_REVERSED", reason="closed account")
        words = [line for line in queued_lines(desk, "adyen") if json.loads(line)["kind"].startswith("REFUND")]
        assert [json.loads(line)["kind"] for line in words] == ["REFUND", "REFUNDED_REVERSED"]
        for line in [words[place] for place in order for _ in range(3)]:
            ingest(desk, line)
        invoice, refund = desk.invoice(number), only_refund(desk, number)
        assert refund.credit_note
        assert refund.credit_note.number
        ends.add((invoice.status, invoice.refundable.number, refund.state, refund.credit_note.status))
    assert ends == {(InvoiceStatus.PAID, "100.00", RefundState.REVERSED, CreditNoteStatus.VOID)}
    assert findings(desk.books) == []


def test_an_over_refund_at_adyen_fails_by_event_and_its_amount_is_free_again(desk: Desk) -> None:
    reference = desk.paid_by_card(provider="adyen")
    desk.sandbox.dashboard_refund(reference, 6000)
    made_by_hand = queued_lines(desk, "adyen")
    desk.json("refund INV-1 --full --reason other --yes")
    assert desk.invoice("INV-1").reserved.number == "100.00"
    ingest(desk, *queued_lines(desk, "adyen"))
    refund = only_refund(desk)
    assert (refund.state, "Insufficient balance" in refund.failure) == (RefundState.FAILED, True)
    assert (desk.invoice("INV-1").reserved.number, desk.invoice("INV-1").refundable.number) == ("0.00", "100.00")
    ingest(desk, *made_by_hand)
    assert desk.invoice("INV-1").refundable.number == "40.00"
    assert findings(desk.books) == []


def test_an_over_refund_ends_the_same_in_every_order_and_three_times_each(desk: Desk) -> None:
    ends = set()
    for at in range(6):
        number = f"INV-{at}"
        reference = desk.paid_by_card(number, provider="adyen")
        queued_lines(desk, "adyen")
        by_hand = desk.sandbox.dashboard_refund(reference, 6000)
        desk.json(f"refund {number} --full --reason other --yes")
        desk.sandbox.notify(reference, "REPORT_AVAILABLE")
        words = queued_lines(desk, "adyen")
        assert len(words) == 3
        for line in list(permutations(words))[at]:
            ingest(desk, *(line for _ in range(3)))
        invoice = desk.invoice(number)
        ours, elsewhere = sorted(invoice.refunds, key=lambda refund: refund.is_external)
        assert (ours.state, elsewhere.state) == (RefundState.FAILED, RefundState.SUCCEEDED)
        assert elsewhere.provider_reference == by_hand
        assert ours.needs_acknowledgement
        ends.add((invoice.status, invoice.refunded.number, invoice.reserved.number, invoice.refundable.number))
    assert ends == {(InvoiceStatus.PAID, "60.00", "0.00", "40.00")}
    assert findings(desk.books) == []


@pytest.mark.parametrize("provider", ["adyen", "stripe"])
def test_a_dashboard_refund_and_a_dispute_end_the_same_in_every_order(desk: Desk, provider: str) -> None:
    ends = set()
    desk.sandbox.advance(-3600)
    for at in range(8):
        number = f"INV-{at}"
        reference = desk.paid_by_card(number, provider=provider)
        queued_lines(desk, provider)
        desk.sandbox.dashboard_refund(reference, 2500)
        desk.sandbox.advance(60)
        desk.sandbox.dispute(reference, "under_review", 7500)
        desk.sandbox.advance(60)
        desk.sandbox.dispute(reference, "lost")
        words = queued_lines(desk, provider)
        order = words[:]
        random.Random(at).shuffle(order)
        for line in order:
            ingest(desk, *(line for _ in range(3)))
        (refund,) = desk.invoice(number).refunds
        desk.refused(f"refund {number} --full --reason other --yes", "dispute-lost")
        adopted = desk.json(f"reconcile --adopt {refund.id} --reason duplicate")
        assert adopted["credit_note"]["status"] == "issued"
        invoice = desk.invoice(number)
        ends.add((invoice.status, invoice.refunded.number, invoice.refundable.number, invoice.dispute))
    assert ends == {(InvoiceStatus.PAID, "25.00", "0.00", Dispute.LOST)}
    assert findings(desk.books) == []


@pytest.mark.parametrize("provider", ["adyen", "stripe"])
def test_an_event_that_comes_before_the_answer_settles_the_refund(desk: Desk, provider: str) -> None:
    desk.paid_by_card(provider=provider)
    desk.sandbox.faults("drop_after", provider=provider)  # type: ignore[arg-type]
    desk("refund INV-1 --full --reason other --yes")
    assert only_refund(desk).state is RefundState.SUBMITTED
    ingest(desk, *queued_lines(desk, provider))
    refund = only_refund(desk)
    assert refund.state is RefundState.SUCCEEDED
    assert refund.credit_note
    assert refund.credit_note.status is CreditNoteStatus.ISSUED
    assert desk.invoice("INV-1").status is InvoiceStatus.REFUNDED
    assert findings(desk.books) == []


def test_every_order_of_a_payments_whole_life_ends_in_one_state(desk: Desk) -> None:
    ends = set()
    for at in range(6):
        number = f"INV-{at}"
        desk.paid_by_card(number, provider="adyen")
        queued_lines(desk, "adyen")
        desk.json(f"refund {number} --amount 40 --reason other --yes")
        desk.sandbox.settle(desk.sandbox.refunds[-1].id, event="REFUND_FAILED", reason="refused")
        desk.sandbox.notify(desk.invoice(number).payments[0].reference, "REPORT_AVAILABLE")
        words = queued_lines(desk, "adyen")
        assert len(words) == 3
        order = list(permutations(words))[at]
        summary = ingest(desk, *(line for line in order for _ in range(3)))
        assert (summary["new"], summary["already_stored"]) == (3, 6)
        assert summary["by_state"]["noted"] == 1
        invoice, refund = desk.invoice(number), only_refund(desk, number)
        ends.add((invoice.status, invoice.reserved.number, refund.state, refund.needs_acknowledgement))
    assert ends == {(InvoiceStatus.PAID, "40.00", RefundState.FAILED, True)}
    assert findings(desk.books) == []


def test_a_late_failure_is_not_retried_by_its_key_until_acknowledged(desk: Desk) -> None:
    reference = desk.paid_by_card(provider="adyen")
    command = "refund INV-1 --amount 10 --reason other --request-key K --yes"
    desk(command)
    late = desk.sandbox.refunds[0].id
    desk.sandbox.settle(late, event="REFUND_FAILED", reason="refused")
    ingest(desk, *queued_lines(desk, "adyen"))
    assert desk(command).exit_code == 6
    assert desk.refunded_at_provider(reference) == [1000]
    desk.json(f"acknowledge {only_refund(desk).id} --yes")
    assert desk(command).exit_code == 0
    ingest(desk, *queued_lines(desk, "adyen"))
    # Adyen's event of the first arrives after all; the second stays valid.
    desk.sandbox.settle(late, event="REFUNDED_REVERSED", reason="closed account")
    ingest(desk, *queued_lines(desk, "adyen"))
    assert [refund.state for refund in desk.invoice("INV-1").refunds] == [RefundState.REVERSED, RefundState.SUCCEEDED]
    assert findings(desk.books) == []


def test_what_came_before_its_invoice_is_applied_later(desk: Desk) -> None:
    reference = "PAYMENT000000001"
    summary = ingest(desk, adyen(signed(item(originalReference=reference))))
    assert summary["by_state"]["unmatched"] == 1
    desk.paid_by_card(provider="adyen", reference=reference)
    assert desk.json("events apply")["by_state"]["applied"] == 1
    assert desk.invoice("INV-1").status is InvoiceStatus.REFUNDED
    assert desk.json("events apply")["processed"] == 0


def test_an_import_applies_what_was_reported_of_its_payments_before(desk: Desk) -> None:
    file = desk.folder / "invoices.csv"
    head = "number,customer,currency,total,status,issued_on,provider,payment_reference"
    file.write_text(f"{head}\nINV-1,cus_1,EUR,100.00,paid,2026-09-01,adyen,PAYMENT000000001\n")
    ingest(desk, adyen(signed(item(originalReference="PAYMENT000000001"))))
    assert desk(f"invoice import {file}").exit_code == 0
    assert desk.invoice("INV-1").status is InvoiceStatus.REFUNDED
    assert [event["state"] for event in desk.json("events list")] == ["applied"]
    assert desk.json("events apply")["processed"] == 0
    assert "events apply" not in desk(f"invoice import {file}").err


def test_an_event_that_contradicts_our_refund_needs_review(desk: Desk) -> None:
    reference = desk.paid_by_card(provider="adyen")
    desk.json("refund INV-1 --amount 40 --reason other --yes")
    sandbox_refund = desk.sandbox.refunds[-1]
    wrong = item(pspReference=sandbox_refund.id, originalReference=reference, amount={"currency": "EUR", "value": 4100})
    summary = ingest(desk, adyen(signed(wrong)))
    assert summary["contradictions"][0]["about"] == sandbox_refund.id
    assert "amount" in summary["contradictions"][0]["note"]
    assert only_refund(desk).state is RefundState.PENDING
    (event,) = desk.json("events list --state unreviewed")
    assert desk("status").exit_code == 8
    desk.refused("refund INV-1 --amount 10 --reason other --yes", "unreviewed-event")
    assert desk.json(f"events show {event['id']}")["payload"]["amount"]["value"] == 4100


def test_a_person_ends_the_alarm_of_an_event_that_contradicts(desk: Desk) -> None:
    reference = desk.paid_by_card(provider="adyen")
    desk.json("refund INV-1 --amount 40 --reason other --yes")
    sandbox_refund = desk.sandbox.refunds[-1]
    wrong = item(pspReference=sandbox_refund.id, originalReference=reference, amount={"currency": "EUR", "value": 4100})
    ingest(desk, adyen(signed(wrong)))
    (event,) = desk.json("events list --state unreviewed")
    answer = desk.json(f"events acknowledge {event['id']} --memo 'case 4711'")
    assert (answer["state"], "different" in answer["note"], "case 4711" in answer["note"]) == ("applied", True, True)
    assert desk("status").exit_code == 0
    assert only_refund(desk).state is RefundState.PENDING
    ingest(desk, adyen(signed(wrong)))
    assert desk("status").exit_code == 0
    desk.refused(f"events acknowledge {event['id']}", "nothing-to-review")
    desk.refused("events acknowledge 99", "event-not-found", exit_code=5)
    assert findings(desk.books) == []


def test_an_inquiry_that_was_closed_leaves_no_dispute_behind(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.dispute(reference)
    ingest(desk, *queued_lines(desk, "stripe"))
    assert desk.invoice("INV-1").dispute is Dispute.OPEN
    desk.sandbox.dispute(reference, "warning_closed")
    ingest(desk, *queued_lines(desk, "stripe"))
    assert desk.invoice("INV-1").dispute is Dispute.NONE
    desk.json("refund INV-1 --full --reason other --yes")


def test_while_a_bank_asks_for_information_nothing_is_sent(desk: Desk) -> None:
    reference = desk.paid_by_card(provider="adyen")
    desk.sandbox.advance(-3600)
    desk.sandbox.dispute(reference, "warning_needs_response")
    ingest(desk, *queued_lines(desk, "adyen"))
    desk.refused("refund INV-1 --full --reason other --yes", "disputed")
    desk.sandbox.advance(60)
    desk.sandbox.dispute(reference, "warning_under_review")
    ingest(desk, *queued_lines(desk, "adyen"))
    # The dispute is still open; Adyen never reports its end, so an operator decides (R11).
    desk.refused("refund INV-1 --full --reason other --yes", "disputed")
    desk.json("refund INV-1 --full --reason other --dispute-decision 'Bo: the customer was right' --yes")


def test_events_wait_while_stripe_is_unreachable(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.json("refund INV-1 --amount 1 --reason other --yes")
    desk.sandbox.dashboard_refund(reference, 2500)
    words = queued_lines(desk, "stripe")
    there = desk.environ["REFUNDCLI_STRIPE_API_BASE"]
    desk.environ["REFUNDCLI_STRIPE_API_BASE"] = "http://127.0.0.1:9"
    summary = ingest(desk, *words)
    assert (summary["by_state"]["waiting"], summary["new"]) == (summary["new"], len(words))
    assert "Stripe" in desk.json("events list --limit 1")[0]["note"]
    desk.environ["REFUNDCLI_STRIPE_API_BASE"] = there
    summary = desk.json("events apply")
    assert summary["by_state"]["waiting"] == 0
    assert desk.invoice("INV-1").refundable.number == "74.00"


def test_a_payment_that_cannot_be_read_holds_up_no_other(desk: Desk) -> None:
    odd = desk.sandbox.dashboard_refund(desk.paid_by_card("INV-1"), 2500)
    desk.sandbox.dashboard_refund(desk.paid_by_card("INV-2"), 2500)
    desk.sandbox.state.refunds[odd].amount = -5
    words = queued_lines(desk, "stripe")
    summary = ingest(desk, *words)
    assert summary["by_state"]["waiting"] > 0
    assert desk.invoice("INV-1").refundable.number == "100.00"
    assert desk.invoice("INV-2").refundable.number == "75.00"
    assert "not a valid amount" in desk.json("events list --state waiting")[0]["note"]
    desk.refused("refund INV-1 --full --reason other --yes", "cannot-be-held")
    desk.sandbox.state.refunds[odd].amount = 2500
    assert desk.json("events apply")["by_state"]["waiting"] == 0
    assert desk.invoice("INV-1").refundable.number == "75.00"


def test_a_refund_in_an_unlisted_status_counts_and_needs_review(desk: Desk) -> None:
    odd = desk.sandbox.dashboard_refund(desk.paid_by_card("INV-1"), 2500)
    desk.sandbox.dashboard_refund(desk.paid_by_card("INV-2"), 2500)
    desk.sandbox.state.refunds[odd].status = "blocked"
    ingest(desk, *queued_lines(desk, "stripe"))
    assert [desk.invoice(number).refundable.number for number in ("INV-1", "INV-2")] == ["75.00", "75.00"]
    desk.refused("refund INV-1 --amount 10 --reason other --yes", "unreviewed-event")
    desk.json("refund INV-2 --amount 10 --reason other --yes")
    (event,) = desk.json("events list --state unreviewed")
    assert event["kind"] == "refund status blocked"
    assert desk("status").exit_code == 8
    desk.json(f"events acknowledge {event['id']} --memo 'Stripe says it is on its way'")
    # The same status again is no new event.
    desk.json("refund INV-1 --amount 10 --reason other --yes")
    assert desk.invoice("INV-1").refundable.number == "65.00"


def test_one_event_that_stripe_gives_no_answer_to_holds_up_no_other(desk: Desk) -> None:
    first, second = desk.paid_by_card("INV-1"), desk.paid_by_card("INV-2")
    for reference in (first, second):
        desk.sandbox.dashboard_refund(reference, 2500)
    charge = desk.sandbox.state.find_charge(first).id
    desk.sandbox.faults("500_before", call="lookup", payment=charge, times=9)
    ingest(desk, *queued_lines(desk, "stripe"))
    assert desk.invoice("INV-1").refundable.number == "100.00"
    assert desk.invoice("INV-2").refundable.number == "75.00"
    desk.sandbox.clear_faults()
    desk.json("events apply")
    assert desk.invoice("INV-1").refundable.number == "75.00"


def test_one_event_that_cannot_be_applied_does_not_hold_up_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.paid_by_card(provider="adyen", reference="PAYMENT000000001")
    apply = ApplyUpdates.apply

    def stumbling(self: ApplyUpdates, tx: Any, update: Any, **of: Any) -> Any:
        if update.reference == "BROKEN":
            raise KeyError("a bug")
        return apply(self, tx, update, **of)

    monkeypatch.setattr(ApplyUpdates, "apply", stumbling)
    ten = {"currency": "EUR", "value": 1000}
    items = [signed(item(pspReference=name, amount=ten)) for name in ("FIRST", "BROKEN", "LAST")]
    summary = ingest(desk, adyen(*items), exit_code=1)
    assert (summary["by_state"]["applied"], summary["by_state"]["waiting"]) == (2, 1)
    assert [row["about"] for row in summary["failed"]] == ["BROKEN"]
    assert desk.invoice("INV-1").refundable.number == "80.00"
    monkeypatch.undo()
    assert desk.json("events apply")["by_state"]["applied"] == 1
    assert desk.invoice("INV-1").refundable.number == "70.00"


# --- verification -------------------------------------------------------------------------------------------


def test_each_rejected_delivery_is_named_and_the_others_are_stored(desk: Desk) -> None:
    good, forged = adyen(signed(item())), adyen(signed(item(pspReference="OTHER"), "ab" * 16))
    late = stripe(stripe_event("customer.created"), at=1_700_000_000)
    dated_ahead = stripe(stripe_event(id="evt_ahead", created=4_000_000_000))
    ahead = stripe(stripe_event(id="evt_signed_ahead"), at=4_000_000_000)
    lines: list[Post | str] = [
        good,
        forged,
        "not JSON",
        '{"headers": {}}',
        '"\\ud800"',
        late,
        ahead,
        dated_ahead,
    ]
    summary = ingest(desk, *lines, exit_code=3)
    assert (summary["new"], summary["already_stored"], summary["not_applied"]) == (3, 0, {"unreadable": 1})
    flaws = [(row["line"], row["reason"]) for row in summary["rejected"]]
    assert flaws == [(2, "forged"), (3, "unreadable"), (4, "unreadable"), (5, "unreadable"), (7, "out-of-time")]
    assert summary["rejected_by_reason"] == {"forged": 1, "out-of-time": 1, "unreadable": 3}
    assert desk.json("status")["rejected_webhooks"] == summary["rejected_by_reason"]
    answer = desk(f"events ingest {desk.folder / 'deliveries.jsonl'}")
    assert answer.exit_code == 3
    assert "line 2: the signature of an item is wrong [forged]" in answer.err
    assert ["already_stored", "3"] in answer.rows
    assert "Rejected deliveries: 2 forged, 2 out-of-time, 6 unreadable." in desk("events list").err
    assert desk.count("provider_event") == 3


def test_one_forged_item_of_a_delivery_is_named_and_the_others_are_stored(desk: Desk) -> None:
    foreign = signed(item(pspReference="FOREIGN", merchantAccountCode="Other"))
    batch = adyen(signed(item()), signed(item(pspReference="SECOND"), "ab" * 16), foreign)
    summary = ingest(desk, batch, "no JSON", exit_code=3)
    assert (summary["new"], summary["already_stored"], summary["not_applied"]) == (2, 0, {"other-account": 1})
    rejected = [(row["line"], row["item"], row["reason"]) for row in summary["rejected"]]
    assert rejected == [(1, 2, "forged"), (2, 1, "unreadable")]
    answer = desk(f"events ingest {desk.folder / 'deliveries.jsonl'}")
    assert "line 1, item 2: the signature of an item is wrong [forged]" in answer.err
    assert desk.count("provider_event") == 2


def test_a_file_of_another_account_and_mode_is_stored_and_nothing_is_applied(desk: Desk) -> None:
    foreign = adyen(signed(item(merchantAccountCode="Other")))
    live = stripe(stripe_event(livemode=True), at=1_700_000_000)
    summary = ingest(desk, foreign, live)
    assert summary["not_applied"] == {"other-account": 1, "other-mode": 1}
    assert (summary["new"], summary["by_state"]["noted"], summary["rejected"]) == (2, 2, [])
    assert {event["not_applied"] for event in desk.json("events list")} == {"other-account", "other-mode"}


def test_what_was_not_applied_blocks_its_payment_once_that_is_in_the_books(desk: Desk) -> None:
    ingest(desk, adyen(signed(item(merchantAccountCode="Other"))))
    assert [event["state"] for event in desk.json("events list")] == ["noted"]
    file = desk.folder / "invoices.csv"
    file.write_text(
        "number,customer,currency,total,status,issued_on,provider,payment_reference\n"
        "INV-1,cus_1,EUR,100.00,paid,2026-09-01,adyen,PAYMENT000000001\n"
    )
    assert desk(f"invoice import {file}").exit_code == 0
    assert [event["state"] for event in desk.json("events list")] == ["unreviewed"]
    desk.refused("refund INV-1 --full --reason other --yes", "unreviewed-event")


def test_a_file_may_be_lines_a_list_or_one_delivery_and_may_come_through_a_pipe(desk: Desk) -> None:
    desk.paid_by_card(provider="adyen")
    lines = queued_lines(desk, "adyen")
    assert len(lines) == 2
    as_list = delivery_file(desk, [json.dumps([json.loads(line) for line in lines], indent=1)], "list.json")
    assert desk.json(f"events ingest {as_list}")["new"] == 2
    as_one = delivery_file(desk, ["", json.dumps(json.loads(lines[0]), indent=2)], "one.json")
    assert desk.json(f"events ingest {as_one}")["already_stored"] == 1
    answer = desk("events ingest - --provider adyen -o json", stdin="\n".join(lines))
    assert (answer.exit_code, answer.json["already_stored"]) == (0, 2)
    broken = delivery_file(desk, ["[", "no"], "broken.json")
    assert desk.json(f"events ingest {broken}", exit_code=3)["rejected"][0]["message"] == "the file is not JSON"
    empty = delivery_file(desk, ["", ""], "empty.json")
    error = desk.refused(f"events ingest {empty}", "empty-file", exit_code=2)
    assert "JSON, one per line" in error["hint"]
    desk.refused("events ingest nowhere.json", "file-not-found", exit_code=2)


def test_a_file_of_bare_adyen_bodies_is_verified_too(desk: Desk) -> None:
    desk.paid_by_card(provider="adyen", reference="PAYMENT000000001")
    bare = [adyen(signed(item())), adyen(signed(item(pspReference="OTHER"), "ab" * 16)), stripe(stripe_event())]
    summary = ingest(desk, *(post.body.decode() for post in bare), exit_code=3)
    assert (summary["new"], summary["rejected_by_reason"]) == (1, {"forged": 1, "unsigned": 1})
    assert desk.invoice("INV-1").refundable.number == "0.00"


def test_without_a_secret_nothing_can_be_verified(desk: Desk) -> None:
    del desk.environ["REFUNDCLI_ADYEN_HMAC_KEY"]
    path = delivery_file(desk, [adyen(signed(item())).as_line])
    desk.refused(f"events ingest {path}", "provider-not-configured", exit_code=4)


# --- what is shown ------------------------------------------------------------------------------------------


@pytest.fixture
def some_events(desk: Desk) -> list[dict[str, Any]]:
    desk.paid_by_card(provider="adyen", reference="PAYMENT000000001")
    reason = "\x1b]0;owned\x07\u202e"
    ingest(
        desk,
        adyen(signed(item(reason=reason)), signed(item("REPORT_AVAILABLE", pspReference="REPORT1"))),
        adyen(signed(item("SOMETHING_NEW", pspReference="NEW1"))),
        stripe(stripe_event("customer.created")),
    )
    events: list[dict[str, Any]] = desk.json("events list")
    return events


def test_the_list_can_be_narrowed_and_is_newest_first(desk: Desk, some_events: list[dict[str, Any]]) -> None:
    assert [event["kind"] for event in some_events] == [
        "customer.created",
        "SOMETHING_NEW",
        "REPORT_AVAILABLE",
        "REFUND",
    ]
    assert [event["state"] for event in some_events] == ["noted", "unreviewed", "noted", "applied"]
    assert [event["kind"] for event in desk.json("events list --state applied")] == ["REFUND"]
    assert len(desk.json("events list --provider adyen")) == 3
    assert [event["kind"] for event in desk.json("events list --about REPORT1")] == ["REPORT_AVAILABLE"]
    assert len(desk.json("events list --limit 1")) == 1
    assert len(desk("events list -o ndjson").out.splitlines()) == 4
    head, *rows = desk("events list -o csv").out.splitlines()
    assert head == "id,received_at,provider,kind,about,state,note,refund"
    assert len(rows) == 4
    assert len(desk("events list").rows) == 4


def test_one_event_is_shown_with_what_came_and_what_became_of_it(desk: Desk, some_events: list[dict[str, Any]]) -> None:
    refund = some_events[-1]
    event = desk.json(f"events show {refund['id']}")
    assert (event["state"], event["livemode"], event["payload"]["merchantReference"]) == ("applied", False, "order-1")
    assert "stored as" in event["note"]
    for command in (f"events show {refund['id']}", "events list", f"events show {refund['id']} -o json"):
        answer = desk(command)
        assert "\x1b" not in answer.out
        assert "\u202e" not in answer.out
    assert ADYEN_KEY not in desk(f"events show {refund['id']}").out
    assert "hmacSignature" not in event["payload"]["additionalData"]


@pytest.mark.parametrize("number", ["99", "0", "-- -1", "9223372036854775807", "99999999999999999999999"])
def test_an_event_that_is_not_there_is_not_found(desk: Desk, number: str) -> None:
    answer = desk(f"events show -o json {number}")
    assert (answer.exit_code, answer.error["code"]) == (5, "event-not-found")


def test_an_unknown_state_is_refused_with_the_known_ones(desk: Desk) -> None:
    assert "Did you mean" in desk.refused("events list --state aplied", "unknown-event-state", exit_code=2)["hint"]


def test_without_events_the_list_is_empty(desk: Desk) -> None:
    assert desk.json("events list") == []
    assert desk("events list").out == ""
    assert desk.json("events apply")["processed"] == 0


def test_what_needs_a_web_server_says_so_where_there_is_none(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [module for module in sys.modules if module.startswith(("h11", "refundcli.listener"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "h11", None)
    error = desk.refused("events listen", "server-missing", exit_code=4)
    assert "refundcli[server]" in error["hint"]


def test_a_port_in_use_is_reported(desk: Desk) -> None:
    port = desk.sandbox.url.rpartition(":")[2]
    desk.refused(f"events listen --port {port}", "port-taken", exit_code=2)


@pytest.mark.parametrize("provider", ["stripe", "adyen"])
def test_each_event_names_the_refund_that_it_is_about_or_none(desk: Desk, provider: str) -> None:
    desk.paid_by_card(provider=provider)
    queued_lines(desk, provider)
    answer = [desk.json(f"refund INV-1 --amount {n} --reason other --yes")["refunds"][0] for n in (10, 20)]
    ingest(desk, *queued_lines(desk, provider))
    by_reference = {entry["provider_reference"]: entry["id"] for entry in answer}
    listed = desk.json("events list")
    assert {entry["refund"] for entry in listed} >= set(by_reference.values())
    assert all(entry["refund"] == by_reference.get(entry["about"]) for entry in listed)
    (first,) = desk.json(f"events list --about {answer[0]['id']}")
    assert first["about"] == answer[0]["provider_reference"]
    assert desk.json(f"events show {first['id']}")["refund"] == answer[0]["id"]
    desk.refused("events list --about rf_nothing", "refund-not-found", exit_code=5)
