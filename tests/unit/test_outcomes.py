"""What each response proves: a reserved amount is released only on proof that no money moved (I5)."""

import pytest

from refundcli.domain.statuses import ClosingState, RefundState
from refundcli.services.dispatch.outcomes import MAY_BE_SENT_AGAIN, Signal, outcome_of
from refundcli.services.ports.providers import ClosingAnswer, RefundAnswer

UNKNOWN, FAILED, WAITING = None, RefundState.FAILED, RefundState.AWAITING_APPROVAL

# signal: what it means for the first send, and for a replay
TABLE = {
    Signal.MALFORMED: (UNKNOWN, UNKNOWN),
    Signal.NOT_SENT: (FAILED, UNKNOWN),
    Signal.NO_ANSWER: (UNKNOWN, UNKNOWN),
    Signal.SERVER_ERROR: (UNKNOWN, UNKNOWN),
    Signal.IN_PROGRESS: (UNKNOWN, UNKNOWN),
    Signal.AWAITING_APPROVAL: (WAITING, WAITING),
    Signal.NOT_ALLOWED: (FAILED, UNKNOWN),
    Signal.RATE_LIMITED: (FAILED, UNKNOWN),
    Signal.TOO_SOON: (FAILED, UNKNOWN),
    Signal.DECLINED: (FAILED, UNKNOWN),
    Signal.KEY_REUSED: (UNKNOWN, UNKNOWN),
    Signal.OTHER: (UNKNOWN, UNKNOWN),
}


def test_the_table_has_every_signal_but_acceptance() -> None:
    assert set(TABLE) == set(Signal) - {Signal.ACCEPTED}


@pytest.mark.parametrize("signal", TABLE)
def test_an_answer_proves_what_the_table_says(signal: Signal) -> None:
    first, replay = TABLE[signal]
    assert outcome_of(RefundAnswer(signal), first_send=True) == first
    assert outcome_of(RefundAnswer(signal), first_send=False) == replay


@pytest.mark.parametrize("first_send", [True, False])
@pytest.mark.parametrize("state", [RefundState.PENDING, RefundState.SUCCEEDED, RefundState.FAILED])
def test_an_accepted_refund_has_the_reported_state(state: RefundState, first_send: bool) -> None:
    assert outcome_of(RefundAnswer(Signal.ACCEPTED, state), first_send=first_send) == state


def test_acceptance_without_a_state_is_none() -> None:
    assert outcome_of(RefundAnswer(Signal.ACCEPTED), first_send=True) == UNKNOWN


@pytest.mark.parametrize("signal", TABLE)
def test_of_a_replay_only_a_stored_decline_is_proof(signal: Signal) -> None:
    outcome = outcome_of(RefundAnswer(signal, replayed=True), first_send=False)
    assert (outcome is RefundState.FAILED) is (signal is Signal.DECLINED)


@pytest.mark.parametrize("signal", Signal)
def test_a_state_counts_only_with_an_acceptance(signal: Signal) -> None:
    state = outcome_of(RefundAnswer(signal, RefundState.SUCCEEDED), first_send=False)
    by_itself = RefundState.AWAITING_APPROVAL if signal is Signal.AWAITING_APPROVAL else None
    assert state is (RefundState.SUCCEEDED if signal is Signal.ACCEPTED else by_itself)


def test_an_unlisted_signal_proves_nothing() -> None:
    assert outcome_of(RefundAnswer("surprise"), first_send=True) == UNKNOWN


def test_only_what_provably_did_nothing_is_sent_again_at_once() -> None:
    assert {Signal.NOT_SENT, Signal.RATE_LIMITED, Signal.TOO_SOON} == MAY_BE_SENT_AGAIN
    assert {TABLE[signal][0] for signal in MAY_BE_SENT_AGAIN} == {FAILED}


@pytest.mark.parametrize("replayed", [True, False])
@pytest.mark.parametrize("first_send", [True, False])
@pytest.mark.parametrize("signal", Signal)
def test_a_closing_needs_the_same_proof_as_a_refund(signal: Signal, first_send: bool, replayed: bool) -> None:
    accepted = signal is Signal.ACCEPTED
    refund = outcome_of(
        RefundAnswer(signal, RefundState.SUCCEEDED if accepted else None, replayed=replayed), first_send=first_send
    )
    same = {
        RefundState.SUCCEEDED: ClosingState.DONE,
        RefundState.FAILED: ClosingState.FAILED,
        # refundcli cannot follow an invoice's approval: its closing stays submitted.
        RefundState.AWAITING_APPROVAL: None,
        None: None,
    }
    answer = ClosingAnswer(signal, replayed=replayed, state=ClosingState.DONE if accepted else None)
    assert outcome_of(answer, first_send=first_send) == same[refund]
