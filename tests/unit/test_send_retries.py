"""A request is repeated only if the last one provably did nothing, and never after the lease has ended."""

from collections.abc import Iterable

from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.policy import SendingPolicy
from refundcli.services.dispatch.retries import ask
from refundcli.services.ports.providers import RefundAnswer


def answers_used(*answers: RefundAnswer, remaining: Iterable[float]) -> tuple[RefundAnswer | None, int]:
    """The outcome and the number of requests, for the remaining seconds at each check."""
    seconds, waiting, sent = iter(remaining), list(answers), list[RefundAnswer]()

    def once() -> RefundAnswer:
        sent.append(waiting.pop(0))
        return sent[-1]

    policy = SendingPolicy(35, "CN-{seq}", sleep=lambda seconds: None)
    return ask(once, policy, patience=lambda: next(seconds)), len(sent)


TOO_MANY = RefundAnswer(Signal.RATE_LIMITED, retry_after=5)
MADE = RefundAnswer(Signal.ACCEPTED)
LOST = RefundAnswer(Signal.NO_ANSWER)


def test_a_request_that_did_nothing_is_repeated() -> None:
    assert answers_used(TOO_MANY, MADE, remaining=[35, 34, 29, 28]) == (MADE, 2)


def test_a_request_that_may_have_done_something_is_not_repeated() -> None:
    assert answers_used(LOST, MADE, remaining=[35, 34]) == (LOST, 1)


def test_a_wait_that_is_too_long_is_not_begun() -> None:
    assert answers_used(TOO_MANY, MADE, remaining=[35, 4]) == (TOO_MANY, 1)


def test_a_process_suspended_during_its_wait_sends_nothing_more() -> None:
    assert answers_used(TOO_MANY, MADE, remaining=[35, 34, -86_400]) == (TOO_MANY, 1)


def test_one_that_comes_too_late_sends_nothing_at_all() -> None:
    assert answers_used(MADE, remaining=[-1]) == (None, 0)


def test_the_first_response_counts_if_no_repeat_is_allowed() -> None:
    waits: list[float] = []

    def never(answer: object, wait: float) -> bool:
        waits.append(wait)
        return False

    answers = [TOO_MANY, MADE]
    policy = SendingPolicy(35, "CN-{seq}")
    assert ask(lambda: answers.pop(0), policy, patience=lambda: 35, may_retry=never) == TOO_MANY
    assert (waits, answers) == ([5], [MADE])
