"""The differences between the books and a provider about one payment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from refundcli.domain.dispute import DisputeRecord, DisputeState
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money, zero
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundKind, RefundState
from refundcli.services.ports.books import RefundReading
from refundcli.services.ports.provider_updates import DisputeUpdate, PaymentSnapshot, RefundUpdate
from refundcli.services.preflight.difference import MAYBE_RECORDED, Difference, DifferenceKind, apart

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


def compare(invoice: Invoice, payment: Payment, snapshot: PaymentSnapshot | None) -> Iterator[Difference]:
    """Every difference about one payment; none if the books and the provider agree."""
    side_by_side = _SideBySide(invoice, payment)
    if snapshot is None:
        yield side_by_side.differs(
            DifferenceKind.MISSING_THERE, "payment", str(payment.captured), "", amount=payment.captured
        )
        return
    if snapshot.captured.currency != payment.captured.currency:
        books_currency, provider_currency = payment.captured.currency.code, snapshot.captured.currency.code
        yield side_by_side.differs(
            DifferenceKind.CURRENCY, "currency", books_currency, provider_currency, amount=snapshot.captured
        )
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
        object_name: str,
        in_books: str,
        at_provider: str,
        *,
        amount: Money | None = None,
        reference: str = "",
        refund_id: str = "",
        invoice_number: str = "",
    ) -> Difference:
        provider = self.payment.provider
        assert provider
        reference = reference or self.payment.reference
        number = invoice_number or self.invoice.number
        return Difference(kind, provider, number, reference, object_name, in_books, at_provider, amount, refund_id)

    def captured(self, snapshot: PaymentSnapshot) -> Iterator[Difference]:
        in_books, at_provider = self._captured_here(), snapshot.captured
        if in_books > at_provider or (in_books < at_provider and in_books < self.payment.allocated_in_all):
            yield self.differs(
                DifferenceKind.AMOUNT, "captured", str(in_books), str(at_provider), amount=apart(in_books, at_provider)
            )
        elif in_books < at_provider:
            gap = apart(in_books, at_provider)
            yield self.differs(DifferenceKind.UNALLOCATED, "captured", str(in_books), str(at_provider), amount=gap)
        if self.payment.processing != snapshot.processing:
            status_texts = {True: "processing", False: "not processing"}
            statuses = status_texts[self.payment.processing], status_texts[snapshot.processing]
            yield self.differs(DifferenceKind.STATUS, "payment", *statuses, amount=at_provider)

    def _captured_here(self) -> Money:
        """What was captured for this invoice, or for all invoices of a shared payment, which may exceed the capture."""
        allocated_total, provider_captured = self.payment.allocated_in_all, self.payment.provider_captured
        return (
            allocated_total
            if self.payment.other_shares or provider_captured is None
            else min(allocated_total, provider_captured)
        )

    def dispute(self, snapshot: PaymentSnapshot) -> Iterator[Difference]:
        disputes_by_reference = {dispute.reference: dispute for dispute in self.payment.disputes if dispute.reference}
        placeholders = [dispute for dispute in self.payment.disputes if dispute.is_placeholder]
        for reported_dispute in snapshot.disputes:
            stored_dispute = disputes_by_reference.pop(reported_dispute.reference, None) or (
                placeholders.pop(0) if placeholders else None
            )
            yield from self._one_dispute(stored_dispute, reported_dispute)
        for stored_dispute in (*disputes_by_reference.values(), *placeholders):
            # A won dispute is over, and some sources no longer list it.
            if stored_dispute.state in _WEIGHTY:
                yield self.differs(
                    DifferenceKind.DISPUTE, "dispute", stored_dispute.state, "none", amount=stored_dispute.amount
                )
        if snapshot.why_not_refundable and not snapshot.processing:
            why_not_refundable = snapshot.why_not_refundable
            yield self.differs(
                DifferenceKind.STATUS, "payment", "refundable", why_not_refundable, amount=snapshot.captured
            )

    def _one_dispute(
        self, stored_dispute: DisputeRecord | None, reported_dispute: DisputeUpdate
    ) -> Iterator[Difference]:
        stored_state = stored_dispute.state if stored_dispute else None
        if (
            reported_dispute.state is DisputeState.UNKNOWN
            and stored_dispute
            and stored_dispute.status == reported_dispute.status
        ):
            return  # a person decides, or has decided, the state of this dispute
        reported_state = reported_dispute.state or DisputeState.OPEN
        same_amount = (
            stored_dispute is None
            or None in (stored_dispute.amount, reported_dispute.amount)
            or stored_dispute.amount == reported_dispute.amount
        )
        if stored_state is reported_state and (same_amount or reported_state not in _WEIGHTY):
            return
        # A refund after a won dispute needs a decision, so the books must have that dispute (R11).
        if {stored_state, reported_state} & _WEIGHTY or reported_state is DisputeState.WON:
            side_texts = (
                f"{dispute.state} {dispute.amount or ''}".strip()
                for dispute in (stored_dispute, reported_dispute)
                if dispute
            )
            state_texts = [str(stored_state or "none"), str(reported_state)] if same_amount else list(side_texts)
            amount = reported_dispute.amount
            yield self.differs(DifferenceKind.DISPUTE, "dispute", state_texts[0], state_texts[1], amount=amount)

    def refunds(self, snapshot: PaymentSnapshot) -> Iterator[Difference]:
        stored_refunds = [r for r in self.invoice.refunds if r.payment_id == self.payment.id]
        # Refunds of the other invoices that share the payment are in the books too.
        stored_refunds += [refund for share in self.payment.other_shares for refund in share.refunds]
        refund_pairs = [(reported_refund, _of(reported_refund, stored_refunds)) for reported_refund in snapshot.refunds]
        currency = snapshot.captured.currency
        # A refund of zero or in another currency cannot be counted; the snapshot reports it for review (R13).
        accepted_refunds = [
            reported_refund
            for reported_refund in snapshot.refunds
            if reported_refund.state.is_accepted
            and reported_refund.amount.currency == currency
            and reported_refund.amount
        ]
        yield from self._not_here(
            [
                reported_refund
                for reported_refund, stored_refund in refund_pairs
                if stored_refund is None and reported_refund in accepted_refunds
            ]
        )
        for reported_refund, stored_refund in refund_pairs:
            if stored_refund is not None:
                yield from self.refund(reported_refund, stored_refund)
        matched_ids = {stored_refund.id for _, stored_refund in refund_pairs if stored_refund}
        for refund in stored_refunds:
            is_expected = refund.state.is_accepted and refund.kind is not RefundKind.RECORD
            if is_expected and refund.id not in matched_ids and _was_there(refund, snapshot.asked_at):
                yield self._not_there(refund)
        listed_total = sum((reported_refund.amount for reported_refund in accepted_refunds), zero(currency))
        if listed_total < snapshot.refunded:
            gap = snapshot.refunded - listed_total
            yield self.differs(DifferenceKind.AMOUNT, "refunded", str(listed_total), str(snapshot.refunded), amount=gap)

    def credited(self, snapshot: PaymentSnapshot) -> Iterator[Difference]:
        """What credit notes moved to the customer's balance cannot be refunded to the card too."""
        yield from credit_differences(
            self.invoice, snapshot.provider, snapshot.credited, reference=self.payment.reference
        )

    def refund(self, reported_refund: RefundUpdate, stored_refund: Refund) -> Iterator[Difference]:
        refund_fields = {
            "reference": reported_refund.reference,
            "refund_id": stored_refund.id,
            "invoice_number": stored_refund.invoice_number,
        }
        if reported_refund.amount != stored_refund.amount:
            kind = DifferenceKind.AMOUNT
            if reported_refund.amount.currency != stored_refund.amount.currency:
                kind = DifferenceKind.CURRENCY
            gap = apart(stored_refund.amount, reported_refund.amount)
            yield self.differs(
                kind, "refund", str(stored_refund.amount), str(reported_refund.amount), amount=gap, **refund_fields
            )
        if reported_refund.state not in _COMPATIBLE_STATES[stored_refund.state]:
            yield self.differs(
                DifferenceKind.STATUS,
                "refund",
                stored_refund.state,
                reported_refund.state,
                amount=reported_refund.amount,
                **refund_fields,
            )
        elif stored_refund.is_unadopted:
            in_books = MAYBE_RECORDED if stored_refund.undecided else "no credit note"
            yield self.differs(
                DifferenceKind.UNADOPTED,
                "refund",
                in_books,
                str(reported_refund.amount),
                amount=reported_refund.amount,
                **refund_fields,
            )

    def _not_here(self, external_refunds: Sequence[RefundUpdate]) -> Iterator[Difference]:
        """External refunds; those from before the import may be part of the imported figure."""
        openings = _openings(self.payment)
        for external_refund in sorted(external_refunds, key=lambda external_refund: external_refund.amount.minor):
            if any(opening.holds(external_refund) for opening in openings):
                continue
            yield self.differs(
                DifferenceKind.MISSING_HERE,
                "refund",
                "",
                str(external_refund.amount),
                amount=external_refund.amount,
                reference=external_refund.reference,
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
            invoice_number=refund.invoice_number,
        )


def credit_differences(
    invoice: Invoice, provider: Provider, credited: Money | None, *, reference: str = ""
) -> list[Difference]:
    """The difference in what credit notes moved to the customer's balance; `credited` is None if it was not asked."""
    stored_credit = invoice.credited
    if credited is None or credited.currency != invoice.currency or stored_credit == credited:
        return []
    return [
        Difference(
            DifferenceKind.AMOUNT,
            provider,
            invoice.number,
            reference or invoice.invoice_reference,
            "credit notes",
            f"{stored_credit} credited to the customer's balance",
            f"{credited} credited to the customer's balance",
            apart(stored_credit, credited),
        )
    ]


@dataclass(slots=True)
class _Opening:
    """What was refunded of a payment, or of a share, before it was imported."""

    remaining: Money
    known_since: datetime | None

    def holds(self, reported_refund: RefundUpdate) -> bool:
        """Is this refund part of it? Then it is subtracted from what remains."""
        is_before_import = (
            self.known_since and reported_refund.created_at and reported_refund.created_at < self.known_since
        )
        if not is_before_import or self.remaining < reported_refund.amount:
            return False
        self.remaining -= reported_refund.amount
        return True


def _openings(payment: Payment) -> list[_Opening]:
    opening_amounts = [(payment.opening_returned, payment.opening_at)]
    opening_amounts += [(share.opening_returned, share.opening_at) for share in payment.other_shares]
    return [
        _Opening(returned_amount, known_since) for returned_amount, known_since in opening_amounts if returned_amount
    ]


def claimed_twice(
    reading: RefundReading, invoice: Invoice, payment: Payment, snapshot: PaymentSnapshot | None
) -> list[Difference]:
    """Other payments in the books that the provider reports as this one: its money must not be refunded twice.

    They were imported under two ids before it was known that they are one; pulling their invoices makes them shares.
    """
    unknown_references = (
        [reference for reference in snapshot.references if reference not in payment.references] if snapshot else []
    )
    if snapshot is None or not unknown_references:
        return []
    differences = []
    for reference, (other_number, other_payment_id) in reading.payments.known_as(
        snapshot.provider, unknown_references
    ).items():
        if other_payment_id != payment.home_id:
            in_books, at_provider = (
                f"{reference} is a separate payment on {other_number}",
                f"one payment ({', '.join(snapshot.references)})",
            )
            payment_fields = (snapshot.provider, invoice.number, payment.reference)
            differences.append(
                Difference(DifferenceKind.STATUS, *payment_fields, "payment", in_books, at_provider, snapshot.captured)
            )
    return differences


def _was_there(refund: Refund, asked_at: datetime) -> bool:
    """Was it sent long enough before the snapshot? Another host's clock may differ a little."""
    first_sent_at = refund.sending.first_sent_at if refund.sending else None
    return (first_sent_at or refund.created_at) < asked_at - _CLOCKS_APART


def _of(reported_refund: RefundUpdate, refunds: Sequence[Refund]) -> Refund | None:
    """The refund in the books that matches, by the provider's id or by ours."""
    by_reference = next((r for r in refunds if r.provider_reference == reported_refund.reference), None)
    by_our_id = (r for r in refunds if r.id == reported_refund.refund_id and not r.provider_reference)
    return by_reference or next(by_our_id, None) or _recorded(reported_refund, refunds)


def _recorded(reported_refund: RefundUpdate, refunds: Sequence[Refund]) -> Refund | None:
    """The record that names this refund and has its amount."""
    records = [
        record
        for record in refunds
        if record.kind is RefundKind.RECORD
        and not record.provider_reference
        and record.amount == reported_refund.amount
        and record.out_of_band
    ]
    return next(
        (
            record
            for record in records
            if record.out_of_band and record.out_of_band.reference == reported_refund.reference
        ),
        None,
    )
