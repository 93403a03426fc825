"""What is checked before the first send of a refund: the provider's snapshot of its payment, and the rules.

A refund that the provider already has, because the books were restored from a backup, is recorded and not sent again.
"""

from dataclasses import dataclass
from datetime import datetime

from refundcli.domain.errors import Refused
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund
from refundcli.domain.refusals import RuleRefusal, UnsupportedRefund
from refundcli.domain.statuses import RefundState
from refundcli.services.dispatch.outcome_errors import NEVER_SENT
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.policy import SendingPolicy
from refundcli.services.dispatch.protocol import NO_LONGER_LISTED as LISTED_BEFORE
from refundcli.services.dispatch.protocol import is_fresh
from refundcli.services.dispatch.settling import settle_refund
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import RefundReading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.provider_updates import PaymentSnapshot, RefundUpdate
from refundcli.services.ports.providers import Providers, RefundAnswer
from refundcli.services.preflight.payment import (
    AlreadyAtProvider,
    DiffersFromProvider,
    PaymentLookup,
    PlannedRefund,
    claims,
    lookup_of,
    own_refund_in,
    refuse_differences,
    snapshot_at,
    store_findings,
)
from refundcli.services.preflight.revalidate import why_not_now

NO_LONGER_LISTED = RefundAnswer(Signal.OTHER, message=LISTED_BEFORE)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A payment as its provider had it at `taken_at`; `payment` is None if the provider has no such payment."""

    payment: PaymentSnapshot | None
    taken_at: datetime

    def is_fresh(self, now: datetime) -> bool:
        return is_fresh(self.taken_at, now)

    def listed(self, refund: Refund) -> RefundUpdate | None:
        """The refund as the provider has it, by our id; None if it has none."""
        return own_refund_in(self.payment, refund.id) if self.payment else None

    def lists(self, refund: Refund) -> bool:
        return self.listed(refund) is not None

    def sent_at(self, refund: Refund, now: datetime) -> datetime:
        """The time at which the provider made this refund, at most `now`. The age of its key counts from then (I8)."""
        listed_refund = self.listed(refund)
        return min(listed_refund.created_at, now) if listed_refund and listed_refund.created_at else now


def snapshot_of(lookup: PaymentLookup, *, providers: Providers, clock: Clock) -> Snapshot:
    """Ask the provider for a payment, found by `lookup`. Raises ProviderUnreachable, CannotBeHeld."""
    taken_at = clock.now()
    return Snapshot(snapshot_at(lookup, providers), taken_at)


def lookup_at_provider(reading: RefundReading, refund: Refund) -> PaymentLookup | None:
    """Where its payment is looked up; None if the provider has no such look-up."""
    invoice = invoice_named(reading, refund.invoice_number)
    return lookup_of(invoice, next(payment for payment in invoice.payments if payment.id == refund.payment_id))


def why_not_sent(reading: RefundReading, refund: Refund, snapshot: Snapshot | None) -> Refused | None:
    """The rule that refuses it now, or the difference from the provider; None if it may be sent."""
    return refusal_of(reading, invoice_named(reading, refund.invoice_number), refund, snapshot)


def refusal_of(reading: RefundReading, invoice: Invoice, refund: Refund, snapshot: Snapshot | None) -> Refused | None:
    """The same for an invoice that was read just now."""
    refusal: RuleRefusal | None = why_not_now(invoice, refund)
    if refusal or snapshot is None:
        return refusal
    try:
        snapshots = {refund.payment_id: snapshot.payment}
        refuse_differences(invoice, snapshots, claim_differences=claims(reading, invoice, snapshots))
    except (DiffersFromProvider, UnsupportedRefund) as difference:
        return difference
    return None


def check_listed(refund: Refund, snapshot: Snapshot) -> None:
    """Raises AlreadyAtProvider where the provider has this refund, but of another amount."""
    listed_refund = snapshot.listed(refund)
    if listed_refund and listed_refund.amount != refund.amount:
        own_refund = PlannedRefund(refund.id, refund.amount)
        raise AlreadyAtProvider(
            refund.invoice_number, listed_refund.provider, listed_refund.reference, listed_refund.amount, own_refund
        )


def fail_unsent_in(
    tx: Writing, refund: Refund, reason: str, *, clock: Clock, policy: SendingPolicy, is_refused: bool = True
) -> Refund | None:
    """Make a refund that was not sent, or provably not executed, `failed`, and release its amount.

    `is_refused`: by a rule (exit 3); otherwise the provider could not be asked, and it may be repeated (exit 7).
    None if another process has claimed it since.
    """
    answer = RefundAnswer(Signal.NOT_SENT, message=f"{NEVER_SENT}{reason}" if is_refused else reason)
    credit_note_format = policy.credit_note_format
    settle_refund(tx, refund, RefundState.FAILED, answer, clock=clock, credit_note_format=credit_note_format)
    stored_refund = tx.refunds.get(refund.id)
    return stored_refund if stored_refund and stored_refund.state is RefundState.FAILED else None


def store_unlisted(tx: Writing, refund: Refund, snapshot: Snapshot | None) -> bool:
    """Store the snapshot's unlisted statuses as unreviewed, which blocks the payment (R13). True if it has any."""
    if not (snapshot and snapshot.payment and snapshot.payment.doubts):
        return False
    store_findings(tx, invoice_named(tx, refund.invoice_number), {refund.payment_id: snapshot.payment})
    return True
