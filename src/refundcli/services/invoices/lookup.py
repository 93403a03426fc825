"""Find an invoice by its number or by an id related to it."""

from typing import TYPE_CHECKING

from refundcli.domain.errors import NotFound, Refused, nearest_number
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import CreditNote, Refund

if TYPE_CHECKING:
    # Most commands do not need these protocols, and they take time to import.
    from refundcli.services.ports.books import Reading, RefundReading


_HOW_TO_FIND = "refundcli invoice list   shows the invoices of this store"


def _how_to_find(typed: str) -> str:
    """A word without digits may be a name."""
    is_name = typed.replace(" ", "").isalpha()
    return f"refundcli find {typed[:60]}   searches names, e-mails, amounts and days" if is_name else _HOW_TO_FIND


class InvoiceNotFound(NotFound):
    code = "invoice-not-found"

    def __init__(self, number_or_id: str, suggestion: str) -> None:
        super().__init__(
            f"There is no invoice {ascii(number_or_id[:80])[1:-1]}.",
            hint=f"Did you mean {suggestion}?" if suggestion else _how_to_find(number_or_id),
            context={"invoice": number_or_id[:200]},
        )
        self.typed, self.suggestion = number_or_id, suggestion


class CreditNoteNotFound(NotFound):
    code = "credit-note-not-found"

    def __init__(self, number: str, suggestion: str) -> None:
        super().__init__(
            f"There is no credit note {ascii(number[:80])[1:-1]}.",
            hint=f"Did you mean {suggestion}?" if suggestion else "refundcli credit-notes list",
            context={"credit_note": number[:200]},
        )
        self.typed, self.suggestion = number, suggestion


class SeveralInvoices(Refused):
    code = "several-invoices"

    def __init__(self, related_id: str, numbers: list[str], *, verb: str = "belongs to") -> None:
        super().__init__(
            f"{ascii(related_id[:80])[1:-1]} {verb} several invoices: {', '.join(numbers)}.",
            hint="Name one of them.",
            context={"invoices": numbers},
        )


class RefundNotFound(NotFound):
    code = "refund-not-found"

    def __init__(
        self, refund_id: str, *, hint: str = "refundcli status   lists the refunds that need attention"
    ) -> None:
        super().__init__(f"There is no refund {ascii(refund_id[:80])[1:-1]}.", hint=hint)


class SeveralRefunds(Refused):
    code = "several-refunds"

    def __init__(self, name: str, refund_ids: list[str]) -> None:
        super().__init__(
            f"{ascii(name[:80])[1:-1]} belongs to several refunds: {', '.join(refund_ids)}.",
            hint=f"Name one of them: refundcli refunds show {refund_ids[0]}",
            context={"refunds": refund_ids},
        )


def invoice_named(reading: "RefundReading", number: str) -> Invoice:
    """The invoice with exactly this number. Raises InvoiceNotFound with the nearest one."""
    invoice = reading.invoices.get(number)
    if invoice is None:
        raise InvoiceNotFound(number, nearest_number(number, reading.invoices.numbers_near(number)))
    return invoice


def invoice_behind(reading: "Reading", typed: str) -> Invoice:
    """The invoice with this number, in any case, or with this provider id, refund id or credit note number.

    Raises InvoiceNotFound, and SeveralInvoices if it fits several of them.
    """
    number_or_id = typed.strip()
    invoice = reading.invoices.get(number_or_id)
    if invoice:
        return invoice
    numbers = reading.invoices.numbers_behind(number_or_id)
    if len(numbers) > 1:
        raise SeveralInvoices(number_or_id, numbers)
    numbers = numbers or reading.invoices.numbers_in_any_case(number_or_id)
    if len(numbers) > 1:
        raise SeveralInvoices(number_or_id, numbers, verb="may be any of")
    return invoice_named(reading, numbers[0] if numbers else number_or_id)


def place_in_list(reading: "Reading", typed: str) -> str:
    """The number after which a list continues: the invoice's, or the text itself if no invoice fits it."""
    try:
        return invoice_behind(reading, typed).number
    except (InvoiceNotFound, SeveralInvoices):
        return typed.strip()


def payment_behind(invoice: Invoice, typed: str) -> str:
    """The payment's id, if that was typed for the invoice's number and the invoice has other payments; or ""."""
    has_others = len(invoice.payments) > 1
    is_payment = any(typed.strip() in payment.references for payment in invoice.payments)
    return typed.strip() if has_others and is_payment else ""


def credit_note_named(reading: "Reading", number: str) -> tuple[CreditNote, Refund]:
    """The credit note with this number, and its refund. Raises CreditNoteNotFound with the nearest one."""
    number = number.strip()
    credit_note = reading.credit_notes.get(number) or reading.credit_notes.get(number.upper())
    refund = reading.refunds.get(credit_note.refund_id) if credit_note else None
    if credit_note is None or refund is None:
        raise CreditNoteNotFound(number, nearest_number(number, reading.credit_notes.numbers_near(number)))
    return credit_note, refund


def refund_named(reading: "Reading", typed: str) -> Refund:
    """The refund with this id, provider's id or credit note number. Raises RefundNotFound, SeveralRefunds."""
    name = typed.strip()
    refunds = reading.refund_search.named(name) or reading.refund_search.named(name.upper())
    if not refunds:
        invoices = reading.invoices.by_number([name, name.upper()])
        of_invoice = f" --invoice {next(iter(invoices))}   shows the refunds of this invoice" if invoices else ""
        raise RefundNotFound(name, hint=f"refundcli refunds list{of_invoice or '   shows the refunds of this store'}")
    if len(refunds) > 1:
        raise SeveralRefunds(name, [refund.id for refund in refunds])
    return refunds[0]
