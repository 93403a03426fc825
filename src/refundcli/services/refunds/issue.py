"""Refund through a provider: reserve, send once, store the outcome (DESIGN §4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from refundcli.domain.eligibility import Intent, refund_blockers, why_not_by_method
from refundcli.domain.errors import Refused, before_sending
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund, Sending
from refundcli.domain.refusals import NothingToRefund, OverRefund, UnsupportedRefund
from refundcli.domain.statuses import Provider, RefundKind, RefundState
from refundcli.services.dispatch.first_send import CannotBeChecked, Snapshot, fail_unsent_in, send
from refundcli.services.dispatch.idempotency_keys import content_of, existing_among, idempotency_key, refund_id
from refundcli.services.dispatch.leases import Lease, is_live, new_lease
from refundcli.services.dispatch.release_lapsed import apply_due_updates, apply_due_updates_in
from refundcli.services.dispatch.send_refund import SendingPolicy
from refundcli.services.invoices.allocation import ChangedMeanwhile, Share, refuse_duplicate, shares_of, total_of
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Books, Reading, RefundReading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.providers import PaymentProvider, Providers, RefundOrder
from refundcli.services.preflight.payment import PlannedRefund, PlannedRefunds, checked_snapshots, refuse_counted
from refundcli.system.interrupts import Interrupted


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
    existing_refunds = existing_among(attempts, request.request_key, request.content)
    invoice = invoice_named(reading, request.number)
    if existing_refunds:
        return Preview(invoice, (), existing_refunds)
    shares = shares_of(
        invoice,
        request.amount,
        kind=RefundKind.PROVIDER,
        blockers=refund_blockers,
        intent=request.intent,
        reference=request.payment,
    )
    for share in shares:
        refuse_unsupported(invoice, share.payment, share.amount, request.intent)
    if request.amount and not request.allow_duplicate:
        refuse_duplicate(invoice, shares, request.reason, now=now)
    return Preview(invoice, shares, attempts=attempts)


def refuse_unsupported(invoice: Invoice, payment: Payment, amount: Money, intent: Intent) -> None:
    """Raises UnsupportedRefund where the payment's method does not allow such a refund from here (R12)."""
    method_obstacle = why_not_by_method(payment, amount)
    if method_obstacle:
        raise UnsupportedRefund(invoice, payment, method_obstacle, intent)


def left_behind(plan: Preview, *, now: datetime) -> list[Refund]:
    """Unfinished refunds of the same payments that no live process is working on."""
    payment_ids = {share.payment.id for share in plan.shares}
    unfinished_refunds = (
        refund
        for refund in plan.invoice.refunds
        if refund.payment_id in payment_ids and refund.state.unfinished and refund.sending
    )
    return [refund for refund in unfinished_refunds if refund.sending and not is_live(refund.sending, now)]


def issue_refund(
    request: RefundRequest,
    *,
    confirmed: Money | None,
    books: Books,
    providers: Providers,
    clock: Clock,
    policy: SendingPolicy,
) -> list[Refund]:
    """Reserve all parts in one transaction (T1), then send each. Raises the first refusal.

    `confirmed`: the amount that the operator confirmed; if None, it is not compared.
    """
    apply_due_updates(request.number, books=books, policy=policy, clock=clock)
    first_plan, planned_refund_by_payment = books.read(lambda tx: _previewed(tx, request, clock.now()))
    # Credentials and accounts are looked up before the transaction, because nothing inside it may wait for a network.
    with before_sending():
        provider_connections = {
            share.payment.provider: providers.of(share.payment.provider)
            for share in first_plan.shares
            if share.payment.provider
        }
        asked_at = clock.now()
        payment_snapshots = checked_snapshots(
            first_plan.invoice,
            first_plan.shares,
            books=books,
            providers=providers,
            planned_refunds=planned_refund_by_payment,
        )
    snapshots = {payment_id: Snapshot(payment, asked_at) for payment_id, payment in payment_snapshots.items()}

    def reserve(tx: Writing) -> tuple[list[Refund], bool]:
        apply_due_updates_in(tx, request.number, policy=policy, clock=clock)
        plan = planned(tx, request, confirmed=confirmed, now=clock.now())
        if plan.existing:
            return list(plan.existing), False
        lease = new_lease(clock.now(), policy.sending_seconds)
        planned_refund_by_payment = planned_refunds(tx.store.secret(), request, plan)
        refunds = reserve_in(
            tx,
            request,
            plan,
            planned_refund_by_payment,
            providers=provider_connections,
            lease=lease,
            reserved_at=clock.now(),
        )
        return refunds, True

    refunds, is_reserved_here = books.write(reserve)
    dispatch = _Dispatch(books, providers, clock, policy, snapshots, is_reserved_here)
    try:
        return [
            dispatch.send(refund, provider_connections[refund.provider])
            if refund.state is RefundState.READY and refund.provider in provider_connections
            else refund
            for refund in refunds
        ]
    except (KeyboardInterrupt, Interrupted):
        # Another process sends what it reserved under the same request key.
        if is_reserved_here:
            books.write(partial(_drop_unsent, refunds, clock=clock, policy=policy))
        raise


def _previewed(reading: Reading, request: RefundRequest, now: datetime) -> tuple[Preview, PlannedRefunds]:
    plan = preview(reading, request, now=now)
    return plan, planned_refunds(reading.store.secret(), request, plan)


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


@dataclass(frozen=True, slots=True)
class _Dispatch:
    """Sends reserved refunds. `snapshots`: by payment, taken before. `ours`: this call reserved the refunds."""

    books: Books
    providers: Providers
    clock: Clock
    policy: SendingPolicy
    snapshots: Mapping[int, Snapshot]
    is_reserved_here: bool

    def send(self, refund: Refund, provider: PaymentProvider) -> Refund:
        """Send one. If the provider cannot be asked, it fails as not sent; the request's others are still sent."""
        try:
            return send(
                refund,
                books=self.books,
                providers=self.providers,
                provider=provider,
                clock=self.clock,
                policy=self.policy,
                snapshot=self.snapshots.get(refund.payment_id),
            )
        except CannotBeChecked as problem:
            reason = problem.message
            failed_refund = self.is_reserved_here and self.books.write(lambda tx: self._fail(tx, refund, reason))
            if not failed_refund:
                raise
            return failed_refund

    def _fail(self, tx: Writing, refund: Refund, reason: str) -> Refund | None:
        return fail_unsent_in(tx, refund, reason, clock=self.clock, policy=self.policy)


def _drop_unsent(refunds: Sequence[Refund], tx: Writing, *, clock: Clock, policy: SendingPolicy) -> None:
    drop_unsent_in(tx, refunds, clock=clock, policy=policy)


def drop_unsent_in(tx: Writing, refunds: Sequence[Refund], *, clock: Clock, policy: SendingPolicy) -> None:
    """The operator interrupted: refunds that were not sent fail, and their amounts are released."""
    for reserved_refund in refunds:
        refund = tx.refunds.get(reserved_refund.id)
        if refund and refund.state is RefundState.READY:
            fail_unsent_in(tx, refund, "interrupted", clock=clock, policy=policy)


def planned(reading: RefundReading, request: RefundRequest, *, confirmed: Money | None, now: datetime) -> Preview:
    """What T1 will reserve. Raises the first refusal, UnsettledRefund, or ChangedMeanwhile.

    `confirmed`: the amount that the operator confirmed; if None, it is not compared.
    """
    plan = preview(reading, request, now=now)
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
        refund_id=own_refund.refund_id,
        invoice_number=invoice.number,
        payment_reference=payment.reference,
        amount=share.amount,
        reason=request.reason,
        full=share.takes_all,
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
