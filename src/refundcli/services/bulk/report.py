"""The limits of a provider run, and what one worker did in it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeAlias

from refundcli.domain.bulk_run import PARTLY_REFUNDED, BulkRun, ItemState, RunItem, RunState
from refundcli.domain.errors import RefundcliError
from refundcli.domain.money import Money, add_to
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState
from refundcli.services.bulk.check_report import BulkReport
from refundcli.services.bulk.unfinished_runs import RunHolder, UnfinishedRun
from refundcli.services.dispatch.outcome_errors import MAY_BE_RUN_AGAIN
from refundcli.services.dispatch.protocol import OutcomeNotWritten
from refundcli.services.ports.bad_rows import BadRow


@dataclass(frozen=True, slots=True)
class RunLimits:
    """`in_flight`: concurrent requests. `max_errors`: refused or declined rows after which the run stops.

    `unknown_in_a_row`: successive rows without a clear answer after which it stops.
    """

    in_flight: int = 8
    max_errors: int | None = None
    unknown_in_a_row: int = 5


class StopRequest(Protocol):
    """A `threading.Event` or the like, set by Ctrl-C and SIGTERM."""

    def is_set(self) -> bool: ...


class Stopped(StrEnum):
    """Why a worker stopped before its rows were done."""

    ASKED = "at your request"
    MAX_ERRORS = "as many rows were refused as --max-errors allows"
    UNKNOWN_IN_A_ROW = "the outcome of too many consecutive rows is not known"
    # Details are in `RunReport.trouble`.
    SETTINGS = "the provider cannot be used with these settings"
    STORE = "the store could not be written to"
    # Details are in `RunReport.bug`.
    BUG = "an error in refundcli"


# Called after each row's outcome is committed: the row with its state, code, message and hint, and its refunds.
OnRowEnd: TypeAlias = Callable[[RunItem, Sequence[Refund]], None]
# Called while waiting for rows that other workers have leased.
OnWaiting: TypeAlias = Callable[[Sequence[RunHolder]], None]


@dataclass(slots=True)
class RunReport:
    """What this worker did, and the state of the whole run when it stopped.

    A row is counted once, by the worker that stored its outcome. `refunded`: the provider returned the money.
    `accepted`: the provider accepted a refund of the row that is not final yet. `done_before`: its refunds are those of
    an earlier run or command. `partly`: refunded in part. `totals` and `accepted_totals`: the amounts by currency;
    `codes`: why rows were refused.

    `not_written`: a provider's answers that could not be stored; their refunds stay `submitted`, and `resume` finds
    them. `standing`: the run as stored; None if the store could not be read any more.
    """

    refunded: int = 0
    accepted: int = 0
    done_before: int = 0
    partly: int = 0
    refused: int = 0
    unknown: int = 0
    totals: dict[str, Money] = field(default_factory=dict)
    accepted_totals: dict[str, Money] = field(default_factory=dict)
    codes: Counter[str] = field(default_factory=Counter)
    stopped: Stopped | None = None
    trouble: RefundcliError | None = None
    bug: Exception | None = None
    not_written: list[OutcomeNotWritten] = field(default_factory=list)
    standing: UnfinishedRun | None = None
    _counted_ids: set[str] = field(default_factory=set)

    @property
    def done(self) -> int:
        """Rows that this worker finished, or found already done."""
        return self.refunded + self.accepted + self.done_before

    @property
    def state(self) -> RunState | None:
        return self.standing.run.state if self.standing else None

    @property
    def waiting(self) -> int | None:
        """Rows of the whole run that no worker has started."""
        return self.standing.counts.get(ItemState.WAITING, 0) if self.standing else None

    @property
    def holders(self) -> Sequence[RunHolder]:
        return self.standing.holders if self.standing else ()

    def add(self, row: RunItem, refunds: Sequence[Refund]) -> None:
        """Count a row that this worker finished."""
        if row.state is ItemState.DONE:
            self._add_done(row, refunds)
        elif row.state is ItemState.UNKNOWN:
            self.unknown += 1
        elif row.code == PARTLY_REFUNDED:
            self.partly += 1
            self._add_money(row, [refund for refund in refunds if refund.state.is_accepted])
        else:
            self.refused += 1
            self.codes[row.code] += 1

    def _add_done(self, row: RunItem, refunds: Sequence[Refund]) -> None:
        """Refunds of this run count as new, even if the worker that sent them was killed before it finished the row."""
        new_refunds = self._add_money(row, refunds)
        if not new_refunds:
            self.done_before += 1
        elif any(refund.state is RefundState.PENDING for refund in new_refunds):
            self.accepted += 1
        else:
            self.refunded += 1

    def _add_money(self, row: RunItem, refunds: Sequence[Refund]) -> list[Refund]:
        """Add the refunds of this run that were not counted yet, and return them."""
        new_refunds = [
            refund for refund in refunds if refund.run_id == row.run_id and refund.id not in self._counted_ids
        ]
        self._counted_ids.update(refund.id for refund in new_refunds)
        for refund in new_refunds:
            totals = self.accepted_totals if refund.state is RefundState.PENDING else self.totals
            add_to(totals, refund.amount.currency.code, refund.amount)
        return new_refunds


@dataclass(frozen=True, slots=True)
class RowCounts:
    """The outcomes of the rows of a file: each row is in one count, and the counts add up to `rows`.

    `left_out`: rows of the file that were refused or done before its run started, if only the run is reported.
    None: unknown, because the store could not be read any more.
    """

    rows: int
    refunded: int
    accepted: int
    done_before: int | None
    partly: int | None
    refused: int | None
    unknown: int | None
    waiting: int | None
    held_by_others: int | None
    left_out: int = 0


def row_counts(run_rows: int, report: RunReport, file_check: BulkReport | None) -> RowCounts:
    """The counts from the stored rows of the run and, for rows that are not in it, from the check of the file.

    `run_rows`: the rows of the file when its run began. `file_check` is None if no file was read.
    """
    rows = file_check.rows if file_check else run_rows
    if report.standing is None:
        return RowCounts(rows, report.refunded, report.accepted, None, None, None, None, None, None)
    counts_by_state: Mapping[ItemState, int] = report.standing.counts
    partly_outside_run = file_check.partly_count - len(file_check.partly_by_run) if file_check else 0
    done_earlier = counts_by_state.get(ItemState.DONE, 0) - report.refunded - report.accepted
    return RowCounts(
        rows=rows,
        refunded=report.refunded,
        accepted=report.accepted,
        done_before=done_earlier + (file_check.done_outside if file_check else 0),
        partly=report.standing.partly + partly_outside_run,
        refused=report.standing.refused + (file_check.refused_outside if file_check else 0),
        unknown=counts_by_state.get(ItemState.UNKNOWN, 0),
        waiting=counts_by_state.get(ItemState.WAITING, 0),
        held_by_others=counts_by_state.get(ItemState.LEASED, 0),
        left_out=0 if file_check else rows - sum(counts_by_state.values()),
    )


@dataclass(frozen=True, slots=True)
class RefundedFile:
    """The outcome of a run that was started with a file, or resumed (then `name` is its id).

    `count_by_code` and `bad_rows`: the refused and partly refunded rows; `rejected_path`: the file with the former.
    `file_problem`: why that file could not be written.
    """

    name: str
    run: BulkRun
    report: RunReport
    counts: RowCounts
    count_by_code: Counter[str]
    bad_rows: Sequence[BadRow]
    rejected_path: Path | None
    file_problem: RefundcliError | None

    @property
    def refused_by_code(self) -> Counter[str]:
        """Without the rows that were refunded in part."""
        return self.count_by_code - Counter({PARTLY_REFUNDED: self.count_by_code[PARTLY_REFUNDED]})

    @property
    def may_be_run_again(self) -> bool:
        """The rejected rows only did not reach the provider, so there is nothing to correct in them."""
        return self.refused_by_code.keys() <= MAY_BE_RUN_AGAIN


@dataclass(slots=True)
class StopPolicy:
    """Decides when the worker starts no more rows; `stopped` is None while it may."""

    limits: RunLimits
    stopped: Stopped | None = None
    trouble: RefundcliError | None = None
    _refused_rows: int = 0
    _unclear_in_a_row: int = 0

    def stop(self, reason: Stopped, error: RefundcliError | None = None) -> None:
        """Stop. The first reason is reported."""
        if self.stopped is None:
            self.stopped, self.trouble = reason, error

    def refused(self) -> None:
        self._refused_rows += 1
        if self.limits.max_errors is not None and self._refused_rows >= self.limits.max_errors:
            self.stop(Stopped.MAX_ERRORS)

    def answered(self, *, is_outcome_clear: bool) -> None:
        """Count an answered refund; not `is_outcome_clear` if its outcome is unknown."""
        self._unclear_in_a_row = 0 if is_outcome_clear else self._unclear_in_a_row + 1
        if self._unclear_in_a_row >= self.limits.unknown_in_a_row:
            self.stop(Stopped.UNKNOWN_IN_A_ROW)
