"""Invoices that share a payment: Stripe reports how much each has of it, and the books have a share for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.services.ports.books import Reading, Writing
from refundcli.services.ports.invoice_block import block_of
from refundcli.services.ports.records import ImportCounts, NewInvoice, NewPayment


@dataclass(frozen=True, slots=True)
class _Sharing:
    """A payment of a pulled invoice and the payments of other invoices that are the same one at the provider."""

    told: NewPayment
    own: Payment | None
    others: Sequence[Payment]


def references_of(payment: NewPayment) -> list[str]:
    """By which the provider knows it."""
    return [known for known in (payment.reference, payment.charge) if known] if payment.provider else []


def shares_a_payment(reading: Reading, invoice: NewInvoice) -> bool:
    """Is it paid with a payment that the books know as another invoice's alone?"""
    return any(_sharing(reading, invoice, reading.invoice(invoice.number)))


def import_shares(
    tx: Writing, invoice: NewInvoice, captured: Mapping[str, Money], *, source: str
) -> tuple[ImportCounts, str]:
    """Import an invoice that shares payments with others, each with what the provider reports as paid by it.

    `captured` of each payment as a whole, by reference. What was imported, or why it was left out.
    """
    stored = tx.invoice(invoice.number)
    sharing = _sharing(tx, invoice, stored)
    for each in sharing:
        why = _why_not(tx, invoice, each, captured)
        if why:
            return ImportCounts(), why
    for each in sharing:
        _join(tx, each, evidence=source)
    new = [each for each in sharing if each.own is None]
    if stored is None:
        apart = [payment for payment in invoice.payments if all(payment is not each.told for each in new)]
        counts = tx.import_invoices([replace(invoice, payments=tuple(apart))], source=source)
        _add(tx, invoice, new, evidence=source)
        return counts, ""
    _add(tx, invoice, new, evidence=source)
    return tx.import_invoices([invoice], source=source), ""


def _add(tx: Writing, invoice: NewInvoice, new: Sequence[_Sharing], *, evidence: str) -> None:
    for each in new:
        stored = tx.invoice(invoice.number)
        _, first = _owners(tx, each.told)[0]
        assert stored
        tx.add_share(stored, first, each.told, told=invoice.payments, evidence=evidence)


def _sharing(reading: Reading, invoice: NewInvoice, stored: Invoice | None) -> list[_Sharing]:
    found = []
    for told in invoice.payments:
        references = references_of(told)
        payments = stored.payments if stored else ()
        own = next((p for p in payments if p.provider and not set(p.references).isdisjoint(references)), None)
        homes = {own.home_id} if own else set()
        others = {payment.home_id: payment for _, payment in _owners(reading, told) if payment.home_id not in homes}
        if others:
            found.append(_Sharing(told, own, list(others.values())))
    return found


def _owners(reading: Reading, told: NewPayment) -> list[tuple[Invoice, Payment]]:
    """The payments that the books know by its ids, each with its invoice; of a shared one the first share."""
    references = references_of(told)
    owners = reading.invoices_of_payments(told.provider, references) if told.provider and references else {}
    return [
        (invoice, payment)
        for reference, invoice in owners.items()
        for payment in invoice.payments
        if reference in payment.references and payment.home_id == payment.id
    ]


def _why_not(reading: Reading, invoice: NewInvoice, sharing: _Sharing, captured: Mapping[str, Money]) -> str:
    """Two invoices that together have more than was taken are one invoice imported twice, or one has a wrong amount."""
    others = _others(reading, invoice, sharing)
    names = ", ".join(other.number for other in others)
    problems = reading.import_conflicts(block_of([invoice])).problems
    other = next((problem.message for problem in problems if problem.code != "duplicate-payment"), "")
    if other:
        return other
    whole = captured.get(sharing.told.reference)
    known = [*sharing.others, *([sharing.own] if sharing.own else [])]
    if whole is None or any(payment.allocated.currency != whole.currency for payment in known):
        return f"It was paid with a payment of {names}, in another currency."
    shares = sharing.told.captured + sum(payment.allocated_in_all.minor for payment in known)
    if sharing.own:
        # What it had of it until now is what is reported of it now, or more.
        shares -= max(sharing.own.allocated.minor, sharing.told.captured)
    if shares > whole.minor:
        return (
            f"It was paid with a payment of {names}, and together they have {Money(shares, whole.currency)} of "
            f"{whole}: pull that one too, or correct it."
        )
    same = [other.number for other in others if not other.invoice_reference and other.total.minor == invoice.total]
    if same:
        return (
            f"It was paid with a payment of {same[0]}, which may be the same invoice: import {same[0]} with its "
            "invoice_reference."
        )
    return ""


def _others(reading: Reading, invoice: NewInvoice, sharing: _Sharing) -> list[Invoice]:
    """All other invoices in the books that this payment pays."""
    numbers = {
        number
        for owner, payment in _owners(reading, sharing.told)
        for number in (owner.number, *(share.invoice_number for share in payment.other_shares))
    }
    found = reading.invoices_by_number(sorted(numbers - {invoice.number}))
    return [found[number] for number in sorted(found)]


def _join(tx: Writing, sharing: _Sharing, *, evidence: str) -> None:
    """One payment that the books know as several, by several ids, becomes one with several shares."""
    known = [*([sharing.own] if sharing.own else []), *sharing.others]
    first, *others = sorted(known, key=lambda payment: payment.home_id)
    for other in others:
        tx.join_payments(first, other, evidence=evidence)
