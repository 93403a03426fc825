"""Take in what a provider, asked now, tells of a payment: what differs is told, and what is proven is repaired."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.statuses import Provider
from refundcli.services.differences import Difference, DifferenceKind, compare
from refundcli.services.hear_news import Heard, hear
from refundcli.services.ports import Clock, Reading, Writing
from refundcli.services.provider_news import News, PaymentTruth


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What differed about one payment, and which of it stays so although all that is proven was repaired."""

    found: Sequence[Difference] = ()
    left: Sequence[Difference] = ()
    changed: int = 0


def take_in(
    tx: Writing, invoice: Invoice, payment: Payment, truth: PaymentTruth | None, *, clock: Clock, number_format: str
) -> TakenIn:
    """In the caller's transaction, in which invoice and payment were read. Each repair is an audited transition."""
    found = list(compare(invoice, payment, truth))
    if truth is None or any(each.kind is DifferenceKind.CURRENCY for each in found):
        return TakenIn(found, found)
    evidence = f"asked {truth.provider.label}"
    changed = int(
        tx.note_payment(payment, captured=truth.captured, processing=truth.processing, evidence=evidence)
    ) + sum(each.changed for each in _heard(tx, truth, evidence, clock, number_format))
    if not changed:
        return TakenIn(found, found)
    now = tx.invoice(invoice.number)
    assert now
    return TakenIn(found, list(compare(now, next(p for p in now.payments if p.id == payment.id), truth)), changed)


def _heard(tx: Writing, truth: PaymentTruth, evidence: str, clock: Clock, number_format: str) -> Iterator[Heard]:
    told: list[News] = [truth.told_dispute, *truth.refunds]
    for news in told:
        yield hear(tx, news, evidence=evidence, clock=clock, number_format=number_format)


def payments_told(
    reading: Reading, provider: Provider, truths: Sequence[PaymentTruth]
) -> Iterator[tuple[PaymentTruth, Invoice | None, Payment | None]]:
    """Each truth with the invoice and the payment here that it is about, if there is one."""
    owners = reading.invoices_of_payments(provider, [each for truth in truths for each in truth.references])
    for truth in truths:
        invoice = next((owners[each] for each in truth.references if each in owners), None)
        payments = invoice.payments if invoice else ()
        yield truth, invoice, next((p for p in payments if not set(p.references).isdisjoint(truth.references)), None)
