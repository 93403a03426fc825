"""What a run of a file needs from outside: its files, and someone who sees and confirms what will be done."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from refundcli.domain.bulk_run import RunKind
from refundcli.domain.reasons import RefundReason
from refundcli.services.bulk.rows import BulkRow, CheckedRow, RowSpool
from refundcli.services.ports.bad_rows import BadRow
from refundcli.services.ports.reads import Account

if TYPE_CHECKING:
    from refundcli.services.bulk.check_report import BulkReport, RecordedFile
    from refundcli.services.bulk.unfinished_runs import RunHolder
    from refundcli.services.ports.providers import PaymentProvider

# Every row in order, from the start each time.
Rows: TypeAlias = Callable[[], Generator[BulkRow | BadRow]]
Reject: TypeAlias = Callable[[BadRow], None]


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """What to run: a file (`from_`), a plan (`apply`), or the rest of a run (`resume`).

    `plan`: only write a plan there. `reason`: of rows without one. `max_errors`: refused rows after which nothing more
    is done.
    """

    kind: RunKind
    from_: str = ""
    apply: str = ""
    resume: str = ""
    plan: str = ""
    reason: RefundReason | None = None
    allow_duplicate: bool = False
    atomic: bool = False
    max_errors: int | None = None
    dry_run: bool = False

    @property
    def row_options(self) -> dict[str, object]:
        """The options that change what the rows of a file mean."""
        return {"reason": self.reason, "allow_duplicate": self.allow_duplicate}


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file of requests, or a plan: its `name` as typed, its full path, and its `label` in the audit trail.

    `planned_by` and `seal`: who checked a plan, and the HMAC over all of it; empty for a file.
    """

    name: str
    source: str
    label: str
    sha256: str
    columns: tuple[str, ...]
    rejected_path: Path
    rows: Rows
    allow_duplicate: bool
    planned_by: str = ""
    seal: str = ""


class RejectedRows(Protocol):
    """The file of rejected rows, which can be corrected and run again."""

    def add(self, bad_row: BadRow) -> None: ...
    def publish(self) -> Path | None:
        """Write the rows so far, whole or not at all. Returns the path; None without rejected rows."""
        ...


class BulkFiles(Protocol):
    def opened(self, request: BulkRequest, *, secret: bytes, today: date) -> AbstractContextManager[OpenedFile]:
        """The file or plan. Raises the problems of a file, PlanEdited and PlanForOther."""
        ...

    def spool(self) -> AbstractContextManager[RowSpool]: ...
    def rejected_rows(self, path: Path, columns: tuple[str, ...]) -> AbstractContextManager[RejectedRows]: ...
    def write_plan(
        self, path: str, header: Mapping[str, object], chunks: Iterable[list[CheckedRow]], secret: bytes
    ) -> None:
        """Write the plan whole or not at all; nothing for a plan without rows. Raises PlanExists."""
        ...


class Advance(Protocol):
    """Called after each chunk, with the number of its rows and how many of them were refused."""

    def __call__(self, rows: int, *, refused: int = 0) -> None: ...


class Presenter(Protocol):
    """Shows a run as it proceeds, and asks before anything is done (R5)."""

    def progress(self, verb: str, *, total: int | None = None) -> AbstractContextManager[Advance]: ...
    def require_an_answer(self) -> None:
        """Raises ConfirmationRequired where no answer was given and nobody can be asked."""
        ...

    def show_check(self, file_name: str, kind: RunKind, report: "BulkReport") -> None: ...
    def show_rows(self, rows: Sequence[tuple[CheckedRow, str]], row_count: int) -> None:
        """The first and last of `row_count` valid rows, each with its customer's name."""
        ...

    def note_plan(self, request: BulkRequest, row_count: int) -> None:
        """A plan of so many rows was saved; without rows, none was."""
        ...

    def announce(self, providers: "Sequence[PaymentProvider]") -> bool:
        """Announce live accounts. True when real money will move."""
        ...

    def announce_stored(self, accounts: Sequence[Account]) -> bool:
        """The same for accounts that the store was used with."""
        ...

    def confirm(self, row_count: int, kind: RunKind, *, is_live: bool, is_resumed: bool) -> None:
        """Raises NotConfirmed, ConfirmationRequired. Without rows there is nothing to confirm."""
        ...

    def note_stopping(self) -> None: ...
    def note_waiting(self, holders: "Sequence[RunHolder]") -> None:
        """Other workers have leased the last rows."""
        ...

    def show_stopped(self, stopped: "RecordedFile") -> None:
        """After Ctrl-C or a failure of the store: what was recorded, and what is left."""
        ...
