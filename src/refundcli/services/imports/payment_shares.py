"""Invoices that share a payment: Stripe reports the share of each, and the books store it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.services.ports.books import Reading, Writing
from refundcli.services.ports.bulk_invoices import block_of
from refundcli.services.ports.records import ImportCounts, NewInvoice, NewPayment


@dataclass(frozen=True, slots=True)
class _Sharing:
    """A payment of a pulled invoice, and payments of other invoices that are the same at the provider."""

    reported: NewPayment
    own: Payment | None
    matches: Sequence[Payment]


def references_of(payment: NewPayment) -> list[str]:
    """The ids of the payment at the provider."""
    return [reference for reference in (payment.reference, payment.charge) if reference] if payment.provider else []


def shares_a_payment(reading: Reading, invoice: NewInvoice) -> bool:
    """Is it paid with a payment that belongs to another invoice in the books?"""
    return any(_sharing(reading, invoice, reading.invoice(invoice.number)))


def import_shares(
    tx: Writing, invoice: NewInvoice, captured: Mapping[str, Money], *, source: str
) -> tuple[ImportCounts, str]:
    """Import an invoice that shares payments with others, with the reported share of each payment.

    `captured`: the whole amount of each payment, by reference. Returns the counts, and why it was left out if it was.
    """
    stored = tx.invoice(invoice.number)
    sharing = _sharing(tx, invoice, stored)
    for shared in sharing:
        why = _why_not(tx, invoice, shared, captured)
        if why:
            return ImportCounts(), why
    for shared in sharing:
        _join(tx, shared, update_source=source)
    new = [shared for shared in sharing if shared.own is None]
    if stored is None:
        apart = [payment for payment in invoice.payments if all(payment is not shared.reported for shared in new)]
        counts = tx.import_invoices([replace(invoice, payments=tuple(apart))], source=source)
        _add(tx, invoice, new, update_source=source)
        return counts, ""
    _add(tx, invoice, new, update_source=source)
    return tx.import_invoices([invoice], source=source), ""


def _add(tx: Writing, invoice: NewInvoice, new: Sequence[_Sharing], *, update_source: str) -> None:
    for shared in new:
        stored = tx.invoice(invoice.number)
        _, first = _owners(tx, shared.reported)[0]
        assert stored
        tx.add_share(stored, first, shared.reported, reported=invoice.payments, update_source=update_source)


def _sharing(reading: Reading, invoice: NewInvoice, stored: Invoice | None) -> list[_Sharing]:
    sharing = []
    for reported in invoice.payments:
        references = references_of(reported)
        payments = stored.payments if stored else ()
        own = next((p for p in payments if p.provider and not set(p.references).isdisjoint(references)), None)
        homes = {own.home_id} if own else set()
        matches = {
            payment.home_id: payment for _, payment in _owners(reading, reported) if payment.home_id not in homes
        }
        if matches:
            sharing.append(_Sharing(reported, own, list(matches.values())))
    return sharing


def _owners(reading: Reading, reported: NewPayment) -> list[tuple[Invoice, Payment]]:
    """Payments of the books with its ids, each with its invoice; of a shared one the first share."""
    references = references_of(reported)
    owners = reading.invoices_of_payments(reported.provider, references) if reported.provider and references else {}
    return [
        (invoice, payment)
        for reference, invoice in owners.items()
        for payment in invoice.payments
        if reference in payment.references and payment.home_id == payment.id
    ]


def _why_not(reading: Reading, invoice: NewInvoice, sharing: _Sharing, captured: Mapping[str, Money]) -> str:
    """Why the share is invalid, or "". Shares above the captured amount mean a duplicate invoice or a wrong amount."""
    sharers = _others(reading, invoice, sharing)
    names = ", ".join(sharer.number for sharer in sharers)
    problems = reading.import_conflicts(block_of([invoice])).problems
    conflict = next((problem.message for problem in problems if problem.code != "duplicate-payment"), "")
    if conflict:
        return conflict
    whole = captured.get(sharing.reported.reference)
    known_shares = [*sharing.matches, *([sharing.own] if sharing.own else [])]
    if whole is None or any(payment.allocated.currency != whole.currency for payment in known_shares):
        return f"It was paid with a payment of {names}, in another currency."
    shares = sharing.reported.captured + sum(payment.allocated_in_all.minor for payment in known_shares)
    if sharing.own:
        # Its share until now is at least the share reported now.
        shares -= max(sharing.own.allocated.minor, sharing.reported.captured)
    if shares > whole.minor:
        return (
            f"It was paid with a payment of {names}, and together they have {Money(shares, whole.currency)} of "
            f"{whole}: pull that one too, or correct it."
        )
    same = [sharer.number for sharer in sharers if not sharer.invoice_reference and sharer.total.minor == invoice.total]
    if same:
        return (
            f"It was paid with a payment of {same[0]}, which may be the same invoice: import {same[0]} with its "
            "invoice_reference."
        )
    return ""


def _others(reading: Reading, invoice: NewInvoice, sharing: _Sharing) -> list[Invoice]:
    """The other invoices in the books that this payment pays."""
    numbers = {
        number
        for owner, payment in _owners(reading, sharing.reported)
        for number in (owner.number, *(share.invoice_number for share in payment.other_shares))
    }
    invoices = reading.invoices_by_number(sorted(numbers - {invoice.number}))
    return [invoices[number] for number in sorted(invoices)]


def _join(tx: Writing, sharing: _Sharing, *, update_source: str) -> None:
    """Join payments that are stored under several ids into one with several shares."""
    payments = [*([sharing.own] if sharing.own else []), *sharing.matches]
    first, *duplicates = sorted(payments, key=lambda payment: payment.home_id)
    for duplicate in duplicates:
        tx.join_payments(first, duplicate, update_source=update_source)
