"""What came of closing an invoice that a provider keeps too."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import ClosingState, InvoiceStatus
from refundcli.output.terminal import BAD, DOUBT, GOOD, STRONG, Screen

if TYPE_CHECKING:
    from refundcli.services.closings.close import Closed, ClosingPreview
    from refundcli.services.recovery.resume_closings import ResumedClosing


def show_closing(closed: "Closed", screen: Screen) -> None:
    """What is in doubt, or was declined, is told as an error is, before this."""
    invoice, closing = closed.invoice, closed.closing
    if closing and closing.state is not ClosingState.DONE:
        screen.say(f"{invoice.number} is still ", (invoice.status.label, STRONG), ".", indent=3)
    elif closing and closing.wanted is not invoice.status:
        where = closing.provider.label
        told = f"{invoice.number} is {closing.past_tense} at {where}, and stays "
        screen.say(("! ", DOUBT), told, (invoice.status.label, STRONG), " here: look at its payments.")
    else:
        where = f", here and at {closing.provider.label}" if closing else ""
        found = f"; so it was at {closed.found_closed.label} already" if closed.found_closed else ""
        label = (invoice.status.label, STRONG)
        screen.say(("✓ ", GOOD), f"{invoice.number} is now ", label, f"{where}{found}. No money was moved.")


def show_closing_preview(seen: "ClosingPreview", screen: Screen) -> None:
    invoice, keeper = seen.invoice, seen.invoice.kept_by
    verb = "void" if seen.wanted is InvoiceStatus.VOID else "write off"
    where = f", here and at {seen.asks.label}" if seen.asks else ""
    screen.say("Dry run: every rule was checked; nothing was sent or written.")
    screen.say(f"Would {verb} {invoice.number}, {owed_words(invoice)}{where}. No money would move.", indent=3)
    if keeper and seen.at_provider:
        screen.say(f"Asked {keeper.label}: {invoice.invoice_reference} is {seen.at_provider} there.", indent=3)


def owed_words(invoice: Invoice) -> str:
    """`40.00 EUR owed of 100.00 EUR`, or the total where nothing of it was paid."""
    return f"{invoice.owed} owed of {invoice.total}" if invoice.paid else str(invoice.total)


def closing_row(closing: Closing) -> tuple[str, ...]:
    """Among refunds, in their columns: a closing has no amount, no credit note and no reason."""
    from refundcli.output.views.refund import REFUND_COLUMNS

    told = {
        "id": closing.id,
        "status": closing.state,
        "kind": closing.wanted,
        "provider_reference": closing.reference,
        "invoice": closing.invoice_number,
    }
    return tuple(told.get(name, "") for name in REFUND_COLUMNS)


def show_resumed_closings(done: "Sequence[ResumedClosing]", screen: Screen) -> None:
    for each in done:
        closing = each.closing
        mark, style = {ClosingState.DONE: ("✓", GOOD), ClosingState.FAILED: ("✗", BAD)}.get(closing.state, ("!", DOUBT))
        screen.say((f"{mark} ", style), f"{closing.invoice_number} {verdict(closing)}")
        told = f"{closing.id} of {closing.invoice_number}: {each.step}"
        screen.say(f"{told}; {each.note}" if each.note else told, indent=3)


def verdict(closing: Closing) -> str:
    """`voided at Stripe`, `not voided at Stripe`, `voided at Stripe: not confirmed`."""
    words = f"{closing.past_tense} at {closing.provider.label}"
    told = {ClosingState.DONE: words, ClosingState.FAILED: f"not {words}", ClosingState.READY: f"{words}: not sent yet"}
    return told.get(closing.state, f"{words}: not confirmed")
