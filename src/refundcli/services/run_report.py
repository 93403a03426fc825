"""How far a provider run may go, and what one worker did of it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

from refundcli.domain.bulk_run import ItemState, RunItem, RunState
from refundcli.domain.errors import RefundcliError
from refundcli.domain.money import Money, zero
from refundcli.domain.refund import Refund
from refundcli.services.sending import OutcomeNotWritten


@dataclass(frozen=True, slots=True)
class RunLimits:
    """`in_flight`: requests at once. `max_errors`: rows refused or declined by which the run stops.

    `unknown_in_a_row`: so many rows one after the other that got no clear answer stop it too.
    """

    in_flight: int = 8
    max_errors: int | None = None
    unknown_in_a_row: int = 5


class StopSign(Protocol):
    """A `threading.Event`, or what looks like one: set by Ctrl-C and SIGTERM."""

    def is_set(self) -> bool: ...


class Stopped(StrEnum):
    """Why a worker ended before its rows did."""

    ASKED = "asked to stop"
    MAX_ERRORS = "as many rows were refused as --max-errors allows"
    UNKNOWN_IN_A_ROW = "the outcome of too many rows in a row is not known"
    # `RunReport.trouble` says more.
    SETTINGS = "the provider cannot be used with these settings"
    STORE = "the store could not be written"


# Called after each row's end is committed: the row with its state, code, message and hint, and its refunds.
Tell: TypeAlias = Callable[[RunItem, Sequence[Refund]], None]


@dataclass(slots=True)
class RunReport:
    """What this worker did, and how the whole run stood when it ended.

    `done_before`: rows among the done ones that had been done by an earlier run, or before this one was killed.
    `totals`: what this worker gave back, by currency. `not_written`: answers of a provider that the store could not
    take down; their refunds stay `submitted`, and `resume` finds them.
    """

    done: int = 0
    done_before: int = 0
    refused: int = 0
    unknown: int = 0
    totals: dict[str, Money] = field(default_factory=dict)
    codes: Counter[str] = field(default_factory=Counter)
    stopped: Stopped | None = None
    trouble: RefundcliError | None = None
    not_written: list[OutcomeNotWritten] = field(default_factory=list)
    state: RunState = RunState.RUNNING
    standing: Mapping[ItemState, int] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """Rows of the whole run that nobody has begun."""
        return self.standing.get(ItemState.WAITING, 0)

    @property
    def held_by_others(self) -> int:
        """Rows that other workers are at, or left behind on another host."""
        return self.standing.get(ItemState.TAKEN, 0)

    def add(self, item: RunItem, refunds: Sequence[Refund], *, before: bool) -> None:
        """One row more that ended; `before`: it was done already."""
        if item.state is ItemState.DONE:
            self.done += 1
            self.done_before += before
            for refund in () if before else refunds:
                code = refund.amount.currency.code
                self.totals[code] = self.totals.get(code, zero(refund.amount.currency)) + refund.amount
        elif item.state is ItemState.UNKNOWN:
            self.unknown += 1
        else:
            self.refused += 1
        if item.code:
            self.codes[item.code] += 1


@dataclass(slots=True)
class Brakes:
    """Why the worker must begin no more rows; None while it may."""

    limits: RunLimits
    stopped: Stopped | None = None
    trouble: RefundcliError | None = None
    _errors: int = 0
    _unclear: int = 0

    def pull(self, why: Stopped, trouble: RefundcliError | None = None) -> None:
        """The first reason is told."""
        if self.stopped is None:
            self.stopped, self.trouble = why, trouble

    def refused(self) -> None:
        self._errors += 1
        if self.limits.max_errors is not None and self._errors >= self.limits.max_errors:
            self.pull(Stopped.MAX_ERRORS)

    def answered(self, *, clearly: bool) -> None:
        """A refund was answered, or nobody knows what came of it."""
        self._unclear = 0 if clearly else self._unclear + 1
        if self._unclear >= self.limits.unknown_in_a_row:
            self.pull(Stopped.UNKNOWN_IN_A_ROW)
