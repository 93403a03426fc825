"""Commands that several refusals propose as the next step, ready to paste."""

import shlex
from typing import TYPE_CHECKING

from refundcli.domain.statuses import RefundState

if TYPE_CHECKING:
    from refundcli.domain.refund import Refund


def adopt_command(refund_id: str, *, invoice: str = "", reason: str = "REASON") -> str:
    """The command that adopts an external refund. `refund_id`: its id, ours or the provider's."""
    invoice_option = f" --invoice {shlex.quote(invoice)}" if invoice else ""
    return f"refundcli reconcile --adopt {shlex.quote(refund_id)} --reason {reason}{invoice_option}"


def how_to_finish(refund: "Refund") -> str:
    """The next step for a refund that has no outcome yet; empty for any other."""
    resume_command = f"refundcli resume {refund.id}"
    return {
        RefundState.READY: f"First send that one or drop it: {resume_command}   or   "
        f"refundcli resolve {refund.id} --not-executed --evidence TEXT",
        RefundState.SUBMITTED: f"First find out what became of that one: {resume_command}",
        RefundState.AWAITING_APPROVAL: f"First approve or reject that one at the provider, then: {resume_command}",
    }.get(refund.state, "")


def what_is_not_known(refund: "Refund") -> str:
    """The end of a sentence about a refund that has no outcome yet; empty for any other."""
    return {
        RefundState.READY: ", and was not sent yet",
        RefundState.SUBMITTED: "; its outcome is unknown, so the money may already be on its way",
        RefundState.AWAITING_APPROVAL: ", and awaits approval at the provider",
    }.get(refund.state, "")


def record_command(refund: "Refund") -> str:
    """The command that records a refund which succeeded after its failure."""
    return (
        f"refundcli mark-refunded {shlex.quote(refund.invoice_number)} --amount {refund.amount.number} "
        f"--reason {refund.reason or 'REASON'} --after-failed {refund.id} --evidence TEXT"
    )
