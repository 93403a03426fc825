"""Find an invoice by its number or by an id related to it."""

from typing import TYPE_CHECKING

from refundcli.domain.errors import NotFound, Refused, did_you_mean_number
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import CreditNote, Refund

if TYPE_CHECKING:
    # Most commands do not need these protocols, and they take time to import.
    from refundcli.services.ports.books import Reading, RefundReading


class InvoiceNotFound(NotFound):
    code = "invoice-not-found"

    def __init__(self, number_or_id: str, suggestion: str) -> None:
        super().__init__(
            f"There is no invoice {ascii(number_or_id[:80])[1:-1]}.",
            hint=suggestion or "refundcli invoice list   shows the invoices of this store",
            context={"invoice": number_or_id[:200]},
        )


class CreditNoteNotFound(NotFound):
    code = "credit-note-not-found"

    def __init__(self, number: str, suggestion: str) -> None:
        super().__init__(
            f"There is no credit note {ascii(number[:80])[1:-1]}.",
            hint=suggestion or "refundcli credit-notes list",
            context={"credit_note": number[:200]},
        )


class SeveralInvoices(Refused):
    code = "several-invoices"

    def __init__(self, related_id: str, numbers: list[str]) -> None:
        super().__init__(
            f"{ascii(related_id[:80])[1:-1]} belongs to several invoices: {', '.join(numbers)}.",
            hint="Name one of them.",
            context={"invoices": numbers},
        )


class RefundNotFound(NotFound):
    code = "refund-not-found"

    def __init__(self, refund_id: str) -> None:
        super().__init__(
            f"There is no refund {ascii(refund_id[:80])[1:-1]}.",
            hint="refundcli status   lists the refunds that need attention",
        )


def invoice_named(reading: "RefundReading", number: str) -> Invoice:
    """The invoice with this number. Raises InvoiceNotFound with the nearest ones."""
    invoice = reading.invoices.get(number)
    if invoice is None:
        raise InvoiceNotFound(number, did_you_mean_number(number, reading.invoices.numbers_near(number)))
    return invoice


def invoice_behind(reading: "Reading", number_or_id: str) -> Invoice:
    """The invoice with this number, or with this provider id, refund id or credit note number."""
    invoice = reading.invoices.get(number_or_id)
    if invoice:
        return invoice
    numbers = reading.invoices.numbers_behind(number_or_id)
    if len(numbers) > 1:
        raise SeveralInvoices(number_or_id, numbers)
    return invoice_named(reading, numbers[0] if numbers else number_or_id)


def credit_note_named(reading: "Reading", number: str) -> tuple[CreditNote, Refund]:
    """The credit note with this number, and its refund. Raises CreditNoteNotFound with the nearest ones."""
    credit_note = reading.credit_notes.get(number)
    refund = reading.refunds.get(credit_note.refund_id) if credit_note else None
    if credit_note is None or refund is None:
        raise CreditNoteNotFound(number, did_you_mean_number(number, reading.credit_notes.numbers_near(number)))
    return credit_note, refund
