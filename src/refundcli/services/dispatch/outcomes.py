"""What a provider's answer proves, by allow-list: the outcome of anything unlisted stays unknown (I5).

Adapters classify an answer with a `Signal`; this module decides what each signal proves.
"""

from dataclasses import dataclass
from enum import StrEnum

from refundcli.domain.statuses import ClosingState, RefundState
from refundcli.services.ports.providers import Answer, ClosingAnswer, RefundAnswer


class Signal(StrEnum):
    ACCEPTED = "accepted"  # 2xx with an id, and amount, currency and payment as requested
    MALFORMED = "malformed"  # 2xx with other content, or none
    NOT_SENT = "not-sent"  # provably no connection was made
    NO_ANSWER = "no-answer"  # timeout, reset
    SERVER_ERROR = "server-error"  # any 5xx
    IN_PROGRESS = "in-progress"  # 409, Adyen 704
    AWAITING_APPROVAL = "awaiting-approval"  # Stripe: a second person must approve it, and nothing was refunded yet
    NOT_ALLOWED = "not-allowed"  # 401, 403
    RATE_LIMITED = "rate-limited"  # 429
    TOO_SOON = "too-soon"  # still in the pause after an earlier 429: nothing was sent
    DECLINED = "declined"  # a well-formed refusal: nothing was refunded
    KEY_REUSED = "key-reused"  # the provider knows the key with other content
    OTHER = "other"  # anything not listed


# On the first send these prove that nothing was done. On a replay only a stored answer proves it: the first send may
# have been executed before the API key lost its permission.
_PROVES_NO = frozenset({Signal.NOT_SENT, Signal.NOT_ALLOWED, Signal.RATE_LIMITED, Signal.TOO_SOON, Signal.DECLINED})

# Retried within one call of `refund`, because these provably moved no money. A refund that failed with one of them was
# not declined and may be repeated (exit 7).
MAY_BE_SENT_AGAIN = frozenset({Signal.NOT_SENT, Signal.RATE_LIMITED, Signal.TOO_SOON})

# The provider is rate limiting.
TOO_MANY = frozenset({Signal.RATE_LIMITED, Signal.TOO_SOON})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The new state of a refund; None while the outcome is unknown. `loud`: a person must look at it."""

    state: RefundState | None
    loud: bool = False


def outcome_of(answer: RefundAnswer, *, first_send: bool) -> Outcome:
    """The outcome that this answer proves (DESIGN: outcome table).

    `first_send`: it was never sent before, so the answer is about this request alone.
    """
    if answer.signal == Signal.ACCEPTED and answer.state:
        return Outcome(answer.state)
    if answer.signal == Signal.AWAITING_APPROVAL:
        # Also on a replay: whatever the first request did, the refund now waits for an approval.
        return Outcome(RefundState.AWAITING_APPROVAL)
    if answer.signal == Signal.KEY_REUSED:
        return Outcome(None, loud=True)
    return Outcome(RefundState.FAILED if _proves_no(answer, first_send=first_send) else None)


def closing_outcome_of(answer: ClosingAnswer, *, first_send: bool) -> ClosingState | None:
    """The outcome of a closing; None while it is unknown.

    `first_send`: it was never sent before, so the answer is about this request alone.
    """
    if answer.signal == Signal.ACCEPTED:
        return ClosingState.DONE
    return ClosingState.FAILED if _proves_no(answer, first_send=first_send) else None


def _proves_no(answer: Answer, *, first_send: bool) -> bool:
    """Does the answer prove that nothing was done? Some do only on the first send."""
    if answer.signal in _PROVES_NO and first_send:
        return True
    return answer.signal == Signal.DECLINED and answer.replayed
