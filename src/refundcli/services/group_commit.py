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
from refundcli.domain.statuses import Provider
from refundcli.services.finding import invoice_named
from refundcli.services.issue_refund import Preview, RefundRequest, drop_unsent_in, reserve_in
from refundcli.services.leases import Lease, new_lease
from refundcli.services.ports import Clock, PaymentProvider, RefundAnswer, Writing
from refundcli.services.preflight import refuse_differences
from refundcli.services.resume import why_not_again
from refundcli.services.run_rows import Part, Row, plan_of, request_of
from refundcli.services.sending import SendingPolicy, fail_where_refused_in, take_down_in, with_what_was_said


@dataclass(slots=True)
class Group:
    """What one transaction is to do. `looked_up` holds what the provider has of a refund that was left behind."""

    answered: list[Part] = field(default_factory=list)
    looked_up: list[tuple[Part, RefundAnswer | None]] = field(default_factory=list)
    found_ready: list[Part] = field(default_factory=list)
    to_claim: list[Part] = field(default_factory=list)
    to_drop: list[Part] = field(default_factory=list)
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
    """

    settled: list[tuple[Part, Refund]] = field(default_factory=list)
    claimed: list[tuple[Part, Refund]] = field(default_factory=list)
    elsewhere: list[tuple[Part, Refund]] = field(default_factory=list)
    read: list[tuple[Part, Refund]] = field(default_factory=list)
    looked_at: list[tuple[Row, Preview]] = field(default_factory=list)
    reserved: list[tuple[Row, list[Refund]]] = field(default_factory=list)
    known: list[tuple[Row, Sequence[Refund]]] = field(default_factory=list)
    refused: list[tuple[Row, RefundcliError]] = field(default_factory=list)
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
    tx.finish_items(group.ended)
    row_lease = new_lease(bench.clock.now(), bench.row_lease_seconds, owner=bench.worker)
    if group.take:
        written.taken = tx.take_items(
            bench.run.id, worker=bench.worker, until=row_lease.until, at=bench.clock.now(), limit=group.take
        )
    if group.hold:
        tx.hold_items(bench.run.id, worker=bench.worker, until=row_lease.until)
    return written


def _take_down(tx: Writing, group: Group, bench: Bench, written: Written) -> None:
    """T4, for what was sent and for what was looked up."""
    clock, policy = bench.clock, bench.policy
    said = [(part, part.answer, part.first_send) for part in group.answered]
    said += [(part, found, False) for part, found in group.looked_up if found is not None]
    for part, answer, first_send in said:
        assert answer
        take_down_in(tx, part.refund, answer, first_send=first_send, clock=clock, policy=policy)
    for part in group.to_drop:
        drop_unsent_in(tx, [part.refund], clock=clock, policy=policy)
    for part in group.to_let_go:
        tx.let_go(part.refund)
    parts = [part for part, _, _ in said] + group.to_drop + group.to_let_go
    now = tx.refunds_by_id([part.refund.id for part in parts + group.to_read]) if parts or group.to_read else {}
    words = {part: answer for part, answer, _ in said}
    for part in parts:
        answer, refund = words.get(part), now[part.refund.id]
        written.settled.append((part, with_what_was_said(refund, answer) if answer else refund))
    written.read = [(part, now[part.refund.id]) for part in group.to_read]


def _claim(tx: Writing, group: Group, bench: Bench, written: Written) -> None:
    """T2, for what was reserved, and again for what was left behind and may be sent by the rules as they are now."""
    for part, found in group.looked_up:
        sending = part.refund.sending
        if found is not None or sending is None:
            continue
        barred = why_not_again(tx, part.refund, sending, part.provider.name, bench.clock.now())
        if barred:
            standing = tx.refund(part.refund.id) or part.refund
            told = replace(standing, failure=barred.note) if standing.state.unfinished else standing
            written.settled.append((part, told))
        else:
            _claim_one(tx, part, bench, written)
    for part in group.found_ready:
        failed = fail_where_refused_in(tx, part.refund, clock=bench.clock, policy=bench.policy)
        if failed:
            written.settled.append((part, failed))
        else:
            _claim_one(tx, part, bench, written)
    for part in group.to_claim:
        _claim_one(tx, part, bench, written)


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
    books = _ReadAhead(tx, rows)
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
    refuse_differences(plan.invoice, row.truths)
    ways = {share.payment.provider for share in plan.shares if share.payment.provider}
    lease = bench.lease(max(ways, key=bench.lease_seconds))
    # Everything is asked before the first change: only a second one could be refused after it.
    with tx.all_or_nothing() if len(plan.shares) > 1 else nullcontext():
        refunds = reserve_in(
            tx, request, plan, providers=bench.providers, lease=lease, at=bench.clock.now(), run_id=bench.run.id
        )
    written.reserved.append((row, refunds))


class _ReadAhead:
    """What the rules are asked of, read for all rows at once. No two rows of a group share an invoice or a key."""

    def __init__(self, tx: Writing, rows: Sequence[Row]) -> None:
        self.tx = tx
        self._invoices = tx.invoices_by_number([row.item.invoice for row in rows])
        self._refunds = tx.refunds_by_keys([row.item.request_key for row in rows])

    def invoice(self, number: str) -> Invoice | None:
        return self._invoices.get(number)

    def numbers_near(self, number: str) -> list[str]:
        return self.tx.numbers_near(number)

    def refunds_by_key(self, request_key: str) -> list[Refund]:
        return self._refunds.get(request_key, [])
