"""Just before an invoice is closed at the provider: is it there what the books believe it to be?"""

from collections.abc import Iterator
from dataclasses import dataclass

from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.services.ports.providers import ProviderInvoice, ProviderRecords
from refundcli.services.preflight.comparison import Difference, DifferenceKind
from refundcli.services.preflight.payment import DiffersFromProvider

# From which status the provider's own rules let an invoice come to the one that is wanted.
_MAY_BECOME = {
    InvoiceStatus.VOID: frozenset({InvoiceStatus.OPEN, InvoiceStatus.UNCOLLECTIBLE}),
    InvoiceStatus.UNCOLLECTIBLE: frozenset({InvoiceStatus.OPEN}),
}


def ask(invoice: Invoice, wanted: InvoiceStatus, records: ProviderRecords) -> InvoiceStatus:
    """How the invoice stands at the provider, where it may be closed or is already as it is wanted.

    Raises DiffersFromProvider, ProviderUnreachable.
    """
    told = records.invoice(invoice.invoice_reference)
    if told is None:
        raise DiffersFromProvider(invoice, [_missing(invoice, records.name)], hint=_WRONG_REFERENCE)
    differences = list(why_not(invoice, wanted, told, records.name))
    if differences:
        raise DiffersFromProvider(invoice, differences, hint=_take_it_in(invoice, records.name))
    return told.invoice.status


def why_not(invoice: Invoice, wanted: InvoiceStatus, told: ProviderInvoice, provider: Provider) -> Iterator[Difference]:
    """What stands against closing it. That it is as wanted already does not, if it is this invoice at all."""
    at = _At(invoice, provider, told.reference)
    total = Money(told.invoice.total, invoice.currency)
    if told.invoice.currency != invoice.currency.code:
        yield at.differs(DifferenceKind.CURRENCY, "currency", invoice.currency.code, told.invoice.currency)
    elif total != invoice.total:
        # Voiding is for good, and a reference may be another invoice's by mistake.
        yield at.differs(DifferenceKind.AMOUNT, "total", str(invoice.total), str(total))
    if told.invoice.status is wanted:
        return
    if told.invoice.status not in _MAY_BECOME[wanted]:
        yield at.differs(DifferenceKind.STATUS, "invoice", invoice.status, told.invoice.status)
    # Money that the books have and the provider does not know of was taken elsewhere.
    captured = Money(sum(payment.captured for payment in told.invoice.payments), invoice.currency)
    if captured > invoice.paid:
        yield at.differs(DifferenceKind.AMOUNT, "captured", str(invoice.paid), str(captured))
    if any(payment.processing for payment in told.invoice.payments):
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


def _take_it_in(invoice: Invoice, provider: Provider) -> str:
    return (
        f"refundcli invoice show {invoice.number} --refresh     (takes in what {provider.label} tells)\n"
        f"or: refundcli invoice pull {provider} --number {invoice.invoice_reference}"
    )
