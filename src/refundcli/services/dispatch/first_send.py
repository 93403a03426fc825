"""Before every first send, whoever sends it: ask the provider, then check the rules in the transaction that claims.

`refund`, `resume` and bulk runs send a `ready` refund only through this module (docs/architecture.md). A refund that
the provider already has, because the books were restored from a backup, is recorded and not sent again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from refundcli.domain.errors import RefundcliError, Refused, SettingsProblem
from refundcli.domain.refund import Refund
from refundcli.domain.refusals import RuleRefusal, UnsupportedRefund
from refundcli.domain.statuses import RefundState
from refundcli.services.dispatch.leases import new_lease
from refundcli.services.dispatch.outcome_errors import NEVER_SENT
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.release_lapsed import apply_due_updates_in
from refundcli.services.dispatch.send_refund import SendingPolicy, call, record_outcome, settle
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Books, RefundReading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.provider_updates import PaymentSnapshot
from refundcli.services.ports.providers import PaymentProvider, Providers, RefundAnswer
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
from refundcli.services.preflight.revalidate import why_not_any_more
from refundcli.system.interrupts import held_until_written, is_interrupted

# An older snapshot may miss later changes, so another one is taken before anything is sent.
FRESH = timedelta(seconds=10)
# After waiting this long for a provider that is rate limiting, a refund is checked again before it is sent.
LONGEST_UNCHECKED_WAIT_SECONDS = 1.0
_MOST_SNAPSHOTS = 3
# The answer for a refund that was in a snapshot, but that the look-up does not find.
NO_LONGER_LISTED = RefundAnswer(
    Signal.OTHER, message="The provider listed the payment a moment ago but cannot find it now."
)


class StaleSnapshot(SettingsProblem):
    """The store was so slow that each snapshot was out of date before it could be used."""

    code = "store-too-slow"

    def __init__(self, refund: Refund) -> None:
        super().__init__(
            f"The store took longer than {FRESH.seconds} s to answer. {refund.id} was not sent.",
            hint=f"Its amount stays reserved. When the store is fast enough again: refundcli resume {refund.id}",
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class CannotBeChecked(SettingsProblem):
    """The payment could not be looked up before the first send, so nothing was sent: `message` says why."""

    code = "cannot-be-checked"

    def __init__(self, refund: Refund, error: RefundcliError) -> None:
        super().__init__(
            error.message, hint=error.hint, context={"refund": refund.id, "invoice": refund.invoice_number}
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A payment as its provider had it at `taken_at`; `payment` is None if the provider has no such payment."""

    payment: PaymentSnapshot | None
    taken_at: datetime

    def is_fresh(self, now: datetime) -> bool:
        return timedelta(0) <= now - self.taken_at <= FRESH

    def lists(self, refund: Refund) -> bool:
        """Does the provider already have this refund, by our id?"""
        return self.payment is not None and own_refund_in(self.payment, refund.id) is not None

    def sent_at(self, refund: Refund, now: datetime) -> datetime:
        """The time at which the provider made this refund, at most `now`. The age of its key counts from then (I8)."""
        listed_refund = own_refund_in(self.payment, refund.id) if self.payment else None
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
    refusal: RuleRefusal | None = why_not_any_more(reading, refund)
    if refusal or snapshot is None:
        return refusal
    try:
        invoice = invoice_named(reading, refund.invoice_number)
        snapshots = {refund.payment_id: snapshot.payment}
        refuse_differences(invoice, snapshots, claim_differences=claims(reading, invoice, snapshots))
    except (DiffersFromProvider, UnsupportedRefund) as difference:
        return difference
    return None


def check_listed(refund: Refund, snapshot: Snapshot) -> None:
    """Raises AlreadyAtProvider where the provider has this refund, but of another amount."""
    listed_refund = own_refund_in(snapshot.payment, refund.id) if snapshot.payment else None
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
    settle(tx, refund, RefundState.FAILED, answer, clock=clock, policy=policy)
    stored_refund = tx.refunds.get(refund.id)
    return stored_refund if stored_refund and stored_refund.state is RefundState.FAILED else None


def store_unlisted(tx: Writing, refund: Refund, snapshot: Snapshot | None) -> bool:
    """Store the snapshot's unlisted statuses as unreviewed, which blocks the payment (R13). True if it has any."""
    if not (snapshot and snapshot.payment and snapshot.payment.doubts):
        return False
    store_findings(tx, invoice_named(tx, refund.invoice_number), {refund.payment_id: snapshot.payment})
    return True


def claim(
    refund: Refund, snapshot: Snapshot | None, *, is_listed: bool, books: Books, clock: Clock, policy: SendingPolicy
) -> Refund | None:
    """T2: check the rules and claim it for sending. None if another process claimed it, or a rule made it `failed`.

    A refund that the provider already has (`is_listed`) was sent, so it is claimed whatever the rules say. Raises
    StaleSnapshot.
    """

    def write(tx: Writing) -> Refund | None:
        now = clock.now()
        sent_at = snapshot.sent_at(refund, now) if snapshot else now
        if is_listed:
            # It will not be sent, so it is recorded whatever the clock says.
            return tx.refunds.claim(refund, owner="", until=now, at=sent_at)
        if snapshot and not snapshot.is_fresh(now):
            raise StaleSnapshot(refund)
        apply_due_updates_in(tx, refund.invoice_number, policy=policy, clock=clock)
        store_unlisted(tx, refund, snapshot)
        refusal = why_not_sent(tx, refund, snapshot)
        if refusal:
            fail_unsent_in(tx, refund, refusal.message, clock=clock, policy=policy)
            return None
        lease = new_lease(now, policy.sending_seconds)
        return tx.refunds.claim(refund, owner=lease.owner, until=lease.until, at=sent_at)

    return books.write(write)


def send(
    refund: Refund,
    *,
    books: Books,
    providers: Providers,
    provider: PaymentProvider,
    clock: Clock,
    policy: SendingPolicy,
    snapshot: Snapshot | None = None,
) -> Refund:
    """Check, claim and send a `ready` refund, or record what the provider already has of it.

    Returns the refund in its new state: `failed` if it was refused and not sent, `submitted` if its outcome is unknown.
    Raises OutcomeNotWritten; and AlreadyAtProvider, CannotBeChecked or StaleSnapshot, which leave it
    `ready`.
    """
    assert refund.state is RefundState.READY, "a refund that was sent before is resumed by other rules"
    return _FirstSend(refund, books, providers, provider, clock, policy, snapshot).run()


@dataclass(slots=True)
class _FirstSend:
    refund: Refund
    books: Books
    providers: Providers
    provider: PaymentProvider
    clock: Clock
    policy: SendingPolicy
    snapshot: Snapshot | None
    # Why it was not sent after a wait, and the seconds waited since the last check.
    refusal: Refused | None = None
    waited_seconds: float = 0.0

    def run(self) -> Refund:
        for attempts_left in reversed(range(_MOST_SNAPSHOTS)):
            if self.snapshot is None or not self.snapshot.is_fresh(self.clock.now()):
                self._look()
            try:
                return self._claimed_and_sent()
            except StaleSnapshot:
                if not attempts_left:
                    raise
        raise AssertionError("the loop returns or raises")

    def _look(self) -> None:
        if self.provider.name not in CAN_LOOK_UP:
            return
        lookup = self.books.read(lambda tx: lookup_at_provider(tx, self.refund))
        assert lookup
        try:
            self.snapshot = snapshot_of(lookup, providers=self.providers, clock=self.clock)
        except RefundcliError as error:
            raise CannotBeChecked(self.refund, error) from error
        check_listed(self.refund, self.snapshot)

    @property
    def is_listed(self) -> bool:
        return self.snapshot is not None and self.snapshot.lists(self.refund)

    def _claimed_and_sent(self) -> Refund:
        with held_until_written(self.policy.on_interrupt):
            claimed_refund = claim(
                self.refund,
                self.snapshot,
                is_listed=self.is_listed,
                books=self.books,
                clock=self.clock,
                policy=self.policy,
            )
            if claimed_refund is None:
                return self.books.read(lambda tx: tx.refunds.get(self.refund.id)) or self.refund
            if self.is_listed:
                return self._record(claimed_refund)
            return self._call(claimed_refund)

    def _record(self, claimed_refund: Refund) -> Refund:
        """Record the outcome that the provider has for it. If the look-up fails it stays `submitted`."""
        assert claimed_refund.sending
        answer = self.provider.find_refund(claimed_refund.sending.request, claimed_refund.id) or NO_LONGER_LISTED
        return record_outcome(
            claimed_refund, answer, first_send=False, books=self.books, clock=self.clock, policy=self.policy
        )

    def _call(self, claimed_refund: Refund) -> Refund:
        sending = claimed_refund.sending
        assert sending
        answer = call(
            claimed_refund,
            self.provider,
            self.policy,
            self.clock,
            patience=lambda: self.policy.patience(sending, self.clock.now()),
            may_retry=lambda answer, wait_seconds: self._may_still(claimed_refund, wait_seconds),
        )
        if self.is_listed:
            return self._record(claimed_refund)
        if self.refusal:
            answer = RefundAnswer(Signal.NOT_SENT, message=f"{NEVER_SENT}{self.refusal.message}")
        return record_outcome(
            claimed_refund, answer, first_send=True, books=self.books, clock=self.clock, policy=self.policy
        )

    def _may_still(self, claimed_refund: Refund, wait_seconds: float) -> bool:
        """Wait, then check again. The refund is still claimed by this process, so nothing is claimed again."""
        self.policy.sleep(wait_seconds)
        self.waited_seconds += wait_seconds
        if is_interrupted():
            return False
        if self.waited_seconds < LONGEST_UNCHECKED_WAIT_SECONDS:
            return True
        self.waited_seconds = 0.0
        try:
            self._look()
            if not self.is_listed:
                self.refusal = self.books.read(lambda tx: why_not_sent(tx, claimed_refund, self.snapshot))
        except RefundcliError:
            # It cannot be checked, so it is not sent. The last answer, that nothing was done, remains.
            return False
        return not (self.refusal or self.is_listed)
