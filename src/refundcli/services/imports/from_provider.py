"""Pull invoices from a provider, each with its payments, refunds and disputes.

A stopped pull resumes where it stopped. Values that the books know better are kept.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TypeAlias

from refundcli.domain.errors import NotFound
from refundcli.domain.money import Money
from refundcli.domain.statuses import Provider
from refundcli.services.chunks import chunked
from refundcli.services.imports.from_file import ImportSummary
from refundcli.services.imports.payment_shares import import_shares, references_of, shares_a_payment
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.bulk_invoices import block_of
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.provider_updates import PaymentSnapshot
from refundcli.services.ports.providers import ProviderInvoice, Providers, SkippedInvoice
from refundcli.services.ports.records import ImportCounts, NewInvoice
from refundcli.services.provider_updates.outcome import reloaded
from refundcli.services.provider_updates.sync_payment import SyncPayments, match_snapshots, note_credit

# Each invoice takes several requests; this many are written at once, and pulled again after a kill.
_AT_ONCE = 20

Advance: TypeAlias = Callable[[int], None]
ListedInvoice: TypeAlias = ProviderInvoice | SkippedInvoice


class NotAtProvider(NotFound):
    code = "not-at-provider"

    def __init__(self, provider: Provider, number_or_id: str) -> None:
        super().__init__(
            f"{provider.label} has no invoice {ascii(number_or_id[:80])[1:-1]} in this account and mode.",
            hint="Give its number or its in_… ID.",
            context={"invoice": number_or_id[:200]},
        )


@dataclass(slots=True)
class PullSummary:
    """What a pull did. `changes`: of refunds, disputes and payments. `resumed_after`: the last invoice before it."""

    imported: ImportSummary = field(default_factory=ImportSummary)
    changes: int = 0
    resumed_after: str = ""


@dataclass(frozen=True, slots=True)
class PullInvoices:
    """Pulls invoices, and syncs their payments."""

    books: Books
    providers: Providers
    payments: SyncPayments
    clock: Clock

    def all(self, provider: Provider, *, since: date | None, advance: Advance) -> PullSummary:
        """Pull every invoice created since then. Raises ProviderUnreachable; what was written stays.

        `advance` gets the number of invoices of each chunk.
        """
        records = self.providers.records(provider)
        sync_name = f"pull:{provider}:{since or 'all'}"
        stored_state = self.books.read(lambda tx: tx.store.sync_state(sync_name))
        last_reference, _, began_on = (stored_state[0] if stored_state else "").partition(" ")
        summary, began_on = PullSummary(resumed_after=last_reference), began_on or str(self.clock.today())

        def write_pages(listed_invoices: Iterable[ListedInvoice], sync_position: str) -> None:
            for chunk in chunked(listed_invoices, _AT_ONCE):
                self._write_chunk(provider, chunk, summary, sync_position)
                advance(len(chunk))

        write_pages(records.invoices(since=since, after=last_reference), f"{sync_name} {began_on}")
        if last_reference:
            # The list is newest first: invoices created since the stopped pull began come before its position.
            write_pages(records.invoices(since=max(date.fromisoformat(began_on), since or date.min), after=""), "")
        # The next pull starts at the newest again.
        self.books.write(lambda tx: tx.store.set_sync_state(sync_name, ""))
        return summary

    def one(self, provider: Provider, number_or_id: str) -> PullSummary:
        """Pull one invoice, by its number or its id at the provider. Raises NotAtProvider, ProviderUnreachable."""
        invoice = self.providers.records(provider).invoice(number_or_id)
        if invoice is None:
            raise NotAtProvider(provider, number_or_id)
        summary = PullSummary()
        self._write_chunk(provider, [invoice], summary)
        return summary

    def _write_chunk(
        self,
        provider: Provider,
        listed_invoices: Sequence[ListedInvoice],
        summary: PullSummary,
        sync_position: str = "",
    ) -> None:
        """Write one chunk.

        `sync_position`: the name of the pull's sync state, and the day on which the pull began; empty to store none.
        """

        def write(tx: Writing) -> tuple[list[ImportCounts], int]:
            if sync_position:
                sync_name, began_on = sync_position.split()
                tx.store.set_sync_state(sync_name, f"{listed_invoices[-1].reference} {began_on}")
            return self._write(tx, provider, listed_invoices)

        counts_of_parts, changes = self.books.write(write)
        for counts in counts_of_parts:
            summary.imported.add(counts)
        summary.changes += changes

    def _write(
        self, tx: Writing, provider: Provider, listed_invoices: Sequence[ListedInvoice]
    ) -> tuple[list[ImportCounts], int]:
        """Returns the counts, and how many refunds, disputes and payments changed."""
        readable_invoices = [listed for listed in listed_invoices if isinstance(listed, ProviderInvoice)]
        numbered_invoices = [
            replace(_numbered_as_stored(tx, readable), line=line) for line, readable in enumerate(readable_invoices)
        ]
        reasons_by_line = _why_not(tx, numbered_invoices)
        valid_invoices = [invoice for invoice in numbered_invoices if invoice.line not in reasons_by_line]
        source = f"pulled from {provider.label}"
        unshared_invoices, sharing_invoices = _split_shared(tx, valid_invoices)
        counts = [tx.imports.add_invoices(unshared_invoices, source=source)] if unshared_invoices else []
        changes = sum(_note_shares(tx, invoice) for invoice in unshared_invoices)
        snapshots = [snapshot for readable in readable_invoices for snapshot in readable.payments]
        captured_by_reference = {ref: snapshot.captured for snapshot in snapshots for ref in snapshot.references}
        for sharing_invoice in sharing_invoices:
            sharing_counts, why_left_out = import_shares(tx, sharing_invoice, captured_by_reference, source=source)
            counts.append(sharing_counts)
            if why_left_out:
                reasons_by_line[sharing_invoice.line] = why_left_out
            else:
                changes += _note_shares(tx, sharing_invoice)
        left_out = [(line, numbered_invoices[line].number, why) for line, why in reasons_by_line.items()]
        left_out += [
            (0, listed.number or listed.reference, listed.why)
            for listed in listed_invoices
            if isinstance(listed, SkippedInvoice)
        ]
        texts = [(line, number, f"{why} It was left out.") for line, number, why in left_out]
        counts.append(ImportCounts(unchanged=texts))
        changes += self._sync_payments(tx, provider, snapshots)
        for readable, numbered in zip(readable_invoices, numbered_invoices, strict=True):
            stored_invoice = tx.invoices.get(numbered.number)
            if stored_invoice and readable.invoice.currency == stored_invoice.currency.code:
                changes += note_credit(tx, stored_invoice, readable.credited, update_source=f"asked {provider.label}")
        return counts, changes

    def _sync_payments(self, tx: Writing, provider: Provider, snapshots: Sequence[PaymentSnapshot]) -> int:
        """Apply the snapshots of the payments that are in the books. Returns how many changes that made."""
        return sum(
            self.payments.sync(tx, *reloaded(tx, *match), snapshot).changed
            for snapshot, match in match_snapshots(tx, provider, snapshots)
            if match
        )


def _split_shared(tx: Writing, invoices: Sequence[NewInvoice]) -> tuple[list[NewInvoice], list[NewInvoice]]:
    """Invoices with payments of their own, and those that share one with an invoice of the books or the list."""
    unshared_invoices: list[NewInvoice] = []
    sharing_invoices: list[NewInvoice] = []
    used_references = set[str]()
    for invoice in invoices:
        references = {reference for payment in invoice.payments for reference in references_of(payment)}
        if not used_references.isdisjoint(references) or shares_a_payment(tx, invoice):
            sharing_invoices.append(invoice)
        else:
            unshared_invoices.append(invoice)
            used_references |= references
    return unshared_invoices, sharing_invoices


def _note_shares(tx: Writing, invoice: NewInvoice) -> int:
    """Lower shares that an older version counted as the whole of a shared payment. Returns how many."""
    stored_invoice = tx.invoices.get(invoice.number)
    if stored_invoice is None or stored_invoice.currency.code != invoice.currency:
        return 0
    changed_shares = 0
    for reported_payment in invoice.payments:
        share = Money(reported_payment.captured, stored_invoice.currency)
        reference = reported_payment.reference
        payment = next((p for p in stored_invoice.payments if reference and reference in p.references), None)
        if payment and share < payment.allocated and payment.reserved + payment.refunded <= share:
            tx.shares.note(stored_invoice, payment, share)
            changed_shares += 1
    return changed_shares


def _why_not(tx: Writing, invoices: Sequence[NewInvoice]) -> dict[int, str]:
    """By line, why an invoice conflicts with the books or with another of the list."""
    problems = tx.imports.conflicts(block_of(invoices)).problems
    # One payment may pay several invoices: the provider reports the share of each.
    reasons_by_line = {problem.line: problem.message for problem in problems if problem.code != "duplicate-payment"}
    stored_invoices = tx.invoices.by_number([invoice.number for invoice in invoices])
    reference_by_number = {number: invoice.invoice_reference for number, invoice in stored_invoices.items()}
    for invoice in invoices:
        stored_reference = reference_by_number.get(invoice.number) or invoice.invoice_reference
        if stored_reference != invoice.invoice_reference:
            reasons_by_line.setdefault(
                invoice.line, f"{invoice.invoice_reference} has the same invoice number as {stored_reference}."
            )
        if invoice.line not in reasons_by_line:
            reference_by_number[invoice.number] = stored_reference
    return reasons_by_line


def _numbered_as_stored(tx: Writing, provider_invoice: ProviderInvoice) -> NewInvoice:
    """The invoice under its number in the books, which an import may have chosen.

    A draft has no number and is stored under its id until it gets one.
    """
    stored_numbers = [
        number
        for number in tx.invoices.numbers_behind(provider_invoice.reference)
        if number != provider_invoice.invoice.number
    ]
    if stored_numbers == [provider_invoice.reference] and tx.invoices.get(provider_invoice.invoice.number) is None:
        tx.invoices.change_number(provider_invoice.reference, provider_invoice.invoice.number)
        return provider_invoice.invoice
    return replace(provider_invoice.invoice, number=stored_numbers[0]) if stored_numbers else provider_invoice.invoice
