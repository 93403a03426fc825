"""Just before an invoice is closed at the provider: compare it with the books."""

from collections.abc import Callable, Iterator
from functools import partial

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
    differs = _differs(invoice, provider, provider_invoice.reference)
    provider_total = Money(provider_invoice.invoice.total, invoice.currency)
    if provider_invoice.invoice.currency != invoice.currency.code:
        here, there = invoice.currency.code, provider_invoice.invoice.currency
        yield differs(kind=DifferenceKind.CURRENCY, what="currency", here=here, there=there)
    elif provider_total != invoice.total:
        # A void is final, and the reference may belong to another invoice by mistake.
        yield differs(kind=DifferenceKind.AMOUNT, what="total", here=str(invoice.total), there=str(provider_total))
    if provider_invoice.invoice.status is target:
        return
    if provider_invoice.invoice.status not in _MAY_BECOME[target]:
        here, there = invoice.status, provider_invoice.invoice.status
        yield differs(kind=DifferenceKind.STATUS, what="invoice", here=here, there=there)
    # A payment that only the books have was made outside the provider, so it is no difference.
    captured_amount = Money(sum(payment.captured for payment in provider_invoice.invoice.payments), invoice.currency)
    if captured_amount > invoice.paid:
        here, there = str(invoice.paid), str(captured_amount)
        yield differs(kind=DifferenceKind.AMOUNT, what="captured", here=here, there=there)
    if any(payment.processing for payment in provider_invoice.invoice.payments):
        yield differs(kind=DifferenceKind.STATUS, what="payment", here="not processing", there="processing")


def _differs(invoice: Invoice, provider: Provider, reference: str) -> Callable[..., Difference]:
    return partial(Difference, provider=provider, invoice=invoice.number, reference=reference)


def _missing(invoice: Invoice, provider: Provider) -> Difference:
    differs = _differs(invoice, provider, invoice.invoice_reference)
    return differs(kind=DifferenceKind.MISSING_THERE, what="invoice", here=invoice.status, there="")


_WRONG_REFERENCE = (
    "Use the API key for the account and mode that the invoice is in; or correct its invoice_reference and "
    "import it again with refundcli invoice import FILE"
)


def _how_to_sync(invoice: Invoice, provider: Provider) -> str:
    return (
        f"refundcli invoice show {invoice.number} --refresh     (syncs it from {provider.label})\n"
        f"or: refundcli invoice pull {provider} --number {invoice.invoice_reference}"
    )
