"""The command that comes next for what is unfinished, on the screen and in JSON."""

import shlex

from refundcli.domain.next_steps import record_command
from refundcli.domain.statuses import Provider
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.queries.status import Next, OpenClosing, OpenRefund, OpenRun
from refundcli.services.reconciliation.last_comparison import LastComparison

APPLY_EVENTS = "refundcli events apply"
_TO_ADD = {
    Next.RESOLVE: " --not-executed --evidence TEXT",
    Next.ADOPT: " --reason REASON",
    Next.MATCH: " --record REFUND",
}


def next_command(entry: OpenRefund | OpenClosing | OpenRun) -> str | None:
    """None where nobody has to act."""
    if entry.next is Next.WAIT:
        return None
    if isinstance(entry, OpenRun):
        return entry.run.command
    if entry.next in (Next.APPROVE, Next.TOP_UP):
        # Done in the provider's dashboard first; this command then fetches the outcome.
        return f"refundcli {'resume' if entry.next is Next.APPROVE else 'reconcile'}"
    if entry.next is Next.ACKNOWLEDGE and isinstance(entry, OpenRefund) and entry.refund.succeeded_after_failure:
        return record_command(entry.refund)
    if isinstance(entry, OpenClosing):
        return f"refundcli {entry.next} {entry.closing.id}{_TO_ADD.get(entry.next, '')}"
    if entry.next is Next.RECONCILE:
        return reconcile_command(entry.refund.provider)
    if entry.next is Next.REFUND:
        refund, reason = entry.refund, entry.refund.reason or "REASON"
        return (
            f"refundcli refund {shlex.quote(refund.invoice_number)} --amount {refund.amount.number} --reason {reason}"
        )
    return f"refundcli {entry.next} {entry.refund.id}{_TO_ADD.get(entry.next, '')}"


def next_step(entry: OpenRefund | OpenClosing | OpenRun) -> str:
    return next_command(entry) or "wait"


def reconcile_command(provider: Provider | None) -> str:
    """Only a provider with look-ups can be asked."""
    return f"refundcli reconcile {f'--provider {provider}' if provider in CAN_LOOK_UP else '--report FILE'}"


def compare_again(provider: Provider, last_comparison: LastComparison) -> str:
    """The command that makes the same comparison again, which removes its differences once it agrees."""
    scope = last_comparison.scope
    if scope and scope.report:
        return f"refundcli reconcile --report {shlex.quote(scope.report)}"
    since_option = f" --since {scope.since}" if scope and scope.since else ""
    return f"{reconcile_command(provider)}{since_option}"
