"""What came of a refund, a record, a closing or an acknowledgement, or what would come of it."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.output.serializers.bulk import unfinished_run
from refundcli.output.serializers.invoices import closing, invoice_details, money, refund

if TYPE_CHECKING:
    from refundcli.services.bulk.unfinished_runs import UnfinishedRun
    from refundcli.services.closings.close import ClosingPreview
    from refundcli.services.ports.provider_updates import DisputeUpdate, PaymentSnapshot
    from refundcli.services.recovery.resume import Resumed


def refund_answer(refunds: Sequence[Refund], invoice: Invoice | None, *, notes: Sequence[str]) -> dict[str, Any]:
    """`invoice` is null where it could not be read any more."""
    return {
        "dry_run": False,
        "refunds": list(map(refund, refunds)),
        "invoice": invoice_balance(invoice) if invoice else None,
        "notes": list(notes),
    }


def dry_run_answer(
    amounts_and_payments: Sequence[tuple[Money, Payment]],
    invoice: Invoice,
    *,
    reason: str,
    request_key: str,
    refunded_on: date | None,
    is_record: bool,
    snapshots: "Sequence[PaymentSnapshot]",
) -> dict[str, Any]:
    """The shape of a real answer, with nothing that only a real one has."""
    return {
        "dry_run": True,
        "refunds": [
            dry_run_refund(
                amount, payment, reason=reason, request_key=request_key, refunded_on=refunded_on, is_record=is_record
            )
            for amount, payment in amounts_and_payments
        ],
        "invoice": invoice_balance(invoice),
        "preflight": [payment_snapshot(snapshot) for snapshot in snapshots],
    }


def dry_run_refund(
    amount: Money, payment: Payment, *, reason: str, request_key: str, refunded_on: date | None, is_record: bool
) -> dict[str, Any]:
    return {
        "id": None,
        "status": None,
        "kind": "record" if is_record else "provider",
        "amount": money(amount),
        "reason": reason,
        "provider": None if is_record else payment.provider,
        "provider_reference": None,
        "payment": payment.reference or None,
        "request_key": request_key,
        "refunded_on": refunded_on,
        "credit_note": None,
    }


def invoice_balance(invoice: Invoice) -> dict[str, Any]:
    return {
        "number": invoice.number,
        "status": invoice.status,
        "refunded": money(invoice.refunded),
        "reserved": money(invoice.reserved),
        "refundable": money(invoice.refundable),
    }


def payment_snapshot(snapshot: "PaymentSnapshot") -> dict[str, Any]:
    """A payment as its provider reports it."""
    return {
        "provider": snapshot.provider,
        "payment": snapshot.references[0],
        "captured": money(snapshot.captured),
        "refunded": money(snapshot.refunded),
        "processing": snapshot.processing,
        "disputes": [dispute_snapshot(dispute_update) for dispute_update in snapshot.disputes],
        "retrieved_at": snapshot.asked_at,
    }


def dispute_snapshot(dispute_update: "DisputeUpdate") -> dict[str, Any]:
    return {
        "reference": dispute_update.reference or None,
        "state": dispute_update.state,
        "status": dispute_update.status,
    }


def closing_answer(invoice: Invoice) -> dict[str, Any]:
    return invoice_details(invoice) | {"dry_run": False}


def closing_preview(preview: "ClosingPreview") -> dict[str, Any]:
    """The invoice as it is, and what the provider would be asked; `status_after` is what the invoice would become."""
    return invoice_details(preview.invoice) | {
        "dry_run": True,
        "owed": money(preview.invoice.owed),
        "owed_at_provider": money(preview.owed_at_provider) if preview.owed_at_provider else None,
        "status_after": preview.target,
        "status_at_provider": preview.at_provider,
        "closing": closing_request(preview) if preview.asks else None,
    }


def closing_request(preview: "ClosingPreview") -> dict[str, Any]:
    return {
        "kind": preview.target,
        "provider": preview.asks,
        "provider_reference": preview.invoice.invoice_reference,
    }


def acknowledged_loss(invoice: Invoice) -> dict[str, Any]:
    return {"invoice": invoice.number, "loss": money(invoice.loss)}


def resumed(entries: "Sequence[Resumed]", open_runs: "Sequence[UnfinishedRun]") -> Iterator[dict[str, Any]]:
    """Refunds, closings and runs in one list; each says what was done."""
    for entry in entries:
        operation = entry.operation
        shape = refund(operation) if isinstance(operation, Refund) else closing(operation)
        yield shape | resume_step(entry.step, entry.note)
    for open_run in open_runs:
        yield unfinished_run(open_run) | resume_step("run-unfinished", open_run.command)


def resume_step(step: str, note: str) -> dict[str, Any]:
    return {"step": step, "note": note or None}
