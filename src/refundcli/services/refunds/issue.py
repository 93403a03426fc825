"""Refund through a provider: reserve, send once, store the outcome (DESIGN §4)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from refundcli.domain.eligibility import Intent
from refundcli.domain.errors import Refused, before_sending
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund, Sending
from refundcli.domain.refusals import NothingToRefund, OverRefund
from refundcli.domain.statuses import Provider, RefundKind, RefundState
from refundcli.domain.typed_amount import parse_typed_amount
from refundcli.services.dispatch.first_send import Snapshot
from refundcli.services.dispatch.idempotency_keys import content_of, existing_among, idempotency_key, refund_id
from refundcli.services.dispatch.leases import Lease, is_live, new_lease
from refundcli.services.dispatch.operations import is_unsent
from refundcli.services.dispatch.release_lapsed import is_due, up_to_date_in
from refundcli.services.dispatch.send_refund import RefundDispatch
from refundcli.services.invoices.allocation import ChangedMeanwhile, Share, refund_shares, refuse_duplicate, total_of
from refundcli.services.invoices.lookup import invoice_behind, invoice_named, payment_behind
from refundcli.services.ports.books import Books, Reading, RefundReading, Writing
from refundcli.services.ports.provider_updates import PaymentSnapshot
from refundcli.services.ports.providers import PaymentProvider, Providers, RefundOrder
from refundcli.services.preflight.payment import (
    PlannedRefund,
    PlannedRefunds,
    Snapshots,
    claims,
    has_findings,
    refuse_counted,
    refuse_differences,
    snapshots_of,
    store_findings,
)
from refundcli.services.refunds.credit_note_number_format import refuse_changed_format


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """What the operator requested. No amount means all that remains; `amount_text` is the amount as typed."""

    number: str
    amount: Money | None
    amount_text: str
    reason: RefundReason
    request_key: str
    operator: str
    memo: str = ""
    payment: str = ""
    dispute_decision: str = ""
    allow_duplicate: bool = False

    @property
    def intent(self) -> Intent:
        return Intent(reason=self.reason, dispute_decision=self.dispute_decision, amount=self.amount)

    @property
    def content(self) -> str:
        return content_of(
            {
                "kind": RefundKind.PROVIDER,
                "invoice": self.number,
                "amount": self.amount_text or "full",
                "reason": self.reason,
                "memo": self.memo,
                "payment": self.payment,
                "dispute_decision": self.dispute_decision,
            }
        )


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be done. `existing` is set if the request key was used before with the same content.

    `attempts`: earlier refunds under this key, all of which failed for good.
    """

    invoice: Invoice
    shares: Sequence[Share]
    existing: Sequence[Refund] = ()
    attempts: Sequence[Refund] = ()

    @property
    def total(self) -> Money:
        return total_of(self.shares)


class UnsettledRefund(Refused):
    """An earlier refund of the payment is unfinished, and its outcome is not known yet."""

    code = "unsettled-refund"

    def __init__(self, earlier_refund: Refund) -> None:
        super().__init__(
            f"{earlier_refund.id}, {earlier_refund.amount} of the same payment, is unfinished: "
            "its outcome is not known yet.",
            hint=f"refundcli resume {earlier_refund.id}     (asks the provider; sends it only if it never arrived)\n"
            f"or, if it was never sent: refundcli resolve {earlier_refund.id} --not-executed --evidence TEXT",
            context={"refund": earlier_refund.id, "invoice": earlier_refund.invoice_number},
        )
        self.earlier = earlier_refund


def preview(reading: RefundReading, request: RefundRequest, *, now: datetime) -> Preview:
    """Check every rule, change nothing. The key is looked up before any rule is checked."""
    attempts = reading.refunds.by_key(request.request_key)
    return plan_for(request, invoice_named(reading, request.number), attempts, now=now)


def plan_for(request: RefundRequest, invoice: Invoice, attempts: Sequence[Refund], *, now: datetime) -> Preview:
    """The same for an invoice that was read before, and the refunds made under the key by then."""
    existing_refunds = existing_among(attempts, request.request_key, request.content)
    if existing_refunds:
        return Preview(invoice, (), existing_refunds)
    shares = refund_shares(invoice, request.intent, request.payment)
    # A refund of all that is left repeats no earlier one, whose amount is no longer left.
    if request.amount and not request.allow_duplicate:
        refuse_duplicate(invoice, shares, request.reason, now=now)
    return Preview(invoice, shares, attempts=attempts)


def left_behind(plan: Preview, *, now: datetime) -> list[Refund]:
    """Unfinished refunds of the same payments that no live process is working on."""
    payment_ids = {share.payment.id for share in plan.shares}
    return [
        refund
        for refund in plan.invoice.refunds
        if refund.payment_id in payment_ids and refund.state.unfinished
        if refund.sending and not is_live(refund.sending, now)
    ]


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """A request that every rule allows, and what it would do by the books as of the audit entry `entry`.

    `unread`: providers whose stored events must be read again first.
    """

    request: RefundRequest
    preview: Preview
    entry: int
    unread: Sequence[Provider] = ()


@dataclass(frozen=True, slots=True)
class IssueRefunds:
    """Refunds one invoice through its provider.

    `unread_events`: providers whose stored events must be read again, which `read_events` does. It raises EventsNotRead
    in a dry run.
    """

    books: Books
    providers: Providers
    dispatch: RefundDispatch
    unread_events: Callable[[Reading], Sequence[Provider]] = field(default=lambda reading: ())
    read_events: Callable[[Sequence[Provider]], None] = field(default=lambda providers: None)

    def check(self, request: RefundRequest, *, is_dry_run: bool = False) -> CheckedRequest:
        """Check every rule in one read. Raises the first refusal.

        What is stored and not applied yet is applied first; a dry run only refuses because of it.
        """
        checked = self.books.read(lambda tx: self._checked(tx, request, may_wait=not is_dry_run))
        if isinstance(checked, CheckedRequest):
            self.read_events(checked.unread)
            return checked
        self.read_events(checked)
        self.books.write(lambda tx: self._brought_up_to_date(tx, invoice_behind(tx, request.number).number))
        return self.check(request, is_dry_run=True)

    def invoice(self, number_or_id: str, *, is_dry_run: bool = False) -> Invoice:
        """The invoice with what is stored about it applied, as `check` does, for questions before the check."""
        invoice, unread = self.books.read(lambda tx: (self._invoice(tx, number_or_id), self.unread_events(tx)))
        if not is_dry_run and (unread or is_due(invoice, self.dispatch.clock.now())):
            self.read_events(unread)
            return self.books.write(lambda tx: self._brought_up_to_date(tx, invoice.number))
        return invoice

    def _invoice(self, reading: Reading, number_or_id: str) -> Invoice:
        invoice = invoice_behind(reading, number_or_id)
        refuse_changed_format(reading, self.dispatch.policy.credit_note_format)
        return invoice

    def _checked(
        self, reading: Reading, request: RefundRequest, *, may_wait: bool
    ) -> CheckedRequest | Sequence[Provider]:
        """The providers to read again, if anything is to be applied first and it `may_wait` for that."""
        invoice = self._invoice(reading, request.number)
        payment = request.payment or payment_behind(invoice, request.number)
        request = replace(request, number=invoice.number, payment=payment)
        if request.amount_text and request.amount is None:
            request = replace(request, amount=parse_typed_amount(request.amount_text, invoice.currency))
        unread = self.unread_events(reading)
        if may_wait and (unread or is_due(invoice, self.dispatch.clock.now())):
            return unread
        attempts = reading.refunds.by_key(request.request_key)
        plan = plan_for(request, invoice, attempts, now=self.dispatch.clock.now())
        return CheckedRequest(request, plan, reading.audit.newest_entry(), unread)

    def _brought_up_to_date(self, tx: Writing, number: str) -> Invoice:
        return up_to_date_in(tx, number, policy=self.dispatch.policy, clock=self.dispatch.clock)

    def preflight(self, checked: CheckedRequest) -> list[PaymentSnapshot]:
        """Ask the provider, change nothing. Raises DiffersFromProvider, AlreadyAtProvider, ProviderUnreachable."""
        request, plan = checked.request, checked.preview
        with before_sending():
            snapshots = snapshots_of(plan.invoice, plan.shares, self.providers)
            # The books are read again afterwards, so a refund made meanwhile is in both or in neither.
            self.books.read(lambda tx: _compare(tx, request, plan, invoice_named(tx, request.number), snapshots))
        return [snapshot for snapshot in snapshots.values() if snapshot]

    def issue(self, checked: CheckedRequest) -> list[Refund]:
        """Reserve all parts in one transaction (T1), then send each. Raises the first refusal.

        The total is what was checked, and perhaps confirmed: raises ChangedMeanwhile for another one.
        """
        plan = checked.preview
        if plan.existing:
            return list(plan.existing)
        # Credentials and accounts are looked up before the transaction: nothing inside it may wait for a network.
        with before_sending():
            providers = {share.payment.provider for share in plan.shares if share.payment.provider}
            connections = {provider: self.providers.of(provider) for provider in providers}
            asked_at = self.dispatch.clock.now()
            payment_snapshots = snapshots_of(plan.invoice, plan.shares, self.providers)
        if has_findings(plan.invoice, payment_snapshots):
            # A person must review them, even if the refund is refused (R13).
            self.books.write(lambda tx: store_findings(tx, plan.invoice, payment_snapshots))
        snapshots = {payment_id: Snapshot(payment, asked_at) for payment_id, payment in payment_snapshots.items()}
        existing_refunds: list[Refund] = []

        def reserve(tx: Writing) -> list[Refund]:
            current_plan = self._planned_again(tx, checked)
            existing_refunds[:] = current_plan.existing
            if existing_refunds:
                return []
            return self._reserve(tx, checked.request, current_plan, payment_snapshots, connections)

        refunds = self.dispatch.reserve_and_send(reserve, lambda refund: snapshots.get(refund.payment_id))
        # Another process reserved them under the same request key just now: whoever claims them sends them.
        return refunds or [
            self.dispatch.first_send(refund, snapshots.get(refund.payment_id))
            if is_unsent(refund) and refund.provider in connections
            else refund
            for refund in existing_refunds
        ]

    def _reserve(
        self,
        tx: Writing,
        request: RefundRequest,
        plan: Preview,
        snapshots: Snapshots,
        connections: Mapping[Provider, PaymentProvider],
    ) -> list[Refund]:
        own_refunds = _compare(tx, request, plan, plan.invoice, snapshots)
        now = self.dispatch.clock.now()
        lease = new_lease(now, self.dispatch.policy.sending_seconds)
        return reserve_in(tx, request, plan, own_refunds, providers=connections, lease=lease, reserved_at=now)

    def _planned_again(self, tx: Writing, checked: CheckedRequest) -> Preview:
        """The rules as of now. What was read before still holds if the books were not changed since.

        A stored event has no audit entry: only the claim of its payment sees it. So several payments are read again,
        because the others would be sent without the one that it blocks.
        """
        request, now = checked.request, self.dispatch.clock.now()
        invoice, attempts = checked.preview.invoice, checked.preview.attempts
        is_partly_sendable = len(checked.preview.shares) > 1
        # Fewer entries than before are a restored backup.
        if is_partly_sendable or tx.audit.newest_entry() != checked.entry or is_due(invoice, now):
            invoice = self._brought_up_to_date(tx, request.number)
            attempts = tx.refunds.by_key(request.request_key)
        plan = plan_for(request, invoice, attempts, now=now)
        return refuse_unsettled(plan, confirmed=checked.preview.total, now=now)


def _compare(
    reading: Reading, request: RefundRequest, plan: Preview, invoice: Invoice, snapshots: Snapshots
) -> PlannedRefunds:
    """What would be reserved, if the books agree with the snapshots. Raises DiffersFromProvider, AlreadyAtProvider."""
    own_refunds = planned_refunds(reading.store.secret(), request, plan)
    refuse_differences(invoice, snapshots, own_refunds, claim_differences=claims(reading, invoice, snapshots))
    return own_refunds


def planned_refunds(secret: bytes, request: RefundRequest, plan: Preview) -> PlannedRefunds:
    """The refunds that the request would reserve, by payment. After a restored backup the provider may have them."""
    return {share.payment.id: _planned_refund(secret, request, plan, share) for share in plan.shares}


def _planned_refund(secret: bytes, request: RefundRequest, plan: Preview, share: Share) -> PlannedRefund:
    """The next attempt under this request key for this payment, with its own id and idempotency key."""
    payment_reference = share.payment.reference
    attempt = 1 + max((refund.attempt for refund in plan.attempts if refund.payment_id == share.payment.id), default=0)
    return PlannedRefund(
        refund_id(secret, request.request_key, payment_reference, attempt),
        share.amount,
        attempt,
        idempotency_key(secret, request.request_key, payment_reference, attempt),
    )


def planned(reading: RefundReading, request: RefundRequest, *, confirmed: Money | None, now: datetime) -> Preview:
    """What T1 will reserve. Raises the first refusal, UnsettledRefund, or ChangedMeanwhile.

    `confirmed`: the amount that the operator confirmed; if None, it is not compared.
    """
    return refuse_unsettled(preview(reading, request, now=now), confirmed=confirmed, now=now)


def refuse_unsettled(plan: Preview, *, confirmed: Money | None, now: datetime) -> Preview:
    """The plan, if no earlier refund is in its way and its total is what was confirmed."""
    for earlier_refund in left_behind(plan, now=now):
        raise UnsettledRefund(earlier_refund)
    if confirmed is not None and not plan.existing and plan.total != confirmed:
        raise ChangedMeanwhile(plan.invoice, confirmed, plan.total)
    return plan


def reserve_in(
    tx: Writing,
    request: RefundRequest,
    plan: Preview,
    planned_refund_by_payment: PlannedRefunds,
    *,
    providers: Mapping[Provider, PaymentProvider],
    lease: Lease,
    reserved_at: datetime,
    run_id: str = "",
) -> list[Refund]:
    """T1: reserve the amount of each payment and store the exact request with its key, before sending (I2).

    Every request is prepared before the first amount is reserved, so an invalid one changes nothing.
    `planned_refund_by_payment`: the new refund's id and key, by payment id.
    """
    refuse_counted(plan.invoice, planned_refund_by_payment)
    refunds = [
        _ready(planned_refund_by_payment[share.payment.id], request, plan, share, providers, lease, reserved_at)
        for share in plan.shares
    ]
    for share, refund in zip(plan.shares, refunds, strict=True):
        payment = share.payment
        if not tx.payments.reserve(payment, share.amount):
            refundable_amount = payment.refundable
            if not refundable_amount:
                raise NothingToRefund(plan.invoice)
            raise OverRefund(
                plan.invoice, share.amount, refundable_amount, reason=request.reason, payment=request.payment
            )
        tx.refunds.add(replace(refund, run_id=run_id))
    return [replace(refund, run_id=run_id) for refund in refunds]


def _ready(
    own_refund: PlannedRefund,
    request: RefundRequest,
    plan: Preview,
    share: Share,
    providers: Mapping[Provider, PaymentProvider],
    lease: Lease,
    reserved_at: datetime,
) -> Refund:
    invoice, payment = plan.invoice, share.payment
    provider = providers.get(payment.provider) if payment.provider else None
    if provider is None:
        # The payment's provider was changed after the providers were connected.
        raise ChangedMeanwhile(invoice, share.amount, share.amount)
    order = RefundOrder(
        own_refund.refund_id, invoice.number, payment.reference, share.amount, request.reason, full=share.takes_all
    )
    return Refund(
        id=own_refund.refund_id,
        invoice_id=invoice.id,
        invoice_number=invoice.number,
        payment_id=payment.id,
        kind=RefundKind.PROVIDER,
        amount=share.amount,
        reason=request.reason,
        state=RefundState.READY,
        request_key=request.request_key,
        content=request.content,
        created_at=reserved_at,
        operator=request.operator,
        memo=request.memo,
        attempt=own_refund.attempt,
        # Leased from the start, so that no other process takes it for an abandoned refund.
        sending=Sending(
            own_refund.idempotency_key, provider.prepare(order), lease_owner=lease.owner, lease_until=lease.until
        ),
        dispute_decision=request.dispute_decision,
    )
