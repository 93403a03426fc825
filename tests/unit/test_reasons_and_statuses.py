"""Eight reasons, by word or label; statuses that never go back."""

from itertools import permutations

import pytest

from refundcli.domain.reasons import RefundReason, UnknownReason, parse_reason
from refundcli.domain.statuses import TRANSITIONS, RefundState, may_become


def test_there_are_eight_reasons() -> None:
    assert len(RefundReason) == 8


@pytest.mark.parametrize("reason", list(RefundReason))
def test_a_reason_is_parsed_by_word_or_label_in_any_case(reason: RefundReason) -> None:
    for word in (
        reason.value,
        reason.label,
        reason.label.upper(),
        f" {reason.label.lower()} ",
        reason.value.replace("-", "_"),
    ):
        assert parse_reason(word) is reason


def test_an_unknown_reason_is_refused_with_its_neighbour_and_the_list() -> None:
    with pytest.raises(UnknownReason) as refusal:
        parse_reason("duplicat")
    assert "Did you mean duplicate?" in refusal.value.hint
    assert all(reason in refusal.value.hint for reason in RefundReason)


def test_every_state_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(RefundState)


def test_states_in_any_order_end_in_the_same_state() -> None:
    states = (RefundState.PENDING, RefundState.SUCCEEDED, RefundState.FAILED, RefundState.REVERSED)
    for order in permutations(states):
        state = RefundState.SUBMITTED
        for word in order:
            state = word if may_become(state, word) else state
        assert state is RefundState.REVERSED


def test_nothing_becomes_unknown_again() -> None:
    assert not any(may_become(state, RefundState.SUBMITTED) for state in RefundState if state is not RefundState.READY)
