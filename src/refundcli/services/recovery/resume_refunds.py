"""What a bulk run uses of `resume`."""

from dataclasses import dataclass
from datetime import datetime

from refundcli.domain.refund import Refund, Sending
from refundcli.domain.statuses import Provider
from refundcli.services.dispatch.send_refund import forgotten_note
from refundcli.services.dispatch.send_refund import look_up as look_up_refund
from refundcli.services.ports.books import RefundReading
from refundcli.services.ports.key_windows import key_is_known
from refundcli.services.ports.providers import PaymentProvider, RefundAnswer
from refundcli.services.preflight.revalidate import why_not_any_more
from refundcli.services.recovery.resume import same_account as same_account


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a refund is not sent again."""

    note: str


def look_up(sending: Sending, refund: Refund, provider: PaymentProvider) -> RefundAnswer | None:
    return look_up_refund(refund, provider)


def why_not_again(
    reading: RefundReading, refund: Refund, sending: Sending, provider: Provider, now: datetime
) -> Obstacle | None:
    """Why a refund that was not found is not sent again; None if it may be, with the same key (I8)."""
    if not key_is_known(sending, now):
        return Obstacle(forgotten_note(refund))
    refusal = why_not_any_more(reading, refund)
    return Obstacle(f"not sent again: {refusal.message}") if refusal else None
