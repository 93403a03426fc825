"""Just before an invoice is closed at the provider: compare it with the books."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from refundcli.domain.eligibility import uncollectible_blockers, void_blockers
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money
from refundcli.domain.refusals import RuleRefusal, most_important
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.services.ports.providers import ProviderInvoice, ProviderRecords
from refundcli.services.preflight.difference import Difference, DifferenceKind
from refundcli.services.preflight.payment import DiffersFromProvider

_BLOCKERS: dict[InvoiceStatus, Callable[[Invoice], Iterator[RuleRefusal]]] = {
    InvoiceStatus.VOID: void_blockers,
    InvoiceStatus.UNCOLLECTIBLE: uncollectible_blockers,
}
# The statuses from which the provider's rules allow each target status.
_MAY_BECOME = {
    InvoiceStatus.VOID: frozenset({InvoiceStatus.OPEN, InvoiceStatus.UNCOLLECTIBLE}),
    InvoiceStatus.UNCOLLECTIBLE: frozenset({InvoiceStatus.OPEN}),
}


def why_not_closed(invoice: Invoice, target_status: InvoiceStatus) -> RuleRefusal | None:
    """Why the books do not allow it (R9, R10); None if they do."""
    return most_important(_BLOCKERS[target_status](invoice))


def ask(invoice: Invoice, target: InvoiceStatus, records: ProviderRecords) -> ProviderInvoice:
    """The invoice at the provider, if it may be closed or is already closed.

    Raises DiffersFromProvider, ProviderUnreachable.
    """
    provider_invoice = records.invoice(invoice.invoice_reference)
    if provider_invoice is None:
        raise DiffersFromProvider(invoice, [_missing(invoice, records.name)], hint=_WRONG_REFERENCE)
    differences = list(why_not(invoice, target, provider_invoice, records.name))
    if differences:
        raise DiffersFromProvider(invoice, differences, hint=_how_to_sync(invoice, records.name))
    return provider_invoice


def why_not(
    invoice: Invoice, target: InvoiceStatus, provider_invoice: ProviderInvoice, provider: Provider
) -> Iterator[Difference]:
    """The differences that forbid closing it. The target status itself is allowed if the invoice is the right one."""
    compared_invoice = _At(invoice, provider, provider_invoice.reference)
    provider_total = Money(provider_invoice.invoice.total, invoice.currency)
    if provider_invoice.invoice.currency != invoice.currency.code:
        yield compared_invoice.differs(
            DifferenceKind.CURRENCY, "currency", invoice.currency.code, provider_invoice.invoice.currency
        )
    elif provider_total != invoice.total:
        # A void is final, and the reference may belong to another invoice by mistake.
        yield compared_invoice.differs(DifferenceKind.AMOUNT, "total", str(invoice.total), str(provider_total))
    if provider_invoice.invoice.status is target:
        return
    if provider_invoice.invoice.status not in _MAY_BECOME[target]:
        yield compared_invoice.differs(
            DifferenceKind.STATUS, "invoice", invoice.status, provider_invoice.invoice.status
        )
    # A payment that only the books have was made outside the provider, so it is no difference.
    captured_amount = Money(sum(payment.captured for payment in provider_invoice.invoice.payments), invoice.currency)
    if captured_amount > invoice.paid:
        yield compared_invoice.differs(DifferenceKind.AMOUNT, "captured", str(invoice.paid), str(captured_amount))
    if any(payment.processing for payment in provider_invoice.invoice.payments):
        yield compared_invoice.differs(DifferenceKind.STATUS, "payment", "not processing", "processing")


@dataclass(frozen=True, slots=True)
class _At:
    invoice: Invoice
    provider: Provider
    reference: str

    def differs(self, kind: DifferenceKind, object_name: str, in_books: str, at_provider: str) -> Difference:
        return Difference(kind, self.provider, self.invoice.number, self.reference, object_name, in_books, at_provider)


def _missing(invoice: Invoice, provider: Provider) -> Difference:
    missing_invoice = _At(invoice, provider, invoice.invoice_reference)
    return missing_invoice.differs(DifferenceKind.MISSING_THERE, "invoice", invoice.status, "")


_WRONG_REFERENCE = (
    "Use the API key for the account and mode that the invoice is in; or correct its invoice_reference and "
    "import it again with refundcli invoice import FILE"
)


def _how_to_sync(invoice: Invoice, provider: Provider) -> str:
    return (
        f"refundcli invoice show {invoice.number} --refresh     (syncs it from {provider.label})\n"
        f"or: refundcli invoice pull {provider} --number {invoice.invoice_reference}"
    )
