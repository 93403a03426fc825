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
    return any(_sharing(reading, invoice, reading.invoices.get(invoice.number)))


def import_shares(
    tx: Writing, invoice: NewInvoice, captured_by_reference: Mapping[str, Money], *, source: str
) -> tuple[ImportCounts, str]:
    """Import an invoice that shares payments with others, with the reported share of each payment.

    `captured_by_reference`: the whole amount of each payment. `source`: where the invoice comes from, for the audit
    trail. Returns the counts, and why it was left out if it was.
    """
    stored_invoice = tx.invoices.get(invoice.number)
    shared_payments = _sharing(tx, invoice, stored_invoice)
    for shared_payment in shared_payments:
        why_left_out = _why_not(tx, invoice, shared_payment, captured_by_reference)
        if why_left_out:
            return ImportCounts(), why_left_out
    for shared_payment in shared_payments:
        _join(tx, shared_payment, update_source=source)
    new_shares = [shared_payment for shared_payment in shared_payments if shared_payment.own is None]
    if stored_invoice is None:
        unshared_payments = [
            payment
            for payment in invoice.payments
            if all(payment is not shared_payment.reported for shared_payment in new_shares)
        ]
        counts = tx.imports.add_invoices([replace(invoice, payments=tuple(unshared_payments))], source=source)
        _add(tx, invoice, new_shares, update_source=source)
        return counts, ""
    _add(tx, invoice, new_shares, update_source=source)
    return tx.imports.add_invoices([invoice], source=source), ""


def _add(tx: Writing, invoice: NewInvoice, new_shares: Sequence[_Sharing], *, update_source: str) -> None:
    for shared_payment in new_shares:
        stored_invoice = tx.invoices.get(invoice.number)
        _, first_share = _owners(tx, shared_payment.reported)[0]
        assert stored_invoice
        tx.shares.add(
            stored_invoice, first_share, shared_payment.reported, reported=invoice.payments, update_source=update_source
        )


def _sharing(reading: Reading, invoice: NewInvoice, stored_invoice: Invoice | None) -> list[_Sharing]:
    shared_payments = []
    for reported_payment in invoice.payments:
        references = references_of(reported_payment)
        stored_payments = stored_invoice.payments if stored_invoice else ()
        stored_payment = next(
            (p for p in stored_payments if p.provider and not set(p.references).isdisjoint(references)), None
        )
        stored_home_ids = {stored_payment.home_id} if stored_payment else set()
        matches_by_home_id = {
            payment.home_id: payment
            for _, payment in _owners(reading, reported_payment)
            if payment.home_id not in stored_home_ids
        }
        if matches_by_home_id:
            shared_payments.append(_Sharing(reported_payment, stored_payment, list(matches_by_home_id.values())))
    return shared_payments


def _owners(reading: Reading, reported_payment: NewPayment) -> list[tuple[Invoice, Payment]]:
    """Payments of the books with its ids, each with its invoice; of a shared one the first share."""
    references = references_of(reported_payment)
    invoices_by_reference = (
        reading.invoices.of_payments(reported_payment.provider, references)
        if reported_payment.provider and references
        else {}
    )
    return [
        (invoice, payment)
        for reference, invoice in invoices_by_reference.items()
        for payment in invoice.payments
        if reference in payment.references and payment.home_id == payment.id
    ]


def _why_not(
    reading: Reading, invoice: NewInvoice, shared_payment: _Sharing, captured_by_reference: Mapping[str, Money]
) -> str:
    """Why the share is invalid, or "". Shares above the captured amount mean a duplicate invoice or a wrong amount."""
    sharing_invoices = _others(reading, invoice, shared_payment)
    numbers = ", ".join(sharing_invoice.number for sharing_invoice in sharing_invoices)
    problems = reading.imports.conflicts(block_of([invoice])).problems
    conflict = next((problem.message for problem in problems if problem.code != "duplicate-payment"), "")
    if conflict:
        return conflict
    captured_amount = captured_by_reference.get(shared_payment.reported.reference)
    known_shares = [*shared_payment.matches, *([shared_payment.own] if shared_payment.own else [])]
    if captured_amount is None or any(
        payment.allocated.currency != captured_amount.currency for payment in known_shares
    ):
        return f"It was paid with the same payment as {numbers}, which is in a different currency."
    share_sum = shared_payment.reported.captured + sum(payment.allocated_in_all.minor for payment in known_shares)
    if shared_payment.own:
        # Its share until now is at least the share reported now.
        share_sum -= max(shared_payment.own.allocated.minor, shared_payment.reported.captured)
    if share_sum > captured_amount.minor:
        return (
            f"It was paid with the same payment as {numbers}, and together they claim "
            f"{Money(share_sum, captured_amount.currency)} of a payment of {captured_amount}: pull that "
            "invoice too, or correct it."
        )
    possible_duplicates = [
        sharing_invoice.number
        for sharing_invoice in sharing_invoices
        if not sharing_invoice.invoice_reference and sharing_invoice.total.minor == invoice.total
    ]
    if possible_duplicates:
        return (
            f"It was paid with the same payment as {possible_duplicates[0]}, which may be the same invoice: "
            f"import {possible_duplicates[0]} with its invoice_reference."
        )
    return ""


def _others(reading: Reading, invoice: NewInvoice, shared_payment: _Sharing) -> list[Invoice]:
    """The other invoices in the books that this payment pays."""
    numbers = {
        number
        for owner, payment in _owners(reading, shared_payment.reported)
        for number in (owner.number, *(share.invoice_number for share in payment.other_shares))
    }
    invoices = reading.invoices.by_number(sorted(numbers - {invoice.number}))
    return [invoices[number] for number in sorted(invoices)]


def _join(tx: Writing, shared_payment: _Sharing, *, update_source: str) -> None:
    """Join payments that are stored under several ids into one with several shares."""
    payments = [*([shared_payment.own] if shared_payment.own else []), *shared_payment.matches]
    first_payment, *duplicates = sorted(payments, key=lambda payment: payment.home_id)
    for duplicate in duplicates:
        tx.shares.join(first_payment, duplicate, update_source=update_source)
