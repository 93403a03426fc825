"""What the check or the recording of a bulk file came to: rows, sums, and why rows were refused."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from refundcli.domain.bulk_run import PARTLY_REFUNDED, BulkRun, RunKind
from refundcli.domain.errors import Refused
from refundcli.domain.money import Money, add_to
from refundcli.services.invoices.allocation import Share
from refundcli.services.ports.bad_rows import BadRow

_SHOWN = 50


@dataclass(slots=True)
class BulkReport:
    """The outcome of the rows of a file; sums by currency and provider. `refused` holds the first refused rows.

    `done_by_run`: how many of the done rows belong to the resumed run; `refused_by_run`: the lines of its refused rows,
    with their codes. `partly`: the first rows that were refunded in part, which are not refused; `partly_by_run`: the
    lines of those of the resumed run. `checked_at`: the audit trail's newest entry when the check began.
    """

    rows: int = 0
    requested: int = 0
    done_before: int = 0
    sums: dict[tuple[str, str], Money] = field(default_factory=dict)
    rows_of: Counter[tuple[str, str]] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    refused: list[BadRow] = field(default_factory=list)
    done_by_run: int = 0
    refused_by_run: dict[int, str] = field(default_factory=dict)
    partly: list[BadRow] = field(default_factory=list)
    partly_count: int = 0
    partly_by_run: set[int] = field(default_factory=set)
    checked_at: int = 0

    @property
    def refused_count(self) -> int:
        return sum(self.codes.values())

    @property
    def done_outside(self) -> int:
        """Rows that were done before and are not in the run."""
        return self.done_before - self.done_by_run

    @property
    def refused_outside(self) -> int:
        return self.refused_count - len(self.refused_by_run)

    @property
    def codes_outside(self) -> Counter[str]:
        """The codes of refused rows that are not in the run."""
        return self.codes - Counter(self.refused_by_run.values())

    def done(self, *, is_in_resumed_run: bool = False) -> None:
        """Count a row that was done before."""
        self.rows += 1
        self.done_before += 1
        self.done_by_run += is_in_resumed_run

    def refuse(self, row: BadRow) -> None:
        """Count a row that cannot be done."""
        self.rows += 1
        if is_partly_refunded(row):
            self.partly_count += 1
            self.partly.extend([row] if len(self.partly) < _SHOWN else [])
            return
        self.codes[row.problems[0].code] += 1
        if len(self.refused) < _SHOWN:
            self.refused.append(row)

    def take(self, provider_amounts: Sequence[tuple[str, Money]]) -> None:
        """Count one row, with the amount that it takes from each provider."""
        self.rows += 1
        self.requested += 1
        self.rows_of[group_key(*provider_amounts[0])] += 1
        for provider, amount in provider_amounts:
            currency_and_provider = group_key(provider, amount)
            add_to(self.sums, currency_and_provider, amount)


@dataclass(frozen=True, slots=True)
class FileChecked:
    """A check that no row was done after: a dry run, a new plan (its path), or no row was left to do.

    `rejected_path`: the file of refused rows, if it was written.
    """

    file_name: str
    kind: RunKind
    report: BulkReport
    rejected_path: Path | None = None
    dry_run: bool = True
    plan: str = ""


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A file of records that was done, or stopped. `run` is None where no row was left to do.

    `rows_left`: rows still to record; None where the outcome of the last ones is unknown.
    """

    file_name: str
    report: BulkReport
    run: BulkRun | None
    rejected_path: Path | None = None
    rows_left: int | None = 0


class TooManyErrors(Refused):
    """The run stopped, because too many rows were refused."""

    code = "too-many-errors"

    def __init__(self, refused_count: int, max_errors: int, *, how_to_resume: str) -> None:
        super().__init__(
            f"Stopped. Rows refused: {refused_count}; --max-errors is {max_errors}.",
            hint=how_to_resume,
            context={"refused": refused_count, "max_errors": max_errors},
        )


def is_partly_refunded(row: BadRow) -> bool:
    """Was the row refunded in part? Its file would be refused again, so only the rest is refunded, by a command."""
    return row.problems[0].code == PARTLY_REFUNDED


def parts_of(shares: Sequence[Share]) -> list[tuple[str, Money]]:
    return [(share.payment.provider or "", share.amount) for share in shares]


def group_key(provider: str, amount: Money) -> tuple[str, str]:
    return amount.currency.code, provider
