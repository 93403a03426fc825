"""What is sent to a provider: a refund or a closing, where either is meant."""

from typing import TypeAlias

from refundcli.domain.closing import Closing
from refundcli.domain.refund import Refund, Sending
from refundcli.domain.statuses import ClosingState, RefundState
from refundcli.services.ports.providers import Answer, RefundAnswer

Operation: TypeAlias = Refund | Closing


def kind_of(operation: Operation) -> str:
    return "refund" if isinstance(operation, Refund) else "closing"


def is_unsent(operation: Operation) -> bool:
    """Is it reserved, and provably not sent?"""
    return operation.state in (RefundState.READY, ClosingState.READY)


def sending_of(operation: Operation) -> Sending:
    assert operation.sending, "a record is never sent"
    return operation.sending


def reference_at_provider(operation: Operation, answer: Answer) -> str:
    if isinstance(operation, Closing):
        return operation.reference
    return answer.reference if isinstance(answer, RefundAnswer) else ""
