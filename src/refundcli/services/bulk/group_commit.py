"""One transaction for many rows: each of them one step further, none held up or undone by another.

The order of a row's own steps stays: T1, T2, send and T4 are each committed before the next begins. Nothing here
changes what a worker knows of its rows, for a transaction may have to run again: what was written is told, and
counts once it is committed.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from refundcli.domain.bulk_run import BulkRun, RunItem
from refundcli.domain.errors import RefundcliError
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.bulk.leased_rows import Part, Row, plan_of, request_of
from refundcli.services.dispatch.first_send import fail_unsent_in, note_snapshot, place_at_provider, why_not_sent
from refundcli.services.dispatch.leases import Lease, new_lease
from refundcli.services.dispatch.release_lapsed import is_due, keep_up_in
from refundcli.services.dispatch.send_refund import SendingPolicy, take_down_in, with_what_was_said
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.providers import PaymentProvider, RefundAnswer
from refundcli.services.preflight.payment import PaymentPlace, claims, note_findings, refuse_differences
from refundcli.services.preflight.revalidate import why_not_any_more
from refundcli.services.recovery.resume_refunds import why_not_again
from refundcli.services.refunds.issue import Preview, RefundRequest, drop_unsent_in, own_refunds, reserve_in


@dataclass(slots=True)
class Group:
    """What one transaction is to do. `looked_up` holds what the provider has of a refund that was left behind.

    `to_fail`: what could not be checked before its first send, and why.
    """

    answered: list[Part] = field(default_factory=list)
    looked_up: list[tuple[Part, RefundAnswer | None]] = field(default_factory=list)
    found_ready: list[Part] = field(default_factory=list)
    to_claim: list[Part] = field(default_factory=list)
    to_drop: list[Part] = field(default_factory=list)
    to_fail: list[tuple[Part, str]] = field(default_factory=list)
    to_let_go: list[Part] = field(default_factory=list)
    to_read: list[Part] = field(default_factory=list)
    to_look_at: list[Row] = field(default_factory=list)
    to_reserve: list[Row] = field(default_factory=list)
    ended: list[RunItem] = field(default_factory=list)
    take: int = 0
    hold: bool = False

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__dataclass_fields__)


@dataclass(slots=True)
class Written:
    """What the transaction did, by what it did it for.

    `settled`: as the refunds stand now, their outcome known or not. `elsewhere`: another process has them.
    `unchecked`: never sent, and the provider is to be asked first, about the payment of this reference. `ended`: the
    numbers of the rows whose end was written; those of the others have been taken over.
    """

    settled: list[tuple[Part, Refund]] = field(default_factory=list)
    claimed: list[tuple[Part, Refund]] = field(default_factory=list)
    elsewhere: list[tuple[Part, Refund]] = field(default_factory=list)
    unchecked: list[tuple[Part, PaymentPlace]] = field(default_factory=list)
    read: list[tuple[Part, Refund]] = field(default_factory=list)
    looked_at: list[tuple[Row, Preview]] = field(default_factory=list)
    reserved: list[tuple[Row, list[Refund]]] = field(default_factory=list)
    known: list[tuple[Row, Sequence[Refund]]] = field(default_factory=list)
    refused: list[tuple[Row, RefundcliError]] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    taken: list[RunItem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Bench:
    """What a worker works with. `lease_seconds`: how long a refund of a provider may wait and be on its way."""

    run: BulkRun
    worker: str
    clock: Clock
    policy: SendingPolicy
    providers: Mapping[Provider, PaymentProvider]
    lease_seconds: Callable[[Provider], float]
    row_lease_seconds: float

    def lease(self, provider: Provider) -> Lease:
        return new_lease(self.clock.now(), self.lease_seconds(provider), owner=self.worker)


def write_group(tx: Writing, group: Group, bench: Bench) -> Written:
    """Outcomes first: what they free or use up counts for the rows that are only being looked at."""
    written = Written()
    _take_down(tx, group, bench, written)
    _claim(tx, group, bench, written)
    _look_and_reserve(tx, group, bench, written)
    written.ended = tx.finish_items(group.ended)
    row_lease = new_lease(bench.clock.now(), bench.row_lease_seconds, owner=bench.worker)
    if group.take:
        written.taken = tx.lease_items(
            bench.run.id, worker=bench.worker, until=row_lease.until, at=bench.clock.now(), limit=group.take
        )
    if group.hold:
        tx.extend_leases(bench.run.id, worker=bench.worker, until=row_lease.until)
    return written


def _take_down(tx: Writing, group: Group, bench: Bench, written: Written) -> None:
    """T4, for what was sent and for what was looked up."""
    clock, policy = bench.clock, bench.policy
    said = [(part, part.answer, part.first_send) for part in group.answered]
    said += [(part, found, False) for part, found in group.looked_up if found is not None]
    for part, answer, first_send in said:
        assert answer
        refund = _as_sent(tx, part, bench)
        take_down_in(tx, refund, answer, first_send=first_send, clock=clock, policy=policy)
    for part in group.to_drop:
        drop_unsent_in(tx, [part.refund], clock=clock, policy=policy)
    for part, why in group.to_fail:
        fail_unsent_in(tx, part.refund, why, clock=clock, policy=policy, is_refused=False)
    for part in group.to_let_go:
        tx.release_lease(part.refund)
    parts = [part for part, _, _ in said] + group.to_drop + [part for part, _ in group.to_fail] + group.to_let_go
    now = tx.refunds_by_id([part.refund.id for part in parts + group.to_read]) if parts or group.to_read else {}
    words = {part: answer for part, answer, _ in said}
    for part in parts:
        answer, refund = words.get(part), now[part.refund.id]
        written.settled.append((part, with_what_was_said(refund, answer) if answer else refund))
    written.read = [(part, now[part.refund.id]) for part in group.to_read]


def _as_sent(tx: Writing, part: Part, bench: Bench) -> Refund:
    """A `ready` refund that the provider has was sent before the books were restored: claim it, to settle it."""
    refund, now = part.refund, bench.clock.now()
    if refund.state is not RefundState.READY:
        return refund
    at = part.snapshot.sent_at(refund, now) if part.snapshot else now
    # Nobody is going to send it, so it is recorded whatever the clock says.
    return tx.claim(refund, owner="", until=now, at=at) or refund


def _claim(tx: Writing, group: Group, bench: Bench, written: Written) -> None:
    """T2, for what was reserved, and again for what was left behind: by the rules as they are in this transaction."""
    not_found = [part for part, found in group.looked_up if found is None]
    parts = [*not_found, *group.found_ready, *group.to_claim]
    if not parts:
        return
    books = _ReadAhead(tx, bench, [part.refund.invoice_number for part in parts])
    for part in not_found:
        _claim_again(tx, books, part, bench, written)
    for part in (*group.found_ready, *group.to_claim):
        _claim_first(tx, books, part, bench, written)


def _ask_first(books: "_ReadAhead", part: Part, written: Written) -> None:
    """The provider is to be asked about its payment before anything is sent."""
    place = place_at_provider(books, part.refund)
    assert place, "a provider that cannot be asked needs no snapshot"
    written.unchecked.append((part, place))


def _claim_again(tx: Writing, books: "_ReadAhead", part: Part, bench: Bench, written: Written) -> None:
    assert part.refund.sending
    barred = why_not_again(books, part.refund, part.refund.sending, part.provider.name, bench.clock.now())
    if barred:
        _stays(tx, part, barred.note, written)
    elif part.needs_snapshot(bench.clock.now()):
        # It was only rate limited, and so long ago that its snapshot is out of date.
        _ask_first(books, part, written)
    else:
        _claim_one(tx, part, bench, written)


def _claim_first(tx: Writing, books: "_ReadAhead", part: Part, bench: Bench, written: Written) -> None:
    """Claim one that was not sent, or provably not executed. Its payment is looked up first."""
    if not part.first_send:
        refusal = why_not_any_more(books, part.refund)
        if refusal:
            tx.release_lease(part.refund)
            _stays(tx, part, f"not sent again: {refusal.message}", written)
            return
    elif part.needs_snapshot(bench.clock.now()):
        _ask_first(books, part, written)
        return
    # The update that was just stored blocks, so read again.
    reading = tx if note_snapshot(tx, part.refund, part.snapshot) else books
    if part.first_send and (not_now := why_not_sent(reading, part.refund, part.snapshot)):
        failed = fail_unsent_in(tx, part.refund, not_now.message, clock=bench.clock, policy=bench.policy)
        # If another process has claimed it, nothing was settled here.
        found = written.settled if failed else written.elsewhere
        found.append((part, failed or tx.refund(part.refund.id) or part.refund))
        return
    _claim_one(tx, part, bench, written)


def _stays(tx: Writing, part: Part, why: str, written: Written) -> None:
    """Leave it as it is: its outcome is unknown, and it is not sent again now."""
    standing = tx.refund(part.refund.id) or part.refund
    written.settled.append((part, replace(standing, failure=why) if standing.state.unfinished else standing))


def _claim_one(tx: Writing, part: Part, bench: Bench, written: Written) -> None:
    lease = bench.lease(part.provider.name)
    claimed = tx.claim(part.refund, owner=lease.owner, until=lease.until, at=bench.clock.now())
    if claimed:
        written.claimed.append((part, claimed))
    else:
        written.elsewhere.append((part, tx.refund(part.refund.id) or part.refund))


def _look_and_reserve(tx: Writing, group: Group, bench: Bench, written: Written) -> None:
    rows = [*group.to_look_at, *group.to_reserve]
    if not rows:
        return
    # It refuses no single row: the run stops.
    tx.check_clock()
    books = _ReadAhead(tx, bench, [row.item.invoice for row in rows], [row.item.request_key for row in rows])
    for row in group.to_look_at:
        try:
            _, plan = _planned(books, row, bench)
            if plan.existing:
                written.known.append((row, plan.existing))
            else:
                written.looked_at.append((row, plan))
        except RefundcliError as refusal:
            written.refused.append((row, refusal))
    for row in group.to_reserve:
        try:
            _reserve(tx, books, row, bench, written)
        except RefundcliError as refusal:
            written.refused.append((row, refusal))


def _planned(books: "_ReadAhead", row: Row, bench: Bench) -> tuple[RefundRequest, Preview]:
    """What a row wishes, and what it would do now."""
    invoice = invoice_named(books, row.item.invoice)
    request = request_of(row.item, invoice, bench.run.operator)
    return request, plan_of(books, row.item, request, invoice, bench.clock.now())


def _reserve(tx: Writing, books: "_ReadAhead", row: Row, bench: Bench, written: Written) -> None:
    """T1, if the provider's truth, read before, is still the books'."""
    request, plan = _planned(books, row, bench)
    if plan.existing:
        written.known.append((row, plan.existing))
        return
    note_findings(tx, plan.invoice, row.truths)
    own = own_refunds(tx.secret(), request, plan)
    refuse_differences(plan.invoice, row.truths, own, claimed=claims(tx, plan.invoice, row.truths))
    ways = {share.payment.provider for share in plan.shares if share.payment.provider}
    lease = bench.lease(max(ways, key=bench.lease_seconds))
    # Everything is asked before the first change: only a second one could be refused after it.
    with tx.all_or_nothing() if len(plan.shares) > 1 else nullcontext():
        refunds = reserve_in(
            tx, request, plan, own, providers=bench.providers, lease=lease, at=bench.clock.now(), run_id=bench.run.id
        )
    written.reserved.append((row, refunds))


class _ReadAhead:
    """What the rules are asked of, read for all at once: no two rows of a group share an invoice or a key.

    Two refunds to be claimed may share an invoice; what one of them changes is no obstacle to the other.
    """

    def __init__(self, tx: Writing, bench: Bench, numbers: Sequence[str], request_keys: Sequence[str] = ()) -> None:
        self.tx = tx
        self._invoices = tx.invoices_by_number(list(dict.fromkeys(numbers)))
        due = [number for number, invoice in self._invoices.items() if is_due(invoice, bench.clock.now())]
        for number in due:
            keep_up_in(tx, number, policy=bench.policy, clock=bench.clock)
        self._invoices |= tx.invoices_by_number(due) if due else {}
        self._refunds = tx.refunds_by_keys(request_keys) if request_keys else {}

    def invoice(self, number: str) -> Invoice | None:
        return self._invoices.get(number)

    def numbers_near(self, number: str) -> list[str]:
        return self.tx.numbers_near(number)

    def refunds_by_key(self, request_key: str) -> list[Refund]:
        return self._refunds.get(request_key, [])

    def payments_known_as(self, provider: Provider, references: Sequence[str]) -> dict[str, tuple[str, int]]:
        return self.tx.payments_known_as(provider, references)
