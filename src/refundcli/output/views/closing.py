"""The outcome of voiding an invoice or writing it off, here and at its provider."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import ClosingState, InvoiceStatus
from refundcli.output.terminal import BAD, DOUBT, GOOD, STRONG, Screen

if TYPE_CHECKING:
    from refundcli.services.closings.close import Closed, ClosingPreview
    from refundcli.services.closings.close_file import ClosingsReport
    from refundcli.services.recovery.resume import Resumed

# How many refused rows of a file are shown.
_SHOWN = 50
_MARKS = {ClosingState.DONE: ("✓", GOOD), ClosingState.FAILED: ("✗", BAD)}


def show_closing(closed: "Closed", screen: Screen) -> None:
    """An unknown outcome and a decline are shown as errors, before this."""
    invoice, closing = closed.invoice, closed.closing
    if closing and closing.state is not ClosingState.DONE:
        screen.say(f"{invoice.number} is still ", (invoice.status.label, STRONG), ".", indent=3)
    elif closing and closing.target is not invoice.status:
        words = f"{invoice.number} is {closing.past_tense} at {closing.provider.label}, but is still "
        screen.say(("! ", DOUBT), words, (invoice.status.label, STRONG), " in the books. Check its payments.")
    else:
        where_words = f", here and at {closing.provider.label}" if closing else ""
        already_words = f"; {closed.found_closed.label} already showed this status" if closed.found_closed else ""
        status_label = (invoice.status.label, STRONG)
        screen.say(
            ("✓ ", GOOD), f"{invoice.number} is now ", status_label, f"{where_words}{already_words}. No money moved."
        )


def show_closing_preview(preview: "ClosingPreview", screen: Screen) -> None:
    invoice, managing_provider = preview.invoice, preview.invoice.managed_by
    verb = "void" if preview.target is InvoiceStatus.VOID else "write off"
    where_words = f", here and at {preview.asks.label}" if preview.asks else ""
    screen.say("Dry run: every rule was checked; nothing was sent or written.")
    screen.say(f"Would {verb} {invoice.number}, {owed_words(invoice)}{where_words}. No money would move.", indent=3)
    if managing_provider and preview.at_provider:
        status_words = f"{invoice.invoice_reference} is {preview.at_provider} there, {preview.owed_at_provider} owed"
        screen.say(f"Checked with {managing_provider.label}: {status_words}.", indent=3)


def show_closings_check(file_name: str, target: InvoiceStatus, report: "ClosingsReport", screen: Screen) -> None:
    """What a file would close, and which rows are refused."""
    from refundcli.output.views.imports import show_problems

    verb = "void" if target is InvoiceStatus.VOID else "write off"
    screen.say((file_name, STRONG), f"   {report.rows:,} {'row' if report.rows == 1 else 'rows'}")
    sums = ", ".join(str(total) for _, total in sorted(report.owed.items()))
    owed = f": {sums} owed" if sums else ""
    at_provider = f", {report.at_provider:,} of them also at Stripe" if report.at_provider else ""
    screen.say(f"Will {verb} {len(report.to_close):,}{owed}{at_provider}. No money moves.", indent=3)
    if report.done_before:
        screen.say(f"Already done: {report.done_before:,}", indent=3)
    if report.refused:
        codes = " · ".join(f"{count} {code}" for code, count in report.codes.most_common())
        screen.say(("✗ ", BAD), f"Refused: {codes}", indent=3)
        show_problems([problem for row in report.refused[:_SHOWN] for problem in row.problems], screen)


def show_closings_done(target: InvoiceStatus, report: "ClosingsReport", screen: Screen, *, dry_run: bool) -> None:
    if dry_run:
        screen.say("Dry run: every rule was checked; nothing was changed.")
        return
    past_tense = "Voided" if target is InvoiceStatus.VOID else "Wrote off"
    before = f"; {report.done_before:,} already done" if report.done_before else ""
    mark = ("✓ ", GOOD) if report.closed else ("! ", DOUBT)
    screen.say(mark, f"{past_tense} {report.closed:,} of {report.rows:,} invoices{before}. No money moved.")


def owed_words(invoice: Invoice) -> str:
    """`40.00 EUR still owed (of 100.00 EUR)`, or the total where nothing of it was paid."""
    return f"{invoice.owed} still owed (of {invoice.total})" if invoice.paid else str(invoice.total)


def closing_row(closing: Closing) -> tuple[str, ...]:
    """Among refunds, in their columns: a closing has no amount, no credit note and no reason."""
    from refundcli.output.views.refund import REFUND_COLUMNS

    cells = {
        "id": closing.id,
        "status": closing.state,
        "kind": closing.target,
        "provider_reference": closing.reference,
        "invoice": closing.invoice_number,
    }
    return tuple(cells.get(name, "") for name in REFUND_COLUMNS)


def show_resumed(entries: "Sequence[Resumed]", screen: Screen) -> None:
    """The outcome of each refund and closing, known or still unknown."""
    from refundcli.output.views.refund import show_refund, step_words

    for entry in entries:
        operation = entry.operation
        if isinstance(operation, Closing):
            mark, style = _MARKS.get(operation.state, ("!", DOUBT))
            screen.say((f"{mark} ", style), f"{operation.invoice_number} {verdict(operation)}")
        else:
            show_refund(operation, screen)
        screen.say(step_words(operation.id, operation.invoice_number, entry.step, entry.note), indent=3)


def verdict(closing: Closing) -> str:
    """`voided at Stripe`, `not voided at Stripe`, `voided at Stripe: not confirmed`."""
    words = f"{closing.past_tense} at {closing.provider.label}"
    by_state = {
        ClosingState.DONE: words,
        ClosingState.FAILED: f"not {words}",
        ClosingState.READY: f"to be {words}: not sent yet",
    }
    return by_state.get(closing.state, f"to be {words}: not confirmed")
