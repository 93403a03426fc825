"""What an answer of a provider means, by allow-list: whatever is not listed stays unknown (I5).

Adapters name what they saw with a `Signal`; here it is decided, once, what each may be taken to prove.
"""

from dataclasses import dataclass
from enum import StrEnum

from refundcli.domain.statuses import ClosingState, RefundState
from refundcli.services.ports.providers import Answer, ClosingAnswer, RefundAnswer


class Signal(StrEnum):
    ACCEPTED = "accepted"  # 2xx with an id, and amount, currency and payment as asked
    MALFORMED = "malformed"  # 2xx that says something else, or nothing
    NOT_SENT = "not-sent"  # the connection was provably never made
    NO_ANSWER = "no-answer"  # timeout, reset
    SERVER_ERROR = "server-error"  # any 5xx
    IN_PROGRESS = "in-progress"  # 409, Adyen 704
    AWAITING_APPROVAL = "awaiting-approval"  # Stripe: a second person must approve it, and nothing was refunded yet
    NOT_ALLOWED = "not-allowed"  # 401, 403
    RATE_LIMITED = "rate-limited"  # 429
    TOO_SOON = "too-soon"  # it said 429 before and its pause is not over: nothing was sent
    DECLINED = "declined"  # a well-formed refusal: nothing was done
    KEY_REUSED = "key-reused"  # the key is known to the provider with other content
    OTHER = "other"  # anything not listed


# Proof that nothing was done, on the first send. On a replay only a stored answer proves it: the first
# send may have been carried out before, say, the key lost its right.
_PROVES_NO = frozenset({Signal.NOT_SENT, Signal.NOT_ALLOWED, Signal.RATE_LIMITED, Signal.TOO_SOON, Signal.DECLINED})

# Sent again within one call of `refund`: these provably never reached the part that moves money. A refund that failed
# with one of them was not declined, and may be repeated (exit 7).
MAY_BE_SENT_AGAIN = frozenset({Signal.NOT_SENT, Signal.RATE_LIMITED, Signal.TOO_SOON})

# The provider takes no more just now.
TOO_MANY = frozenset({Signal.RATE_LIMITED, Signal.TOO_SOON})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state a refund goes to; None while nobody knows. `loud` asks for a person's eye."""

    state: RefundState | None
    loud: bool = False


def outcome_of(answer: RefundAnswer, *, first_send: bool) -> Outcome:
    """What this answer proves (DESIGN: outcome table)."""
    if answer.signal == Signal.ACCEPTED and answer.state:
        return Outcome(answer.state)
    if answer.signal == Signal.AWAITING_APPROVAL:
        # Also on a replay: whatever the first request did, it waits for an approval now.
        return Outcome(RefundState.AWAITING_APPROVAL)
    if answer.signal == Signal.KEY_REUSED:
        return Outcome(None, loud=True)
    return Outcome(RefundState.FAILED if _proves_no(answer, first_send=first_send) else None)


def closing_outcome_of(answer: ClosingAnswer, *, first_send: bool) -> ClosingState | None:
    """The same of a closing; None while nobody knows."""
    if answer.signal == Signal.ACCEPTED:
        return ClosingState.DONE
    return ClosingState.FAILED if _proves_no(answer, first_send=first_send) else None


def _proves_no(answer: Answer, *, first_send: bool) -> bool:
    if answer.signal in _PROVES_NO and first_send:
        return True
    return answer.signal == Signal.DECLINED and answer.replayed
