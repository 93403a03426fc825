"""The words of a request that was refunded in part."""

from datetime import UTC, datetime

from refundcli.domain.money import parse_money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundKind, RefundState
from refundcli.services.dispatch.outcome_errors import PartlyRefunded


def refund(number: int, state: RefundState) -> Refund:
    return Refund(
        id=f"rf_{number}",
        invoice_id=1,
        invoice_number="O-1",
        payment_id=number,
        kind=RefundKind.PROVIDER,
        amount=parse_money("50.00 EUR"),
        reason=RefundReason.OTHER,
        state=state,
        request_key="k",
        content="",
        created_at=datetime(2026, 10, 1, tzinfo=UTC),
        operator="Ada",
        provider_reference=f"re_{number}",
    )


def test_a_part_that_is_pending_is_accepted_and_not_refunded() -> None:
    pending, made, failed = (
        refund(number, state)
        for number, state in enumerate((RefundState.PENDING, RefundState.SUCCEEDED, RefundState.FAILED))
    )
    message = PartlyRefunded([pending, failed]).message
    assert message.startswith("50.00 EUR of O-1 was accepted and is not final yet (re_0), but 50.00 EUR was not: ")
    assert "refunded (" not in message
    message = PartlyRefunded([pending, made, failed]).message
    assert message.startswith("50.00 EUR of O-1 was refunded (re_1), 50.00 EUR of O-1 was accepted")
