"""One transaction for many rows: each takes one step, and none delays or rolls back another.

The order of a row's steps is kept: T1, T2, send and T4 are each committed before the next starts. Nothing here changes
the worker's rows, because a transaction may be retried: it returns what it wrote, which counts once it is committed.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from refundcli.domain.bulk_run import BulkRun, RunItem
from refundcli.domain.errors import RefundcliError
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.bulk.worker.leased_rows import InFlightRefund, Row, plan_of, request_of
from refundcli.services.dispatch.first_send import fail_unsent_in, lookup_at_provider, store_unlisted, why_not_sent
from refundcli.services.dispatch.leases import Lease, new_lease
from refundcli.services.dispatch.release_lapsed import apply_due_updates_in, is_due
from refundcli.services.dispatch.send_refund import SendingPolicy, record_outcome_in, with_provider_message
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.providers import PaymentProvider, RefundAnswer
from refundcli.services.preflight.payment import PaymentLookup, claims, refuse_differences, store_findings
from refundcli.services.preflight.revalidate import why_not_any_more
from refundcli.services.recovery.resume_refunds import why_not_again
from refundcli.services.refunds.issue import Preview, RefundRequest, drop_unsent_in, planned_refunds, reserve_in


@dataclass(slots=True)
class Group:
    """The steps for one transaction. `looked_up`: abandoned refunds with the provider's answer.

    `to_fail`: refunds that could not be checked before their first send, and why.
    """

    answered: list[InFlightRefund] = field(default_factory=list)
    looked_up: list[tuple[InFlightRefund, RefundAnswer | None]] = field(default_factory=list)
    found_ready: list[InFlightRefund] = field(default_factory=list)
    to_claim: list[InFlightRefund] = field(default_factory=list)
    to_drop: list[InFlightRefund] = field(default_factory=list)
    to_fail: list[tuple[InFlightRefund, str]] = field(default_factory=list)
    to_release: list[InFlightRefund] = field(default_factory=list)
    to_read: list[InFlightRefund] = field(default_factory=list)
    to_look_at: list[Row] = field(default_factory=list)
    to_reserve: list[Row] = field(default_factory=list)
    ended: list[RunItem] = field(default_factory=list)
    take: int = 0
    hold: bool = False

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__dataclass_fields__)


@dataclass(slots=True)
class Written:
    """What the transaction did.

    `settled`: refunds in their new state, with a known outcome or not. `elsewhere`: another process has them.
    `unchecked`: refunds that need a snapshot of their payment before the first send. `ended`: the numbers of the rows
    whose outcome was stored; other workers have taken over the rest.
    """

    settled: list[tuple[InFlightRefund, Refund]] = field(default_factory=list)
    claimed: list[tuple[InFlightRefund, Refund]] = field(default_factory=list)
    elsewhere: list[tuple[InFlightRefund, Refund]] = field(default_factory=list)
    unchecked: list[tuple[InFlightRefund, PaymentLookup]] = field(default_factory=list)
    read: list[tuple[InFlightRefund, Refund]] = field(default_factory=list)
    looked_at: list[tuple[Row, Preview]] = field(default_factory=list)
    reserved: list[tuple[Row, list[Refund]]] = field(default_factory=list)
    existing: list[tuple[Row, Sequence[Refund]]] = field(default_factory=list)
    refused: list[tuple[Row, RefundcliError]] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    leased: list[RunItem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker needs. `lease_seconds`: how long a refund of a provider may wait and be in flight."""

    run: BulkRun
    worker: str
    clock: Clock
    policy: SendingPolicy
    providers: Mapping[Provider, PaymentProvider]
    lease_seconds: Callable[[Provider], float]
    row_lease_seconds: float

    def lease(self, provider: Provider) -> Lease:
        return new_lease(self.clock.now(), self.lease_seconds(provider), owner=self.worker)


def write_group(tx: Writing, group: Group, context: WorkerContext) -> Written:
    """Do the steps. Outcomes come first, because the amounts that they release or use affect the rows checked next."""
    written = Written()
    _record_outcomes(tx, group, context, written)
    _claim(tx, group, context, written)
    _look_and_reserve(tx, group, context, written)
    written.ended = tx.runs.finish_items(group.ended)
    row_lease = new_lease(context.clock.now(), context.row_lease_seconds, owner=context.worker)
    if group.take:
        written.leased = tx.runs.lease_items(
            context.run.id, worker=context.worker, until=row_lease.until, at=context.clock.now(), limit=group.take
        )
    if group.hold:
        tx.runs.extend_leases(context.run.id, worker=context.worker, until=row_lease.until)
    return written


def _record_outcomes(tx: Writing, group: Group, context: WorkerContext, written: Written) -> None:
    """T4, for refunds that were sent or looked up."""
    clock, policy = context.clock, context.policy
    answers_to_store = [(flight, flight.answer, flight.first_send) for flight in group.answered]
    answers_to_store += [
        (flight, lookup_answer, False) for flight, lookup_answer in group.looked_up if lookup_answer is not None
    ]
    for flight, answer, first_send in answers_to_store:
        assert answer
        refund = _as_sent(tx, flight, context)
        record_outcome_in(tx, refund, answer, first_send=first_send, clock=clock, policy=policy)
    for flight in group.to_drop:
        drop_unsent_in(tx, [flight.refund], clock=clock, policy=policy)
    for flight, reason in group.to_fail:
        fail_unsent_in(tx, flight.refund, reason, clock=clock, policy=policy, is_refused=False)
    for flight in group.to_release:
        tx.refunds.release_lease(flight.refund)
    flights = (
        [flight for flight, _, _ in answers_to_store]
        + group.to_drop
        + [flight for flight, _ in group.to_fail]
        + group.to_release
    )
    refunds_by_id = (
        tx.refunds.by_id([flight.refund.id for flight in flights + group.to_read]) if flights or group.to_read else {}
    )
    answer_by_flight = {flight: answer for flight, answer, _ in answers_to_store}
    for flight in flights:
        answer, refund = answer_by_flight.get(flight), refunds_by_id[flight.refund.id]
        written.settled.append((flight, with_provider_message(refund, answer) if answer else refund))
    written.read = [(flight, refunds_by_id[flight.refund.id]) for flight in group.to_read]


def _as_sent(tx: Writing, flight: InFlightRefund, context: WorkerContext) -> Refund:
    """Claim a `ready` refund that the provider already has, because a restored backup lost it; so it can be settled."""
    refund, now = flight.refund, context.clock.now()
    if refund.state is not RefundState.READY:
        return refund
    sent_at = flight.snapshot.sent_at(refund, now) if flight.snapshot else now
    # It will not be sent, so it is recorded whatever the clock says.
    return tx.refunds.claim(refund, owner="", until=now, at=sent_at) or refund


def _claim(tx: Writing, group: Group, context: WorkerContext, written: Written) -> None:
    """T2, for reserved and for abandoned refunds, by the rules as of this transaction. Adds to `written`."""
    not_found = [flight for flight, lookup_answer in group.looked_up if lookup_answer is None]
    flights = [*not_found, *group.found_ready, *group.to_claim]
    if not flights:
        return
    read_ahead = _ReadAhead(tx, context, [flight.refund.invoice_number for flight in flights])
    for flight in not_found:
        _claim_again(tx, read_ahead, flight, context, written)
    for flight in (*group.found_ready, *group.to_claim):
        _claim_first(tx, read_ahead, flight, context, written)


def _ask_first(read_ahead: "_ReadAhead", flight: InFlightRefund, written: Written) -> None:
    """Request a snapshot of its payment before anything is sent."""
    lookup = lookup_at_provider(read_ahead, flight.refund)
    assert lookup, "a provider without look-up needs no snapshot"
    written.unchecked.append((flight, lookup))


def _claim_again(
    tx: Writing, read_ahead: "_ReadAhead", flight: InFlightRefund, context: WorkerContext, written: Written
) -> None:
    assert flight.refund.sending
    obstacle = why_not_again(
        read_ahead, flight.refund, flight.refund.sending, flight.provider.name, context.clock.now()
    )
    if obstacle:
        _stays(tx, flight, obstacle.note, written)
    elif flight.needs_snapshot(context.clock.now()):
        # It was only rate limited, but its snapshot is out of date by now.
        _ask_first(read_ahead, flight, written)
    else:
        _claim_one(tx, flight, context, written)


def _claim_first(
    tx: Writing, read_ahead: "_ReadAhead", flight: InFlightRefund, context: WorkerContext, written: Written
) -> None:
    """Claim a refund that was not sent, or provably not executed. Its payment is looked up first."""
    if not flight.first_send:
        refusal = why_not_any_more(read_ahead, flight.refund)
        if refusal:
            tx.refunds.release_lease(flight.refund)
            _stays(tx, flight, f"not sent again: {refusal.message}", written)
            return
    elif flight.needs_snapshot(context.clock.now()):
        _ask_first(read_ahead, flight, written)
        return
    # An update that was just stored may block, so read again.
    reading = tx if store_unlisted(tx, flight.refund, flight.snapshot) else read_ahead
    if flight.first_send and (first_send_refusal := why_not_sent(reading, flight.refund, flight.snapshot)):
        failed_refund = fail_unsent_in(
            tx, flight.refund, first_send_refusal.message, clock=context.clock, policy=context.policy
        )
        # If another process claimed it, nothing was settled here.
        outcomes = written.settled if failed_refund else written.elsewhere
        outcomes.append((flight, failed_refund or tx.refunds.get(flight.refund.id) or flight.refund))
        return
    _claim_one(tx, flight, context, written)


def _stays(tx: Writing, flight: InFlightRefund, reason: str, written: Written) -> None:
    """Leave it as it is: its outcome is unknown, and it is not sent again now."""
    stored_refund = tx.refunds.get(flight.refund.id) or flight.refund
    written.settled.append(
        (flight, replace(stored_refund, failure=reason) if stored_refund.state.unfinished else stored_refund)
    )


def _claim_one(tx: Writing, flight: InFlightRefund, context: WorkerContext, written: Written) -> None:
    lease = context.lease(flight.provider.name)
    claimed_refund = tx.refunds.claim(flight.refund, owner=lease.owner, until=lease.until, at=context.clock.now())
    if claimed_refund:
        written.claimed.append((flight, claimed_refund))
    else:
        written.elsewhere.append((flight, tx.refunds.get(flight.refund.id) or flight.refund))


def _look_and_reserve(tx: Writing, group: Group, context: WorkerContext, written: Written) -> None:
    rows = [*group.to_look_at, *group.to_reserve]
    if not rows:
        return
    # A wrong clock stops the whole run, not a single row.
    tx.audit.check_clock()
    read_ahead = _ReadAhead(tx, context, [row.stored.invoice for row in rows], [row.stored.request_key for row in rows])
    for row in group.to_look_at:
        try:
            _, plan = _planned(read_ahead, row, context)
            if plan.existing:
                written.existing.append((row, plan.existing))
            else:
                written.looked_at.append((row, plan))
        except RefundcliError as refusal:
            written.refused.append((row, refusal))
    for row in group.to_reserve:
        try:
            _reserve(tx, read_ahead, row, context, written)
        except RefundcliError as refusal:
            written.refused.append((row, refusal))


def _planned(read_ahead: "_ReadAhead", row: Row, context: WorkerContext) -> tuple[RefundRequest, Preview]:
    """What a row requests, and what it would do now."""
    invoice = invoice_named(read_ahead, row.stored.invoice)
    request = request_of(row.stored, invoice, context.run.operator)
    return request, plan_of(read_ahead, row.stored, request, invoice, context.clock.now())


def _reserve(tx: Writing, read_ahead: "_ReadAhead", row: Row, context: WorkerContext, written: Written) -> None:
    """T1, if the books still agree with the snapshots taken before."""
    request, plan = _planned(read_ahead, row, context)
    if plan.existing:
        written.existing.append((row, plan.existing))
        return
    store_findings(tx, plan.invoice, row.snapshots)
    planned_refund_by_payment = planned_refunds(tx.store.secret(), request, plan)
    refuse_differences(
        plan.invoice,
        row.snapshots,
        planned_refund_by_payment,
        claim_differences=claims(tx, plan.invoice, row.snapshots),
    )
    share_providers = {share.payment.provider for share in plan.shares if share.payment.provider}
    lease = context.lease(max(share_providers, key=context.lease_seconds))
    # All checks precede the first change; only a second reservation could still be refused.
    with tx.all_or_nothing() if len(plan.shares) > 1 else nullcontext():
        refunds = reserve_in(
            tx,
            request,
            plan,
            planned_refund_by_payment,
            providers=context.providers,
            lease=lease,
            reserved_at=context.clock.now(),
            run_id=context.run.id,
        )
    written.reserved.append((row, refunds))


class _ReadAhead:
    """What the rules read, for all rows at once: no two rows of a group share an invoice or a key.

    Two refunds to be claimed may share an invoice; claiming one does not affect the other.
    """

    def __init__(
        self, tx: Writing, context: WorkerContext, invoice_numbers: Sequence[str], request_keys: Sequence[str] = ()
    ) -> None:
        invoices_by_number = tx.invoices.by_number(list(dict.fromkeys(invoice_numbers)))
        due_numbers = [number for number, invoice in invoices_by_number.items() if is_due(invoice, context.clock.now())]
        for number in due_numbers:
            apply_due_updates_in(tx, number, policy=context.policy, clock=context.clock)
        invoices_by_number |= tx.invoices.by_number(due_numbers) if due_numbers else {}
        self.invoices = _InvoicesReadAhead(tx, invoices_by_number)
        self.refunds = _RefundsReadAhead(tx.refunds.by_keys(request_keys) if request_keys else {})
        self.payments = tx.payments


@dataclass(frozen=True, slots=True)
class _InvoicesReadAhead:
    tx: Writing
    by_number: Mapping[str, Invoice]

    def get(self, number: str) -> Invoice | None:
        return self.by_number.get(number)

    def numbers_near(self, number: str) -> list[str]:
        return self.tx.invoices.numbers_near(number)


@dataclass(frozen=True, slots=True)
class _RefundsReadAhead:
    refunds_by_key: Mapping[str, list[Refund]]

    def by_key(self, request_key: str) -> list[Refund]:
        return self.refunds_by_key.get(request_key, [])
