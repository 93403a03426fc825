"""An invoice on a terminal: what it is, how much is left, what happened, what may be done."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from refundcli.domain.closing import Closing
from refundcli.domain.dispute import DisputeRecord
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import ClosingState, CreditNoteStatus, Dispute, InvoiceStatus, RefundKind, RefundState
from refundcli.output.terminal import BAD, DOUBT, GOOD, QUIET, STRONG, Line, Screen, local_time
from refundcli.output.views.closing import verdict

if TYPE_CHECKING:
    from refundcli.domain.eligibility import PossibleAction
    from refundcli.services.ports.reads import AuditEntry

_LIST_COLUMNS = ("Number", "Status", "Customer", "Total", "Refunded", "Left", "Currency", "Issued")

_STATE_WORDS = {
    RefundState.READY: "not sent yet",
    RefundState.SUBMITTED: "not confirmed",
    RefundState.PENDING: "accepted, not final",
}
_STATE_STYLES = {
    RefundState.SUCCEEDED: GOOD,
    RefundState.RECORDED: GOOD,
    RefundState.FAILED: BAD,
    RefundState.REVERSED: BAD,
}
_STATUS_STYLES = {InvoiceStatus.PAID: GOOD, InvoiceStatus.OPEN: DOUBT, InvoiceStatus.REFUNDED: STRONG}


def status_words(invoice: Invoice) -> str:
    """`Paid · partly refunded · in dispute`: in words, never in colour alone."""
    words = [invoice.status.label]
    if invoice.partially_refunded:
        words.append("partly refunded")
    if invoice.processing:
        words.append("currently processing")
    if invoice.dispute:
        words.append("in dispute" if invoice.dispute is Dispute.OPEN else f"dispute {invoice.dispute}")
    return " · ".join(words)


def list_row(invoice: Invoice) -> tuple[str, ...]:
    return (
        invoice.number,
        status_words(invoice),
        invoice.customer_name or invoice.customer,
        invoice.total.number,
        invoice.refunded.number,
        invoice.refundable.number,
        invoice.currency.code,
        str(invoice.issued_on),
    )


def show_list(invoices: Sequence[Invoice], screen: Screen) -> None:
    """Fewer columns on a narrow terminal; a pipe and JSON have them all."""
    hidden_columns = ("Refunded", "Issued") if screen.is_narrow else ()
    columns = [column for column in _LIST_COLUMNS if column not in hidden_columns]
    rows = (
        [cell for column, cell in zip(_LIST_COLUMNS, list_row(invoice), strict=True) if column in columns]
        for invoice in invoices
    )
    screen.table(columns, rows, right=("Total", "Refunded", "Left"), whole=("Number", "Currency", "Issued"))


class InvoiceTotals:
    """The sums of a list by currency, as it is shown page by page."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, tuple[Money, Money, Money]] = {}

    def add(self, page: Sequence[Invoice]) -> None:
        self.count += len(page)
        for invoice in page:
            amounts = (invoice.total, invoice.refunded, invoice.refundable)
            before = self._sums.get(invoice.currency.code)
            self._sums[invoice.currency.code] = (
                (before[0] + amounts[0], before[1] + amounts[1], before[2] + amounts[2]) if before else amounts
            )

    def show(self, screen: Screen) -> None:
        screen.blank()
        screen.say(f"{self.count:,} {'invoice' if self.count == 1 else 'invoices'} shown")
        for total, refunded, refundable in self._sums.values():
            screen.say("Total ", (str(total), STRONG), f", refunded {refunded}, left to refund {refundable}")


def show_choice(invoices: Sequence[Invoice], screen: Screen) -> None:
    """Numbered, so that one can be chosen."""
    columns = ("", "Number", "Customer", "Status", "Total", "Left", "Currency", "Issued")
    rows = (
        (
            str(place),
            invoice.number,
            invoice.customer_name or invoice.customer,
            status_words(invoice),
            invoice.total.number,
            invoice.refundable.number,
            invoice.currency.code,
            str(invoice.issued_on),
        )
        for place, invoice in enumerate(invoices, 1)
    )
    screen.table(columns, rows, right=("", "Total", "Left"), whole=("Number", "Currency", "Issued"))


def show_invoice(invoice: Invoice, screen: Screen, *, zone: ZoneInfo, mode: str) -> None:
    """`mode`: `live mode` or `test mode`, empty while the store is in neither."""
    from refundcli.domain.eligibility import possible_actions

    _heading(invoice, screen, mode)
    screen.blank()
    _sums(invoice, screen)
    if invoice.payments and (len(invoice.payments) > 1 or any(map(_is_remarkable, invoice.payments))):
        _payments(invoice, screen)
    if invoice.refunds:
        _refunds(invoice.refunds, screen, zone)
    _closings([closing for closing in invoice.closings if closing.state is not ClosingState.DONE], screen, zone)
    _goods(invoice, screen)
    _actions(possible_actions(invoice), screen)
    if numbers := [note_words(refund) for refund in invoice.refunds if note_words(refund)]:
        number = numbers[-1].removesuffix(" (void)")
        screen.say(("✓ ", GOOD), f"{'document':<15}", f"refundcli credit-notes export {number}", indent=3)


def show_history(
    invoice: Invoice, entries: Sequence["AuditEntry"], screen: Screen, *, zone: ZoneInfo, inner: bool
) -> None:
    """When, who, what; `inner` adds keys, leases and fences."""
    screen.say((invoice.number, STRONG), f"   {status_words(invoice)}")
    screen.blank()
    screen.entries([_history_line(entry, invoice, zone, inner=inner) for entry in entries])


def _history_line(entry: "AuditEntry", invoice: Invoice, zone: ZoneInfo, *, inner: bool) -> tuple[Line, str]:
    action = _ACTIONS.get(entry.action, entry.action)
    subject = entry.subject if entry.subject != invoice.number else ""
    cells = ((local_time(entry.at, zone), QUIET), (who(entry), ""), (action, STRONG))
    return cells, "   ".join(filter(None, (changes(entry, inner=inner), subject)))


def who(entry: "AuditEntry") -> str:
    """The operator, and the login where it is another name."""
    return f"{entry.operator} ({entry.login})" if entry.login not in ("", entry.operator) else entry.operator


def audit_line(entry: "AuditEntry", zone: ZoneInfo) -> tuple[str | tuple[str, str], ...]:
    """One entry among those of all invoices."""
    when = (f"{entry.seq:>6}   {local_time(entry.at, zone)}   ", QUIET)
    return when, f"{who(entry)}   ", (entry.action, STRONG), f"   {entry.subject}   {changes(entry, inner=False)}"


# What the screen calls actions that the audit trail stores under older names.
_ACTIONS = {
    "refund made elsewhere seen": "external refund detected",
    "refund held": "refund amount reserved again",
    "hold lapsed": "reservation expired",
    "share counted": "share of the payment recalculated",
    "word decided": "code decision recorded",
    "word decision ended": "code decision withdrawn",
    "closing submitted": "void or write-off submitted",
    "closing outcome not known": "outcome of void or write-off not known",
    "record matched at the provider": "record matched with an external refund",
    "provider account seen": "first used with this provider account",
    "run begun": "run started",
}
# Keys of the sending protocol: shown with `--verbose` and in `-o json` only.
_INNER = frozenset({"fence", "lease_owner", "idempotency_key", "request_key", "kind", "state", "invoice", "status"})


def changes(entry: "AuditEntry", *, inner: bool = True) -> str:
    """`state ready → submitted, provider_reference re_1`: what changed, in one line. `inner`: with the inner keys."""
    change_words = []
    for field_name, value_after in entry.after.items():
        if not inner and field_name in _INNER:
            continue
        value_before = entry.before.get(field_name)
        field_words = field_name.replace("_", " ")
        change_words.append(
            f"{field_words} {value_before} → {value_after}"
            if value_before not in (None, "", value_after)
            else f"{field_words} {value_after}"
        )
    return ", ".join(change_words)


def _heading(invoice: Invoice, screen: Screen, mode: str) -> None:
    style = _STATUS_STYLES.get(invoice.status, "")
    screen.say((invoice.number, STRONG), "   ", (status_words(invoice), style), (f"   {mode}", QUIET))
    customer_words = f"{invoice.customer_name} ({invoice.customer})" if invoice.customer_name else invoice.customer
    if invoice.customer_email:
        customer_words = f"{customer_words}, {invoice.customer_email}"
    date_words = [f"issued {invoice.issued_on}"]
    if invoice.due_on and not invoice.paid:
        date_words.append(f"due {invoice.due_on}")
    if invoice.paid:
        date_words.append(_paid_words(invoice))
    screen.say(customer_words, *((f"   {words}", "") for words in date_words))


def _paid_words(invoice: Invoice) -> str:
    paid_words = f"paid {invoice.paid_on}" if invoice.paid_on else "paid"
    return (
        f"{paid_words} {_way(invoice.payments[0])}"
        if len(invoice.payments) == 1
        else f"{paid_words} in several payments"
    )


def _way(payment: Payment) -> str:
    method_words = f"by {_method(payment)} " if payment.method or payment.card_last4 else ""
    if payment.provider is None:
        return f"{method_words}outside Stripe and Adyen".strip()
    reference_words = f" ({payment.reference})" if payment.reference else ""
    return f"{method_words}through {payment.provider.label}{reference_words}"


def _method(payment: Payment) -> str:
    """`visa ••4242` of a card whose last four digits are known."""
    return f"{payment.card_brand or 'card'} ••{payment.card_last4}" if payment.card_last4 else payment.method


def _sums(invoice: Invoice, screen: Screen) -> None:
    sum_words = [f"Total {invoice.total}", f"Refunded {invoice.refunded.number}", f"Reserved {invoice.reserved.number}"]
    if invoice.paid != invoice.total:
        sum_words.insert(1, f"Paid {invoice.paid.number}")
    refundable_words = ("Left to refund ", (str(invoice.refundable), STRONG))
    if screen.is_narrow:
        screen.say("    ".join(sum_words), indent=3)
        screen.say(*refundable_words, indent=3)
    else:
        screen.say("    ".join([*sum_words, ""]), *refundable_words, indent=3)


def _is_remarkable(payment: Payment) -> bool:
    notable = (payment.disputes, payment.unreviewed, payment.refunded_externally, payment.credited, payment.loss)
    return any(notable) or payment.processing or len(payment.references) > 1 or bool(payment.other_shares)


def _payments(invoice: Invoice, screen: Screen) -> None:
    screen.blank()
    screen.say(("Payments", STRONG))
    screen.entries(
        [
            (
                (
                    (payment.reference or _way(payment), ""),
                    (f"{payment.captured} captured", ""),
                    (f"{payment.refundable.number} left", ""),
                ),
                _payment_notes(payment),
            )
            for payment in invoice.payments
        ],
        right=(1, 2),
    )


def _payment_notes(payment: Payment) -> str:
    notes = list(payment.references[1:])
    if payment.other_shares:
        notes.append(f"shared with {', '.join(share.invoice_number for share in payment.other_shares)}")
        notes += [
            f"{refund.amount} refunded externally ({refund.provider_reference}), listed with {share.invoice_number}"
            for share in payment.other_shares
            for refund in share.refunds
            if refund.is_unadopted
        ]
    if payment.refunded_externally:
        notes.append(f"{payment.refunded_externally.number} refunded externally")
    if payment.processing:
        notes.append("currently processing")
    notes += [_dispute_words(dispute) for dispute in payment.disputes]
    if payment.credited:
        notes.append(f"{payment.credited} credited to the customer's balance")
    if payment.loss:
        notes.append(f"loss of {payment.loss}: refunds and lost disputes exceed the captured amount")
    notes += [f"event {update.event_id}, {update.word}: {update.why}" for update in payment.unreviewed if update.blocks]
    return ", ".join(notes)


def _dispute_words(dispute: DisputeRecord) -> str:
    """`dispute dp_1 lost (30.00 EUR)`"""
    reference_words = f" {dispute.reference}" if dispute.reference else ""
    amount_words = f" ({dispute.amount})" if dispute.amount else ""
    return f"dispute{reference_words} {dispute.state}{amount_words}"


def _refunds(refunds: Sequence[Refund], screen: Screen, zone: ZoneInfo) -> None:
    screen.blank()
    screen.say(("Refunds", STRONG))
    has_undecided = any(refund.undecided and refund.state.is_accepted for refund in refunds)
    screen.entries(
        [
            (
                (
                    (local_time(refund.created_at, zone), ""),
                    (str(refund.amount), ""),
                    (refund.reason.label if refund.reason else "external refund", ""),
                    (_STATE_WORDS.get(refund.state, refund.state.value), _STATE_STYLES.get(refund.state, DOUBT)),
                    (note_words(refund), ""),
                ),
                _identity(refund, names_records=has_undecided),
            )
            for refund in refunds
        ],
        right=(1,),
    )


def _closings(closings: Sequence[Closing], screen: Screen, zone: ZoneInfo) -> None:
    """Unconfirmed and declined closings; one that succeeded shows in the invoice's status."""
    if not closings:
        return
    screen.blank()
    screen.say(("Closing", STRONG))
    screen.entries(
        [
            (
                (
                    (local_time(closing.created_at, zone), ""),
                    (verdict(closing), BAD if closing.state is ClosingState.FAILED else DOUBT),
                ),
                closing.failure or f"refundcli resume {closing.id}",
            )
            for closing in closings
        ]
    )


def _identity(refund: Refund, *, names_records: bool) -> str:
    """The refund's reference at the provider or the bank, and the next step, if there is one.

    `names_records`: show the ids of records, because an external refund may be the same as one of them.
    """
    reference_words = "   ".join(filter(None, (refund.provider_reference, _recorded_way(refund))))
    if refund.failure:
        reference_words = f"{reference_words or refund.id}   {refund.failure}"
    if refund.reversed_amount:
        reference_words = f"{reference_words}   {refund.reversed_amount} of it came back to you"
    if refund.has_failed_at_provider:
        return f"{reference_words}   next: refundcli mark-refunded --undo {refund.id} --memo TEXT"
    if refund.needs_acknowledgement:
        return f"{reference_words}   next: refundcli acknowledge {refund.id}"
    if refund.is_external and refund.undecided and refund.state.is_accepted:
        return f"{reference_words}   recorded by hand? refundcli reconcile --match {refund.id} --record REFUND"
    if refund.kind is RefundKind.RECORD and names_records and not refund.provider_reference:
        return f"{reference_words}   {refund.id}".strip()
    if refund.is_external and refund.credit_note is None and refund.state.is_accepted:
        return f"{reference_words}   refundcli reconcile --adopt {refund.id} --reason REASON"
    return reference_words or refund.id


def _recorded_way(refund: Refund) -> str:
    """How it was returned, and when; a reference that is the provider's own is not shown twice."""
    out_of_band = refund.out_of_band
    if out_of_band and refund.provider_reference == out_of_band.reference:
        out_of_band = replace(out_of_band, reference="")
    return out_of_band.words if out_of_band else ""


def note_words(refund: Refund) -> str:
    """The credit note beside its refund; a void one says so."""
    note = refund.credit_note
    if note is None or note.number is None:
        return ""
    return f"{note.number} (void)" if note.status is CreditNoteStatus.VOID else note.number


def _goods(invoice: Invoice, screen: Screen) -> None:
    if not (invoice.products or invoice.subscription):
        return
    screen.blank()
    if invoice.products:
        screen.say(("Products", STRONG), f"     {', '.join(invoice.products)}")
    if invoice.subscription:
        screen.say(("Subscription", STRONG), f" {invoice.subscription} (still active)")


def _actions(actions: "Sequence[PossibleAction]", screen: Screen) -> None:
    screen.blank()
    screen.say(("Actions", STRONG))
    for possible_action in actions:
        action_words = f"{possible_action.action.value:<15}"
        if possible_action.blocker is None:
            screen.say(("✓ ", GOOD), action_words, possible_action.command, indent=3)
        else:
            screen.say(
                ("✗ ", BAD),
                action_words,
                possible_action.blocker.why,
                (f" ({possible_action.blocker.code})", QUIET),
                indent=3,
            )
