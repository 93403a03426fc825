"""Provider updates of refunds and disputes: the same state in any order, however often, from any source."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations, product
from typing import Any

import pytest

from desk import MERCHANT, Desk
from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.money import parse_money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import CreditNoteStatus, Dispute, InvoiceStatus, Provider, RefundState
from refundcli.services.ports.provider_updates import DisputeUpdate, EventState, RefundUpdate
from refundcli.store.checks.integrity import findings
from updates import NUMBER_FORMAT, apply

LATER = datetime(2027, 1, 1, tzinfo=UTC)


def refund_of(desk: Desk, number: str = "INV-1") -> Refund:
    return desk.invoice(number).refunds[-1]


def update_of(desk: Desk, state: RefundState, *, reference: str = "", **changes: object) -> RefundUpdate:
    """An update of the invoice's newest refund."""
    refund, invoice = refund_of(desk), desk.invoice("INV-1")
    at_provider = desk.sandbox.refunds[-1]
    default = RefundUpdate(
        provider=refund.provider or Provider.ADYEN,
        reference=reference or at_provider.id,
        payment_references=invoice.payments[0].references,
        amount=refund.amount,
        state=state,
        status=state.value,
        refund_id=refund.id,
    )
    return replace(default, **changes)  # type: ignore[arg-type]


def external(desk: Desk, amount: str, reference: str = "re_elsewhere", **changes: object) -> RefundUpdate:
    payment = desk.invoice("INV-1").payments[0]
    default = RefundUpdate(
        provider=Provider.STRIPE,
        reference=reference,
        payment_references=payment.references,
        amount=parse_money(amount),
        state=RefundState.SUCCEEDED,
        status="succeeded",
        created_at=LATER,
    )
    return replace(default, **changes)  # type: ignore[arg-type]


def dispute_of(
    desk: Desk, number: str, reference: str, state: DisputeState, amount: str, *, at: datetime = LATER
) -> DisputeUpdate:
    return DisputeUpdate(
        provider=Provider.STRIPE,
        reference=reference,
        payment_references=desk.invoice(number).payments[0].references,
        state=state,
        stage=DisputeStage.CHARGEBACK,
        status=state.value,
        at=at,
        amount=parse_money(amount),
    )


def state_of(desk: Desk) -> tuple[object, ...]:
    invoice, refund = desk.invoice("INV-1"), refund_of(desk)
    assert refund.credit_note
    assert findings(desk.books) == []
    return (
        invoice.status,
        invoice.refunded,
        invoice.reserved,
        invoice.refundable,
        refund.state,
        refund.needs_acknowledgement,
        refund.credit_note.status,
        refund.credit_note.number,
    )


@pytest.mark.parametrize("known_as", ["submitted", "pending"])
@pytest.mark.parametrize("last", ["failed", "reversed", "both", "succeeded", "rejected", "sent again"])
def test_updates_in_any_order_and_repeated_end_in_one_state(desk: Desk, known_as: str, last: str) -> None:
    succeeded, failed, reversed_ = RefundState.SUCCEEDED, RefundState.FAILED, RefundState.REVERSED
    # In the order of the provider's dates; the flag: the provider may retry it.
    words = {
        "succeeded": [(succeeded, False)],
        "failed": [(succeeded, False), (failed, True)],
        "reversed": [(succeeded, False), (reversed_, False)],
        "both": [(succeeded, False), (failed, True), (reversed_, False)],
        "rejected": [(succeeded, False), (failed, False)],
        "sent again": [(failed, True), (succeeded, False)],
    }[last]
    dated = [(*word, LATER + timedelta(days=day)) for day, word in enumerate(words)]
    ends: set[object] = set()
    for at, order in enumerate(permutations(dated)):
        number = NUMBER_FORMAT.format(year=datetime.now(UTC).year, seq=at + 1)
        desk.sandbox.faults(*(["drop_after"] if known_as == "submitted" else []), provider="adyen")
        desk.paid_by_card(f"INV-{at}", provider="adyen")
        desk(f"refund INV-{at} --full --reason other --yes")
        ours = desk.invoice(f"INV-{at}").refunds[-1]
        assert ours.state == known_as
        at_provider = desk.sandbox.refunds[-1]
        for (state, may_be_retried, on), _ in product(order, range(3)):
            (outcome,) = apply(
                desk,
                RefundUpdate(
                    provider=Provider.ADYEN,
                    reference=at_provider.id,
                    payment_references=(at_provider.payment,),
                    amount=ours.amount,
                    state=state,
                    status=state.value,
                    account=MERCHANT,
                    refund_id=ours.id,
                    may_be_retried=may_be_retried,
                    reported_at=on,
                ),
            )
            assert outcome.state is EventState.APPLIED
        invoice = desk.invoice(f"INV-{at}")
        (refund,) = invoice.refunds
        assert refund.credit_note
        # In issuing order, so each invoice's number is one higher.
        assert (refund.credit_note.number or "")[-4:] == number[-4:]
        ends.add((invoice.status, invoice.refunded, invoice.reserved, refund.state, refund.needs_acknowledgement))
        ends.add(refund.credit_note.status)
        assert findings(desk.books) == []
    assert len(ends) == 2, ends


def test_a_late_failure_reserves_its_amount_until_it_is_acknowledged(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --full --reason other --yes")
    desk.sandbox.settle(desk.sandbox.refunds[-1].id, status="failed", failure_reason="declined")
    apply(desk, update_of(desk, RefundState.FAILED, failure="declined by the bank"))
    invoice, refund = desk.invoice("INV-1"), refund_of(desk)
    assert (invoice.status, invoice.reserved.number, invoice.refundable.number) == (
        InvoiceStatus.PAID,
        "100.00",
        "0.00",
    )
    assert refund.credit_note
    assert refund.credit_note.status is CreditNoteStatus.VOID
    assert refund.credit_note.number
    assert refund.needs_acknowledgement
    desk.refused("refund INV-1 --full --reason other --yes", "nothing-to-refund")

    answer = desk.json(f"acknowledge {refund.id} --memo 'bank confirmed it' --yes")
    assert answer["refunds"][0]["acknowledged_by"] == desk.operator
    assert desk.invoice("INV-1").refundable.number == "100.00"
    assert findings(desk.books) == []
    desk.json("refund INV-1 --full --reason other --yes")


def test_a_reversed_amount_is_free_at_once_and_shown_until_acknowledged(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --full --reason other --yes")
    apply(desk, update_of(desk, RefundState.REVERSED))
    assert desk.invoice("INV-1").refundable.number == "100.00"
    loud = desk("status -o json")
    assert loud.exit_code == 8
    (came_back,) = loud.json["needs_acknowledgement"]
    assert came_back["command"] == f"refundcli acknowledge {refund_of(desk).id}"
    assert f"reversed\t{refund_of(desk).id}" in desk("status").out
    desk.json(f"acknowledge {refund_of(desk).id} --yes")
    assert desk("status -o json").exit_code == 0
    desk.refused(f"acknowledge {refund_of(desk).id} --yes", "nothing-to-acknowledge")


def test_an_external_refund_counts_once_it_is_reported(desk: Desk) -> None:
    desk.paid_by_card()
    apply(desk, external(desk, "30.00 EUR"), external(desk, "30.00 EUR"))
    invoice = desk.invoice("INV-1")
    assert (invoice.refundable.number, invoice.refunded.number) == ("70.00", "30.00")
    (refund,) = invoice.refunds
    assert (refund.is_external, refund.credit_note, refund.reason) == (True, None, None)
    desk.refused("refund INV-1 --amount 71 --reason other --yes", "over-refund")
    apply(desk, external(desk, "70.00 EUR", "re_another"))
    assert desk.invoice("INV-1").status is InvoiceStatus.REFUNDED
    apply(desk, external(desk, "70.00 EUR", "re_another", state=RefundState.REVERSED))
    assert desk.invoice("INV-1").status is InvoiceStatus.PAID
    assert desk.invoice("INV-1").refundable.number == "70.00"
    assert findings(desk.books) == []


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("state", "refundable"), [(RefundState.FAILED, "70.00"), (RefundState.REVERSED, "100.00")])
def test_an_external_refund_and_its_reversal_end_the_same_in_either_order(
    desk: Desk, state: RefundState, refundable: str, turned: bool
) -> None:
    desk.paid_by_card()
    words = [
        external(desk, "30.00 EUR"),
        external(desk, "30.00 EUR", state=state, may_be_retried=state is RefundState.FAILED),
    ]
    apply(desk, *(words[::-1] if turned else words))
    assert desk.invoice("INV-1").refundable.number == refundable
    assert findings(desk.books) == []
    desk.json(f"acknowledge {refund_of(desk).id} --yes")
    assert desk.invoice("INV-1").refundable.number == "100.00"
    assert findings(desk.books) == []


def test_reversed_over_refunds_are_reserved_up_to_the_captured_amount(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --full --reason other --yes")
    ours = refund_of(desk)
    apply(desk, external(desk, "30.00 EUR"), external(desk, "30.00 EUR", state=RefundState.FAILED, may_be_retried=True))
    theirs = refund_of(desk)
    assert (desk.invoice("INV-1").reserved.number, theirs.needs_acknowledgement) == ("0.00", True)
    assert findings(desk.books) == []
    sandbox_refund = desk.sandbox.refunds[-1]
    apply(
        desk, update_of(desk, RefundState.REVERSED, reference=sandbox_refund.id, refund_id=ours.id, amount=ours.amount)
    )
    assert (desk.invoice("INV-1").reserved.number, desk.invoice("INV-1").refundable.number) == ("30.00", "70.00")
    assert findings(desk.books) == []
    for refund in (ours, theirs):
        desk.json(f"acknowledge {refund.id} --yes")
    assert desk.invoice("INV-1").refundable.number == "100.00"
    assert findings(desk.books) == []


def test_an_imported_refunded_amount_is_not_counted_twice(desk: Desk) -> None:
    desk.paid_by_card(returned_elsewhere=3000)
    before = datetime(2026, 1, 1, tzinfo=UTC)
    apply(desk, external(desk, "20.00 EUR", "re_a", created_at=before))
    assert desk.invoice("INV-1").refundable.number == "70.00"
    apply(desk, external(desk, "20.00 EUR", "re_b", created_at=before))
    assert desk.invoice("INV-1").refundable.number == "60.00"
    apply(desk, external(desk, "5.00 EUR", "re_c"))
    assert desk.invoice("INV-1").refundable.number == "55.00"
    assert findings(desk.books) == []


def test_a_record_of_a_dashboard_refund_and_that_refund_are_one(desk: Desk) -> None:
    desk.paid_by_card(auto_refundable=False)
    desk.json("mark-refunded INV-1 --amount 40 --reason duplicate --reference re_dash --yes")
    apply(desk, external(desk, "40.00 EUR", "re_dash"), external(desk, "40.00 EUR", "re_dash"))
    assert desk.invoice("INV-1").refundable.number == "60.00"
    apply(desk, external(desk, "40.00 EUR", "re_second"))
    assert desk.invoice("INV-1").refundable.number == "20.00"


def test_the_same_failure_of_a_record_read_again_changes_nothing(desk: Desk) -> None:
    desk.paid_by_card(auto_refundable=False)
    desk.json("mark-refunded INV-1 --amount 40 --reason duplicate --reference re_dash --yes")
    apply(desk, external(desk, "40.00 EUR", "re_dash"))
    failed = external(desk, "40.00 EUR", "re_dash", state=RefundState.FAILED, status="failed", reported_at=LATER)
    apply(desk, failed)
    entries = desk.count("audit_entry")
    apply(desk, replace(failed, reported_at=LATER + timedelta(minutes=1)))
    assert desk.count("audit_entry") == entries
    apply(desk, replace(failed, reported_at=LATER + timedelta(minutes=2), failure="closed account"))
    assert desk.count("audit_entry") == entries + 1


def update_of_record(desk: Desk, state: RefundState, day: int) -> RefundUpdate:
    at = LATER + timedelta(days=day)
    return external(desk, "40.00 EUR", "PSPR", provider=Provider.ADYEN, state=state, status=state, reported_at=at)


@pytest.mark.parametrize("order", list(permutations([1, 2])))
def test_a_record_whose_refund_was_retried_stays_valid_in_any_order(desk: Desk, order: tuple[int, ...]) -> None:
    """Matched by its success on day 0; it failed on day 1 and was retried on day 2."""
    desk.paid_by_card(provider="adyen", auto_refundable=False)
    desk.json("mark-refunded INV-1 --amount 40 --reason duplicate --reference PSPR --yes")
    states = (RefundState.SUCCEEDED, RefundState.FAILED, RefundState.SUCCEEDED)
    for day in (0, *order):
        apply(desk, update_of_record(desk, states[day], day))
    record = refund_of(desk)
    assert (record.is_made_at_provider, record.has_failed_at_provider) == (True, False)
    assert record.succeeded_at == LATER + timedelta(days=2)
    entries = desk.count("audit_entry")
    apply(desk, *(update_of_record(desk, states[day], day) for day in (0, 2, 2)))
    assert desk.count("audit_entry") == entries
    desk.refused(f"mark-refunded --undo {record.id} --memo why --yes", "made-at-provider")


@pytest.mark.parametrize("order", list(permutations([1, 2, 3])))
def test_a_record_whose_refund_failed_twice_may_be_undone_in_any_order(desk: Desk, order: tuple[int, ...]) -> None:
    desk.paid_by_card(provider="adyen", auto_refundable=False)
    desk.json("mark-refunded INV-1 --amount 40 --reason duplicate --reference PSPR --yes")
    states = (RefundState.SUCCEEDED, RefundState.FAILED, RefundState.SUCCEEDED, RefundState.FAILED)
    for day in (0, *order):
        apply(desk, update_of_record(desk, states[day], day))
    record = refund_of(desk)
    assert record.has_failed_at_provider
    desk.json(f"mark-refunded --undo {record.id} --memo why --yes")


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": parse_money("99.00 EUR")},
        {"payment_references": ("pi_another",)},
        {"account": "acct_another"},
        {"livemode": True},
    ],
    ids=["amount", "payment", "account", "mode"],
)
def test_an_update_that_contradicts_our_refund_changes_nothing(desk: Desk, changes: dict[str, Any]) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --full --reason other --yes")
    before = state_of(desk)
    (outcome,) = apply(desk, update_of(desk, RefundState.FAILED, **changes))
    assert (outcome.state, outcome.changed) == (EventState.UNREVIEWED, False)
    assert state_of(desk) == before


def test_one_request_that_became_two_refunds_is_counted_twice(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 40 --reason other --yes")
    apply(desk, update_of(desk, RefundState.SUCCEEDED, reference="re_twin", created_at=LATER))
    assert desk.invoice("INV-1").refundable.number == "20.00"


def test_a_failure_and_a_success_that_contradict_each_other_hold_the_amount(desk: Desk) -> None:
    desk.paid_by_card(provider="adyen")
    desk.json("refund INV-1 --full --reason other --yes")
    apply(desk, update_of(desk, RefundState.FAILED))
    assert desk.invoice("INV-1").refundable.number == "100.00"
    desk.json("refund INV-1 --amount 60 --reason other --yes")
    first = desk.invoice("INV-1").refunds[0]
    at_provider = desk.sandbox.refunds[0]
    update = update_of(desk, RefundState.SUCCEEDED, reference=at_provider.id, refund_id=first.id, amount=first.amount)
    (outcome,) = apply(desk, update)
    assert outcome.state is EventState.UNREVIEWED
    assert "paid twice" in outcome.note


def test_an_update_of_an_unknown_payment_waits_for_it(desk: Desk) -> None:
    desk.paid_by_card()
    (outcome,) = apply(desk, external(desk, "1.00 EUR", payment_references=("pi_unknown",)))
    assert outcome.state is EventState.UNMATCHED


def test_the_later_of_two_dispute_updates_holds_in_any_order(desk: Desk) -> None:
    day = timedelta(days=1)
    words = [
        (DisputeState.OPEN, LATER),
        (DisputeState.WON, LATER + day),
        (DisputeState.OPEN, LATER + 2 * day),
        (DisputeState.LOST, LATER + 2 * day),
    ]
    for at in range(12):
        number = f"INV-{at}"
        desk.paid_by_card(number)
        order = words[:]
        random.Random(at).shuffle(order)
        for state, when in order:
            update = dispute_of(desk, number, f"dp_{at}", state, "40.00 EUR", at=when)
            apply(desk, update, update)
        invoice = desk.invoice(number)
        assert (invoice.dispute, len(invoice.payments[0].disputes)) == (Dispute.LOST, 1)
        assert invoice.refundable.number == "60.00"
    assert findings(desk.books) == []


def test_two_disputes_of_one_payment_are_two_records_in_any_order(desk: Desk) -> None:
    day = timedelta(days=1)
    words = [
        ("dp_a", DisputeState.OPEN, "30.00 EUR", LATER),
        ("dp_a", DisputeState.LOST, "30.00 EUR", LATER + day),
        ("dp_b", DisputeState.OPEN, "20.00 EUR", LATER),
        ("dp_b", DisputeState.LOST, "20.00 EUR", LATER + 2 * day),
    ]
    for at, order in enumerate(permutations(words)):
        number = f"INV-{at}"
        desk.paid_by_card(number)
        for reference, state, amount, when in order:
            apply(desk, dispute_of(desk, number, f"{reference}_{at}", state, amount, at=when))
        invoice = desk.invoice(number)
        assert (invoice.dispute, invoice.payments[0].lost.number) == (Dispute.LOST, "50.00")
        assert invoice.refundable.number == "50.00"
    assert findings(desk.books) == []


def test_of_two_disputes_the_one_that_is_open_stays_open_when_the_other_ends(desk: Desk) -> None:
    desk.paid_by_card()
    for reference in ("dp_a", "dp_b"):
        apply(desk, dispute_of(desk, "INV-1", reference, DisputeState.OPEN, "30.00 EUR"))
    apply(desk, dispute_of(desk, "INV-1", "dp_a", DisputeState.WON, "30.00 EUR", at=LATER + timedelta(days=1)))
    assert desk.invoice("INV-1").dispute is Dispute.OPEN
    desk.refused("refund INV-1 --full --reason other --yes", "disputed")
    assert desk.refunded_at_provider(desk.invoice("INV-1").payments[0].reference) == []


def test_a_reserved_refund_found_made_was_sent_before_a_restored_backup(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_after")
    desk("refund INV-1 --amount 40 --reason other --yes")
    with desk.books.engine.begin() as line:
        line.exec_driver_sql("UPDATE refund SET state = 'ready', fence = 0, first_sent_at = NULL")
    apply(desk, update_of(desk, RefundState.SUCCEEDED))
    assert refund_of(desk).state is RefundState.SUCCEEDED
    assert desk.invoice("INV-1").refunded.number == "40.00"


def test_undoing_a_chargeback_record_with_an_open_dispute_counts_it_as_lost(desk: Desk) -> None:
    desk.paid_by_card()
    apply(desk, dispute_of(desk, "INV-1", "dp_a", DisputeState.LOST, "30.00 EUR"))
    (refund,) = desk.json("mark-refunded INV-1 --full --reason chargeback --yes")["refunds"]
    apply(desk, dispute_of(desk, "INV-1", "dp_b", DisputeState.OPEN, "20.00 EUR"))
    desk.json(f"mark-refunded --undo {refund['id']} --memo 'wrong invoice' --yes")
    invoice = desk.invoice("INV-1")
    assert (invoice.payments[0].lost.number, invoice.refundable.number) == ("30.00", "70.00")
    assert findings(desk.books) == []


def test_undoing_a_chargeback_record_of_a_won_dispute_loses_nothing(desk: Desk) -> None:
    desk.paid_by_card()
    apply(desk, dispute_of(desk, "INV-1", "dp_a", DisputeState.LOST, "30.00 EUR"))
    (refund,) = desk.json("mark-refunded INV-1 --full --reason chargeback --yes")["refunds"]
    apply(desk, dispute_of(desk, "INV-1", "dp_a", DisputeState.WON, "30.00 EUR", at=LATER + timedelta(days=1)))
    desk.json(f"mark-refunded --undo {refund['id']} --memo 'the bank paid it back' --yes")
    invoice = desk.invoice("INV-1")
    assert (invoice.payments[0].lost.number, invoice.refundable.number) == ("0.00", "100.00")
    assert findings(desk.books) == []
