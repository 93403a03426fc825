"""R1 to R15 with fakes of the ports: the rules of DESIGN, each in a few lines and a millisecond.

The same rules hold on both databases and through the command line (tests/integration, tests/e2e).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from acting import Operator
from fakes import accepted, dispute, external_refund, money, paid_invoice, payment
from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.errors import RefundcliError
from refundcli.domain.invoice import Unreviewed
from refundcli.domain.reasons import RefundReason, parse_reason
from refundcli.domain.refund import OutOfBand
from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider, RefundKind, RefundState
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.ports.providers import RefundAnswer

BY_BANK: dict[str, Any] = {"provider": None, "references": (), "method": "bank transfer", "auto_refundable": False}


def refusal(act: Callable[[], object]) -> str:
    """The code with which it is refused."""
    with pytest.raises(RefundcliError) as refused:
        act()
    return refused.value.code


# --- R1, R2, R12: which action ---------------------------------------------------------------------------------------


def test_r1_a_payment_through_a_provider_is_refunded_there_and_cannot_be_marked() -> None:
    ada = Operator()
    assert refusal(lambda: ada.record("10 EUR")) == "use-refund"
    (refund,) = ada.refund("10 EUR")
    assert (refund.kind, refund.state, len(ada.stripe.sent)) == (RefundKind.PROVIDER, RefundState.SUCCEEDED, 1)


def test_r2_a_payment_taken_outside_is_only_recorded_and_no_provider_is_reached() -> None:
    ada = Operator((paid_invoice(payment=BY_BANK),))
    assert refusal(lambda: ada.refund("10 EUR")) == "not-auto-refundable"
    (record,) = ada.record("10 EUR")
    assert (record.state, ada.stripe.sent) == (RefundState.RECORDED, [])


@pytest.mark.parametrize("fields", [{"references": ()}, {"references": ("pi_1",)}])
def test_r12_paid_by_card_but_not_refundable_here_is_explained(fields: dict[str, object]) -> None:
    ada = Operator((paid_invoice(payment={"auto_refundable": False, **fields}),))
    with pytest.raises(RefundcliError) as refused:
        ada.refund("10 EUR")
    assert refused.value.code == "not-auto-refundable"
    assert "mark-refunded" in refused.value.hint


# --- R3, R6: amounts -------------------------------------------------------------------------------------------------


def test_r3_parts_may_repeat_until_nothing_remains_and_full_takes_the_rest() -> None:
    ada = Operator()
    ada.refund("40 EUR", key="1")
    ada.stripe.answers = [accepted(reference="re_2")]
    ada.refund("40 EUR", key="2", allow_duplicate=True)
    assert refusal(lambda: ada.refund("30 EUR", key="3")) == "over-refund"
    ada.stripe.answers = [accepted(reference="re_3")]
    (rest,) = ada.refund(key="4")
    assert rest.amount == money("20.00 EUR")
    assert refusal(lambda: ada.refund(key="5")) == "nothing-to-refund"


def test_r6_partly_refunded_stays_paid_and_fully_refunded_becomes_refunded() -> None:
    ada = Operator()
    ada.refund("40 EUR", key="1")
    assert (ada.books.invoice().status, ada.books.invoice().partially_refunded) == (InvoiceStatus.PAID, True)
    ada.stripe.answers = [accepted(reference="re_2")]
    ada.refund(key="2")
    assert ada.books.invoice().status is InvoiceStatus.REFUNDED


def test_full_takes_what_all_payments_can_give_with_a_refund_and_note_for_each() -> None:
    second = payment("50.00 EUR", id=2, references=("pi_2",))
    ada = Operator((paid_invoice(total="150.00 EUR", payments=(payment("100.00 EUR"), second)),))
    ada.stripe.captured_of = {"pi_2": money("50.00 EUR")}
    ada.stripe.answers = [accepted(reference="re_1"), accepted(reference="re_2")]
    assert refusal(lambda: ada.refund("20 EUR")) == "payment-needed"
    refunds = ada.refund()
    assert [refund.amount for refund in refunds] == [money("100.00 EUR"), money("50.00 EUR")]
    assert [refund.credit_note and refund.credit_note.number for refund in refunds] == [
        "CN-2026-000001",
        "CN-2026-000002",
    ]
    assert ada.books.invoice().status is InvoiceStatus.REFUNDED


# --- R4, R7: reasons and credit notes --------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", list(RefundReason))
def test_r4_each_of_the_eight_reasons_is_stored_on_the_credit_note(reason: RefundReason) -> None:
    ada = Operator()
    (refund,) = ada.refund("10 EUR", reason=reason)
    note = refund.credit_note
    assert note
    assert (note.reason, note.number) == (reason, "CN-2026-000001")
    assert parse_reason(reason.label) is reason


def test_r4_an_unknown_reason_is_refused_by_name() -> None:
    assert refusal(lambda: parse_reason("because")) == "unknown-reason"


def test_r7_every_refund_of_either_kind_makes_a_credit_note_numbered_without_gaps() -> None:
    ada = Operator((paid_invoice(), paid_invoice("INV-2", id=2, payment={"id": 2, **BY_BANK})))
    (refund,) = ada.refund("10 EUR")
    (record,) = ada.record("10 EUR", number="INV-2")
    notes = [refund.credit_note, record.credit_note]
    assert [note and note.number for note in notes] == ["CN-2026-000001", "CN-2026-000002"]


def test_r7_a_refund_that_was_declined_has_a_void_note_without_a_number() -> None:
    ada = Operator()
    ada.stripe.answers = [RefundAnswer(Signal.DECLINED, message="no")]
    (refund,) = ada.refund("10 EUR")
    assert refund.state is RefundState.FAILED
    assert refund.credit_note
    assert (refund.credit_note.status, refund.credit_note.number) == ("void", None)


# --- R5: confirmation and repeats ------------------------------------------------------------------------------------


def test_r5_an_amount_that_changed_since_it_was_confirmed_is_not_sent() -> None:
    ada = Operator()
    meanwhile = lambda: ada.refund("10 EUR", key="2")  # noqa: E731
    assert refusal(lambda: ada.refund(meanwhile=meanwhile)) == "changed-meanwhile"
    assert len(ada.stripe.sent) == 1


def test_r5_an_equal_refund_is_asked_about_and_one_with_the_same_key_is_the_same() -> None:
    ada = Operator()
    (first,) = ada.refund("10 EUR", key="1")
    assert refusal(lambda: ada.refund("10 EUR", key="2")) == "possible-duplicate"
    (again,) = ada.refund("10 EUR", key="1")
    assert (again.id, len(ada.stripe.sent)) == (first.id, 1)


def test_a_key_that_was_used_with_another_content_is_refused() -> None:
    ada = Operator()
    ada.refund("10 EUR", key="1")
    assert refusal(lambda: ada.refund("11 EUR", key="1")) == "request-key-reused"


# --- R9: void and uncollectible --------------------------------------------------------------------------------------

OPEN: dict[str, Any] = {
    "status": InvoiceStatus.OPEN,
    "payments": (payment("100.00 EUR", provider_captured=money("0.00 EUR")),),
}


@pytest.mark.parametrize("target", [InvoiceStatus.VOID, InvoiceStatus.UNCOLLECTIBLE])
def test_r9_an_unpaid_invoice_is_closed_and_no_money_moves(target: InvoiceStatus) -> None:
    ada = Operator((paid_invoice(**OPEN),))
    assert ada.close(target).invoice.status is target
    assert ada.stripe.sent == []


def test_r9_uncollectible_can_still_be_voided_and_void_is_final() -> None:
    ada = Operator((paid_invoice(**OPEN),))
    ada.close(InvoiceStatus.UNCOLLECTIBLE)
    ada.close(InvoiceStatus.VOID)
    assert refusal(lambda: ada.close(InvoiceStatus.UNCOLLECTIBLE)) == "already-closed"


def test_r9_a_paid_invoice_cannot_be_voided_and_an_unpaid_one_not_refunded() -> None:
    ada = Operator((paid_invoice(), paid_invoice("INV-2", id=2, **OPEN)))
    assert refusal(lambda: ada.close(InvoiceStatus.VOID)) == "already-paid"
    assert refusal(lambda: ada.refund("10 EUR", number="INV-2")) == "not-paid"


def test_r9_money_captured_on_an_open_invoice_can_be_refunded_and_the_status_stays() -> None:
    ada = Operator((paid_invoice(status=InvoiceStatus.OPEN),))
    ada.refund()
    assert ada.books.invoice().status is InvoiceStatus.OPEN


# --- R10, R11: processing and disputes -------------------------------------------------------------------------------


def test_r10_a_payment_that_is_processing_is_refused() -> None:
    ada = Operator((paid_invoice(payment={"processing": True}),))
    assert refusal(lambda: ada.refund("10 EUR")) == "currently-processing"


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ((DisputeState.OPEN,), "disputed"),
        ((DisputeState.UNKNOWN,), "disputed"),
        ((DisputeState.WON,), "dispute-closed"),
        ((DisputeState.LOST,), "dispute-lost"),
        ((DisputeState.WON, DisputeState.OPEN), "disputed"),
        ((DisputeState.LOST, DisputeState.OPEN), "disputed"),
    ],
)
def test_r11_the_most_severe_dispute_decides(states: tuple[DisputeState, ...], code: str) -> None:
    disputes = tuple(dispute(state, id=number, reference=f"dp_{number}") for number, state in enumerate(states))
    ada = Operator((paid_invoice(payment={"provider": Provider.ADYEN, "disputes": disputes}),))
    assert refusal(lambda: ada.refund("10 EUR")) == code
    assert ada.providers.adyen.sent == []


def test_r11_lost_amounts_add_up_and_are_never_refunded() -> None:
    lost = (dispute(DisputeState.LOST, "30 EUR"), dispute(DisputeState.LOST, "20 EUR", id=2, reference="dp_2"))
    ada = Operator((paid_invoice(payment={"provider": Provider.ADYEN, "disputes": lost}),))
    assert refusal(lambda: ada.refund("80 EUR")) == "over-refund"
    assert ada.books.invoice().refundable == money("50.00 EUR")
    assert ada.books.invoice().dispute is Dispute.LOST


def test_r11_a_lost_amount_is_recorded_as_a_chargeback_and_not_twice() -> None:
    ada = Operator((paid_invoice(payment={"disputes": (dispute(DisputeState.LOST, "30 EUR"),)}),))
    (record,) = ada.record("30 EUR", reason=RefundReason.CHARGEBACK)
    assert record.state is RefundState.RECORDED
    assert refusal(lambda: ada.record("30 EUR", key="2", reason=RefundReason.CHARGEBACK)) == "chargeback-recorded"


def test_r11_a_won_dispute_or_an_answered_inquiry_needs_a_decision_which_is_stored() -> None:
    inquiry = dispute(DisputeState.OPEN, provider=Provider.ADYEN, stage=DisputeStage.ANSWERED_INQUIRY)
    for decided, code in ((dispute(DisputeState.WON), "dispute-closed"), (inquiry, "disputed")):
        ada = Operator((paid_invoice(payment={"provider": Provider.ADYEN, "disputes": (decided,)}),))
        assert refusal(partial(ada.refund, "10 EUR")) == code
        (refund,) = ada.refund("10 EUR", dispute_decision="the customer is right")
        assert refund.dispute_decision == "the customer is right"


# --- R13, R14: what a provider reports -------------------------------------------------------------------------------


def test_r13_an_unreviewed_update_blocks_a_refund_but_not_a_record_or_void() -> None:
    odd = Unreviewed(7, Provider.ADYEN, "DISPUTE_FOO", "is not known", needs_a_person=True)
    ada = Operator((paid_invoice(payment={"provider": Provider.ADYEN, "unreviewed": (odd,)}),))
    assert refusal(lambda: ada.refund("10 EUR")) == "unreviewed-event"
    assert ada.providers.adyen.sent == []
    by_bank = payment("100.00 EUR", id=2, **BY_BANK, unreviewed=(odd,))
    ada = Operator((paid_invoice(payments=(by_bank,)),))
    assert ada.record("10 EUR")[0].state is RefundState.RECORDED


def test_r13_an_unlisted_status_in_the_snapshot_blocks_before_anything_is_sent() -> None:
    ada = Operator()
    ada.stripe.snapshot_fields = {"unsupported": "it is a Connect charge"}
    assert refusal(lambda: ada.refund("10 EUR")) == "unsupported-refund"
    assert ada.stripe.sent == []


def test_r14_a_failure_after_success_keeps_the_amount_until_it_is_acknowledged() -> None:
    ada = Operator()
    (refund,) = ada.refund("10 EUR")
    failed = replace(refund, state=RefundState.FAILED, holding=True, needs_acknowledgement_since=ada.clock.now())
    ada.books.facts.put_refund(failed)
    assert ada.books.invoice().refundable == money("90.00 EUR")
    ada.books.port.write(lambda tx: tx.refunds.acknowledge(ada.books.refund(), memo="seen"))
    assert ada.books.invoice().refundable == money("100.00 EUR")


def test_r15_a_refund_that_only_the_provider_has_blocks_the_next_one() -> None:
    ada = Operator()
    ada.stripe.snapshot_fields = {"refunded": money("40.00 EUR")}
    assert refusal(lambda: ada.refund("80 EUR")) == "differs-from-provider"
    assert ada.stripe.sent == []


def test_r12_an_external_refund_of_the_same_amount_is_asked_about_before_it_is_recorded() -> None:
    invoice = paid_invoice(payment=BY_BANK)
    ada = Operator((replace(invoice, refunds=(external_refund(invoice, "40 EUR"),)),))
    assert refusal(lambda: ada.record("40 EUR")) == "possible-duplicate"


def test_r12_a_refund_that_failed_for_good_is_replaced_by_a_record_with_evidence() -> None:
    ada = Operator()
    ada.stripe.answers = [RefundAnswer(Signal.DECLINED, message="no")]
    (failed,) = ada.refund("10 EUR")
    without = OutOfBand(after_failed=failed.id)
    assert refusal(lambda: ada.record(key="2", out_of_band=without)) == "evidence-needed"
    (record,) = ada.record(key="3", out_of_band=replace(without, evidence="bank transfer"))
    assert record.amount == money("10.00 EUR")
