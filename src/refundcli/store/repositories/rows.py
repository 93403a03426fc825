"""Convert rows to domain objects, and nothing else.

Invoices, payments, refunds and credit notes are read as bare rows: bulk runs read a million of them, and an ORM object
for each would take most of the time.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import SQLModel

from refundcli.domain.closing import Closing
from refundcli.domain.currencies import Currency, currency
from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState
from refundcli.domain.invoice import Invoice, OtherShare, Payment, Unreviewed
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import CreditNote, OutOfBand, Refund, Sending, WireRequest
from refundcli.domain.statuses import (
    ClosingState,
    CreditNoteStatus,
    Dispute,
    InvoiceStatus,
    Provider,
    RefundKind,
    RefundState,
)
from refundcli.services.ports.providers import provider_of_invoice
from refundcli.store.schema import ClosingRow, RefundRow

_TABLES = SQLModel.metadata.tables
_INVOICE, _PAYMENT, _NOTE = (_TABLES[name] for name in ("invoice", "payment", "credit_note"))
# Without the columns that only writers and comparisons need. Rows are unpacked in this order, because access by name
# costs more than everything else.
INVOICE_COLUMNS: tuple[Any, ...] = tuple(
    _INVOICE.c[name]
    for name in (
        "id", "number", "customer", "customer_name", "currency", "total", "status", "issued_on", "due_on", "paid_on",
        "invoice_reference", "products", "subscription",
    )
)  # fmt: skip
PAYMENT_COLUMNS: tuple[Any, ...] = tuple(
    _PAYMENT.c[name]
    for name in (
        "invoice_id", "id", "provider", "method", "payment_intent", "charge", "psp_reference", "reference", "allocated",
        "captured", "reserved", "refunded", "returned_elsewhere", "auto_refundable", "processing", "dispute", "lost",
        "dispute_recorded", "credited", "unsupported", "loss_acknowledged", "paid_on", "opening_returned", "opening_at",
        "share_of",
    )
)  # fmt: skip
_PROVIDERS: dict[str, Provider | None] = {"": None, **{provider.value: provider for provider in Provider}}
_DISPUTES = {dispute.value: dispute for dispute in Dispute}
_STATUSES = {status.value: status for status in InvoiceStatus}
# A refund's credit note, and the invoice of both, under names that are unique in a joined row.
NOTE_COLUMNS: tuple[Any, ...] = tuple(column.label(f"note_{column.name}") for column in _NOTE.c)
OWNER_COLUMNS: tuple[Any, ...] = (_INVOICE.c.number.label("owner_number"), _INVOICE.c.customer.label("owner_customer"))


def payment_of(
    payment_row: Sequence[Any],
    unit: Currency,
    disputes: Sequence[DisputeRecord] = (),
    unreviewed: Sequence[Unreviewed] = (),
    other_shares: Sequence[OtherShare] = (),
) -> Payment:
    """From PAYMENT_COLUMNS."""
    (
        _, payment_id, provider, method, payment_intent, charge, psp_reference, reference, allocated, captured,
        reserved, refunded, returned_elsewhere, auto_refundable, processing, dispute, lost, dispute_recorded, credited,
        unsupported, loss_acknowledged, paid_on, opening_returned, opening_at, share_of,
    ) = payment_row  # fmt: skip
    references = (payment_intent, charge, psp_reference, reference)
    return Payment(
        id=payment_id,
        allocated=Money(allocated, unit),
        provider_captured=None if captured is None else Money(captured, unit),
        reserved=Money(reserved, unit),
        refunded=Money(refunded, unit),
        refunded_externally=Money(returned_elsewhere, unit),
        auto_refundable=auto_refundable,
        provider=_PROVIDERS[provider],
        method=method,
        references=tuple(dict.fromkeys(text for text in references if text)) if any(references) else (),
        processing=processing,
        dispute=_DISPUTES[dispute],
        lost=Money(lost, unit),
        dispute_recorded=Money(dispute_recorded, unit),
        disputes=tuple(disputes),
        unreviewed=tuple(unreviewed),
        credited=Money(credited, unit),
        unsupported=unsupported,
        loss_acknowledged=Money(loss_acknowledged, unit),
        paid_on=paid_on,
        opening_returned=Money(opening_returned, unit),
        opening_at=opening_at,
        share_of=share_of,
        other_shares=tuple(other_shares),
    )


def invoice_of(
    invoice_row: Sequence[Any],
    payment_rows: Sequence[Sequence[Any]],
    refunds: Sequence[Refund] = (),
    closings: Sequence[Closing] = (),
    disputes: Mapping[int, Sequence[DisputeRecord]] | None = None,
    unreviewed: Mapping[int, Sequence[Unreviewed]] | None = None,
    other_shares: Mapping[int, Sequence[OtherShare]] | None = None,
) -> Invoice:
    """From INVOICE_COLUMNS, and PAYMENT_COLUMNS of each payment; the rest by the payment's id."""
    (
        invoice_id, number, customer, customer_name, currency_code, total, status, issued_on, due_on, paid_on,
        reference, products, subscription,
    ) = invoice_row  # fmt: skip
    unit = currency(currency_code)
    mappings_by_payment: Any = (disputes or {}, unreviewed or {}, other_shares or {})
    return Invoice(
        id=invoice_id,
        number=number,
        customer=customer,
        customer_name=customer_name,
        total=Money(total, unit),
        status=_STATUSES[status],
        issued_on=issued_on,
        due_on=due_on,
        paid_on=paid_on,
        invoice_reference=reference or "",
        managed_by=provider_of_invoice(reference or ""),
        products=tuple(json.loads(products)) if products else (),
        subscription=subscription,
        payments=tuple(
            [
                payment_of(
                    payment_row, unit, *(by_payment.get(payment_row[1], ()) for by_payment in mappings_by_payment)
                )
                for payment_row in payment_rows
            ]
        ),
        refunds=tuple(refunds),
        closings=tuple(closings),
    )


def credit_note_of(note_row: Any) -> CreditNote:
    """From NOTE_COLUMNS and OWNER_COLUMNS."""
    return CreditNote(
        id=note_row.note_id,
        refund_id=note_row.note_refund_id,
        invoice_number=note_row.owner_number,
        customer=note_row.owner_customer,
        status=CreditNoteStatus(note_row.note_status),
        amount=Money(note_row.note_amount, currency(note_row.note_currency)),
        reason=RefundReason(note_row.note_reason),
        memo=note_row.note_memo,
        number=note_row.note_number,
        issued_on=note_row.note_issued_on,
        issued_at=note_row.note_issued_at,
        voided_at=note_row.note_voided_at,
    )


def refund_of(refund_row: Any) -> Refund:
    """From a refund's own columns, OWNER_COLUMNS, and NOTE_COLUMNS, which are empty where it has none."""
    return Refund(
        id=refund_row.id,
        invoice_id=refund_row.invoice_id,
        invoice_number=refund_row.owner_number,
        payment_id=refund_row.payment_id,
        kind=RefundKind(refund_row.kind),
        amount=Money(refund_row.amount, currency(refund_row.currency)),
        reason=RefundReason(refund_row.reason) if refund_row.reason else None,
        state=RefundState(refund_row.state),
        request_key=refund_row.request_key,
        content=refund_row.content,
        created_at=refund_row.created_at,
        operator=refund_row.operator,
        memo=refund_row.memo,
        attempt=refund_row.try_number,
        sending=_sending_of(refund_row),
        provider_reference=refund_row.provider_reference or "",
        provider_status=refund_row.provider_status,
        failure=refund_row.failure,
        dispute_decision=refund_row.dispute_decision,
        out_of_band=_out_of_band_of(refund_row),
        credit_note=credit_note_of(refund_row) if refund_row.note_id else None,
        seen_at=Provider(refund_row.provider) if refund_row.provider and refund_row.request is None else None,
        needs_acknowledgement_since=refund_row.came_back_at,
        acknowledged_at=refund_row.acknowledged_at,
        acknowledged_by=refund_row.acknowledged_by,
        run_id=refund_row.run_id or "",
        failure_code=refund_row.failure_code,
        pending_reason=refund_row.pending_reason,
        expires_at=refund_row.expires_at,
        succeeded_at=refund_row.succeeded_at,
        failed_at=refund_row.failed_at,
        reversed_amount=Money(refund_row.reversed_amount, currency(refund_row.currency))
        if refund_row.reversed_amount
        else None,
        holding=refund_row.holding,
        hold_until=refund_row.hold_until,
        undecided=refund_row.undecided,
    )


def dispute_of(dispute_row: Any, unit: Currency) -> DisputeRecord:
    return DisputeRecord(
        id=dispute_row.id,
        payment_id=dispute_row.payment_id,
        provider=Provider(dispute_row.provider) if dispute_row.provider else None,
        account=dispute_row.account,
        reference=dispute_row.reference or "",
        stage=DisputeStage(dispute_row.stage),
        state=DisputeState(dispute_row.state),
        status=dispute_row.status,
        amount=None if dispute_row.amount is None else Money(dispute_row.amount, unit),
        reported_at=dispute_row.reported_at,
    )


def _sending_of(refund_row: Any) -> Sending | None:
    if refund_row.request is None:
        return None
    request = WireRequest(
        provider=Provider(refund_row.provider or ""),
        endpoint=refund_row.endpoint or "",
        account=refund_row.account or "",
        livemode=bool(refund_row.livemode),
        api_version=refund_row.api_version or "",
        params=json.loads(refund_row.request),
    )
    return Sending(
        idempotency_key=refund_row.idempotency_key or "",
        request=request,
        fence=refund_row.fence,
        lease_owner=refund_row.lease_owner,
        lease_until=refund_row.lease_until,
        first_sent_at=refund_row.first_sent_at,
    )


def _out_of_band_of(refund_row: Any) -> OutOfBand | None:
    if refund_row.kind != RefundKind.RECORD:
        return None
    return OutOfBand(
        method=refund_row.method,
        reference=refund_row.reference,
        refunded_on=refund_row.refunded_on,
        after_failed=refund_row.after_failed or "",
        evidence=refund_row.evidence,
    )


def row_of(refund: Refund) -> RefundRow:
    """A new refund's row. Later changes of state set the other columns."""
    return RefundRow(**refund_values(refund))


def refund_values(refund: Refund) -> dict[str, Any]:
    """The columns of a new refund, the same for every kind of refund."""
    columns: dict[str, Any] = {
        "id": refund.id,
        "invoice_id": refund.invoice_id,
        "payment_id": refund.payment_id,
        "kind": refund.kind.value,
        "amount": refund.amount.minor,
        "currency": refund.amount.currency.code,
        "reason": refund.reason.value if refund.reason else "",
        "memo": refund.memo,
        "state": refund.state.value,
        "request_key": refund.request_key,
        "content": refund.content,
        "try_number": refund.attempt,
        "operator": refund.operator,
        "fence": 0,
        "lease_owner": "",
        "provider_status": refund.provider_status,
        "failure": refund.failure,
        "dispute_decision": refund.dispute_decision,
        "method": "",
        "reference": "",
        "evidence": "",
        "acknowledged_by": "",
        "failure_code": refund.failure_code,
        "pending_reason": refund.pending_reason,
        "expires_at": refund.expires_at,
        "reversed_amount": 0,
        "holding": refund.holding,
        "undecided": refund.undecided,
        "run_id": refund.run_id or None,
        "created_at": refund.created_at,
        "updated_at": refund.created_at,
    }
    if refund.sending:
        request = refund.sending.request
        columns |= {
            "provider": request.provider,
            "account": request.account,
            "livemode": request.livemode,
            "endpoint": request.endpoint,
            "api_version": request.api_version,
            "idempotency_key": refund.sending.idempotency_key,
            "request": json.dumps(request.params, sort_keys=True, separators=(",", ":")),
            "lease_owner": refund.sending.lease_owner,
            "lease_until": refund.sending.lease_until,
        }
    if refund.out_of_band:
        out_of_band = refund.out_of_band
        columns |= {
            "method": out_of_band.method,
            "reference": out_of_band.reference,
            "refunded_on": out_of_band.refunded_on,
        }
        columns |= {"after_failed": out_of_band.after_failed or None, "evidence": out_of_band.evidence}
    if refund.seen_at:
        columns |= {"provider": refund.seen_at, "provider_reference": refund.provider_reference}
        columns |= {"came_back_at": refund.needs_acknowledgement_since, "hold_until": refund.hold_until}
        columns |= {"succeeded_at": refund.succeeded_at, "failed_at": refund.failed_at}
    return columns


def facts_of(refund: Refund) -> dict[str, object]:
    """The audit entry of a new refund."""
    facts: dict[str, object] = {
        "invoice": refund.invoice_number,
        "amount": str(refund.amount),
        "reason": refund.reason,
        "state": refund.state,
        "kind": refund.kind,
        "request_key": refund.request_key,
        "memo": refund.memo,
        "dispute_decision": refund.dispute_decision,
        "run": refund.run_id,
    }
    if refund.sending:
        facts |= {
            "provider": refund.sending.request.provider,
            "idempotency_key": refund.sending.idempotency_key,
        }
    if refund.out_of_band:
        out_of_band = refund.out_of_band
        facts |= {"method": out_of_band.method, "reference": out_of_band.reference}
        facts |= {"refunded_on": out_of_band.refunded_on and out_of_band.refunded_on.isoformat()}
        facts |= {"after_failed": out_of_band.after_failed, "evidence": out_of_band.evidence}
    return {name: fact for name, fact in facts.items() if fact}


def closing_of(closing_columns: Any) -> Closing:
    """From a closing's own columns, and the first of OWNER_COLUMNS."""
    request = WireRequest(
        provider=Provider(closing_columns.provider),
        endpoint=closing_columns.endpoint,
        account=closing_columns.account,
        livemode=closing_columns.livemode,
        api_version=closing_columns.api_version,
        params={},
    )
    return Closing(
        id=closing_columns.id,
        invoice_id=closing_columns.invoice_id,
        invoice_number=closing_columns.owner_number,
        target=InvoiceStatus(closing_columns.action),
        state=ClosingState(closing_columns.state),
        created_at=closing_columns.created_at,
        operator=closing_columns.operator,
        sending=Sending(
            idempotency_key=closing_columns.idempotency_key,
            request=request,
            fence=closing_columns.fence,
            lease_owner=closing_columns.lease_owner,
            lease_until=closing_columns.lease_until,
            first_sent_at=closing_columns.first_sent_at,
        ),
        memo=closing_columns.memo,
        failure=closing_columns.failure,
    )


def closing_row(closing: Closing) -> ClosingRow:
    """A new closing's row. Later changes of state set the other columns."""
    sending, request = closing.sending, closing.sending.request
    assert not request.params, "an invoice is closed without parameters, and there is no column for any"
    return ClosingRow(
        id=closing.id,
        invoice_id=closing.invoice_id,
        action=closing.target,
        state=closing.state,
        memo=closing.memo,
        operator=closing.operator,
        provider=request.provider,
        account=request.account,
        livemode=request.livemode,
        idempotency_key=sending.idempotency_key,
        endpoint=request.endpoint,
        api_version=request.api_version,
        lease_owner=sending.lease_owner,
        lease_until=sending.lease_until,
        created_at=closing.created_at,
        updated_at=closing.created_at,
    )
