"""The effect of a provider's codes on the books (R13). Each adapter has one table of all its codes.

Every code has one effect. An unlisted code is never ignored: it blocks refunds of its payment until a person
acknowledges it.
"""

from dataclasses import dataclass
from enum import StrEnum

from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.statuses import RefundState


class Effect(StrEnum):
    """What an update about one of our payments does."""

    REFUND = "refund"  # changes a refund, ours or an external one
    DISPUTE = "dispute"  # changes or confirms a dispute
    CAPTURE = "capture"  # changes how much of the payment was captured
    BLOCK = "block"  # needs review before the next refund
    NOTE = "note"  # shown in the list of events, blocks nothing
    NONE = "none"  # does not concern refunds


class CaptureChange(StrEnum):
    """How a code with the effect `capture` changes the captured amount."""

    ADDED = "added"  # this amount was captured, in addition to other captures
    FAILED = "failed"  # this amount was not captured after all
    CANCELLED = "cancelled"  # the uncaptured amount never will be


class Direction(StrEnum):
    """The column of a report that holds the amount of a record type."""

    DEBIT = "debit"  # money leaves the merchant
    CREDIT = "credit"  # money reaches the merchant
    EITHER = "either"


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of one provider code. `source` is the vendor's page or specification.

    `refund`: the state it reports. `may_be_retried`: the provider may retry the refund by itself. `dispute`: the
    state it reports; None leaves the state as it is. `direction` is set for report types only.
    """

    effect: Effect
    source: str
    refund: RefundState | None = None
    may_be_retried: bool = False
    dispute: DisputeState | None = None
    stage: DisputeStage | None = None
    capture: CaptureChange | None = None
    direction: Direction | None = None
    note: str = ""
