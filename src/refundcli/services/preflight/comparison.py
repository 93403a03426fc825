"""The differences between the books and a provider about one payment."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from refundcli.domain.dispute import DisputeRecord, DisputeState
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money, zero
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundKind, RefundState
from refundcli.services.ports.books import RefundReading
from refundcli.services.ports.provider_updates import DisputeNews, PaymentTruth, RefundNews

# What the books say of an external refund that may be the same as a record made by hand.
MAYBE_RECORDED = "may be recorded by hand"


class DifferenceKind(StrEnum):
    MISSING_HERE = "missing-here"
    MISSING_THERE = "missing-there"
    AMOUNT = "amount"
    STATUS = "status"
    CURRENCY = "currency"
    DISPUTE = "dispute"
    UNALLOCATED = "unallocated"  # the provider captured more than is allocated to invoices in the books
    UNADOPTED = "unadopted"  # an external refund that has no reason and no credit note yet


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: the state `here` and `there`, and the amount concerned.

    `reference` is the provider's id; `invoice` is empty if the books have no invoice for it.
    """

    kind: DifferenceKind
    provider: Provider
    invoice: str
    reference: str
    what: str
    here: str
    there: str
    amount: Money | None = None
    refund_id: str = ""

    @property
    def blocks_refund(self) -> bool:
        """Does it block a refund? Not if the books and the provider agree on the amounts."""
        return self.kind not in (DifferenceKind.UNALLOCATED, DifferenceKind.UNADOPTED)

    def next_step(self, *, applied: bool) -> str:
        """The next command; empty if the difference was applied and nothing is left to do."""
        name, number = shlex.quote(self.refund_id or self.reference), shlex.quote(self.invoice)
        if self.kind is DifferenceKind.UNADOPTED and self.here == MAYBE_RECORDED:
            return f"refundcli reconcile --match {name} --record REFUND"
        if self.kind is DifferenceKind.UNADOPTED or (applied and self.what == "refund" and not self.here):
            return f"refundcli reconcile --adopt {name} --reason REASON"
        if applied:
            return ""
        if self.what == "report":
            return "refundcli config"
        if self.kind is DifferenceKind.UNALLOCATED or not self.invoice:
            pull = "refundcli invoice pull stripe   or   " if self.provider is Provider.STRIPE else ""
            return f"{pull}refundcli invoice import FILE"
        if self.kind is DifferenceKind.MISSING_THERE:
            return f"refundcli invoice history {number}"
        if self.what in ("refund", "dispute", "report line"):
            # An update that could not be applied waits for a person (R13).
            return f"refundcli events list --state unreviewed --about {shlex.quote(self.reference)}"
        return f"refundcli invoice show {number}"

    def __str__(self) -> str:
        return f"{self.what}: {self.here or 'nothing'} here, {self.there or 'nothing'} there"


# The provider's states that agree with each state in the books.
_COMPATIBLE_STATES = {
    RefundState.READY: frozenset(RefundState),
    RefundState.SUBMITTED: frozenset(RefundState),
    RefundState.AWAITING_APPROVAL: frozenset(RefundState),
    # The provider's next event may not have arrived yet.
    RefundState.PENDING: frozenset({RefundState.PENDING, RefundState.SUCCEEDED}),
    RefundState.SUCCEEDED: frozenset({RefundState.SUCCEEDED}),
    RefundState.RECORDED: frozenset({RefundState.PENDING, RefundState.SUCCEEDED}),
    # A reversed refund may be reported as failed by a provider that has no other status for it.
    RefundState.FAILED: frozenset({RefundState.FAILED, RefundState.REVERSED}),
    RefundState.REVERSED: frozenset({RefundState.FAILED, RefundState.REVERSED}),
}
_CLOCKS_APART = timedelta(minutes=1)
_WEIGHTY = frozenset({DisputeState.UNKNOWN, DisputeState.OPEN, DisputeState.LOST})


def apart(here: Money, there: Money) -> Money:
    """The difference between two amounts; the provider's amount if the currencies differ."""
    if here.currency != there.currency:
        return there
    return max(here, there) - min(here, there)


def compare(invoice: Invoice, payment: Payment, snapshot: PaymentTruth | None) -> Iterator[Difference]:
    """Every difference about one payment; none if the books and the provider agree."""
    side_by_side = _SideBySide(invoice, payment)
    if snapshot is None:
        yield side_by_side.differs(
            DifferenceKind.MISSING_THERE, "payment", str(payment.captured), "", amount=payment.captured
        )
        return
    if snapshot.captured.currency != payment.captured.currency:
        here, there = payment.captured.currency.code, snapshot.captured.currency.code
        yield side_by_side.differs(DifferenceKind.CURRENCY, "currency", here, there, amount=snapshot.captured)
        return
    yield from side_by_side.captured(snapshot)
    yield from side_by_side.dispute(snapshot)
    yield from side_by_side.refunds(snapshot)
    yield from side_by_side.credited(snapshot)


@dataclass(frozen=True, slots=True)
class _SideBySide:
    invoice: Invoice
    payment: Payment

    def differs(
        self,
        kind: DifferenceKind,
        what: str,
        here: str,
        there: str,
        *,
        amount: Money | None = None,
        reference: str = "",
        refund_id: str = "",
        invoice: str = "",
    ) -> Difference:
        provider = self.payment.provider
        assert provider
        reference = reference or self.payment.reference
        number = invoice or self.invoice.number
        return Difference(kind, provider, number, reference, what, here, there, amount, refund_id)

    def captured(self, snapshot: PaymentTruth) -> Iterator[Difference]:
        here, there = self._captured_here(), snapshot.captured
        if here > there or (here < there and here < self.payment.allocated_in_all):
            yield self.differs(DifferenceKind.AMOUNT, "captured", str(here), str(there), amount=apart(here, there))
        elif here < there:
            gap = apart(here, there)
            yield self.differs(DifferenceKind.UNALLOCATED, "captured", str(here), str(there), amount=gap)
        if self.payment.processing != snapshot.processing:
            words = {True: "processing", False: "not processing"}
            states = words[self.payment.processing], words[snapshot.processing]
            yield self.differs(DifferenceKind.STATUS, "payment", *states, amount=there)

    def _captured_here(self) -> Money:
        """What was captured for this invoice, or for all invoices of a shared payment, which may exceed the capture."""
        in_all, reported = self.payment.allocated_in_all, self.payment.provider_captured
        return in_all if self.payment.other_shares or reported is None else min(in_all, reported)

    def dispute(self, snapshot: PaymentTruth) -> Iterator[Difference]:
        by_reference = {dispute.reference: dispute for dispute in self.payment.disputes if dispute.reference}
        placeholders = [dispute for dispute in self.payment.disputes if dispute.is_placeholder]
        for reported in snapshot.disputes:
            here = by_reference.pop(reported.reference, None) or (placeholders.pop(0) if placeholders else None)
            yield from self._one_dispute(here, reported)
        for here in (*by_reference.values(), *placeholders):
            # A won dispute is over, and some sources no longer list it.
            if here.state in _WEIGHTY:
                yield self.differs(DifferenceKind.DISPUTE, "dispute", here.state, "none", amount=here.amount)
        if snapshot.why_not_refundable and not snapshot.processing:
            there = snapshot.why_not_refundable
            yield self.differs(DifferenceKind.STATUS, "payment", "refundable", there, amount=snapshot.captured)

    def _one_dispute(self, here: DisputeRecord | None, reported: DisputeNews) -> Iterator[Difference]:
        state = here.state if here else None
        if reported.state is DisputeState.UNKNOWN and here and here.status == reported.status:
            return  # a person decides, or has decided, the state of this dispute
        there = reported.state or DisputeState.OPEN
        same_amount = here is None or None in (here.amount, reported.amount) or here.amount == reported.amount
        if state is there and (same_amount or there not in _WEIGHTY):
            return
        # A refund after a won dispute needs a decision, so the books must have that dispute (R11).
        if {state, there} & _WEIGHTY or there is DisputeState.WON:
            words = (f"{side.state} {side.amount or ''}".strip() for side in (here, reported) if side)
            texts = [str(state or "none"), str(there)] if same_amount else list(words)
            amount = reported.amount
            yield self.differs(DifferenceKind.DISPUTE, "dispute", texts[0], texts[1], amount=amount)

    def refunds(self, snapshot: PaymentTruth) -> Iterator[Difference]:
        ours = [r for r in self.invoice.refunds if r.payment_id == self.payment.id]
        # Refunds of the other invoices that share the payment are in the books too.
        ours += [refund for share in self.payment.other_shares for refund in share.refunds]
        pairs = [(reported, _of(reported, ours)) for reported in snapshot.refunds]
        of = snapshot.captured.currency
        # A refund of zero or in another currency cannot be counted; the snapshot reports it for review (R13).
        accepted = [
            reported
            for reported in snapshot.refunds
            if reported.state.is_accepted and reported.amount.currency == of and reported.amount
        ]
        yield from self._not_here(
            [reported for reported, recorded in pairs if recorded is None and reported in accepted]
        )
        for reported, recorded in pairs:
            if recorded is not None:
                yield from self.refund(reported, recorded)
        matched_ids = {recorded.id for _, recorded in pairs if recorded}
        for refund in ours:
            expected = refund.state.is_accepted and refund.kind is not RefundKind.RECORD
            if expected and refund.id not in matched_ids and _was_there(refund, snapshot.asked_at):
                yield self._not_there(refund)
        listed = sum((reported.amount for reported in accepted), zero(of))
        if listed < snapshot.refunded:
            gap = snapshot.refunded - listed
            yield self.differs(DifferenceKind.AMOUNT, "refunded", str(listed), str(snapshot.refunded), amount=gap)

    def credited(self, snapshot: PaymentTruth) -> Iterator[Difference]:
        """What credit notes moved to the customer's balance cannot be refunded to the card too."""
        yield from credit_differences(
            self.invoice, snapshot.provider, snapshot.credited, reference=self.payment.reference
        )

    def refund(self, reported: RefundNews, recorded: Refund) -> Iterator[Difference]:
        at = {"reference": reported.reference, "refund_id": recorded.id, "invoice": recorded.invoice_number}
        if reported.amount != recorded.amount:
            kind = DifferenceKind.AMOUNT
            if reported.amount.currency != recorded.amount.currency:
                kind = DifferenceKind.CURRENCY
            gap = apart(recorded.amount, reported.amount)
            yield self.differs(kind, "refund", str(recorded.amount), str(reported.amount), amount=gap, **at)
        if reported.state not in _COMPATIBLE_STATES[recorded.state]:
            yield self.differs(
                DifferenceKind.STATUS, "refund", recorded.state, reported.state, amount=reported.amount, **at
            )
        elif recorded.is_unadopted:
            here = MAYBE_RECORDED if recorded.undecided else "no credit note"
            yield self.differs(
                DifferenceKind.UNADOPTED, "refund", here, str(reported.amount), amount=reported.amount, **at
            )

    def _not_here(self, strangers: Sequence[RefundNews]) -> Iterator[Difference]:
        """External refunds; those from before the import may be part of the imported figure."""
        openings = _openings(self.payment)
        for reported in sorted(strangers, key=lambda stranger: stranger.amount.minor):
            if any(opening.holds(reported) for opening in openings):
                continue
            yield self.differs(
                DifferenceKind.MISSING_HERE,
                "refund",
                "",
                str(reported.amount),
                amount=reported.amount,
                reference=reported.reference,
            )

    def _not_there(self, refund: Refund) -> Difference:
        return self.differs(
            DifferenceKind.MISSING_THERE,
            "refund",
            f"{refund.amount} {refund.state}",
            "",
            amount=refund.amount,
            reference=refund.provider_reference,
            refund_id=refund.id,
            invoice=refund.invoice_number,
        )


def credit_differences(
    invoice: Invoice, provider: Provider, credited: Money | None, *, reference: str = ""
) -> list[Difference]:
    """The difference in what credit notes moved to the customer's balance; `credited` is None if it was not asked."""
    here = invoice.credited
    if credited is None or credited.currency != invoice.currency or here == credited:
        return []
    return [
        Difference(
            DifferenceKind.AMOUNT,
            provider,
            invoice.number,
            reference or invoice.invoice_reference,
            "credit notes",
            f"{here} credited to the customer's balance",
            f"{credited} credited to the customer's balance",
            apart(here, credited),
        )
    ]


@dataclass(slots=True)
class _Opening:
    """What was refunded of a payment, or of a share, before it was imported."""

    remaining: Money
    known_since: datetime | None

    def holds(self, reported: RefundNews) -> bool:
        """Is this refund part of it? Then it is subtracted from what remains."""
        before = self.known_since and reported.created_at and reported.created_at < self.known_since
        if not before or self.remaining < reported.amount:
            return False
        self.remaining -= reported.amount
        return True


def _openings(payment: Payment) -> list[_Opening]:
    shares = [(payment.opening_returned, payment.opening_at)]
    shares += [(share.opening_returned, share.opening_at) for share in payment.other_shares]
    return [_Opening(returned, at) for returned, at in shares if returned]


def claimed_twice(
    reading: RefundReading, invoice: Invoice, payment: Payment, snapshot: PaymentTruth | None
) -> list[Difference]:
    """Other payments in the books that the provider reports as this one: its money must not be refunded twice.

    They were imported under two ids before it was known that they are one; pulling their invoices makes them shares.
    """
    new = [reference for reference in snapshot.references if reference not in payment.references] if snapshot else []
    if snapshot is None or not new:
        return []
    differences = []
    for reference, (number, payment_id) in reading.payments_known_as(snapshot.provider, new).items():
        if payment_id != payment.home_id:
            here, there = (
                f"{reference} is another payment, of {number}",
                f"one payment, {', '.join(snapshot.references)}",
            )
            at = (snapshot.provider, invoice.number, payment.reference)
            differences.append(Difference(DifferenceKind.STATUS, *at, "payment", here, there, snapshot.captured))
    return differences


def _was_there(refund: Refund, at: datetime) -> bool:
    """Was it sent long enough before the snapshot? Another host's clock may differ a little."""
    sent = refund.sending.first_sent_at if refund.sending else None
    return (sent or refund.created_at) < at - _CLOCKS_APART


def _of(reported: RefundNews, refunds: Sequence[Refund]) -> Refund | None:
    """The refund in the books that matches, by the provider's id or by ours."""
    by_reference = next((r for r in refunds if r.provider_reference == reported.reference), None)
    named = (r for r in refunds if r.id == reported.refund_id and not r.provider_reference)
    return by_reference or next(named, None) or _recorded(reported, refunds)


def _recorded(reported: RefundNews, refunds: Sequence[Refund]) -> Refund | None:
    """The record that names this refund and has its amount."""
    records = [
        r
        for r in refunds
        if r.kind is RefundKind.RECORD and not r.provider_reference and r.amount == reported.amount and r.out_of_band
    ]
    return next((r for r in records if r.out_of_band and r.out_of_band.reference == reported.reference), None)
