"""Is a refund or record the same as an earlier one? One rule for single requests and rows of files (R5)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import WITHOUT_OUTCOME, RefundState

# The same amount of the same payment within this time needs a confirmation, unless the caller gave a request key.
DUPLICATE_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A refund or record that is about to be made: how much of which payments, by their ids.

    `is_row`: it is a row of a file. `run_id` is that row's run, whose own refunds are no duplicates of it.
    """

    amounts: frozenset[tuple[int, Money]]
    reason: RefundReason
    reference: str = ""
    is_row: bool = False
    run_id: str = ""

    def earlier(self, refunds: Sequence[Refund], now: datetime) -> Iterator[Refund]:
        """The refunds that this one may repeat, the latest first."""
        return (refund for refund in reversed(refunds) if self._repeats(refund, now))

    @property
    def facts(self) -> list[str]:
        """What makes two rows of a file equal: one text per payment."""
        return [facts_of(payment_id, amount, self.reason, self.reference) for payment_id, amount in self.amounts]

    def _repeats(self, refund: Refund, now: datetime) -> bool:
        # External refunds have their own rules (R12).
        if refund.is_external or refund.state in (RefundState.FAILED, RefundState.REVERSED):
            return False
        if self.run_id and refund.run_id == self.run_id:
            return False
        if (refund.payment_id, refund.amount) not in self.amounts:
            return False
        # Equal rows of two files need a confirmation, however long ago the first was done.
        repeats_file_row = self.is_row and refund.run_id and facts_of_refund(refund) in self.facts
        # One without an outcome may have been made, however old it is.
        is_recent = now - refund.created_at < DUPLICATE_WITHIN
        return bool(repeats_file_row) or is_recent or refund.state in WITHOUT_OUTCOME


def facts_of(payment_id: int, amount: Money, reason: RefundReason | None, reference: str) -> str:
    """One text for the payment, the amount, the reason and the reference of a row."""
    return f"{payment_id} {amount.minor} {reason} {reference}"


def facts_of_refund(refund: Refund) -> str:
    reference = refund.out_of_band.reference if refund.out_of_band else ""
    return facts_of(refund.payment_id, refund.amount, refund.reason, reference)
