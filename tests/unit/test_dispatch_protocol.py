"""The dispatch protocol (DESIGN §4) with fakes: reserve, claim, send once, settle; and what happens in between.

Each test is one event at one step, for refunds; closings go through the same protocol.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from acting import Operator
from fakes import accepted, dispute, external_refund, money, paid_invoice, payment
from refundcli.domain.dispute import DisputeState
from refundcli.domain.errors import RefundcliError
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import ClosingState, InvoiceStatus, Provider, RefundState
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.invoices.allocation import ChangedMeanwhile
from refundcli.services.ports.providers import ClosingAnswer, RefundAnswer
from refundcli.services.recovery.resume import Step

ADYEN = paid_invoice(payment={"provider": Provider.ADYEN})
UNKNOWN = (Signal.NO_ANSWER, Signal.SERVER_ERROR, Signal.IN_PROGRESS, Signal.MALFORMED, Signal.KEY_REUSED, Signal.OTHER)


def test_i2_the_exact_request_and_its_key_are_stored_before_it_is_sent() -> None:
    ada = Operator()
    stored: list[Refund] = []
    ada.stripe.before_first_byte = lambda: stored.append(ada.books.refund())
    (refund,) = ada.refund("40 EUR")
    ((request, key),) = ada.stripe.sent
    (before,) = stored
    assert before.sending
    assert (before.state, before.sending.request, before.sending.idempotency_key) == ("submitted", request, key)
    assert refund.provider_reference == "re_1"


@pytest.mark.parametrize("signal", UNKNOWN)
def test_i5_an_answer_that_proves_nothing_keeps_the_amount_reserved(signal: Signal) -> None:
    ada = Operator((ADYEN,))
    ada.providers.adyen.answers = [RefundAnswer(signal)]
    (refund,) = ada.refund("40 EUR")
    assert refund.state is RefundState.SUBMITTED
    assert ada.books.invoice().reserved == money("40.00 EUR")


@pytest.mark.parametrize("signal", [Signal.DECLINED, Signal.NOT_ALLOWED])
def test_a_no_to_the_first_request_releases_the_amount(signal: Signal) -> None:
    ada = Operator()
    ada.stripe.answers = [RefundAnswer(signal, message="no")]
    (refund,) = ada.refund("40 EUR")
    assert (refund.state, ada.books.invoice().refundable) == (RefundState.FAILED, money("100.00 EUR"))


@pytest.mark.parametrize("signal", [Signal.RATE_LIMITED, Signal.NOT_SENT])
def test_what_provably_did_nothing_is_sent_again_a_few_times_with_the_same_key(signal: Signal) -> None:
    ada = Operator((ADYEN,))
    ada.providers.adyen.answers = [RefundAnswer(signal), RefundAnswer(signal), accepted(RefundState.PENDING)]
    (refund,) = ada.refund("40 EUR")
    assert refund.state is RefundState.PENDING
    assert len({key for _, key in ada.providers.adyen.sent}) == 1


def test_i3_a_replay_looks_first_and_sends_nothing_if_the_refund_is_there() -> None:
    ada = Operator()
    ada.stripe.answers = [RefundAnswer(Signal.NO_ANSWER)]
    ada.refund("40 EUR")
    ada.stripe.list(ada.stripe.sent[0][0], accepted())
    (resumed,) = ada.resume()
    assert (resumed.step, resumed.operation.state, len(ada.stripe.sent)) == (Step.SETTLED, RefundState.SUCCEEDED, 1)


def test_a_replay_uses_the_stored_request_and_key() -> None:
    ada = Operator()
    ada.stripe.answers = [RefundAnswer(Signal.NO_ANSWER), accepted()]
    ada.refund("40 EUR")
    (resumed,) = ada.resume()
    first, second = ada.stripe.sent
    assert (resumed.operation.state, first) == (RefundState.SUCCEEDED, second)


def test_i5_a_no_to_a_replay_proves_nothing() -> None:
    ada = Operator()
    ada.stripe.answers = [RefundAnswer(Signal.NO_ANSWER), RefundAnswer(Signal.DECLINED)]
    ada.refund("40 EUR")
    (resumed,) = ada.resume()
    assert (resumed.operation.state, ada.books.invoice().reserved) == (RefundState.SUBMITTED, money("40.00 EUR"))


def test_a_stored_no_to_a_replay_is_an_outcome() -> None:
    ada = Operator()
    ada.stripe.answers = [RefundAnswer(Signal.NO_ANSWER), RefundAnswer(Signal.DECLINED, replayed=True)]
    ada.refund("40 EUR")
    (resumed,) = ada.resume()
    assert resumed.operation.state is RefundState.FAILED


@pytest.mark.parametrize(("invoice", "hours"), [(paid_invoice(), 21), (ADYEN, 6 * 24 + 1)])
def test_i8_past_the_providers_memory_of_keys_nothing_is_sent(invoice: Invoice, hours: int) -> None:
    ada = Operator((invoice,))
    for provider in (ada.stripe, ada.providers.adyen):
        provider.answers = [RefundAnswer(Signal.NO_ANSWER)]
    ada.refund("40 EUR")
    ada.clock.advance(hours=hours)
    (resumed,) = ada.resume()
    assert resumed.step is Step.NEEDS_ATTENTION
    assert len(ada.stripe.sent) + len(ada.providers.adyen.sent) == 1


def test_i8_another_account_is_never_sent_to() -> None:
    ada = Operator()
    ada.stripe.answers = [RefundAnswer(Signal.NO_ANSWER)]
    ada.refund("40 EUR")
    ada.stripe.account = "acct_2"
    (resumed,) = ada.resume()
    assert (resumed.step, len(ada.stripe.sent)) == (Step.OTHER_ACCOUNT, 1)


def test_a_process_that_was_suspended_in_connect_sends_nothing() -> None:
    ada = Operator()
    ada.stripe.before_first_byte = lambda: ada.clock.advance(minutes=5)
    (refund,) = ada.refund("40 EUR")
    assert (refund.state, ada.stripe.sent) == (RefundState.FAILED, [])


# --- between the steps -----------------------------------------------------------------------------------------------


def _before_claim(ada: Operator, change: Callable[[], None]) -> None:
    """T1 is the first write, the claim the second: `change` happens in between."""
    ada.books.before_write = lambda number: change() if number == 2 else None


def test_a_chargeback_between_reserve_and_claim_stops_it() -> None:
    ada = Operator((ADYEN,))
    open_dispute = dispute(DisputeState.OPEN, provider=Provider.ADYEN)
    _before_claim(ada, lambda: ada.books.change(disputes=(open_dispute,)))
    (refund,) = ada.refund("40 EUR")
    assert (refund.state, ada.providers.adyen.sent) == (RefundState.FAILED, [])
    assert "dispute" in refund.failure


def test_a_dashboard_refund_before_the_claim_stops_it() -> None:
    ada = Operator((ADYEN,))

    def dashboard() -> None:
        external = external_refund(ada.books.invoice(), "80 EUR", seen_at=Provider.ADYEN)
        ada.books.facts.put_refund(external)

    _before_claim(ada, dashboard)
    (refund,) = ada.refund("40 EUR")
    assert ada.books.invoice().refunded <= money("100.00 EUR")
    assert (refund.state, ada.providers.adyen.sent) == (RefundState.FAILED, [])


def test_another_process_that_claimed_it_first_is_the_only_sender() -> None:
    ada = Operator((ADYEN,))

    def other_process() -> None:
        refund = ada.books.refund()
        assert refund.sending
        sending = replace(refund.sending, fence=refund.sending.fence + 1, first_sent_at=ada.clock.now())
        ada.books.facts.put_refund(replace(refund, state=RefundState.SUBMITTED, sending=sending))

    _before_claim(ada, other_process)
    (refund,) = ada.refund("40 EUR")
    assert (refund.state, ada.providers.adyen.sent) == (RefundState.SUBMITTED, [])


def test_a_stale_fence_settles_nothing() -> None:
    ada = Operator((ADYEN,))
    ada.providers.adyen.before_first_byte = lambda: _claim_elsewhere(ada)
    ada.refund("40 EUR")
    assert ada.books.refund().state is RefundState.SUBMITTED
    assert ada.books.invoice().reserved == money("40.00 EUR")


def _claim_elsewhere(ada: Operator) -> None:
    refund = ada.books.refund()
    assert refund.sending
    sending = replace(refund.sending, fence=refund.sending.fence + 1)
    ada.books.facts.put_refund(replace(refund, sending=sending))


def test_i10_each_change_of_state_has_one_audit_entry() -> None:
    ada = Operator()
    (refund,) = ada.refund("40 EUR")
    assert [action for action, subject in ada.books.facts.audit if subject == refund.id] == [
        "refund ready",
        "refund submitted",
        "refund succeeded",
        "credit note issued",
    ]


def test_one_that_cannot_be_settled_does_not_stop_the_others() -> None:
    second = paid_invoice("INV-2", id=2, payments=(payment(id=2, references=("pi_2",)),))
    ada = Operator((paid_invoice(), second))
    ada.stripe.answers = [RefundAnswer(Signal.NO_ANSWER)]
    ada.refund("40 EUR", key="1")
    ada.refund("40 EUR", key="2", number="INV-2")
    ada.stripe.answers = [RefundAnswer(Signal.NO_ANSWER), accepted(reference="re_9")]
    assert [resumed.step for resumed in ada.resume()] == [Step.STILL_UNKNOWN, Step.SETTLED]


# --- closings --------------------------------------------------------------------------------------------------------

AT_STRIPE = paid_invoice(
    status=InvoiceStatus.OPEN,
    payments=(payment(provider_captured=money("0.00 EUR")),),
    invoice_reference="in_1",
    managed_by=Provider.STRIPE,
)


@pytest.mark.parametrize(
    ("answer", "state", "status"),
    [
        (ClosingAnswer(Signal.ACCEPTED, state=ClosingState.DONE), ClosingState.DONE, InvoiceStatus.VOID),
        (ClosingAnswer(Signal.DECLINED, message="no"), ClosingState.FAILED, InvoiceStatus.OPEN),
        (ClosingAnswer(Signal.NO_ANSWER), ClosingState.SUBMITTED, InvoiceStatus.OPEN),
        (ClosingAnswer(Signal.OTHER), ClosingState.SUBMITTED, InvoiceStatus.OPEN),
    ],
)
def test_an_invoice_is_closed_here_only_after_the_provider_has_confirmed_it(
    answer: ClosingAnswer, state: ClosingState, status: InvoiceStatus
) -> None:
    ada = Operator((AT_STRIPE,))
    ada.stripe.closing_answers = [answer]
    closed = ada.close(InvoiceStatus.VOID)
    assert closed.closing
    assert (closed.closing.state, closed.invoice.status) == (state, status)


def test_while_a_void_has_no_outcome_nothing_else_is_done_with_the_invoice() -> None:
    ada = Operator((AT_STRIPE,))
    ada.stripe.closing_answers = [ClosingAnswer(Signal.NO_ANSWER)]
    ada.close(InvoiceStatus.VOID)
    with pytest.raises(RefundcliError) as refused:
        ada.close(InvoiceStatus.VOID)
    assert refused.value.code == "closing-unfinished"


def test_a_backup_restored_after_the_check_is_seen_before_anything_is_reserved() -> None:
    operator = Operator()
    backup = operator.books.facts.copy()
    operator.refund("60 EUR", key="lost")
    with pytest.raises(ChangedMeanwhile):
        operator.refund(key="the-rest", meanwhile=lambda: operator.books.facts.__dict__.update(backup.__dict__))
    assert operator.books.invoice().refunds == ()
    assert len(operator.stripe.sent) == 1
