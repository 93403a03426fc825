"""Refunds in a list, and what became of one, on a terminal."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from refundcli.domain.arrival import expected_arrival
from refundcli.domain.next_steps import adopt_command, record_command
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import CreditNoteStatus, RefundState
from refundcli.output.terminal import QUIET, STRONG, Screen, local_time
from refundcli.output.views.invoice import changes, note_words
from refundcli.services.ports.reads import RefundTotal

if TYPE_CHECKING:
    from refundcli.services.ports.reads import AuditEntry

COLUMNS = (
    "id", "status", "kind", "created_at", "invoice", "amount", "currency", "reason", "operator", "provider",
    "provider_reference", "provider_status", "trace_number", "trace_status", "credit_note", "run",
)  # fmt: skip
TEXT_COLUMNS = tuple(column for column in COLUMNS if column not in ("created_at", "amount"))
# Other types and statuses are shown as reported.
_TRACE_TYPES = {
    "acquirer_reference_number": "ARN, acquirer reference number",
    "retrieval_reference_number": "RRN, retrieval reference number",
    "system_trace_audit_number": "STAN, system trace audit number",
}
_TRACE_STATUSES = {"pending": "not available yet"}
_WIDE, _NARROW = (
    ("Created", "Refund", "Invoice", "Amount", "State", "Reason", "Operator"),
    ("Created", "Refund", "Invoice", "Amount", "State"),
)


def list_row(refund: Refund) -> tuple[object, ...]:
    return (
        refund.id,
        refund.state,
        refund.kind,
        refund.created_at,
        refund.invoice_number,
        refund.amount.number,
        refund.amount.currency.code,
        refund.reason or "",
        refund.operator,
        refund.provider or "",
        refund.provider_reference,
        refund.provider_status,
        refund.trace.number if refund.trace else "",
        refund.trace.status if refund.trace else "",
        (refund.credit_note.number if refund.credit_note else None) or "",
        refund.run_id,
    )


def show_list(refunds: Sequence[Refund], screen: Screen, *, zone: ZoneInfo) -> None:
    """Fewer columns on a narrow terminal; ids are never folded."""
    columns = _NARROW if screen.is_narrow else _WIDE
    rows = (
        (
            refund.created_at.astimezone(zone).strftime("%Y-%m-%d"),
            refund.id,
            refund.invoice_number,
            str(refund.amount),
            refund.state.value,
            refund.reason.label if refund.reason else "external refund",
            refund.operator,
        )[: len(columns)]
        for refund in refunds
    )
    screen.table(columns, rows, right=("Amount",), whole=("Created", "Refund", "State", "Reason"))


def show_totals(totals: Sequence[RefundTotal], screen: Screen) -> None:
    screen.blank()
    for total in totals:
        failed_words = f", and {total.failed} failed or reversed ({total.failed_count:,})" if total.failed_count else ""
        screen.say(
            "Total ", (str(total.amount), STRONG), f" in {total.count:,} refund{'s'[: total.count != 1]}{failed_words}"
        )


def arrival_of(refund: Refund) -> tuple[date, date] | None:
    """The first and the last day on which it is expected; None if nothing is on its way through a provider."""
    note = refund.credit_note
    if refund.provider is None or not refund.state.is_accepted or note is None or note.issued_on is None:
        return None
    return expected_arrival(note.issued_on)


def next_command_of(refund: Refund) -> str:
    """The next step; empty where nobody has to act."""
    if refund.has_failed_at_provider:
        return f"refundcli mark-refunded --undo {refund.id} --memo TEXT"
    if refund.needs_acknowledgement:
        return record_command(refund) if refund.succeeded_after_failure else f"refundcli acknowledge {refund.id}"
    if refund.is_external and refund.undecided and refund.state.is_accepted:
        return f"refundcli reconcile --match {refund.id} --record REFUND"
    if refund.is_unadopted:
        return adopt_command(refund.id)
    if refund.state.unfinished or refund.state is RefundState.AWAITING_APPROVAL:
        return f"refundcli resume {refund.id}"
    return ""


def show_refund(refund: Refund, entries: Sequence["AuditEntry"], screen: Screen, *, zone: ZoneInfo) -> None:
    """What it is, where it is at the provider, when it arrives, what happened, and the next step."""
    screen.say((refund.id, STRONG), f"   {refund.state}", f"   {refund.provider_reference}".rstrip())
    screen.say((str(refund.amount), STRONG), f" of {refund.invoice_number}   by {refund.operator}")
    screen.blank()
    for label, words in _facts(refund):
        if words:
            screen.say(f"{label:<18}{words}", indent=3)
    screen.blank()
    screen.say(("Timeline", STRONG))
    screen.entries(
        [
            (
                ((local_time(entry.at, zone), QUIET), (entry.operator, ""), (entry.action, STRONG)),
                changes(entry, inner=False),
            )
            for entry in entries
        ]
    )
    if command := next_command_of(refund):
        screen.blank()
        screen.command(f"Next: {command}")


def trace_words(refund: Refund) -> str:
    """The number for the customer's bank, and whether it is available; empty if no provider has paid."""
    trace = refund.trace
    if refund.provider is None or not (trace or refund.state.is_accepted):
        return ""
    if trace is None:
        return f"not reported by {refund.provider.label}"
    type_words = _TRACE_TYPES.get(trace.type, trace.type)
    status_words = _TRACE_STATUSES.get(trace.status, trace.status)
    words = ", ".join(filter(None, (type_words, status_words, f"paid to: {trace.destination}")))
    if trace.number:
        return f"{trace.number} ({words})"
    ask_again = f"; to ask again: refundcli refunds show {refund.id} --refresh" if trace.status == "pending" else ""
    return f"none ({words}){ask_again}"


def _facts(refund: Refund) -> list[tuple[str, str]]:
    note, arrival = refund.credit_note, arrival_of(refund)
    issued_words = f", issued {note.issued_on}" if note and note.status is CreditNoteStatus.ISSUED else ""
    return [
        ("Reason", refund.reason.label if refund.reason else "external refund, no reason yet"),
        ("Memo", refund.memo),
        ("Provider", f"{refund.provider.label}: {refund.provider_status or refund.state}" if refund.provider else ""),
        ("Trace number", trace_words(refund)),
        ("Returned", refund.out_of_band.words if refund.out_of_band else ""),
        ("Failure", refund.failure),
        ("Credit note", f"{note_words(refund)}{issued_words}" if note_words(refund) else ""),
        ("Expected arrival", f"{arrival[0]} to {arrival[1]}" if arrival else ""),
        ("Run", refund.run_id),
    ]
