"""A provider's report, row by row: captures, refunds and disputes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from refundcli.domain.money import Money
from refundcli.domain.statuses import RefundState
from refundcli.services.ports.vocabulary import CaptureChange, Effect, Meaning


class RowPart(StrEnum):
    """How the amount of a row relates to the other rows of the same capture or refund."""

    SENT = "sent"  # sent to the scheme; a later row repeats the amount
    DONE = "done"  # all of it
    INSTALMENT = "instalment"  # a part of it; the parts add up
    WHOLE = "whole"  # all of it, beside its instalments


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One row about one payment. `word` is the provider's code; `meaning` is None if it is not listed (R13).

    `modification_reference`: of the capture, refund or dispute, empty if the row has only the payment's reference.
    `amount` is None if it cannot be read. `problem`: a sentence why the row is contradictory or unreadable; such a row
    is never applied.
    """

    line: int
    word: str
    meaning: Meaning | None
    payment_reference: str
    modification_reference: str
    merchant_reference: str
    amount: Money | None
    booked_at: datetime
    part: RowPart = RowPart.DONE
    problem: str = ""

    @property
    def effect(self) -> Effect | None:
        return self.meaning.effect if self.meaning else None

    @property
    def capture(self) -> CaptureChange | None:
        return self.meaning.capture if self.meaning else None

    @property
    def refund(self) -> RefundState:
        """The state of a refund that it reports."""
        assert self.meaning
        assert self.meaning.refund
        return self.meaning.refund

    @property
    def key(self) -> str:
        """Distinguishes rows of one type about one object; the same in every report."""
        return f"{self.booked_at.isoformat()}:{self.amount or self.problem}"

    @property
    def needs_review(self) -> str:
        """Why a person must review it before the next refund of its payment; empty if none must (R13)."""
        if self.meaning is None:
            return f"{self.word} is not a known record type." if self.word else "The row has no record type."
        if self.meaning.effect is Effect.BLOCK:
            return f"{self.word}: {self.meaning.note}."
        return self.problem


class Report(Protocol):
    """A whole report, read and checked, stored on disk to save memory."""

    name: str
    rows: int  # rows about payments: all that `by_payment` returns
    account_rows: int  # all rows of our merchant account; if 0, nothing was compared (R15)
    other_account_rows: int  # rows of other merchant accounts; without any row at all, the report is empty
    unrelated_rows: int  # of our account, but not about a refund or a payment
    first: datetime | None  # the earliest and the latest booking of `rows`
    last: datetime | None
    covers_payments: bool  # whether every payment and refund of its period is in it

    def by_payment(self) -> Iterator[tuple[str, list[ReportRow]]]:
        """The rows of each payment together, in the order of the payments' references."""
        ...

    def has(self, payments: Sequence[str]) -> set[str]:
        """Which of these payments it has rows about."""
        ...

    def names_of(self, payments: Sequence[str]) -> dict[str, set[str]]:
        """By payment, the references of captures, refunds and disputes in its rows, the provider's and ours."""
        ...
