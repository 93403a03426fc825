"""Where the books and a provider tell different stories of one payment."""

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
from refundcli.services.ports.provider_updates import DisputeUpdate, PaymentSnapshot, RefundUpdate

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
    """One thing that is not the same: as it is `here` and `there`, and the money it is about.

    `reference` is the provider's id of it; `invoice` is empty where the books know of none.
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
    def bars_a_refund(self) -> bool:
        """Does it block a refund? Not if the books and the provider agree on the amounts."""
        return self.kind not in (DifferenceKind.UNALLOCATED, DifferenceKind.UNADOPTED)

    def next_step(self, *, applied: bool) -> str:
        """The next command; empty where the difference was applied and nobody has to do anything."""
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
            # What could not be applied waits for a person (R13).
            return f"refundcli events list --state unreviewed --about {shlex.quote(self.reference)}"
        return f"refundcli invoice show {number}"

    def __str__(self) -> str:
        return f"{self.what}: {self.here or 'nothing'} here, {self.there or 'nothing'} there"


# What a refund here may be called there, besides by the same word.
_SAME_STORY = {
    RefundState.READY: frozenset(RefundState),
    RefundState.SUBMITTED: frozenset(RefundState),
    RefundState.AWAITING_APPROVAL: frozenset(RefundState),
    # The provider's next word is on its way to us.
    RefundState.PENDING: frozenset({RefundState.PENDING, RefundState.SUCCEEDED}),
    RefundState.SUCCEEDED: frozenset({RefundState.SUCCEEDED}),
    RefundState.RECORDED: frozenset({RefundState.PENDING, RefundState.SUCCEEDED}),
    # A refund that came back is told as failed, as long as the provider has no other word for it.
    RefundState.FAILED: frozenset({RefundState.FAILED, RefundState.REVERSED}),
    RefundState.REVERSED: frozenset({RefundState.FAILED, RefundState.REVERSED}),
}
_CLOCKS_APART = timedelta(minutes=1)
_WEIGHTY = frozenset({DisputeState.UNKNOWN, DisputeState.OPEN, DisputeState.LOST})


def apart(here: Money, there: Money) -> Money:
    """What two amounts of one thing differ by; all of it where they are in two currencies."""
    if here.currency != there.currency:
        return there
    return max(here, there) - min(here, there)


def compare(invoice: Invoice, payment: Payment, truth: PaymentSnapshot | None) -> Iterator[Difference]:
    """Every difference about one payment of a provider; none where both tell the same story."""
    side_by_side = _SideBySide(invoice, payment)
    if truth is None:
        yield side_by_side.differs(
            DifferenceKind.MISSING_THERE, "payment", str(payment.captured), "", amount=payment.captured
        )
        return
    if truth.captured.currency != payment.captured.currency:
        here, there = payment.captured.currency.code, truth.captured.currency.code
        yield side_by_side.differs(DifferenceKind.CURRENCY, "currency", here, there, amount=truth.captured)
        return
    yield from side_by_side.captured(truth)
    yield from side_by_side.dispute(truth)
    yield from side_by_side.refunds(truth)
    yield from side_by_side.credited(truth)


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

    def captured(self, truth: PaymentSnapshot) -> Iterator[Difference]:
        here, there = self._captured_here(), truth.captured
        if here > there or (here < there and here < self.payment.allocated_in_all):
            yield self.differs(DifferenceKind.AMOUNT, "captured", str(here), str(there), amount=apart(here, there))
        elif here < there:
            gap = apart(here, there)
            yield self.differs(DifferenceKind.UNALLOCATED, "captured", str(here), str(there), amount=gap)
        if self.payment.processing != truth.processing:
            words = {True: "processing", False: "not processing"}
            told = words[self.payment.processing], words[truth.processing]
            yield self.differs(DifferenceKind.STATUS, "payment", *told, amount=there)

    def _captured_here(self) -> Money:
        """What was taken for this invoice, or for all that the payment pays: together they may claim too much."""
        in_all, reported = self.payment.allocated_in_all, self.payment.provider_captured
        return in_all if self.payment.other_shares or reported is None else min(in_all, reported)

    def dispute(self, truth: PaymentSnapshot) -> Iterator[Difference]:
        known = {dispute.reference: dispute for dispute in self.payment.disputes if dispute.reference}
        placeholders = [dispute for dispute in self.payment.disputes if dispute.is_placeholder]
        for reported in truth.disputes:
            here = known.pop(reported.reference, None) or (placeholders.pop(0) if placeholders else None)
            yield from self._one_dispute(here, reported)
        for here in (*known.values(), *placeholders):
            # A won dispute is over, and not every source still lists it.
            if here.state in _WEIGHTY:
                yield self.differs(DifferenceKind.DISPUTE, "dispute", here.state, "none", amount=here.amount)
        if truth.why_not_refundable and not truth.processing:
            there = truth.why_not_refundable
            yield self.differs(DifferenceKind.STATUS, "payment", "refundable", there, amount=truth.captured)

    def _one_dispute(self, here: DisputeRecord | None, reported: DisputeUpdate) -> Iterator[Difference]:
        state = here.state if here else None
        if reported.state is DisputeState.UNKNOWN and here and here.status == reported.status:
            return  # a person decides the state of this dispute, or already has
        there = reported.state or DisputeState.OPEN
        same_amount = here is None or None in (here.amount, reported.amount) or here.amount == reported.amount
        if state is there and (same_amount or there not in _WEIGHTY):
            return
        # A refund after a won dispute needs a decision, so the books must have that dispute (R11).
        if {state, there} & _WEIGHTY or there is DisputeState.WON:
            words = (f"{each.state} {each.amount or ''}".strip() for each in (here, reported) if each)
            texts = [str(state or "none"), str(there)] if same_amount else list(words)
            amount = reported.amount
            yield self.differs(DifferenceKind.DISPUTE, "dispute", texts[0], texts[1], amount=amount)

    def refunds(self, truth: PaymentSnapshot) -> Iterator[Difference]:
        ours = [r for r in self.invoice.refunds if r.payment_id == self.payment.id]
        # What went back for other invoices that the payment pays is known here too.
        ours += [refund for share in self.payment.other_shares for refund in share.refunds]
        pairs = [(told, _of(told, ours)) for told in truth.refunds]
        of = truth.captured.currency
        # One over nothing, or in another currency, cannot be counted: it is a doubt of the snapshot (R13).
        given = [told for told in truth.refunds if told.state.is_given and told.amount.currency == of and told.amount]
        yield from self._not_here([told for told, known in pairs if known is None and told in given])
        for told, known in pairs:
            if known is not None:
                yield from self.refund(told, known)
        told_of = {known.id for _, known in pairs if known}
        for refund in ours:
            expected = refund.state.is_given and refund.kind is not RefundKind.RECORD
            if expected and refund.id not in told_of and _was_there(refund, truth.asked_at):
                yield self._not_there(refund)
        listed = sum((told.amount for told in given), zero(of))
        if listed < truth.refunded:
            gap = truth.refunded - listed
            yield self.differs(DifferenceKind.AMOUNT, "refunded", str(listed), str(truth.refunded), amount=gap)

    def credited(self, truth: PaymentSnapshot) -> Iterator[Difference]:
        """What credit notes gave to the customer's balance cannot go back to the card too."""
        yield from credit_differences(self.invoice, truth.provider, truth.credited, reference=self.payment.reference)

    def refund(self, told: RefundUpdate, known: Refund) -> Iterator[Difference]:
        at = {"reference": told.reference, "refund_id": known.id, "invoice": known.invoice_number}
        if told.amount != known.amount:
            kind = DifferenceKind.AMOUNT
            if told.amount.currency != known.amount.currency:
                kind = DifferenceKind.CURRENCY
            gap = apart(known.amount, told.amount)
            yield self.differs(kind, "refund", str(known.amount), str(told.amount), amount=gap, **at)
        if told.state not in _SAME_STORY[known.state]:
            yield self.differs(DifferenceKind.STATUS, "refund", known.state, told.state, amount=told.amount, **at)
        elif known.is_unadopted:
            here = MAYBE_RECORDED if known.undecided else "no credit note"
            yield self.differs(DifferenceKind.UNADOPTED, "refund", here, str(told.amount), amount=told.amount, **at)

    def _not_here(self, strangers: Sequence[RefundUpdate]) -> Iterator[Difference]:
        """Refunds by other hands; those from before the payment was imported may be in the figure it came with."""
        openings = _openings(self.payment)
        for told in sorted(strangers, key=lambda each: each.amount.minor):
            if any(opening.holds(told) for opening in openings):
                continue
            yield self.differs(
                DifferenceKind.MISSING_HERE,
                "refund",
                "",
                str(told.amount),
                amount=told.amount,
                reference=told.reference,
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
    """What credit notes gave to the customer's balance, here and there; `credited` is None where it was not asked."""
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
    """What went back of a payment, or of a share of it, before the books knew it."""

    left: Money
    known_since: datetime | None

    def holds(self, told: RefundUpdate) -> bool:
        """Is this refund a part of it? Then it is counted."""
        before = self.known_since and told.created_at and told.created_at < self.known_since
        if not before or self.left < told.amount:
            return False
        self.left -= told.amount
        return True


def _openings(payment: Payment) -> list[_Opening]:
    shares = [(payment.opening_returned, payment.opening_at)]
    shares += [(share.opening_returned, share.opening_at) for share in payment.other_shares]
    return [_Opening(returned, at) for returned, at in shares if returned]


def claimed_twice(
    reading: RefundReading, invoice: Invoice, payment: Payment, truth: PaymentSnapshot | None
) -> list[Difference]:
    """Another payment in the books that the provider reports as this one: its money must not be refunded twice.

    The two were imported by two ids before anybody knew that they are one; pulling their invoices makes them shares.
    """
    new = [reference for reference in truth.references if reference not in payment.references] if truth else []
    if truth is None or not new:
        return []
    found = []
    for reference, (number, payment_id) in reading.payments_known_as(truth.provider, new).items():
        if payment_id != payment.home_id:
            here, there = f"{reference} is another payment, of {number}", f"one payment, {', '.join(truth.references)}"
            at = (truth.provider, invoice.number, payment.reference)
            found.append(Difference(DifferenceKind.STATUS, *at, "payment", here, there, truth.captured))
    return found


def _was_there(refund: Refund, at: datetime) -> bool:
    """Was it sent long enough before the provider was asked? Another host's clock may be a little off."""
    sent = refund.sending.first_sent_at if refund.sending else None
    return (sent or refund.created_at) < at - _CLOCKS_APART


def _of(told: RefundUpdate, refunds: Sequence[Refund]) -> Refund | None:
    """The refund here that is this one, by the provider's id or by ours."""
    by_reference = next((r for r in refunds if r.provider_reference == told.reference), None)
    named = (r for r in refunds if r.id == told.refund_id and not r.provider_reference)
    return by_reference or next(named, None) or _recorded(told, refunds)


def _recorded(told: RefundUpdate, refunds: Sequence[Refund]) -> Refund | None:
    """A record that names this refund, or that it would be matched with."""
    records = [
        r
        for r in refunds
        if r.kind is RefundKind.RECORD and not r.provider_reference and r.amount == told.amount and r.out_of_band
    ]
    return next((r for r in records if r.out_of_band and r.out_of_band.reference == told.reference), None)
