"""The refusals of the rule book, one class per cause, with message and next step, in their order of precedence."""

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from refundcli.domain.dispute import review_command
from refundcli.domain.errors import Refused
from refundcli.domain.money import Money
from refundcli.domain.next_steps import how_to_finish, what_is_not_known
from refundcli.domain.reasons import RefundReason
from refundcli.domain.statuses import Dispute, InvoiceStatus, RefundKind

if TYPE_CHECKING:
    from refundcli.domain.closing import Closing
    from refundcli.domain.eligibility import Intent
    from refundcli.domain.invoice import Invoice, Payment, Unreviewed
    from refundcli.domain.refund import Refund


class RuleRefusal(Refused):
    """A rule refuses it. `rule` is its number, `why` the short reason shown beside an action."""

    rule: ClassVar[str]

    def __init__(self, invoice: "Invoice", message: str, *, why: str, hint: str = "") -> None:
        super().__init__(message, hint=hint, context={"invoice": invoice.number, "rule": self.rule})
        self.why = why


# Only a void is final (R9): a reversed refund makes the invoice Paid again.
_AFTER_CLOSING = {
    InvoiceStatus.VOID: ", which cannot be undone",
    InvoiceStatus.UNCOLLECTIBLE: ". It can still be paid later",
    InvoiceStatus.REFUNDED: ": its money was returned",
}


class AlreadyClosed(RuleRefusal):
    code = "already-closed"
    rule = "R9"

    def __init__(self, invoice: "Invoice", *, is_voidable: bool = False) -> None:
        status_word = invoice.status.label.lower()
        after_words = ". It can still be voided, or paid later" if is_voidable else _AFTER_CLOSING[invoice.status]
        super().__init__(
            invoice,
            f"{invoice.number} is already {status_word}{after_words}.",
            why=f"{status_word} already",
            hint=f"refundcli invoice history {invoice.number}   shows what happened",
        )


class ClosingUnfinished(RuleRefusal):
    """The provider was asked to close it, and the outcome is not known yet."""

    code = "closing-unfinished"
    rule = "R9"

    def __init__(self, invoice: "Invoice", closing: "Closing") -> None:
        provider_label = closing.provider.label
        super().__init__(
            invoice,
            (f"{provider_label} has not yet confirmed the request for {invoice.number} to be {closing.past_tense}."),
            why=f"being {closing.past_tense} at {provider_label}, not confirmed",
            hint=f"refundcli resume {closing.id}     (asks {provider_label}; sends only what never arrived there)",
        )
        self.context["closing"] = closing.id


class NotIssued(RuleRefusal):
    code = "not-issued"
    rule = "R9"

    def __init__(self, invoice: "Invoice", action: str) -> None:
        super().__init__(
            invoice,
            f"{invoice.number} is a draft: it was never issued, so the command {action} does not apply to it.",
            why="a draft was never issued",
            hint="Issue it, or delete it, in the system where it was drafted; if issued, import it again.",
        )


class NotPaid(RuleRefusal):
    code = "not-paid"
    rule = "R9"

    def __init__(self, invoice: "Invoice") -> None:
        super().__init__(
            invoice,
            f"{invoice.number} was never paid: there is nothing to refund.",
            why="never paid",
            hint=_for_unpaid(invoice),
        )


class AlreadyPaid(RuleRefusal):
    code = "already-paid"
    rule = "R9"

    def __init__(self, invoice: "Invoice", why: str) -> None:
        super().__init__(
            invoice,
            f"{invoice.number} {f'has {invoice.paid} paid on it' if invoice.paid else 'is or was paid'}: {why}.",
            why=why,
            hint=f"refundcli invoice show {invoice.number}   shows what can be refunded",
        )


class NothingToRefund(RuleRefusal):
    code = "nothing-to-refund"
    rule = "R3"

    def __init__(self, invoice: "Invoice") -> None:
        reserved_words = f", {invoice.reserved} is reserved" if invoice.reserved else ""
        credited_words = f", {invoice.credited} was credited to the customer's balance" if invoice.credited else ""
        late_failure = next(
            (refund for refund in invoice.refunds if refund.holding and refund.needs_acknowledgement), None
        )
        show_command = f"refundcli invoice show {invoice.number}   lists its refunds"
        super().__init__(
            invoice,
            (
                f"{invoice.number} has nothing left to refund: {invoice.refunded} of {invoice.paid} has been "
                f"refunded{reserved_words}{credited_words}."
            ),
            why="nothing is left",
            # A refund that failed late keeps its amount reserved until it is acknowledged (R14).
            hint=f"Refund {late_failure.id} failed. To release its amount: refundcli acknowledge {late_failure.id}"
            if late_failure
            else show_command,
        )


class UseRefund(RuleRefusal):
    code = "use-refund"
    rule = "R1"

    def __init__(self, invoice: "Invoice", payment: "Payment", intent: "Intent") -> None:
        provider = payment.provider.label if payment.provider else "the provider"
        super().__init__(
            invoice,
            f"{invoice.number} was paid through {provider}: refund returns the money, mark-refunded only records it.",
            why=f"paid through {provider}: refund returns the money",
            hint=_command("refund", invoice, intent.amount, intent.reason),
        )
        if payment.taken_by_dispute:
            self.hint += f"\nTo record the amount lost to the dispute: {_record_chargeback(invoice)}"
        self.hint += (
            "\nIf the customer already has the money, do not send it again: import the invoice with auto_refundable "
            "set to no, then record it."
        )


class NotAutoRefundable(RuleRefusal):
    code = "not-auto-refundable"
    rule = "R2"

    def __init__(self, invoice: "Invoice", payment: "Payment", intent: "Intent") -> None:
        why = payment.why_not_auto_refundable
        dashboard_step = f"Return the money in {payment.provider.label}'s dashboard, then: " if payment.provider else ""
        record_command = _command("mark-refunded", invoice, intent.amount, intent.reason)
        if payment.taken_by_dispute and not payment.refundable:
            # The bank has returned it.
            dashboard_step, record_command = "", _record_chargeback(invoice)
        super().__init__(
            invoice,
            f"{invoice.number} cannot be refunded from here: {why}.",
            why=why,
            hint=f"{dashboard_step}{record_command}",
        )
        self.context["rule"] = "R12" if payment.provider else "R2"


class CurrentlyProcessing(RuleRefusal):
    code = "currently-processing"
    rule = "R10"

    def __init__(self, invoice: "Invoice", payment: "Payment") -> None:
        provider_label = payment.provider.label if payment.provider else "the provider"
        super().__init__(
            invoice,
            f"Currently processing: {provider_label} has not finished processing a payment on {invoice.number}.",
            why=f"being processed at {provider_label}",
            hint=f"Wait a few minutes, then: refundcli invoice show {invoice.number}",
        )


class Disputed(RuleRefusal):
    code = "disputed"
    rule = "R11"

    def __init__(self, invoice: "Invoice", payment: "Payment") -> None:
        super().__init__(
            invoice,
            f"{invoice.number} has {_unsettled_dispute(payment)}: a refund now could pay the customer twice.",
            why=f"it has {_unsettled_dispute(payment)}",
            hint=f"Wait until the dispute is closed, then: refundcli invoice show {invoice.number}",
        )


def _unsettled_dispute(payment: "Payment") -> str:
    return "a dispute whose state is unknown" if payment.dispute is Dispute.UNKNOWN else "an open dispute"


class DisputeClosed(RuleRefusal):
    code = "dispute-closed"
    rule = "R11"

    def __init__(self, invoice: "Invoice", payment: "Payment") -> None:
        super().__init__(
            invoice,
            (
                f"You won a dispute on {invoice.number}: refund it only if someone has since decided in the "
                "customer's favour."
            ),
            why="a dispute was won; add --dispute-decision",
            hint='Add --dispute-decision "who decided what, and when"',
        )


class DisputeLost(RuleRefusal):
    code = "dispute-lost"
    rule = "R11"

    def __init__(self, invoice: "Invoice", payment: "Payment") -> None:
        super().__init__(
            invoice,
            (
                f"A dispute over {invoice.number} was lost: {payment.taken_by_dispute} went back to the customer "
                "through the bank."
            ),
            why="a lost dispute already returned the money",
            hint=f"To record it: {_record_chargeback(invoice)}",
        )


class ChargebackRecorded(RuleRefusal):
    """All that disputes took of the payment is recorded: another chargeback would be money that nobody took (R11)."""

    code = "chargeback-recorded"
    rule = "R11"

    def __init__(self, invoice: "Invoice", payment: "Payment") -> None:
        super().__init__(
            invoice,
            f"{invoice.number}: the amount lost to disputes on its payment is already recorded.",
            why="the amount lost to disputes is already recorded",
            hint=(
                f"refundcli invoice show {shlex.quote(invoice.number)}   lists the records. To undo a wrong one: "
                "refundcli mark-refunded --undo ID --memo TEXT\nIf money was returned in another way, record it "
                "with the reason that applies, not chargeback."
            ),
        )


class UnreviewedEvent(RuleRefusal):
    """A provider update about this payment is unreviewed, or not applied yet (R13)."""

    code = "unreviewed-event"
    rule = "R13"

    def __init__(self, invoice: "Invoice", update: "Unreviewed") -> None:
        provider_label, event_id = update.provider.label, update.event_id
        if not update.needs_a_person:
            # Waiting, or stored before its payment was imported: only unreviewed updates can be acknowledged.
            message = (
                f"{provider_label} reported {update.word} for the payment on {invoice.number}; it has not "
                "been applied yet."
            )
            hint = "refundcli events apply"
        else:
            message = f"{provider_label} reported {update.word} about the payment of {invoice.number}: {update.why}."
            hint = f"refundcli events show {event_id}, then: {review_command(event_id, update.word)}"
        state_words = "is not applied yet" if update.is_waiting else "is unreviewed"
        super().__init__(invoice, message, why=f"event {event_id} ({update.word}) {state_words}", hint=hint)
        self.context["event"] = event_id


class UnsupportedRefund(RuleRefusal):
    """The payment must be refunded in another way (R12). `why` may already name it."""

    code = "unsupported-refund"
    rule = "R12"

    def __init__(self, invoice: "Invoice", payment: "Payment", why: str, intent: "Intent | None" = None) -> None:
        provider_label = payment.provider.label if payment.provider else "the provider"
        record_command = f"refundcli mark-refunded {invoice.number} --amount AMOUNT --reason REASON"
        if intent:
            record_command = _command("mark-refunded", invoice, intent.amount, intent.reason)
        record_command = f"{record_command} --reference ID"
        # A `why` that is a whole sentence already says where to return the money.
        is_whole = why.endswith(".")
        super().__init__(
            invoice,
            f"{invoice.number} cannot be refunded from here{f'. {why}' if is_whole else f': {why}.'} Nothing was sent.",
            why=why.rstrip("."),
            hint=f"Then: {record_command}"
            if is_whole
            else f"Refund it in {provider_label}'s dashboard, then: {record_command}",
        )


class OverRefund(RuleRefusal):
    code = "over-refund"
    rule = "R3"

    def __init__(
        self,
        invoice: "Invoice",
        requested: Money,
        remaining: Money,
        *,
        reason: RefundReason | None,
        command: str = "refund",
        payment: str = "",
    ) -> None:
        """`payment`: the one that the operator named, if any."""
        payment_option = f" --payment {shlex.quote(payment)}" if payment else ""
        super().__init__(
            invoice,
            f"{invoice.number} has {remaining} left to refund; {requested} was requested.",
            why=f"{remaining} is left",
            hint=f"{_command(command, invoice, remaining, reason)}{payment_option}",
        )
        self.context |= {
            "requested": requested.number,
            "remaining": remaining.number,
            "currency": requested.currency.code,
        }


class PossibleDuplicate(RuleRefusal):
    """The same amount of the same payment was requested minutes ago, or has no outcome yet: an accident (R5)?"""

    code = "possible-duplicate"
    rule = "R5"

    def __init__(self, invoice: "Invoice", earlier: "Refund", *, repeat_verb: str = "refund") -> None:
        past_verb = "recorded" if earlier.kind is RefundKind.RECORD else "requested"
        repeat_words = f"To {repeat_verb} it again, add --allow-duplicate or another --request-key."
        self.finish_words = how_to_finish(earlier)
        super().__init__(
            invoice,
            (
                f"{earlier.amount} of the same payment on {invoice.number} was already {past_verb} on "
                f"{earlier.created_at:%Y-%m-%d at %H:%M:%S} UTC by {earlier.operator} ({earlier.id}, {earlier.state})"
                f"{what_is_not_known(earlier)}."
            ),
            why=f"the same amount was {past_verb} before",
            hint="\n".join(filter(None, [self.finish_words, repeat_words])),
        )
        self.context["refund"] = earlier.id


def _command(command: str, invoice: "Invoice", amount: Money | None, reason: RefundReason | None) -> str:
    """The whole command with what the operator typed; no amount means --full."""
    amount_option = f"--amount {amount.number}" if amount else "--full"
    return f"refundcli {command} {shlex.quote(invoice.number)} {amount_option} --reason {reason or 'REASON'}"


def _record_chargeback(invoice: "Invoice") -> str:
    return _command("mark-refunded", invoice, None, RefundReason.CHARGEBACK)


def _for_unpaid(invoice: "Invoice") -> str:
    """The next step for an unpaid invoice."""
    void_command, write_off_command = f"refundcli void {invoice.number}", f"refundcli uncollectible {invoice.number}"
    command_by_status = {
        InvoiceStatus.OPEN: f"{void_command}   or   {write_off_command}",
        InvoiceStatus.UNCOLLECTIBLE: void_command,
    }
    return command_by_status.get(invoice.status, f"refundcli invoice show {invoice.number}   shows what can be done")


# Several refusals at once are reported in this order; the first gives the code.
PRECEDENCE = (
    "already-closed",
    "closing-unfinished",
    "not-issued",
    "not-paid",
    "already-paid",
    "nothing-to-refund",
    "use-refund",
    "not-auto-refundable",
    "currently-processing",
    "disputed",
    "dispute-closed",
    "dispute-lost",
    "chargeback-recorded",
    "unreviewed-event",
    "unsupported-refund",
    "over-refund",
    "possible-duplicate",
)


def most_important(refusals: Iterable[RuleRefusal]) -> RuleRefusal | None:
    return min(refusals, key=lambda refusal: PRECEDENCE.index(refusal.code), default=None)
