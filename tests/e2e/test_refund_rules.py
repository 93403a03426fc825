"""R1 to R12 through the command line, on both databases."""

import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from desk import Desk, new_invoice
from refundcli.domain.money import parse_money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider
from refundcli.services.ports.records import NewPayment


def action(desk: Desk, number: str, name: str) -> dict[str, object]:
    actions = {action["action"]: action for action in desk.json(f"invoice show {number}")["actions"]}
    entry: dict[str, object] = actions[name]
    return entry


# --- R1, R2, R12: whose money moves, and how ---


@pytest.mark.parametrize("provider", ["stripe", "adyen"])
def test_r1_money_paid_through_a_provider_goes_back_through_it(desk: Desk, provider: str) -> None:
    reference = desk.paid_by_card(provider=provider)
    answer = desk.json("refund INV-1 --full --reason returned-goods --yes")
    assert answer["refunds"][0]["provider"] == provider
    assert desk.refunded_at_provider(reference) == [10000]


def test_r1_what_a_provider_can_return_is_never_only_marked(desk: Desk) -> None:
    reference = desk.paid_by_card()
    error = desk.refused("mark-refunded INV-1 --amount 12.50 --reason duplicate --yes", "use-refund")
    command, otherwise = error["hint"].splitlines()
    assert command == "refundcli refund INV-1 --amount 12.50 --reason duplicate"
    assert error["context"]["rule"] == "R1"

    # Where it was returned by a bank transfer already, a refund would pay it twice.
    assert "import the invoice with auto_refundable set to no" in otherwise
    payment = NewPayment(10000, Provider.STRIPE, method="card", reference=reference, auto_refundable_is_explicit=True)
    desk.bring_in(new_invoice("INV-1", parse_money("100.00 EUR"), payments=(payment,)))
    desk.json("mark-refunded INV-1 --amount 12.50 --reason duplicate --method 'bank transfer' --yes")


def test_r1_a_stripe_payment_known_by_its_charge_is_refunded_by_charge(desk: Desk) -> None:
    charge = desk.sandbox.charge("100.00 EUR").charge
    payment = NewPayment(10000, Provider.STRIPE, "card", str(charge), auto_refundable=True)
    desk.bring_in(new_invoice("INV-1", parse_money("100.00 EUR"), payments=(payment,)))
    desk.json("refund INV-1 --full --reason other --yes")
    assert desk.refunded_at_provider(str(charge)) == [10000]


def test_r2_money_taken_outside_is_marked_and_none_moves(desk: Desk) -> None:
    desk.paid_outside()
    answer = desk.json("mark-refunded INV-2 --full --reason other --method 'bank transfer' --reference T-9 --yes")
    refund = answer["refunds"][0]
    assert (refund["status"], refund["kind"], refund["provider"]) == ("recorded", "record", None)
    assert answer["invoice"]["status"] == "refunded"
    assert desk.sandbox.requests == []


def test_r2_money_taken_outside_cannot_be_refunded_through_a_provider(desk: Desk) -> None:
    desk.paid_outside()
    error = desk.refused("refund INV-2 --amount 12.50 --reason overcharged --yes", "not-auto-refundable")
    assert error["hint"] == "refundcli mark-refunded INV-2 --amount 12.50 --reason overcharged"
    assert error["context"]["rule"] == "R2"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"auto_refundable": False}, "marked as paid by hand"),
        ({"auto_refundable": False, "reference": ""}, "the books do not have the ID of its Stripe payment"),
    ],
)
def test_r12_a_card_payment_that_is_not_auto_refundable_says_why_and_the_way(
    desk: Desk, changes: dict[str, Any], why: str
) -> None:
    desk.paid_by_card(**changes)
    error = desk.refused("refund INV-1 --full --reason other --yes", "not-auto-refundable")
    assert why in str(error["message"])
    assert "dashboard" in str(error["hint"])
    assert error["context"]["rule"] == "R12"
    assert desk.json("mark-refunded INV-1 --full --reason other --yes")["invoice"]["status"] == "refunded"


# --- R3, R6: how much ---


def test_r3_parts_may_repeat_until_nothing_remains(desk: Desk) -> None:
    reference = desk.paid_by_card()
    for remaining in ("70.00", "40.00", "10.00"):
        answer = desk.json("refund INV-1 --amount 30 --reason overcharged --allow-duplicate --yes")
        assert answer["invoice"]["refundable"]["amount"] == remaining
    error = desk.refused("refund INV-1 --amount 10.01 --reason overcharged --yes", "over-refund")
    assert error["hint"] == "refundcli refund INV-1 --amount 10.00 --reason overcharged"
    assert desk.json("refund INV-1 --full --reason overcharged --yes")["invoice"]["status"] == "refunded"
    desk.refused("refund INV-1 --full --reason overcharged --yes", "nothing-to-refund")
    assert desk.refunded_at_provider(reference) == [3000, 3000, 3000, 1000]


def test_r3_a_record_is_limited_to_the_refundable_amount_too(desk: Desk) -> None:
    desk.paid_outside()
    desk.json("mark-refunded INV-2 --amount 99.99 --reason other --yes")
    error = desk.refused("mark-refunded INV-2 --amount 0.02 --reason other --yes", "over-refund")
    assert error["hint"] == "refundcli mark-refunded INV-2 --amount 0.01 --reason other"
    desk.json("mark-refunded INV-2 --full --reason other --yes")
    desk.refused("mark-refunded INV-2 --full --reason other --yes", "nothing-to-refund")


def test_r3_what_went_back_before_this_store_counts(desk: Desk) -> None:
    desk.paid_by_card(returned_elsewhere=6000)
    error = desk.refused("refund INV-1 --amount 40.01 --reason other --yes", "over-refund")
    assert error["context"]["remaining"] == "40.00"


@pytest.mark.parametrize("wrong", ["12,50", "1.005", "1e3", "NaN", "0", "１２"])
def test_r3_an_amount_is_read_exactly_or_not_at_all(desk: Desk, wrong: str) -> None:
    desk.paid_by_card()
    error = desk.refused(f"refund INV-1 --amount {wrong} --reason other --yes", "invalid-amount", exit_code=2)
    assert error["hint"]
    assert desk.sandbox.refunds == []


def test_r3_full_and_amount_exclude_each_other(desk: Desk) -> None:
    desk.paid_by_card()
    desk.refused("refund INV-1 --reason other --yes", "full-or-amount", exit_code=2)
    desk.refused("refund INV-1 --full --amount 5 --reason other --yes", "full-or-amount", exit_code=2)


def test_r3_full_takes_all_that_several_payments_can_give(desk: Desk) -> None:
    first, second = desk.sandbox.charge("60.00 EUR"), desk.sandbox.charge("40.00 EUR", provider="adyen")
    payments = (
        NewPayment(6000, Provider.STRIPE, "card", first.reference, auto_refundable=True),
        NewPayment(4000, Provider.ADYEN, "card", second.reference, auto_refundable=True),
        NewPayment(500, method="cash"),
    )
    desk.bring_in(new_invoice("INV-1", parse_money("105.00 EUR"), payments=payments))
    answer = desk.json("refund INV-1 --full --reason duplicate --yes")
    assert [refund["amount"]["amount"] for refund in answer["refunds"]] == ["60.00", "40.00"]
    assert len({refund["credit_note"]["number"] for refund in answer["refunds"]}) == 2
    assert answer["invoice"]["refundable"]["amount"] == "5.00"
    desk.json("mark-refunded INV-1 --full --reason duplicate --yes")
    desk.sandbox.settle(answer["refunds"][1]["provider_reference"], success=True)


def test_r3_an_amount_that_several_payments_could_give_needs_the_payment(desk: Desk) -> None:
    charges = [desk.sandbox.charge("60.00 EUR") for _ in range(2)]
    payments = tuple(
        NewPayment(6000, Provider.STRIPE, "card", charge.reference, auto_refundable=True) for charge in charges
    )
    desk.bring_in(new_invoice("INV-1", parse_money("120.00 EUR"), payments=payments))
    error = desk.refused("refund INV-1 --amount 10 --reason other --yes", "payment-needed", exit_code=2)
    assert charges[1].reference in str(error["hint"])
    desk.json(f"refund INV-1 --amount 10 --reason other --yes --payment {charges[1].reference}")
    assert desk.refunded_at_provider(charges[1].reference) == [1000]


def test_r6_all_returned_is_refunded_and_a_part_stays_paid_with_a_mark(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 1 --reason other --yes")
    invoice = desk.json("invoice show INV-1")
    assert (invoice["status"], invoice["partially_refunded"]) == ("paid", True)
    assert invoice["refundable"]["amount"] == "99.00"
    desk.json("refund INV-1 --full --reason other --yes")
    invoice = desk.json("invoice show INV-1")
    assert (invoice["status"], invoice["partially_refunded"]) == ("refunded", False)


# --- R4, R5: why, and a last question ---


@pytest.mark.parametrize("reason", list(RefundReason))
def test_r4_each_reason_works_by_word_and_label_and_is_on_the_credit_note(desk: Desk, reason: RefundReason) -> None:
    desk.paid_outside()
    for word in (reason.value, reason.label, reason.label.upper()):
        refund = desk.json(f"mark-refunded INV-2 --amount 1 --reason '{word}' --allow-duplicate --yes")["refunds"][0]
        note = desk.json(f"credit-notes show {refund['credit_note']['number']}")
        assert note["reason"] == reason.value


def test_r4_another_reason_is_refused_with_the_nearest_one(desk: Desk) -> None:
    desk.paid_by_card()
    error = desk.refused("refund INV-1 --full --reason duplicat --yes", "unknown-reason")
    assert "duplicate" in str(error["hint"])
    desk.refused("refund INV-1 --full --yes", "unknown-reason")


@pytest.mark.parametrize(
    "command",
    [
        "refund INV-1 --full --reason other",
        "mark-refunded INV-1 --full --reason other",
        "void INV-1",
        "uncollectible INV-1",
        "mark-refunded --from transfers.csv",
    ],
)
def test_r5_without_a_terminal_and_an_answer_nothing_is_begun(desk: Desk, command: str) -> None:
    # The store is not opened: there is none.
    desk.environ["REFUNDCLI_STORE_URL"] = "sqlite:////nonexistent/none.db"
    Path("transfers.csv").write_text("invoice,amount,reason\nINV-1,10,other\n")
    desk.refused(command, "confirmation-required", exit_code=2)


def test_r5_the_answer_given_beforehand_must_be_the_amount(desk: Desk) -> None:
    desk.paid_by_card()
    desk.refused('refund INV-1 --full --reason other --confirm "99.00 EUR"', "not-confirmed")
    assert desk.sandbox.refunds == []
    desk.json('refund INV-1 --full --reason other --confirm "100.00 EUR"')
    assert len(desk.sandbox.refunds) == 1


def test_r5_a_dry_run_asks_every_rule_and_writes_and_sends_nothing(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 1 --reason other --yes")
    before, sent = desk.count("audit_entry"), len(desk.sandbox.refund_requests)
    answer = desk.json("refund INV-1 --amount 99 --reason other --dry-run")
    assert answer["dry_run"] is True
    assert answer["refunds"][0]["amount"]["amount"] == "99.00"
    desk.refused("refund INV-1 --amount 99.01 --reason other --dry-run", "over-refund")
    assert (desk.count("audit_entry"), len(desk.sandbox.refund_requests)) == (before, sent)


def test_r5_the_same_amount_again_within_minutes_needs_confirmation(desk: Desk) -> None:
    reference = desk.paid_by_card()
    command = "refund INV-1 --amount 10 --reason other --yes"
    first = desk.json(command)["refunds"][0]["id"]
    error = desk.refused(command, "possible-duplicate")
    assert first in str(error["message"])
    assert "--allow-duplicate" in str(error["hint"])
    desk.refused(f"{command} --dry-run", "possible-duplicate")
    desk.json(f"{command} --allow-duplicate")
    desk.json(f"{command} --request-key two-of-them")
    desk.json("refund INV-1 --amount 10.01 --reason other --yes")
    assert desk.refunded_at_provider(reference) == [1000, 1000, 1000, 1001]


# --- R7, R8: what a refund leaves ---


def test_r7_every_refund_has_a_credit_note_numbered_without_gaps(desk: Desk) -> None:
    desk.paid_by_card()
    desk.paid_outside()
    for _ in range(3):
        desk.json("refund INV-1 --amount 1 --reason other --allow-duplicate --yes")
        desk.json("mark-refunded INV-2 --amount 1 --reason other --allow-duplicate --yes")
    numbers = [note["number"] for note in desk.json("credit-notes list")]
    year = date.today().year  # noqa: DTZ011 - within the test's own zone
    assert numbers == [f"CN-{year}-{seq:06}" for seq in range(1, 7)]


@pytest.mark.parametrize(("faults", "exit_code"), [(["429"] * 3, 7), (["403"], 6)], ids=["not sent", "declined"])
def test_r7_a_refund_that_was_not_sent_or_was_declined_leaves_no_number(
    desk: Desk, faults: list[str], exit_code: int
) -> None:
    desk.paid_by_card()
    desk.sandbox.faults(*faults)
    assert desk("refund INV-1 --amount 1 --reason other --yes").exit_code == exit_code
    # A declined refund is not a first one, so the second is no duplicate.
    desk.json("refund INV-1 --amount 1 --reason other --yes")
    notes = desk.json("credit-notes list")
    assert [note["number"][-6:] for note in notes] == ["000001"]
    assert [refund["status"] for refund in desk.json("invoice show INV-1")["refunds"]] == ["failed", "succeeded"]


def test_r8_the_refund_output_says_what_the_refund_does_not_do(desk: Desk) -> None:
    desk.paid_by_card(products=("Season pass", "Kit"), subscription="sub_88")
    answer = desk("refund INV-1 --full --reason other --yes")
    for words in ("5–10 business days", "fee", "Season pass, Kit", "sub_88 is still active"):
        assert words in answer.err


@pytest.mark.parametrize(
    ("provider", "how"),
    [
        ("stripe", "the provider will report the outcome later."),
        (
            "adyen",
            "Adyen reports the outcome by webhook (refundcli events listen) or in a report "
            "(refundcli reconcile --report FILE).",
        ),
    ],
)
def test_an_accepted_refund_says_how_its_outcome_comes(desk: Desk, provider: str, how: str) -> None:
    desk.paid_by_card(provider=provider)
    if provider == "stripe":
        desk.sandbox.faults("pending")
    notes = desk.json("refund INV-1 --full --reason other --yes")["notes"]
    assert f"Accepted, but not final yet: {how}" in notes


# --- R9: unpaid, void, uncollectible ---


def test_r9_an_invoice_that_was_never_paid_is_voided_or_written_off(desk: Desk) -> None:
    desk.unpaid("INV-3")
    desk.unpaid("INV-4")
    assert desk.json("void INV-3 --memo 'ordered twice' --yes")["status"] == "void"
    assert desk.json("uncollectible INV-4 --yes")["status"] == "uncollectible"
    assert desk.sandbox.requests == []
    history = desk.json("invoice history INV-3")
    assert history[-1]["after"] == {"status": "void", "memo": "ordered twice"}


def test_r9_what_was_never_paid_cannot_be_refunded(desk: Desk) -> None:
    desk.unpaid()
    error = desk.refused("refund INV-3 --full --reason other --yes", "not-paid")
    assert "void INV-3" in str(error["hint"])
    desk.refused("mark-refunded INV-3 --full --reason other --yes", "not-paid")


def test_r9_a_draft_is_refused_with_the_same_code_by_every_command(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    desk.bring_in(replace(new_invoice("INV-4", parse_money("5.00 EUR")), status=InvoiceStatus.DRAFT))
    for command in ("refund INV-4 --full --reason other", "mark-refunded INV-4 --full --reason other", "void INV-4"):
        error = desk.refused(f"{command} --yes", "not-issued")
        assert "INV-4 is a draft: it was never issued" in error["message"]


def test_r9_what_was_paid_is_neither_voided_nor_written_off(desk: Desk) -> None:
    desk.paid_by_card()
    desk.refused("void INV-1 --yes", "already-paid")
    desk.refused("uncollectible INV-1 --yes", "already-paid")


def test_r9_what_is_closed_stays_closed(desk: Desk) -> None:
    desk.unpaid()
    desk.json("void INV-3 --yes")
    for command in ("void INV-3", "uncollectible INV-3", "refund INV-3 --full --reason other"):
        desk.refused(f"{command} --yes", "already-closed")


def test_r9_refunding_an_open_or_written_off_invoice_keeps_its_status(desk: Desk) -> None:
    for number, status in (("INV-5", InvoiceStatus.OPEN), ("INV-6", InvoiceStatus.UNCOLLECTIBLE)):
        reference = desk.paid_by_card(number, "40.00 EUR", status=status, total=10000)
        answer = desk.json(f"refund {number} --full --reason other --yes")
        assert answer["invoice"]["status"] == status
        assert desk.refunded_at_provider(reference) == [4000]
    desk.refused("void INV-5 --yes", "already-paid")


# --- R10: mid-flight ---


def test_r10_a_payment_in_mid_flight_is_left_alone(desk: Desk) -> None:
    desk.paid_by_card(processing=True)
    error = desk.refused("refund INV-1 --full --reason other --yes", "currently-processing")
    assert "Currently processing" in str(error["message"])
    assert "Wait" in str(error["hint"])
    under_way = NewPayment(0, Provider.STRIPE, reference="pi_9", auto_refundable=True, processing=True)
    desk.unpaid("INV-3", payments=(under_way,))
    desk.refused("void INV-3 --yes", "currently-processing")
    desk.refused("uncollectible INV-3 --yes", "currently-processing")
    desk.refused("refund INV-3 --full --reason other --yes", "currently-processing")


# --- R11: disputes ---


def test_r11_an_open_dispute_stops_every_refund(desk: Desk) -> None:
    desk.paid_by_card(dispute=Dispute.OPEN)
    desk.refused("refund INV-1 --full --reason other --yes", "disputed")
    desk.refused("refund INV-1 --full --reason other --dispute-decision 'by hand' --yes", "disputed")
    desk.paid_outside(dispute=Dispute.OPEN)
    desk.refused("mark-refunded INV-2 --full --reason other --yes", "disputed")


def test_r11_a_won_dispute_needs_the_decision_and_stores_it(desk: Desk) -> None:
    desk.paid_by_card(dispute=Dispute.WON)
    error = desk.refused("refund INV-1 --full --reason other --yes", "dispute-closed")
    assert "--dispute-decision" in str(error["hint"])
    desk.json("refund INV-1 --full --reason other --dispute-decision 'ombudsman, 2026-11-02' --yes")
    assert desk.json("invoice show INV-1")["refunds"][0]["dispute_decision"] == "ombudsman, 2026-11-02"


def test_r11_what_a_lost_dispute_took_is_only_recorded(desk: Desk) -> None:
    reference = desk.paid_by_card(dispute=Dispute.LOST)
    error = desk.refused("refund INV-1 --full --reason other --yes", "dispute-lost")
    assert "--reason chargeback" in str(error["hint"])
    error = desk.refused("mark-refunded INV-1 --full --reason other --yes", "dispute-lost")
    assert error["hint"] == "To record it: refundcli mark-refunded INV-1 --full --reason chargeback"
    answer = desk.json("mark-refunded INV-1 --full --reason chargeback --yes")
    assert answer["invoice"]["status"] == "refunded"
    assert desk.refunded_at_provider(reference) == []


def test_r11_the_rest_of_a_lost_dispute_may_still_be_refunded(desk: Desk) -> None:
    reference = desk.paid_by_card(dispute=Dispute.LOST, dispute_amount=6000)
    desk.sandbox.dispute(reference, "lost", 6000)
    desk.refused("refund INV-1 --amount 40.01 --reason other --yes", "over-refund")
    error = desk.refused("mark-refunded INV-1 --amount 5 --reason other --yes", "use-refund")
    assert (
        "--amount 5.00 --reason other\nTo record the amount lost to the dispute: refundcli mark-refunded INV-1 --full"
        in error["hint"]
    )
    desk.json("refund INV-1 --full --reason other --yes")
    assert desk.refunded_at_provider(reference) == [4000]
    desk.refused("refund INV-1 --full --reason other --yes", "dispute-lost")
    answer = desk.json("mark-refunded INV-1 --full --reason chargeback --yes")
    assert (answer["refunds"][0]["amount"]["amount"], answer["invoice"]["status"]) == ("60.00", "refunded")


# --- What is shown is what is enforced ---


def test_of_several_refusals_the_first_in_order_is_reported(desk: Desk) -> None:
    desk.paid_outside(processing=True, dispute=Dispute.OPEN)
    desk.refused("refund INV-2 --full --reason other --yes", "not-auto-refundable")
    desk.refused("mark-refunded INV-2 --full --reason other --yes", "currently-processing")


def test_each_action_that_is_shown_as_allowed_is_allowed_and_no_other(desk: Desk) -> None:
    desk.paid_by_card("A")
    desk.paid_by_card("B", dispute=Dispute.OPEN)
    desk.paid_by_card("C", dispute=Dispute.LOST)
    desk.paid_by_card("D", processing=True)
    desk.paid_outside("E")
    desk.unpaid("F")
    desk.bring_in(replace(new_invoice("G", parse_money("5.00 EUR")), status=InvoiceStatus.DRAFT))
    desk.bring_in(replace(new_invoice("H", parse_money("5.00 EUR")), status=InvoiceStatus.VOID))
    desk.bring_in(replace(new_invoice("I", parse_money("5.00 EUR")), status=InvoiceStatus.UNCOLLECTIBLE))
    for number in "ABCDEFGHI":
        for action in desk.json(f"invoice show {number}")["actions"]:
            command = str(action["command"] or f"refundcli {action['action']} {number} --full --reason other")
            if action["action"] in ("void", "uncollectible"):
                command = f"refundcli {action['action']} {number} --yes"
            else:
                command = re.sub("REASON", "other", command) + " --dry-run"
            if action["action"] in ("void", "uncollectible") and action["allowed"]:
                continue  # It cannot be tested without running it; the tests above do.
            answer = desk(f"{command.removeprefix('refundcli ')} -o json")
            assert (answer.exit_code == 0) is action["allowed"], (number, action, answer)
            if not action["allowed"]:
                assert answer.error["code"] == action["code"], (number, action)


def test_a_typo_in_the_number_is_answered_with_the_nearest_one(desk: Desk) -> None:
    desk.paid_by_card("INV-1042")
    error = desk.refused("refund INV-1024 --full --reason other --yes", "invoice-not-found", exit_code=5)
    assert "INV-1042" in str(error["hint"])


def test_the_number_that_was_meant_is_suggested_alone_with_the_whole_command(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    for number in range(1001, 1037):
        desk.unpaid(f"INV-{number}")

    def suggested(typed: str) -> str:
        command = f"void '{typed}' --memo 'paid twice' --yes"
        return str(desk.refused(command, "invoice-not-found", exit_code=5)["hint"]).replace(" -o json", "")

    for typed in ("INV1036", "inv_1036", "inv 1036", "INV-10366", "INV-l036", "INV-1O36"):
        # The other number has to be confirmed anew.
        assert suggested(typed) == "Did you mean INV-1036?\nNext: refundcli void INV-1036 --memo 'paid twice'"
    for typed in ("INV-103", "INV-1037", "INV-9999", "INV-2099", "1036", "/"):
        assert suggested(typed) == "refundcli invoice list   shows the invoices of this store"


def test_numbers_are_trimmed_and_fit_in_any_case_where_only_one_does(desk: Desk) -> None:
    desk.unpaid("Inv-7")
    desk.unpaid("INV-8")
    desk.unpaid("inv-8")
    assert desk.json("void ' inv-7 ' --dry-run")["number"] == "Inv-7"
    assert desk.json("void inv-8 --dry-run")["number"] == "inv-8"
    error = desk.refused("void Inv-8 --yes", "several-invoices")
    assert error["message"] == "Inv-8 may be any of several invoices: INV-8, inv-8."


def test_ids_and_credit_notes_name_the_invoice_in_every_command(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.paid_outside()
    (refund,) = desk.json(f"refund {reference} --amount 10 --reason other --yes")["refunds"]
    note = refund["credit_note"]["number"]
    for name in (reference, refund["id"], refund["provider_reference"], note, "inv-1"):
        assert desk.json(f"refund {name} --amount '5 EUR' --reason other --dry-run")["invoice"]["number"] == "INV-1"
        assert desk.refused(f"mark-refunded {name} --full --reason other --yes", "use-refund")
        assert desk.refused(f"void {name} --yes", "already-paid")
        assert desk.json(f"invoice show {name}")["number"] == "INV-1"
        assert desk.json(f"invoice history {name}")
        assert desk.json(f"credit-notes list --invoice {name}")
        assert desk.json(f"credit-notes show {note.lower()}")
        assert desk.json(f"reconcile --invoice {name}")["compared"] == 1
        assert [invoice["number"] for invoice in desk.json(f"invoice list --after {name}")] == ["INV-2"]
