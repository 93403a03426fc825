"""The outcome of refunds and records, and what they do not do by themselves (R8)."""

from collections.abc import Sequence

from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundKind, RefundState
from refundcli.output.terminal import BAD, DOUBT, GOOD, STRONG, Screen
from refundcli.output.views.invoice import note_words
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.provider_updates import PaymentSnapshot
from refundcli.services.recovery.resume import Step

REFUND_COLUMNS = (
    "id",
    "status",
    "kind",
    "amount",
    "currency",
    "provider_reference",
    "credit_note",
    "invoice",
    "reason",
    "refunded_on",
)


_STEPS = {
    Step.SETTLED: "settled",
    Step.FINISHED: "already finished",
    Step.STILL_UNKNOWN: "outcome still unknown",
    Step.AWAITING_APPROVAL: "awaiting approval",
    Step.NEEDS_ATTENTION: "needs attention",
    Step.NOT_ASKED: "could not be checked with the provider",
    Step.NOT_CONFIRMED: "not confirmed",
    Step.LEASED: "being processed by another process",
    Step.NOT_WRITTEN: "could not be recorded",
    Step.OTHER_ACCOUNT: "belongs to a different account, mode or endpoint",
}


def refund_row(refund: Refund) -> tuple[str, ...]:
    note_number = refund.credit_note.number if refund.credit_note else None
    refunded_on = refund.out_of_band.refunded_on if refund.out_of_band else None
    return (
        refund.id,
        refund.state,
        refund.kind,
        refund.amount.number,
        refund.amount.currency.code,
        refund.provider_reference,
        note_number or "",
        refund.invoice_number,
        refund.reason or "",
        str(refunded_on or ""),
    )


def show_result(refunds: Sequence[Refund], invoice: Invoice | None, screen: Screen, *, replayed: bool) -> None:
    """Each refund in a line, the invoice after it, and what the operator should know now.

    `replayed`: the request had been made before.
    """
    for refund in refunds:
        # An unknown outcome, a decline and a pending approval are shown as errors, before this.
        if not refund.state.unfinished and refund.state not in (RefundState.FAILED, RefundState.AWAITING_APPROVAL):
            show_refund(refund, screen)
    if replayed:
        screen.say("This request was made before. Nothing was sent again.", indent=3)
    if invoice:
        screen.say(
            f"{invoice.number} is now ",
            (invoice.status.label, STRONG),
            " · partly refunded" if invoice.partially_refunded else "",
            f", {invoice.refundable} left to refund" if invoice.refundable else "",
            f", {invoice.reserved} reserved" if invoice.reserved else "",
            indent=3,
        )
    for note in after_notes(refunds, invoice):
        screen.bullet(note)


def after_notes(refunds: Sequence[Refund], invoice: Invoice | None) -> list[str]:
    """What a refund does not do by itself (R8); nothing where none was made."""
    notes: list[str] = []
    if not any(
        refund.state in (RefundState.PENDING, RefundState.SUCCEEDED, RefundState.RECORDED) for refund in refunds
    ):
        return notes
    providers = sorted({refund.provider.label for refund in refunds if refund.provider})
    if providers:
        notes.append(
            "The money takes 5–10 business days to appear on the customer's statement; "
            f"{' and '.join(providers)} may keep the fee."
        )
    else:
        notes.append("No money moved: this records a refund made outside refundcli.")
    pending_providers = {refund.provider for refund in refunds if refund.state is RefundState.PENDING}
    notes += map(_outcome_words, sorted(filter(None, pending_providers)))
    notes += filter(None, map(pending_words, refunds))
    if invoice and invoice.products:
        product_words = ", ".join(invoice.products)
        notes.append(
            f"Products still assigned to {invoice.customer}: {product_words}. Remove any that the customer should "
            "no longer have access to."
        )
    if invoice and invoice.subscription:
        notes.append(
            f"Subscription {invoice.subscription} is still active. Cancel it separately to stop further invoices."
        )
    if numbers := [refund.credit_note.number for refund in refunds if refund.credit_note and refund.credit_note.number]:
        notes.append(f"For the customer: refundcli credit-notes export {' '.join(numbers)}")
    return notes


def _outcome_words(provider: Provider) -> str:
    """How the outcome of a refund that the provider accepted will be known."""
    if provider in CAN_LOOK_UP:
        return "Accepted, but not final yet: the provider will report the outcome later."
    return (
        f"Accepted, but not final yet: {provider.label} reports the outcome by webhook (refundcli events listen) or "
        "in a report (refundcli reconcile --report FILE)."
    )


def pending_words(refund: Refund) -> str:
    """The action that a pending refund waits for; empty if there is none."""
    if refund.pending_reason == "requires_action":
        until_words = f" by {refund.expires_at:%Y-%m-%d}" if refund.expires_at else ""
        return f"The customer must reply to Stripe's e-mail{until_words}, or the refund will be cancelled."
    if refund.pending_reason == "insufficient_funds":
        return "Your Stripe balance is too low. The refund is pending until you top it up."
    return ""


def snapshot_words(snapshot: PaymentSnapshot) -> str:
    """`pi_1 has 100.00 EUR captured, 25.00 refunded, no dispute`"""
    words_of_disputes = [
        f"dispute {dispute_update.reference} {dispute_update.state or dispute_update.status}".replace("  ", " ")
        for dispute_update in snapshot.disputes
    ]
    dispute_words = ", ".join(words_of_disputes) or "no dispute"
    amounts = f"{snapshot.captured} captured, {snapshot.refunded.number} refunded"
    return f"{snapshot.references[0]} has {amounts}, {dispute_words}"


def show_refund(refund: Refund, screen: Screen) -> None:
    mark, style, verdict_words = _verdict(refund)
    method_words = refund.out_of_band.words if refund.out_of_band and not refund.provider_reference else ""
    details = [f"   {word}" for word in (refund.provider_reference, method_words, _note(refund)) if word]
    screen.say((f"{mark} ", style), f"{verdict_words} ", (str(refund.amount), STRONG), *details)
    if refund.failure and refund.state is RefundState.FAILED:
        screen.say(f"{refund.failure}", indent=3)


def _verdict(refund: Refund) -> tuple[str, str, str]:
    if refund.state is RefundState.FAILED:
        return "✗", BAD, "Not refunded"
    if refund.state is RefundState.REVERSED:
        return "✗", BAD, "Reversed"
    if refund.state is RefundState.PENDING:
        return "✓", GOOD, "Refund accepted"
    if refund.state.unfinished:
        return "!", DOUBT, "Not confirmed"
    if refund.state is RefundState.AWAITING_APPROVAL:
        return "!", DOUBT, "Waiting for approval"
    return "✓", GOOD, "Recorded" if refund.kind is RefundKind.RECORD else "Refunded"


def _note(refund: Refund) -> str:
    words = note_words(refund)
    return f"credit note {words}" if words else ""


def step_words(entry_id: str, invoice_number: str, step: Step, note: str) -> str:
    """What `resume` did with a refund or closing, and why."""
    words = f"{entry_id} of {invoice_number}: {_STEPS[step]}"
    return f"{words}; {note}" if note else words
