"""A report row as a provider update, and the state of the books before it."""

from dataclasses import dataclass

from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import WITHOUT_OUTCOME
from refundcli.services.ports.books import Writing
from refundcli.services.ports.provider_updates import (
    DisputeUpdate,
    Update,
)
from refundcli.services.preflight.difference import Difference
from refundcli.services.provider_updates.outcome import payment_of_dispute
from refundcli.services.reconciliation.report_rows import ReportRow


@dataclass(slots=True)
class RowUpdate:
    """An update that differs from the books, and its difference. `is_expected`: report it only if it is not applied."""

    update: Update
    evidence: str
    difference: Difference
    row: ReportRow
    is_expected: bool = False


@dataclass(frozen=True, slots=True)
class DisputeInBooks:
    """The state of a row's dispute in the books, and the amount lost to all disputes of the payment."""

    state: str
    lost: Money


def was_unknown(row_update: RowUpdate, refund: Refund) -> bool:
    """Was the refund's outcome unknown before this row, and is it known now?"""
    return row_update.difference.here in WITHOUT_OUTCOME and refund.state not in WITHOUT_OUTCOME


def dispute_in_books(tx: Writing, update: DisputeUpdate) -> DisputeInBooks | None:
    """The dispute with this reference, else the import's placeholder for it."""
    match = payment_of_dispute(tx, update)
    disputes = match[1].disputes if match else ()
    same_reference = (dispute for dispute in disputes if dispute.reference == update.reference)
    stored_dispute = next(same_reference, None) or next(
        (dispute for dispute in disputes if dispute.is_placeholder), None
    )
    return DisputeInBooks(stored_dispute.state, match[1].lost) if match and stored_dispute else None
