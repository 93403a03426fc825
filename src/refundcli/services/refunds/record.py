"""Record an external refund. No money moves, and this module cannot reach a provider (R2)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from refundcli.domain.eligibility import Action, Intent, mark_refunded_blockers
from refundcli.domain.errors import NotFound, Refused, UsageProblem
from refundcli.domain.identifiers import new_id
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money, zero
from refundcli.domain.next_steps import adopt_command
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import OutOfBand, Refund
from refundcli.domain.refusals import OverRefund
from refundcli.domain.statuses import RefundKind, RefundState
from refundcli.services.dispatch.idempotency_keys import content_of, existing_refunds, is_generated
from refundcli.services.dispatch.release_lapsed import is_due
from refundcli.services.invoices.allocation import ChangedMeanwhile, Share, refuse_duplicate, shares_of, total_of
from refundcli.services.invoices.lookup import invoice_behind, invoice_named
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.records import Record


@dataclass(frozen=True, slots=True)
class MarkRequest:
    """What was refunded externally. No amount means all that remains; `amount_text` is the amount as typed.

    `allow_duplicate`: allow any repeat, even of a known external refund. `repeat_agreed`: only of a recent record.
    """

    number: str
    amount: Money | None
    amount_text: str
    reason: RefundReason
    request_key: str
    operator: str
    memo: str = ""
    payment: str = ""
    dispute_decision: str = ""
    out_of_band: OutOfBand = field(default_factory=OutOfBand)
    allow_duplicate: bool = False
    repeat_agreed: bool = False

    @property
    def intent(self) -> Intent:
        is_after_failed = bool(self.out_of_band.after_failed)
        return Intent(self.reason, self.dispute_decision, after_failed=is_after_failed, amount=self.amount)

    @property
    def may_repeat(self) -> bool:
        """Is a repeat within minutes intended? The caller's own key means yes, as --allow-duplicate does."""
        return self.allow_duplicate or self.repeat_agreed or not is_generated(self.request_key)

    @property
    def content(self) -> str:
        out_of_band = self.out_of_band
        return content_of(
            {
                "kind": RefundKind.RECORD,
                "invoice": self.number,
                "amount": self.amount_text or "full",
                "reason": self.reason,
                "memo": self.memo,
                "payment": self.payment,
                "dispute_decision": self.dispute_decision,
                "method": out_of_band.method,
                "reference": out_of_band.reference,
                "refunded_on": out_of_band.refunded_on and out_of_band.refunded_on.isoformat(),
                "after_failed": out_of_band.after_failed,
                "evidence": out_of_band.evidence,
            }
        )


@dataclass(frozen=True, slots=True)
class MarkPreview:
    invoice: Invoice
    shares: tuple[Share, ...]
    existing: tuple[Refund, ...] = ()

    @property
    def total(self) -> Money:
        return total_of(self.shares)


class RefundedInFuture(UsageProblem):
    code = "refunded-in-future"

    def __init__(self, day: date, today: date) -> None:
        super().__init__(
            (
                f"The money cannot have been returned on {day}: today is {today}, and a refund can only be "
                "recorded after it has been made."
            ),
            hint="Give the day on which the money was returned, as YYYY-MM-DD, or leave it out.",
            context={"refunded_on": day.isoformat(), "not_after": today.isoformat()},
        )


class RefundedTooEarly(UsageProblem):
    """Money cannot be returned before the invoice was issued or paid."""

    code = "refunded-too-early"

    def __init__(self, invoice: Invoice, day: date, earliest_day: date, event: str) -> None:
        super().__init__(
            f"The money cannot have been returned on {day}: {invoice.number} was {event} on {earliest_day}.",
            hint=f"Give the day on which the money was returned, {earliest_day} or later, or leave it out.\n"
            f"refundcli invoice show {invoice.number}   shows the dates of the invoice",
            context={"invoice": invoice.number, "refunded_on": day.isoformat(), "not_before": earliest_day.isoformat()},
        )


class FailedRefundNotFound(NotFound):
    code = "refund-not-found"

    def __init__(self, refund_id: str, invoice_number: str) -> None:
        super().__init__(
            f"{invoice_number} has no refund {ascii(refund_id[:80])[1:-1]}.",
            hint=f"refundcli invoice show {invoice_number}   lists its refunds",
        )


class NotFailed(Refused):
    """--after-failed is only for a refund that failed for good; any other may still pay out."""

    code = "not-failed"

    def __init__(self, refund: Refund) -> None:
        super().__init__(
            (f"{refund.id} has the status {refund.state}: only a refund that failed can be replaced by a record."),
            hint=f"refundcli invoice show {refund.invoice_number}",
        )


class AlreadyRecorded(Refused):
    code = "already-recorded"

    def __init__(self, failed_refund: Refund) -> None:
        super().__init__(
            f"All {failed_refund.amount} of the failed refund {failed_refund.id} is already recorded.",
            hint=f"refundcli invoice show {failed_refund.invoice_number}   lists the records",
            context={"refund": failed_refund.id, "invoice": failed_refund.invoice_number},
        )


class KnownAsExternal(Refused):
    """An unadopted external refund has this amount, and may be the same refund (R12)."""

    code = "possible-duplicate"

    def __init__(self, invoice: Invoice, external_refund: Refund, reason: RefundReason) -> None:
        provider_reference = external_refund.provider_reference
        super().__init__(
            (
                f"{external_refund.provider.label if external_refund.provider else 'The provider'} reported a "
                f"refund of {external_refund.amount} on the same payment ({provider_reference}). It is already "
                "included in the refunded amount, and may be this one."
            ),
            hint=f"If it is: {adopt_command(provider_reference, invoice=invoice.number, reason=reason)}\n"
            "If this is another refund, add --allow-duplicate.",
            context={"invoice": invoice.number, "rule": "R12", "refund": external_refund.id},
        )


class EvidenceNeeded(UsageProblem):
    code = "evidence-needed"

    def __init__(self) -> None:
        super().__init__(
            "--after-failed needs --evidence: how the money was returned, and who can confirm it.",
            hint='Add --evidence "bank transfer 2026-11-20, ref 4711, confirmed by …"',
        )


@dataclass(frozen=True, slots=True)
class RecordRefunds:
    """Records one refund that was made by other means.

    `bring_up_to_date` applies what is stored about the invoice, which may report the very refund that is recorded.
    """

    books: Books
    clock: Clock
    credit_note_format: str
    bring_up_to_date: Callable[[Writing, str], Invoice] = field(default=invoice_named)

    def invoice(self, number_or_id: str, *, is_dry_run: bool = False) -> Invoice:
        """The invoice, up to date unless it is a dry run. Raises InvoiceNotFound, SeveralInvoices."""
        invoice = self.books.read(lambda tx: invoice_behind(tx, number_or_id))
        if not is_dry_run and is_due(invoice, self.clock.now()):
            return self.books.write(lambda tx: self.bring_up_to_date(tx, invoice.number))
        return invoice

    def preview(self, request: MarkRequest) -> MarkPreview:
        """Check every rule, change nothing. The key is looked up before any rule is checked."""
        return self.books.read(lambda tx: self._preview_in(tx, request))

    def record(self, request: MarkRequest, *, confirmed: Money) -> list[Refund]:
        """Record it: one refund and one issued credit note for each payment, in one transaction (R7).

        `confirmed`: the amount that the operator confirmed. Raises the first refusal, or ChangedMeanwhile.
        """
        return self.books.write(lambda tx: self._record_in(tx, request, confirmed))

    def _preview_in(self, reading: Reading, request: MarkRequest) -> MarkPreview:
        earlier_refunds = existing_refunds(reading, request.request_key, request.content)
        invoice = invoice_named(reading, request.number)
        if earlier_refunds:
            return MarkPreview(invoice, (), tuple(earlier_refunds))
        shares = mark_shares(invoice, request, today=self.clock.today())
        if request.amount and not request.may_repeat:
            refuse_duplicate(invoice, shares, request.reason, now=self.clock.now(), repeat_verb="record")
        return MarkPreview(invoice, tuple(shares))

    def _record_in(self, tx: Writing, request: MarkRequest, confirmed: Money) -> list[Refund]:
        self.bring_up_to_date(tx, request.number)
        plan = self._preview_in(tx, request)
        if plan.existing:
            return list(plan.existing)
        if plan.total != confirmed:
            raise ChangedMeanwhile(plan.invoice, confirmed, plan.total)
        failed_refund = tx.refunds.get(request.out_of_band.after_failed) if request.out_of_band.after_failed else None
        if failed_refund and failed_refund.needs_acknowledgement:
            # Recording the return also acknowledges the failure and releases its amount.
            tx.refunds.acknowledge(failed_refund, memo=f"refunded by other means: {request.out_of_band.evidence}")
        parts = [(share.payment.id, share.amount, is_charged_back(share, request.reason)) for share in plan.shares]
        records = records_of(request, plan.invoice.id, parts, recorded_at=self.clock.now())
        tx.records.add(records, on=self.clock.today(), credit_note_format=self.credit_note_format)
        return [tx.refunds.get(record.refund.id) or record.refund for record in records]


def mark_shares(invoice: Invoice, request: MarkRequest, *, today: date) -> list[Share]:
    """The payments that are recorded, with their amounts. Raises the first refusal."""
    out_of_band = request.out_of_band
    if out_of_band.refunded_on and out_of_band.refunded_on > today:
        raise RefundedInFuture(out_of_band.refunded_on, today)
    amount, payment_reference = request.amount, request.payment
    if out_of_band.after_failed:
        failed_refund, unrecorded_amount = _after_failed(invoice, out_of_band)
        if not unrecorded_amount:
            raise AlreadyRecorded(failed_refund)
        invoice = _without_hold(invoice, failed_refund)
        amount = amount or unrecorded_amount
        if unrecorded_amount < amount:
            raise OverRefund(invoice, amount, unrecorded_amount, reason=request.reason, command=Action.MARK_REFUNDED)
        payment_reference = next(
            payment.reference for payment in invoice.payments if payment.id == failed_refund.payment_id
        )
    if amount and not (request.allow_duplicate or out_of_band.after_failed):
        _refuse_known(invoice, [Share(payment, amount) for payment in invoice.payments], request.reason)
    shares = shares_of(
        invoice,
        amount,
        kind=RefundKind.RECORD,
        blockers=mark_refunded_blockers,
        intent=request.intent,
        reference=payment_reference,
    )
    if out_of_band.refunded_on:
        _refuse_too_early(invoice, shares, out_of_band.refunded_on)
    if not (request.allow_duplicate or out_of_band.after_failed):
        _refuse_known(invoice, shares, request.reason)
    return shares


def _refuse_too_early(invoice: Invoice, shares: Sequence[Share], day: date) -> None:
    """Raises RefundedTooEarly. If an invoice has one payment, that payment has the invoice's date of payment."""
    dated_events = [(invoice.issued_on, "issued")]
    if len(invoice.payments) == 1 and invoice.paid_on:
        dated_events.append((invoice.paid_on, "paid"))
    dated_events += [(share.payment.paid_on, "paid") for share in shares if share.payment.paid_on]
    earliest_day, event = max(dated_events)
    if day < earliest_day:
        raise RefundedTooEarly(invoice, day, earliest_day, event)


def _refuse_known(invoice: Invoice, shares: list[Share], reason: RefundReason) -> None:
    """Raises KnownAsExternal if it may be the same as an unadopted external refund."""
    unadopted_refunds = [refund for refund in invoice.refunds_of_payments if refund.is_unadopted]
    if not unadopted_refunds:
        return
    requested_amounts = {(share.payment.home_id, share.amount) for share in shares}
    home_by_payment_id = {
        payment_id: payment.home_id
        for payment in invoice.payments
        for payment_id in (payment.id, *(sibling.payment_id for sibling in payment.other_shares))
    }
    for refund in unadopted_refunds:
        if (home_by_payment_id.get(refund.payment_id), refund.amount) in requested_amounts:
            raise KnownAsExternal(invoice, refund, reason)


def _without_hold(invoice: Invoice, failed_refund: Refund) -> Invoice:
    """The invoice without the amount reserved for the failed refund, which the record replaces."""
    if not failed_refund.holding:
        return invoice
    payments = (
        replace(payment, reserved=payment.reserved - failed_refund.counted)
        if payment.id == failed_refund.payment_id
        else payment
        for payment in invoice.payments
    )
    return replace(invoice, payments=tuple(payments))


def records_of(
    request: MarkRequest,
    invoice_id: int,
    payment_parts: Iterable[tuple[int, Money, bool]],
    *,
    recorded_at: datetime,
    run_id: str = "",
) -> list[Record]:
    """The records to store: one refund for each payment, with its amount and whether a lost dispute took it."""
    content = request.content
    return [
        Record(
            Refund(
                id=new_id("rf_", recorded_at),
                invoice_id=invoice_id,
                invoice_number=request.number,
                payment_id=payment_id,
                kind=RefundKind.RECORD,
                amount=amount,
                reason=request.reason,
                state=RefundState.RECORDED,
                request_key=request.request_key,
                content=content,
                created_at=recorded_at,
                operator=request.operator,
                memo=request.memo,
                dispute_decision=request.dispute_decision,
                out_of_band=request.out_of_band,
                run_id=run_id,
            ),
            charged_back,
        )
        for payment_id, amount, charged_back in payment_parts
    ]


def is_charged_back(share: Share, reason: RefundReason) -> bool:
    """Is it the amount that a lost dispute took through the bank (R11)?"""
    return reason is RefundReason.CHARGEBACK and bool(share.payment.taken_by_dispute)


def _after_failed(invoice: Invoice, out_of_band: OutOfBand) -> tuple[Refund, Money]:
    """The failed refund, and how much of it is not recorded yet. Raises NotFailed if it did not fail for good."""
    if not out_of_band.evidence.strip():
        raise EvidenceNeeded
    failed_refund = next((refund for refund in invoice.refunds if refund.id == out_of_band.after_failed), None)
    if failed_refund is None:
        raise FailedRefundNotFound(out_of_band.after_failed, invoice.number)
    if failed_refund.state is not RefundState.FAILED:
        raise NotFailed(failed_refund)
    recorded_amount = sum(
        (
            refund.amount
            for refund in invoice.refunds
            if refund.out_of_band
            and refund.out_of_band.after_failed == failed_refund.id
            and refund.state is RefundState.RECORDED
        ),
        zero(failed_refund.amount.currency),
    )
    return failed_refund, failed_refund.amount - recorded_amount
