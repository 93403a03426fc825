"""A bulk run: many requested rows, checked together, confirmed once, and each done at most once."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from refundcli.domain.reasons import RefundReason

# The code of a row that was refunded in part: money moved, so it does not count as refused.
PARTLY_REFUNDED = "partly-refunded"


class RunKind(StrEnum):
    """What a run does with each of its rows: send money back, or record that it was sent (R1, R2)."""

    REFUND = "refund"
    MARK_REFUNDED = "mark-refunded"


class RunState(StrEnum):
    RUNNING = "running"
    # By Ctrl-C, by its limits, or killed: it can be resumed.
    STOPPED = "stopped"
    FINISHED = "finished"


class ItemState(StrEnum):
    WAITING = "waiting"
    LEASED = "taken"
    DONE = "done"
    REFUSED = "refused"
    # Sent, and the outcome is unknown; `resume` finds it.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class BulkRun:
    """`source` is the path of the file or plan; `fingerprint` hashes its content: the same content resumes the run.

    `options`: those that change the meaning of its rows, as JSON. `operator` runs it; `planned_by` is who checked it,
    where it comes from a plan.
    """

    id: str
    kind: RunKind
    state: RunState
    source: str
    fingerprint: str
    rows: int
    operator: str
    created_at: datetime
    planned_by: str = ""
    plan_hash: str = ""
    options: str = "{}"


@dataclass(frozen=True, slots=True)
class RunItem:
    """One row of a provider run, stored so that any worker can do it and any other can resume it.

    `expected` is what was confirmed, in minor units of the invoice's currency; `cells` is the row of the
    file, as JSON; `code`, `message` and `hint` say why it was refused.
    """

    run_id: str
    n: int
    line: int
    invoice: str
    amount_text: str
    reason: RefundReason
    request_key: str
    expected: int
    memo: str = ""
    payment: str = ""
    cells: str = "[]"
    state: ItemState = ItemState.WAITING
    code: str = ""
    message: str = ""
    hint: str = ""
    worker: str = ""
    lease_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RowLease:
    """Rows of a run leased by one worker: how many, and when its last lease ends."""

    worker: str
    rows: int
    until: datetime | None
