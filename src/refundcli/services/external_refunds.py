"""External refunds: adopt one, or match it with the record of the same refund (R4, R7, R12)."""

from refundcli.domain.errors import NotFound, Refused
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundKind, RefundState
from refundcli.services.finding import RefundNotFound
from refundcli.services.ports import Books, Clock, Reading, Writing


class NotToAdopt(Refused):
    code = "not-to-adopt"

    def __init__(self, refund: Refund) -> None:
        known = "is already adopted" if refund.credit_note else f"is {refund.state}"
        what = f"is an external refund and {known}" if refund.is_external else "is not an external refund"
        super().__init__(
            f"{refund.id} {what}: it cannot be adopted or matched.",
            hint=f"refundcli invoice show {refund.invoice_number}   lists its refunds",
            context={"refund": refund.id, "status": refund.state},
        )


def to_adopt(reading: Reading, name: str) -> Refund:
    """The external refund, by our id or the provider's. Raises RefundNotFound, NotToAdopt."""
    refund = reading.refund(name)
    if refund is None:
        matches = [r for provider in Provider for r in reading.refunds_by_provider_references(provider, [name])]
        refund = next(iter(matches), None)
    if refund is None:
        raise RefundNotFound(name)
    if not refund.is_external or refund.credit_note or refund.state in (RefundState.FAILED, RefundState.REVERSED):
        raise NotToAdopt(refund)
    return refund


def adopt(name: str, reason: RefundReason, *, memo: str, books: Books, clock: Clock, number_format: str) -> Refund:
    """Give an external refund a reason and a credit note, in one transaction (R4, R7). Raises as `to_adopt`."""

    def write(tx: Writing) -> Refund:
        adopted = tx.adopt(to_adopt(tx, name), reason=reason, memo=memo)
        tx.issue_credit_note(adopted, at=clock.now(), on=clock.today(), number_format=number_format)
        return tx.refund(adopted.id) or adopted

    return books.write(write)


class RecordNotFound(NotFound):
    code = "record-not-found"

    def __init__(self, external: Refund, name: str) -> None:
        super().__init__(
            f"{external.invoice_number} has no recorded refund {ascii(name[:80])[1:-1]}.",
            hint=f"refundcli invoice history {external.invoice_number}   shows the id of each recorded refund, rf_…",
            context={"invoice": external.invoice_number, "record": name[:200]},
        )


class CannotMatch(Refused):
    """The external refund and the record differ, so they are two refunds."""

    code = "cannot-match"

    def __init__(self, external: Refund, record: Refund, why: str) -> None:
        super().__init__(
            f"{external.provider_reference} and {record.id} cannot be the same refund: {why}.",
            hint=f"If the customer got both: refundcli reconcile --adopt {external.provider_reference} --reason REASON",
            context={"external": external.id, "record": record.id, "invoice": external.invoice_number},
        )


def to_match(reading: Reading, name: str, record_id: str) -> tuple[Refund, Refund]:
    """The external refund and its record. Raises RefundNotFound, NotToAdopt, RecordNotFound, CannotMatch."""
    external = to_adopt(reading, name)
    record = reading.refund(record_id) or _with_note(reading, record_id)
    if record is None or record.invoice_id != external.invoice_id or record.kind is not RefundKind.RECORD:
        raise RecordNotFound(external, record_id)
    if record.state is not RefundState.RECORDED:
        raise CannotMatch(external, record, f"the record is {record.state}")
    if record.provider_reference:
        raise CannotMatch(external, record, f"the record is already matched with {record.provider_reference}")
    if record.payment_id != external.payment_id:
        raise CannotMatch(external, record, "they are about different payments")
    if record.amount != external.amount:
        raise CannotMatch(external, record, f"one is {external.amount}, the other {record.amount}")
    return external, record


def _with_note(reading: Reading, number: str) -> Refund | None:
    """The record whose credit note has this number: that is what a person sees."""
    note = reading.credit_note(number)
    return reading.refund(note.refund_id) if note else None


def match(name: str, record_id: str, *, books: Books) -> Refund:
    """Count an external refund and its record once, under the record's credit note. Raises as `to_match`."""

    def write(tx: Writing) -> Refund:
        external, record = to_match(tx, name, record_id)
        tx.match_external(external, record)
        return tx.refund(record.id) or record

    return books.write(write)
