"""Just before money moves: is the payment at the provider what the books believe it to be?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from refundcli.domain.errors import Refused
from refundcli.domain.invoice import Invoice
from refundcli.services.differences import Difference, compare
from refundcli.services.finding import invoice_named
from refundcli.services.ports import Books, Providers
from refundcli.services.provider_limits import CAN_LOOK_UP
from refundcli.services.provider_news import PaymentTruth
from refundcli.services.shares import Share

_SHOWN = 3


class DiffersFromProvider(Refused):
    """The provider knows the payment, or the invoice, otherwise; nothing was reserved and nothing sent."""

    code = "differs-from-provider"

    def __init__(self, invoice: Invoice, differences: Sequence[Difference], *, hint: str = "") -> None:
        where = differences[0].provider.label
        told = "; ".join(f"{each} ({each.reference})" for each in differences[:_SHOWN])
        more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        super().__init__(
            f"{invoice.number} is not at {where} as it is here: {told}{more}. Nothing was sent.",
            hint=hint or f"refundcli reconcile --invoice {invoice.number}     (takes in what is proven)",
            context={
                "invoice": invoice.number,
                "differences": [
                    {"kind": d.kind, "reference": d.reference, "what": d.what, "here": d.here, "there": d.there}
                    for d in differences
                ],
            },
        )


Truths: TypeAlias = Mapping[int, PaymentTruth | None]


def preflight(
    invoice: Invoice, shares: Sequence[Share], *, books: Books, providers: Providers
) -> Sequence[PaymentTruth]:
    """Read the truth of each payment that is to give money, where its provider can be asked.

    Raises DiffersFromProvider, ProviderUnreachable.
    """
    truths = truths_of(shares, providers)
    # The books are read again after: what a colleague refunded meanwhile is in both, or in neither.
    now = books.read(lambda tx: invoice_named(tx, invoice.number)) if truths else invoice
    refuse_differences(now, truths)
    return [truth for truth in truths.values() if truth]


def truths_of(shares: Sequence[Share], providers: Providers) -> Truths:
    """By payment; None where the provider has no such payment. Raises ProviderUnreachable."""
    return {
        share.payment.id: providers.records(share.payment.provider).payment(share.payment.reference)
        for share in shares
        if share.payment.provider in CAN_LOOK_UP
    }


def refuse_differences(invoice: Invoice, truths: Truths) -> None:
    """Raises DiffersFromProvider. The invoice is to be read after the truths were."""
    differences = [each for each in _differences(invoice, truths) if each.bars_a_refund]
    if differences:
        raise DiffersFromProvider(invoice, differences)


def _differences(invoice: Invoice, truths: Truths) -> Iterator[Difference]:
    for payment in invoice.payments:
        if payment.id in truths:
            yield from compare(invoice, payment, truths[payment.id])
