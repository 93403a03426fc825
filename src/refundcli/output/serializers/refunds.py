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
    from refundcli.services.recovery.resume_closings import ResumedClosing
    from refundcli.services.recovery.resume_refunds import Resumed


def refund_answer(refunds: Sequence[Refund], invoice: Invoice | None, *, notes: Sequence[str]) -> dict[str, Any]:
    """`invoice` is null where it could not be read any more."""
    return {
        "dry_run": False,
        "refunds": list(map(refund, refunds)),
        "invoice": invoice_balance(invoice) if invoice else None,
        "notes": list(notes),
    }


def dry_run_answer(
    parts: Sequence[tuple[Money, Payment]],
    invoice: Invoice,
    *,
    reason: str,
    request_key: str,
    refunded_on: date | None,
    record: bool,
    snapshots: "Sequence[PaymentSnapshot]",
) -> dict[str, Any]:
    """The shape of a real answer, with nothing that only a real one has."""
    return {
        "dry_run": True,
        "refunds": [
            dry_run_refund(amount, of, reason=reason, request_key=request_key, refunded_on=refunded_on, record=record)
            for amount, of in parts
        ],
        "invoice": invoice_balance(invoice),
        "preflight": [payment_snapshot(snapshot) for snapshot in snapshots],
    }


def dry_run_refund(
    amount: Money, of: Payment, *, reason: str, request_key: str, refunded_on: date | None, record: bool
) -> dict[str, Any]:
    return {
        "id": None,
        "status": None,
        "kind": "record" if record else "provider",
        "amount": money(amount),
        "reason": reason,
        "provider": None if record else of.provider,
        "provider_reference": None,
        "payment": of.reference or None,
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


def payment_snapshot(of: "PaymentSnapshot") -> dict[str, Any]:
    """A payment as its provider reports it."""
    return {
        "provider": of.provider,
        "payment": of.references[0],
        "captured": money(of.captured),
        "refunded": money(of.refunded),
        "processing": of.processing,
        "disputes": [dispute_snapshot(dispute) for dispute in of.disputes],
        "retrieved_at": of.asked_at,
    }


def dispute_snapshot(of: "DisputeUpdate") -> dict[str, Any]:
    return {"reference": of.reference or None, "state": of.state, "status": of.status}


def closing_answer(invoice: Invoice) -> dict[str, Any]:
    return invoice_details(invoice) | {"dry_run": False}


def closing_preview(preview: "ClosingPreview") -> dict[str, Any]:
    """The invoice as it is, and what the provider would be asked; `status_after` is what the invoice would become."""
    return invoice_details(preview.invoice) | {
        "dry_run": True,
        "owed": money(preview.invoice.owed),
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


def resumed(
    refunds: "Sequence[Resumed]", closings: "Sequence[ResumedClosing]", runs: "Sequence[UnfinishedRun]"
) -> Iterator[dict[str, Any]]:
    """Refunds, closings and runs in one list; each says what was done."""
    for outcome in refunds:
        yield refund(outcome.refund) | resume_step(outcome.step, outcome.note)
    for ending in closings:
        yield closing(ending.closing) | resume_step(ending.step, ending.note)
    for run in runs:
        yield unfinished_run(run) | resume_step("run-unfinished", run.command)


def resume_step(step: str, note: str) -> dict[str, Any]:
    return {"step": step, "note": note or None}
