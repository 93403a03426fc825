"""External refunds: adopt one, or match it with the record of the same refund (R4, R7, R12)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from refundcli.domain.errors import NotFound, Refused, UsageProblem
from refundcli.domain.invoice import OtherShare
from refundcli.domain.next_steps import adopt_command
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundKind, RefundState
from refundcli.services.invoices.lookup import RefundNotFound, invoice_named
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.clock import Clock


class NotToAdopt(Refused):
    code = "not-to-adopt"

    def __init__(self, refund: Refund) -> None:
        state = "is already adopted" if refund.credit_note else f"has the status {refund.state}"
        why_not = f"is an external refund, but {state}" if refund.is_external else "is not an external refund"
        super().__init__(
            f"{refund.id} {why_not}: it cannot be adopted or matched.",
            hint=f"refundcli invoice show {refund.invoice_number}   lists its refunds",
            context={"refund": refund.id, "status": refund.state},
        )


class NoShare(NotFound):
    """The invoice has no share of the refunded payment."""

    code = "no-share"

    def __init__(self, refund: Refund, invoice_number: str, sharing_numbers: Sequence[str]) -> None:
        requested_number = ascii(invoice_number[:80])[1:-1]
        super().__init__(
            f"{refund.provider_reference} is about a payment of {' and '.join(sharing_numbers)}, "
            f"not of {requested_number}.",
            hint=adopt_command(refund.provider_reference, invoice=sharing_numbers[-1]),
            context={"refund": refund.id, "invoice": invoice_number[:200]},
        )


class InvoiceNeeded(UsageProblem):
    """A person must name the invoice: on the wrong one, the amount could be refunded again."""

    code = "invoice-needed"

    def __init__(self, refund: Refund, sharing_numbers: Sequence[str], reason: RefundReason) -> None:
        super().__init__(
            (
                f"{refund.provider_reference} is about a payment for {' and '.join(sharing_numbers)}: add "
                "--invoice with one of them."
            ),
            hint=adopt_command(refund.provider_reference, invoice=sharing_numbers[-1], reason=reason),
            context={"refund": refund.id, "invoices": list(sharing_numbers)},
        )


class RecordNotFound(NotFound):
    code = "record-not-found"

    def __init__(self, external_refund: Refund, record_id: str) -> None:
        super().__init__(
            f"{external_refund.invoice_number} has no recorded refund {ascii(record_id[:80])[1:-1]}.",
            hint=(
                f"refundcli invoice history {external_refund.invoice_number}   "
                "shows the id of each recorded refund, rf_…"
            ),
            context={"invoice": external_refund.invoice_number, "record": record_id[:200]},
        )


class CannotMatch(Refused):
    """The external refund and the record differ, so they are two refunds."""

    code = "cannot-match"

    def __init__(self, external_refund: Refund, record: Refund, why: str) -> None:
        super().__init__(
            f"{external_refund.provider_reference} and {record.id} cannot be the same refund: {why}.",
            hint=f"If the customer got both: {adopt_command(external_refund.provider_reference)}",
            context={"external": external_refund.id, "record": record.id, "invoice": external_refund.invoice_number},
        )


@dataclass(frozen=True, slots=True)
class ExternalRefunds:
    """Adopts external refunds, or matches them with records."""

    books: Books
    clock: Clock
    credit_note_format: str

    def find(self, id_or_reference: str) -> Refund:
        """Raises as `to_adopt`."""
        return self.books.read(lambda tx: to_adopt(tx, id_or_reference))

    def adopt(self, id_or_reference: str, reason: RefundReason, *, memo: str, of_invoice: str = "") -> Refund:
        """Give it a reason and a credit note, in one transaction (R4, R7).

        `of_invoice`: its invoice, if its payment pays several. Raises NoShare, InvoiceNeeded.
        """

        def write(tx: Writing) -> Refund:
            external_refund = to_adopt(tx, id_or_reference)
            shares = _other_shares(tx, external_refund)
            if shares and not of_invoice:
                raise InvoiceNeeded(external_refund, _sharers(external_refund, shares), reason)
            if of_invoice and of_invoice != external_refund.invoice_number:
                share = next((share for share in shares if share.invoice_number == of_invoice), None)
                if share is None:
                    raise NoShare(external_refund, of_invoice, _sharers(external_refund, shares))
                external_refund = tx.external_refunds.assign(external_refund, share)
            adopted_refund = tx.external_refunds.adopt(external_refund, reason=reason, memo=memo)
            at, on = self.clock.now(), self.clock.today()
            tx.credit_notes.issue(adopted_refund, at=at, on=on, credit_note_format=self.credit_note_format)
            return tx.refunds.get(adopted_refund.id) or adopted_refund

        return self.books.write(write)

    def match(self, id_or_reference: str, record_id: str) -> Refund:
        """Count an external refund and its record once, under the record's credit note. Raises as `to_match`."""

        def write(tx: Writing) -> Refund:
            external_refund, record = to_match(tx, id_or_reference, record_id)
            tx.external_refunds.match(external_refund, record)
            return tx.refunds.get(record.id) or record

        return self.books.write(write)


def to_adopt(reading: Reading, id_or_reference: str) -> Refund:
    """The external refund, by our id or the provider's. Raises RefundNotFound, NotToAdopt."""
    at_providers = (reading.refunds.by_provider_references(provider, [id_or_reference]) for provider in Provider)
    refund = reading.refunds.get(id_or_reference) or next(chain.from_iterable(at_providers), None)
    if refund is None:
        raise RefundNotFound(id_or_reference)
    if not refund.is_external or refund.credit_note or refund.state in (RefundState.FAILED, RefundState.REVERSED):
        raise NotToAdopt(refund)
    return refund


def to_match(reading: Reading, id_or_reference: str, record_id: str) -> tuple[Refund, Refund]:
    """The external refund and its record. Raises RefundNotFound, NotToAdopt, RecordNotFound, CannotMatch."""
    external_refund = to_adopt(reading, id_or_reference)
    record = reading.refunds.get(record_id) or _with_note(reading, record_id)
    sharing_payment_ids = {share.payment_id for share in _other_shares(reading, external_refund)}
    is_related = record is not None and (
        record.invoice_id == external_refund.invoice_id or record.payment_id in sharing_payment_ids
    )
    if record is None or not is_related or record.kind is not RefundKind.RECORD:
        raise RecordNotFound(external_refund, record_id)
    if record.state is not RefundState.RECORDED:
        raise CannotMatch(external_refund, record, f"the record is {record.state}")
    if record.provider_reference:
        raise CannotMatch(external_refund, record, f"the record is already matched with {record.provider_reference}")
    if record.payment_id != external_refund.payment_id and record.payment_id not in sharing_payment_ids:
        raise CannotMatch(external_refund, record, "they are about different payments")
    if record.amount != external_refund.amount:
        raise CannotMatch(external_refund, record, f"one is {external_refund.amount}, the other {record.amount}")
    return external_refund, record


def _with_note(reading: Reading, credit_note_number: str) -> Refund | None:
    """The record whose credit note has this number."""
    credit_note = reading.credit_notes.get(credit_note_number)
    return reading.refunds.get(credit_note.refund_id) if credit_note else None


def _sharers(refund: Refund, shares: Sequence[OtherShare]) -> list[str]:
    return [refund.invoice_number, *(share.invoice_number for share in shares)]


def _other_shares(reading: Reading, refund: Refund) -> Sequence[OtherShare]:
    invoice = invoice_named(reading, refund.invoice_number)
    return next(payment.other_shares for payment in invoice.payments if payment.id == refund.payment_id)
