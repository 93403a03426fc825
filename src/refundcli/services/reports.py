"""What a provider's report tells, row by row: money taken, money sent back, and what the banks did since."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from refundcli.domain.money import Money


class ReportKind(StrEnum):
    """What a row is about. The rest of a report (fees, payouts, authorisations) says nothing here."""

    SENT_FOR_SETTLE = "sent-for-settle"
    SETTLED = "settled"
    SENT_FOR_REFUND = "sent-for-refund"
    REFUNDED = "refunded"
    REFUND_FAILED = "refund-failed"
    REFUND_REVERSED = "refund-reversed"
    CHARGEBACK = "chargeback"
    CHARGEBACK_REVERSED = "chargeback-reversed"
    SECOND_CHARGEBACK = "second-chargeback"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One row about a payment of ours; `refund_reference` is empty where it is about the payment itself."""

    line: int
    kind: ReportKind
    payment_reference: str
    refund_reference: str
    merchant_reference: str
    amount: Money
    booked_at: datetime


class Report(Protocol):
    """A whole report, read and found good. It is kept aside on disk, so that a long one needs no memory."""

    name: str
    rows: int
    others: int  # rows of other merchant accounts, and of kinds that say nothing here
    first: datetime | None
    last: datetime | None

    def by_payment(self) -> Iterator[tuple[str, list[ReportRow]]]:
        """The rows of each payment together, in the order of the payments' references."""
        ...

    def has(self, payments: Sequence[str]) -> set[str]:
        """Which of these payments it tells of."""
        ...
