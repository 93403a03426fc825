"""Just before an invoice is closed at the provider: compare it with the books."""

from collections.abc import Iterator
from dataclasses import dataclass

from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.services.ports.providers import ProviderRecords, ToldInvoice
from refundcli.services.preflight.comparison import Difference, DifferenceKind
from refundcli.services.preflight.payment import DiffersFromProvider

# The statuses from which the provider's rules allow each target status.
_MAY_BECOME = {
    InvoiceStatus.VOID: frozenset({InvoiceStatus.OPEN, InvoiceStatus.UNCOLLECTIBLE}),
    InvoiceStatus.UNCOLLECTIBLE: frozenset({InvoiceStatus.OPEN}),
}


def ask(invoice: Invoice, target: InvoiceStatus, records: ProviderRecords) -> InvoiceStatus:
    """The invoice's status at the provider, if it may be closed or is already closed.

    Raises DiffersFromProvider, ProviderUnreachable.
    """
    reported = records.invoice(invoice.invoice_reference)
    if reported is None:
        raise DiffersFromProvider(invoice, [_missing(invoice, records.name)], hint=_WRONG_REFERENCE)
    differences = list(why_not(invoice, target, reported, records.name))
    if differences:
        raise DiffersFromProvider(invoice, differences, hint=_how_to_sync(invoice, records.name))
    return reported.invoice.status


def why_not(invoice: Invoice, target: InvoiceStatus, reported: ToldInvoice, provider: Provider) -> Iterator[Difference]:
    """The differences that forbid closing it. The target status itself is allowed if the invoice is the right one."""
    at = _At(invoice, provider, reported.reference)
    total = Money(reported.invoice.total, invoice.currency)
    if reported.invoice.currency != invoice.currency.code:
        yield at.differs(DifferenceKind.CURRENCY, "currency", invoice.currency.code, reported.invoice.currency)
    elif total != invoice.total:
        # A void is final, and the reference may belong to another invoice by mistake.
        yield at.differs(DifferenceKind.AMOUNT, "total", str(invoice.total), str(total))
    if reported.invoice.status is target:
        return
    if reported.invoice.status not in _MAY_BECOME[target]:
        yield at.differs(DifferenceKind.STATUS, "invoice", invoice.status, reported.invoice.status)
    # A payment that only the books have was made outside the provider, so it is no difference.
    captured = Money(sum(payment.captured for payment in reported.invoice.payments), invoice.currency)
    if captured > invoice.paid:
        yield at.differs(DifferenceKind.AMOUNT, "captured", str(invoice.paid), str(captured))
    if any(payment.processing for payment in reported.invoice.payments):
        yield at.differs(DifferenceKind.STATUS, "payment", "not processing", "processing")


@dataclass(frozen=True, slots=True)
class _At:
    invoice: Invoice
    provider: Provider
    reference: str

    def differs(self, kind: DifferenceKind, what: str, here: str, there: str) -> Difference:
        return Difference(kind, self.provider, self.invoice.number, self.reference, what, here, there)


def _missing(invoice: Invoice, provider: Provider) -> Difference:
    at = _At(invoice, provider, invoice.invoice_reference)
    return at.differs(DifferenceKind.MISSING_THERE, "invoice", invoice.status, "")


_WRONG_REFERENCE = (
    "Use the key of the account and mode that has it; "
    "or correct the invoice's invoice_reference and import it again with refundcli invoice import FILE"
)


def _how_to_sync(invoice: Invoice, provider: Provider) -> str:
    return (
        f"refundcli invoice show {invoice.number} --refresh     (syncs it from {provider.label})\n"
        f"or: refundcli invoice pull {provider} --number {invoice.invoice_reference}"
    )
