"""The rows of a provider run that one worker has leased, and their refunds in flight."""

from dataclasses import dataclass, field
from datetime import datetime

from refundcli.domain.bulk_run import RunItem
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money, parse_amount
from refundcli.domain.refund import Refund
from refundcli.services.bulk.row_outcomes import failed_in_run
from refundcli.services.dispatch.first_send import Snapshot
from refundcli.services.dispatch.outcome_errors import failure_of
from refundcli.services.dispatch.send_refund import is_first_send
from refundcli.services.ports.books import RefundReading
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.providers import PaymentProvider, RefundAnswer
from refundcli.services.preflight.payment import Snapshots
from refundcli.services.refunds.issue import Preview, RefundRequest, planned


@dataclass(eq=False, slots=True)
class InFlightRefund:
    """A refund in flight: of a payment of a row, or an unfinished earlier one that blocks a row.

    `first_send`: it was never sent before, so an answer is about this worker's requests alone. `claimed`: this worker
    claimed it for sending. `given_up`: this worker stops with it before its outcome is known. `reference`: of its
    payment at the provider. `snapshot`: of that payment, taken before the first send; None if a new one is needed.
    """

    refund: Refund
    provider: PaymentProvider
    rows: "list[Row]" = field(default_factory=list)
    first_send: bool = True
    reference: str = ""
    snapshot: Snapshot | None = None
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

    def is_now(self, refund: Refund) -> None:
        """Set the refund as stored after another process had it, whose request may have arrived."""
        self.refund = refund
        self.first_send = self.first_send and is_first_send(refund)


@dataclass(eq=False, slots=True)
class Row:
    """A leased row. Its refunds: `finished` before, or `own`, which this worker is handling.

    `blocked_by`: an earlier refund that must be settled before the rules can be checked.
    """

    stored: RunItem
    snapshots: Snapshots = field(default_factory=dict)
    snapshots_at: datetime | None = None
    finished: list[Refund] = field(default_factory=list)
    own: list[InFlightRefund] = field(default_factory=list)
    blocked_by: InFlightRefund | None = None
    settled_blockers: set[str] = field(default_factory=set)
    # Its outcome is being stored, or another worker has leased it: later answers change nothing.
    closed: bool = False

    @property
    def locks(self) -> tuple[str, str]:
        """What two rows may not use at the same time: the invoice and the request key."""
        return f"invoice {self.stored.invoice}", f"key {self.stored.request_key}"

    def snapshot_for(self, refund: Refund) -> Snapshot | None:
        """The snapshot from before it was reserved; None if the provider cannot be asked."""
        if refund.payment_id not in self.snapshots or self.snapshots_at is None:
            return None
        return Snapshot(self.snapshots[refund.payment_id], self.snapshots_at)

    @property
    def refunds(self) -> list[Refund]:
        return [*self.finished, *(flight.refund for flight in self.own)]


def request_of(row: RunItem, invoice: Invoice, operator: str) -> RefundRequest:
    """The request of one row. Raises InvalidAmount."""
    return RefundRequest(
        number=row.invoice,
        amount=parse_amount(row.amount_text, invoice.currency) if row.amount_text else None,
        amount_text=row.amount_text,
        reason=row.reason,
        request_key=row.request_key,
        operator=operator,
        memo=row.memo,
        payment=row.payment,
        # Every row was confirmed and has its own key.
        allow_duplicate=True,
    )


def plan_of(reading: RefundReading, row: RunItem, request: RefundRequest, invoice: Invoice, now: datetime) -> Preview:
    """What a row would do now. Raises the refusal of a rule, or the failure of its own refund in this run."""
    failed_refund = failed_in_run(row, reading.refunds.by_key(row.request_key))
    if failed_refund:
        raise failure_of(failed_refund)
    confirmed_amount = Money(row.expected, invoice.currency)
    return planned(reading, request, confirmed=confirmed_amount, now=now)
