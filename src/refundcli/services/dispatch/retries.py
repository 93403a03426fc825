"""One request, repeated only while the last one provably did nothing."""

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from refundcli.domain.refund import Sending
from refundcli.services.dispatch import leases
from refundcli.services.dispatch.outcomes import MAY_BE_SENT_AGAIN
from refundcli.services.dispatch.policy import SendingPolicy
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.providers import ClosingAnswer, MaySend, RefundAnswer
from refundcli.system.interrupts import is_interrupted

A = TypeVar("A", RefundAnswer, ClosingAnswer)
# Called with the answer and the seconds to wait: it waits, and returns whether another request may be sent.
Again: TypeAlias = Callable[[A, float], bool]
_MOST_SENDS = 3


def last_check(sending: Sending, clock: Clock) -> MaySend:
    """Checked just before the first byte: the process may have been suspended since the request began (I8)."""
    return lambda: leases.seconds_left(sending, clock.now()) > 0


def ask(
    send_request: Callable[[], A],
    policy: SendingPolicy,
    *,
    patience: Callable[[], float],
    may_retry: "Again[A] | None" = None,
) -> A | None:
    """Send a request; retry only if the last one provably did nothing and `may_retry` allows it after its wait.

    No request starts after `patience` (seconds left) is used up: a process may have been suspended for a day, and its
    lease has ended since (I8). Returns None if none was sent.
    """
    answer = None
    for attempt in range(1, _MOST_SENDS + 1):
        if patience() < 0 or (answer and is_interrupted()):
            return answer
        answer = send_request()
        wait_seconds = answer.retry_after or 0.5 * 2**attempt
        if answer.signal not in MAY_BE_SENT_AGAIN or attempt == _MOST_SENDS or wait_seconds > patience():
            return answer
        if may_retry is None:
            policy.sleep(wait_seconds)
        elif not may_retry(answer, wait_seconds):
            return answer
    raise AssertionError("the loop returns")
