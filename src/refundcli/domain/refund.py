"""A refund: one amount, of one payment, for one reason, sent at most once."""

from dataclasses import dataclass
from datetime import date, datetime

from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.statuses import CreditNoteStatus, Provider, RefundKind, RefundState

# Stripe's word for a trace number that will be known later.
PENDING = "pending"


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request exactly as it is stored before it is sent, and may be sent again (I2, I8).

    `params` are the provider's own fields, the amount in the provider's minor units. `account` and
    `livemode` say whose money it is; a replay goes to the same ones or not at all.
    """

    provider: Provider
    endpoint: str
    account: str
    livemode: bool
    api_version: str
    params: dict[str, object]


@dataclass(frozen=True, slots=True)
class Sending:
    """The request that was or will be sent, and which process may send it."""

    idempotency_key: str
    request: WireRequest
    fence: int = 0
    lease_owner: str = ""
    lease_until: datetime | None = None
    first_sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CreditNote:
    """Every refund has one (R7). It gets its number when the refund is accepted or recorded (I9)."""

    id: str
    refund_id: str
    invoice_number: str
    customer: str
    status: CreditNoteStatus
    amount: Money
    reason: RefundReason
    memo: str = ""
    number: str | None = None
    issued_on: date | None = None
    issued_at: datetime | None = None
    voided_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TraceNumber:
    """The number by which the customer's bank finds a refund, in the provider's words.

    `destination`: where the money goes, as `card`. `type`: which number it is. `status`: is it available yet?
    """

    destination: str
    type: str = ""
    number: str = ""
    status: str = ""

    def outdates(self, report: "TraceNumber") -> bool:
        """Does it say more than the report? Reports arrive in any order (I7); a number, once known, stays known."""
        return bool(self.number and not report.number) or (report.status == PENDING != self.status)


@dataclass(frozen=True, slots=True)
class OutOfBand:
    """How the money was returned outside of refundcli."""

    method: str = ""
    reference: str = ""
    refunded_on: date | None = None
    after_failed: str = ""
    evidence: str = ""

    @property
    def words(self) -> str:
        """`bank transfer SEPA 1, returned 2026-10-02`; empty where nothing was entered."""
        method_words = " ".join(filter(None, (self.method, self.reference)))
        day_words = f"returned {self.refunded_on}" if self.refunded_on else ""
        return ", ".join(filter(None, (method_words, day_words)))


@dataclass(frozen=True, slots=True)
class Refund:
    """`reason` and `credit_note` are None for an external refund until it is adopted.

    `needs_acknowledgement_since`: when it failed or was reversed after its success; reported until it is acknowledged.
    `run_id`: the bulk run of its row. `failure_code`: the signal of the provider's answer that made it fail.
    """

    id: str
    invoice_id: int
    invoice_number: str
    payment_id: int
    kind: RefundKind
    amount: Money
    reason: RefundReason | None
    state: RefundState
    request_key: str
    content: str
    created_at: datetime
    operator: str
    memo: str = ""
    attempt: int = 1
    sending: Sending | None = None
    provider_reference: str = ""
    provider_status: str = ""
    failure: str = ""
    dispute_decision: str = ""
    out_of_band: OutOfBand | None = None
    credit_note: CreditNote | None = None
    payment_label: str = ""
    seen_at: Provider | None = None
    needs_acknowledgement_since: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""
    run_id: str = ""
    failure_code: str = ""
    pending_reason: str = ""
    expires_at: datetime | None = None
    succeeded_at: datetime | None = None
    failed_at: datetime | None = None
    reversed_amount: Money | None = None
    holding: bool = False
    hold_until: datetime | None = None
    undecided: bool = False
    trace: TraceNumber | None = None

    def trace_after(self, report: TraceNumber | None) -> TraceNumber | None:
        """The trace number once the report is applied."""
        return self.trace if report is None or (self.trace and self.trace.outdates(report)) else report

    @property
    def provider(self) -> Provider | None:
        return self.sending.request.provider if self.sending else self.seen_at

    @property
    def is_external(self) -> bool:
        return self.kind is RefundKind.EXTERNAL

    @property
    def is_unadopted(self) -> bool:
        """Is it an external refund that was not reversed and has no reason yet (R4, R7)?"""
        return self.is_external and self.reason is None and self.state.is_accepted

    @property
    def is_made_at_provider(self) -> bool:
        """Is it the record of a provider's own refund that has not been reported as failed (R12)?"""
        has_failed = self.failed_at and not (self.succeeded_at and self.succeeded_at > self.failed_at)
        return self.kind is RefundKind.RECORD and bool(self.provider_reference) and not has_failed

    @property
    def has_failed_at_provider(self) -> bool:
        """Is it a record that still counts, although the provider's refund has failed?"""
        is_matched = self.state is RefundState.RECORDED and bool(self.provider_reference)
        return is_matched and not self.is_made_at_provider

    @property
    def needs_acknowledgement(self) -> bool:
        return self.needs_acknowledgement_since is not None and self.acknowledged_at is None

    @property
    def succeeded_after_failure(self) -> bool:
        """Did the provider report a success dated after the failure (R14)?"""
        has_both_outcomes = self.state is RefundState.FAILED and self.succeeded_at and self.failed_at
        return bool(has_both_outcomes and self.succeeded_at and self.failed_at and self.succeeded_at > self.failed_at)

    @property
    def needs_acknowledgement_after_all(self) -> bool:
        """Is its amount reserved because it succeeded after its failure?"""
        return self.holding and self.hold_until is None and self.needs_acknowledgement

    def is_held_at(self, now: datetime) -> bool:
        """Is its amount reserved although it failed? A hold with an end lapses by itself (R14)."""
        return self.holding and (self.hold_until is None or self.hold_until > now)

    @property
    def is_chargeback(self) -> bool:
        """Is it the record of a lost dispute (R11)?"""
        return self.kind is RefundKind.RECORD and self.reason is RefundReason.CHARGEBACK

    @property
    def stands_for_dispute(self) -> bool:
        """Does it count against what disputes took? A record that replaces a failed refund is other money."""
        replaces_failed = self.out_of_band is not None and bool(self.out_of_band.after_failed)
        return self.is_chargeback and self.state is RefundState.RECORDED and not replaces_failed

    @property
    def counted(self) -> Money:
        """The amount that counts as refunded: all of it, less any part that was returned."""
        return self.amount - self.reversed_amount if self.reversed_amount else self.amount

    @property
    def holds_reservation(self) -> bool:
        """Is its amount reserved? That of a failed refund may be: the provider may try again by itself (R14).

        That of an external refund is, until someone decides whether it is the same as a refund recorded by hand.
        """
        if self.is_external:
            return self.holding or (self.undecided and self.state.is_accepted)
        return self.state.holds_reservation or self.holding

    def needs_acknowledgement_as(self, state: RefundState) -> bool:
        """Does this outcome revoke an earlier one, accepted or succeeded (R14)?"""
        if self.kind is RefundKind.RECORD:
            return False
        return state is RefundState.REVERSED or (state is RefundState.FAILED and self.state.is_accepted)
