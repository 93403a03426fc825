"""The rows of a provider run that one worker has leased, and their refunds in flight."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any

from refundcli.domain.bulk_run import RunItem
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.services.bulk.row_outcomes import ended, failed_in_run, waiting_again
from refundcli.services.dispatch.first_send import Snapshot
from refundcli.services.dispatch.leases import is_live
from refundcli.services.dispatch.outcome_errors import failure_of
from refundcli.services.dispatch.send_refund import is_first_send
from refundcli.services.ports.books import RefundReading
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.providers import PaymentProvider, RefundAnswer
from refundcli.services.preflight.payment import Snapshots
from refundcli.services.refunds.issue import Preview, RefundRequest, planned


class Stage(Enum):
    """How far a refund is, as this worker knows it."""

    # Made by another process, or its lease ended: its state decides what comes next.
    FOUND = auto()
    # This worker reserved or claimed it.
    OURS = auto()
    # It may be claimed for its first send.
    READY = auto()
    # It may have been sent, and the provider does not have it.
    NOT_FOUND = auto()


@dataclass(eq=False, slots=True)
class InFlightRefund:
    """A refund in flight: of a payment of a row, or an unfinished earlier one that blocks a row.

    `first_send`: it was never sent before, so an answer is about this worker's requests alone. `snapshot`: of its
    payment, taken before the first send; None if a new one is needed. `claimed`: this worker claimed it for sending.
    `request`: on the wire or queued. `given_up`: this worker stops with it before its outcome is known.
    """

    refund: Refund
    provider: PaymentProvider
    stage: Stage = Stage.FOUND
    first_send: bool = True
    snapshot: Snapshot | None = None
    request: "Future[RefundAnswer | None] | None" = None
    answer: RefundAnswer | None = None
    # How many snapshots were taken. If the store is too slow, each is out of date before it is used.
    snapshots: int = 0
    # How often it was claimed and then rate limited.
    rounds: int = 0
    claimed: bool = False
    given_up: bool = False
    ended: bool = False

    def needs_snapshot(self, now: datetime) -> bool:
        """Must its payment be looked up before it is sent? Yes without a snapshot, or after a pause."""
        if not self.first_send or self.provider.name not in CAN_LOOK_UP:
            return False
        return self.snapshot is None or not self.snapshot.is_fresh(now)

    @property
    def is_listed(self) -> bool:
        """Does the provider already have it, although these books never sent it?"""
        return self.first_send and self.snapshot is not None and self.snapshot.lists(self.refund)

    def is_leased(self, now: datetime) -> bool:
        """Is a process sending it? No process has an abandoned refund."""
        return self.refund.sending is not None and is_live(self.refund.sending, now)

    @property
    def is_to_settle(self) -> bool:
        """Has this worker claimed it, and not stored its outcome?"""
        return self.claimed and self.stage is Stage.OURS and not self.ended

    def is_now(self, refund: Refund) -> None:
        """Set the refund as stored after another process had it, whose request may have arrived."""
        self.refund, self.stage = refund, Stage.FOUND
        self.first_send = self.first_send and is_first_send(refund)


@dataclass(eq=False, slots=True)
class Row:
    """A leased row. Its refunds: `finished` before, or `own`, which this worker brings to their outcome.

    `earlier`: refunds of other requests that were settled first. `outcome`: set once it is done, until it is stored.
    """

    stored: RunItem
    snapshots: Snapshots = field(default_factory=dict)
    snapshots_at: datetime | None = None
    finished: list[Refund] = field(default_factory=list)
    own: list[InFlightRefund] = field(default_factory=list)
    earlier: list[InFlightRefund] = field(default_factory=list)
    settled_blockers: set[str] = field(default_factory=set)
    # The task that processes it; None while it waits.
    task: Any = None
    outcome: RunItem | None = None

    @property
    def locks(self) -> tuple[str, str]:
        """What two rows may not use at the same time: the invoice and the request key."""
        return f"invoice {self.stored.invoice}", f"key {self.stored.request_key}"

    @property
    def is_in_progress(self) -> bool:
        return self.task is not None and self.outcome is None

    def snapshot_for(self, refund: Refund) -> Snapshot | None:
        """The snapshot from before it was reserved; None if the provider cannot be asked."""
        if refund.payment_id not in self.snapshots or self.snapshots_at is None:
            return None
        return Snapshot(self.snapshots[refund.payment_id], self.snapshots_at)

    @property
    def refunds(self) -> list[Refund]:
        return [*self.finished, *(flight.refund for flight in self.own)]

    def outcome_by_refunds(self) -> RunItem:
        """Its outcome by its refunds; without one it waits again."""
        is_done = bool(self.refunds) and all(flight.ended and not flight.given_up for flight in self.own)
        return ended(self.stored, self.refunds) if is_done else waiting_again(self.stored)


def plan_of(reading: RefundReading, row: RunItem, request: RefundRequest, invoice: Invoice, now: datetime) -> Preview:
    """What a row would do now. Raises the refusal of a rule, or the failure of its own refund in this run."""
    failed_refund = failed_in_run(row, reading.refunds.by_key(row.request_key))
    if failed_refund:
        raise failure_of(failed_refund)
    confirmed_amount = Money(row.expected, invoice.currency)
    return planned(reading, request, confirmed=confirmed_amount, now=now)
