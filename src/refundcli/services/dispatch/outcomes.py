"""What a provider's answer proves, by allow-list: the outcome of anything unlisted stays unknown (I5).

Adapters classify an answer with a `Signal`; this module decides what each signal proves.
"""

from enum import StrEnum
from typing import overload

from refundcli.domain.statuses import ClosingState, RefundState
from refundcli.services.ports.providers import ClosingAnswer, RefundAnswer


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


@overload
def outcome_of(answer: RefundAnswer, *, first_send: bool) -> RefundState | None: ...
@overload
def outcome_of(answer: ClosingAnswer, *, first_send: bool) -> ClosingState | None: ...
def outcome_of(answer: RefundAnswer | ClosingAnswer, *, first_send: bool) -> RefundState | ClosingState | None:
    """The new state that this answer proves; None while the outcome is unknown (DESIGN §4, outcome table).

    `first_send`: it was never sent before, so the answer is about this request alone.
    """
    if answer.signal == Signal.ACCEPTED and answer.state:
        return answer.state
    if answer.signal == Signal.AWAITING_APPROVAL and isinstance(answer, RefundAnswer):
        # Also on a replay: whatever the first request did, the refund now waits for an approval. An invoice's approval
        # cannot be followed from here.
        return RefundState.AWAITING_APPROVAL
    if (first_send and answer.signal in _PROVES_NO) or (answer.signal == Signal.DECLINED and answer.replayed):
        return RefundState.FAILED if isinstance(answer, RefundAnswer) else ClosingState.FAILED
    return None
