"""Credit notes on a terminal."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from refundcli.domain.refund import CreditNote, Refund
from refundcli.domain.statuses import CreditNoteStatus
from refundcli.output.terminal import BAD, GOOD, QUIET, STRONG, Screen, local_time

COLUMNS = ("number", "status", "issued_on", "invoice", "customer", "amount", "currency", "reason", "refund")


def note_row(note: CreditNote) -> tuple[str, ...]:
    return (
        note.number or "",
        note.status,
        str(note.issued_on or ""),
        note.invoice_number,
        note.customer,
        note.amount.number,
        note.amount.currency.code,
        note.reason,
        note.refund_id,
    )


def show_notes(notes: Sequence[CreditNote], screen: Screen) -> None:
    rows = (
        (
            note.number or "",
            note.status.value,
            str(note.issued_on or ""),
            note.invoice_number,
            note.amount.number,
            note.amount.currency.code,
            note.reason.label,
        )
        for note in notes
    )
    columns = ("Number", "Status", "Issued", "Invoice", "Amount", "Currency", "Reason")
    screen.table(columns, rows, right=("Amount",), whole=("Number", "Issued", "Invoice"))


def show_note(note: CreditNote, refund: Refund, screen: Screen, *, zone: ZoneInfo) -> None:
    style = BAD if note.status is CreditNoteStatus.VOID else GOOD
    screen.say((note.number or "", STRONG), "   ", (note.status.value.title(), style))
    screen.say((str(note.amount), STRONG), f" of {note.invoice_number} to {note.customer}")
    screen.blank()
    screen.say(f"Reason     {note.reason.label}", indent=3)
    if note.memo:
        screen.say(f"Memo       {note.memo}", indent=3)
    if note.issued_at:
        screen.say(f"Issued     {local_time(note.issued_at, zone)} by {refund.operator}", indent=3)
    if note.voided_at:
        screen.say(f"Voided     {local_time(note.voided_at, zone)}", indent=3)
    screen.say(f"Refund     {refund.id}, {refund.state}{_way(refund)}", indent=3)
    screen.say((f"refundcli invoice show {note.invoice_number}", QUIET), indent=3)


def _way(refund: Refund) -> str:
    if refund.provider:
        return f", {refund.provider.label} {refund.provider_reference}".rstrip()
    words = refund.out_of_band.words if refund.out_of_band else ""
    return f", {words}" if words else ""
