"""Pull invoices from a provider, each with its payments, refunds and disputes.

A stopped pull resumes where it stopped. Values that the books know better are kept.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial

from refundcli.domain.errors import NotFound
from refundcli.domain.money import Money
from refundcli.domain.statuses import Provider
from refundcli.services.chunks import chunked
from refundcli.services.imports.from_file import ImportSummary
from refundcli.services.imports.payment_shares import import_shares, references_of, shares_a_payment
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.bulk_invoices import block_of
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.providers import ProviderInvoice, ProviderRecords, SkippedInvoice
from refundcli.services.ports.records import ImportCounts, NewInvoice
from refundcli.services.provider_updates.sync_payment import match_snapshots, note_credit, sync_payment

# Each invoice takes several requests; this many are written at once, and pulled again after a kill.
_AT_ONCE = 20

Advance = Callable[[int], None]


class NotAtProvider(NotFound):
    code = "not-at-provider"

    def __init__(self, records: ProviderRecords, name: str) -> None:
        super().__init__(
            f"{records.name.label} has no invoice {ascii(name[:80])[1:-1]} in this account and mode.",
            hint="Name it by its number or its in_… id.",
            context={"invoice": name[:200]},
        )


@dataclass(slots=True)
class PullSummary:
    """What a pull did. `changes`: of refunds, disputes and payments. `resumed_after`: the last invoice before it."""

    imported: ImportSummary = field(default_factory=ImportSummary)
    changes: int = 0
    resumed_after: str = ""


def pull(
    records: ProviderRecords,
    *,
    since: date | None,
    books: Books,
    clock: Clock,
    credit_note_format: str,
    advance: Advance,
) -> PullSummary:
    """Pull every invoice created since then. Raises ProviderUnreachable; what was written stays."""
    name = f"pull:{records.name}:{since or 'all'}"
    stopped = books.read(lambda tx: tx.sync_state(name))
    resumed_after, _, began = (stopped[0] if stopped else "").partition(" ")
    summary, began = PullSummary(resumed_after=resumed_after), began or str(clock.today())

    def write_pages(listed: Iterable[ProviderInvoice | SkippedInvoice], place: str) -> None:
        for chunk in chunked(listed, _AT_ONCE):
            write = partial(
                _write, listed=chunk, records=records, clock=clock, credit_note_format=credit_note_format, place=place
            )
            counts, changes = books.write(write)
            summary.imported.add(counts)
            summary.changes += changes
            advance(len(chunk))

    write_pages(records.invoices(since=since, after=resumed_after), f"{name} {began}")
    if resumed_after:
        # The list is newest first: invoices created since the stopped pull began come before its position.
        write_pages(records.invoices(since=max(date.fromisoformat(began), since or date.min), after=""), "")
    # The next pull starts at the newest again.
    books.write(lambda tx: tx.set_sync_state(name, ""))
    return summary


def pull_one(
    records: ProviderRecords, name: str, *, books: Books, clock: Clock, credit_note_format: str
) -> PullSummary:
    """Pull one invoice, by its number or its id at the provider. Raises NotAtProvider, ProviderUnreachable."""
    invoice = records.invoice(name)
    if invoice is None:
        raise NotAtProvider(records, name)
    summary = PullSummary()
    write = partial(
        _write, listed=[invoice], records=records, clock=clock, credit_note_format=credit_note_format, place=""
    )
    counts, summary.changes = books.write(write)
    summary.imported.add(counts)
    return summary


def _write(
    tx: Writing,
    *,
    listed: Sequence[ProviderInvoice | SkippedInvoice],
    records: ProviderRecords,
    clock: Clock,
    credit_note_format: str,
    place: str,
) -> tuple[ImportCounts, int]:
    """Write one chunk. `place`: the sync state for the pull's position, and the day on which the pull began."""
    readable = [pulled for pulled in listed if isinstance(pulled, ProviderInvoice)]
    renumbered = [replace(_numbered_as_stored(tx, pulled), line=line) for line, pulled in enumerate(readable)]
    reasons = _why_not(tx, renumbered)
    good = [invoice for invoice in renumbered if invoice.line not in reasons]
    source = f"pulled from {records.name.label}"
    alone, sharing = _split_shared(tx, good)
    counts = tx.import_invoices(alone, source=source) if alone else ImportCounts()
    changes = sum(_note_shares(tx, pulled) for pulled in alone)
    captured = {reference: t.captured for pulled in readable for t in pulled.payments for reference in t.references}
    for shared in sharing:
        more, why = import_shares(tx, shared, captured, source=source)
        counts = _sum_of(counts, more)
        changes += 0 if why else _note_shares(tx, shared)
        if why:
            reasons[shared.line] = why
    for line, why in reasons.items():
        counts.unchanged.append((line, renumbered[line].number, f"{why} It was left out."))
    for pulled in listed:
        if isinstance(pulled, SkippedInvoice):
            counts.unchanged.append((0, pulled.number or pulled.reference, f"{pulled.why} It was left out."))
    changes += _sync_payments(tx, records.name, readable, clock, credit_note_format)
    for pulled, new in zip(readable, renumbered, strict=True):
        stored = tx.invoice(new.number)
        if stored and pulled.invoice.currency == stored.currency.code:
            changes += note_credit(tx, stored, pulled.credited, update_source=f"asked {records.name.label}")
    if place:
        name, began = place.split()
        tx.set_sync_state(name, f"{listed[-1].reference} {began}")
    return counts, changes


def _sync_payments(
    tx: Writing, provider: Provider, pulled: Sequence[ProviderInvoice], clock: Clock, credit_note_format: str
) -> int:
    """Apply the snapshots of the payments that are in the books. Returns how many changes that made."""
    snapshots = [snapshot for invoice in pulled for snapshot in invoice.payments]
    changes = 0
    for snapshot, invoice, payment in list(match_snapshots(tx, provider, snapshots)):
        if invoice and payment:
            fresh = tx.invoice(invoice.number) or invoice
            payment = next(p for p in fresh.payments if p.id == payment.id)
            changes += sync_payment(
                tx, fresh, payment, snapshot, clock=clock, credit_note_format=credit_note_format
            ).changed
    return changes


def _split_shared(tx: Writing, invoices: Sequence[NewInvoice]) -> tuple[list[NewInvoice], list[NewInvoice]]:
    """Invoices with payments of their own, and those that share one with an invoice of the books or the list."""
    alone: list[NewInvoice] = []
    sharing: list[NewInvoice] = []
    used = set[str]()
    for invoice in invoices:
        references = {reference for payment in invoice.payments for reference in references_of(payment)}
        if not used.isdisjoint(references) or shares_a_payment(tx, invoice):
            sharing.append(invoice)
        else:
            alone.append(invoice)
            used |= references
    return alone, sharing


def _sum_of(first: ImportCounts, second: ImportCounts) -> ImportCounts:
    return ImportCounts(
        first.new + second.new,
        first.changed + second.changed,
        first.same + second.same,
        [*first.unchanged, *second.unchanged],
    )


def _note_shares(tx: Writing, pulled: NewInvoice) -> int:
    """Lower shares that an older version counted as the whole of a shared payment. Returns how many."""
    stored = tx.invoice(pulled.number)
    if stored is None or stored.currency.code != pulled.currency:
        return 0
    changed = 0
    for reported in pulled.payments:
        share = Money(reported.captured, stored.currency)
        payment = next((p for p in stored.payments if reported.reference and reported.reference in p.references), None)
        if payment and share < payment.allocated and payment.reserved + payment.refunded <= share:
            tx.note_share(stored, payment, share)
            changed += 1
    return changed


def _why_not(tx: Writing, invoices: Sequence[NewInvoice]) -> dict[int, str]:
    """By line, why an invoice conflicts with the books or with another of the list."""
    problems = tx.import_conflicts(block_of(invoices)).problems
    # One payment may pay several invoices: the provider reports the share of each.
    reasons = {problem.line: problem.message for problem in problems if problem.code != "duplicate-payment"}
    here = tx.invoices_by_number([invoice.number for invoice in invoices])
    owners = {number: invoice.invoice_reference for number, invoice in here.items()}
    for invoice in invoices:
        owner = owners.get(invoice.number) or invoice.invoice_reference
        if owner != invoice.invoice_reference:
            reasons.setdefault(invoice.line, f"{invoice.invoice_reference} has the number of {owner}.")
        if invoice.line not in reasons:
            owners[invoice.number] = owner
    return reasons


def _numbered_as_stored(tx: Writing, pulled: ProviderInvoice) -> NewInvoice:
    """The invoice under its number in the books, which an import may have chosen.

    A draft has no number and is stored under its id until it gets one.
    """
    numbers = [number for number in tx.numbers_behind(pulled.reference) if number != pulled.invoice.number]
    if numbers == [pulled.reference] and tx.invoice(pulled.invoice.number) is None:
        tx.number_invoice(pulled.reference, pulled.invoice.number)
        return pulled.invoice
    return replace(pulled.invoice, number=numbers[0]) if numbers else pulled.invoice
