"""What a provider's word means to the books (R13). Each provider's adapter has one table of its complete list.

Every word has one effect. A word that no table lists is never ignored: it blocks the refund of its payment until
somebody acknowledges it.
"""

from dataclasses import dataclass
from enum import StrEnum

from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.statuses import RefundState


class Effect(StrEnum):
    """What an update about one of our payments does."""

    REFUND = "refund"  # moves a refund, ours or an external one
    DISPUTE = "dispute"  # moves a dispute, or confirms it
    CAPTURE = "capture"  # changes how much of the payment was captured
    BLOCK = "block"  # needs review before the next refund
    NOTE = "note"  # is shown in the list of events, and blocks nothing
    NONE = "none"  # does not concern refunds


class CaptureChange(StrEnum):
    """What a word with the effect `capture` says about the money taken."""

    ADDED = "added"  # this amount was captured, beside other captures
    FAILED = "failed"  # this amount was not captured after all
    CANCELLED = "cancelled"  # what was not captured yet never will be


class Direction(StrEnum):
    """The column of a report in which the amount of a record type stands."""

    DEBIT = "debit"  # money leaves the merchant
    CREDIT = "credit"  # money comes to the merchant
    EITHER = "either"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one word of a provider means. `source` is the vendor's page or specification that says so.

    `refund`: the state it reports. `may_be_retried`: the provider may send the refund again by itself. `dispute`: the
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
