"""Bring invoices in from a provider that keeps them: each with its payments, refunds and disputes.

Page by page, and a pull that was stopped goes on where it was; what the books know better stays.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial

from refundcli.domain.errors import NotFound
from refundcli.domain.money import Money
from refundcli.services.chunks import chunked
from refundcli.services.imports.from_file import ImportSummary
from refundcli.services.imports.payment_shares import import_shares, references_of, shares_a_payment
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.invoice_block import block_of
from refundcli.services.ports.providers import LeftOut, ProviderInvoice, ProviderRecords
from refundcli.services.ports.records import ImportCounts, NewInvoice
from refundcli.services.provider_updates.sync_payment import match_snapshots, note_credit, sync_payment

# Each costs some requests; this many are written at once, and pulled again after a kill.
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
    """What a pull did; `news` counts changes of refunds, disputes and payments. `went_on` after which invoice."""

    imported: ImportSummary = field(default_factory=ImportSummary)
    news: int = 0
    went_on: str = ""


def pull(
    records: ProviderRecords, *, since: date | None, books: Books, clock: Clock, number_format: str, advance: Advance
) -> PullSummary:
    """Every invoice made since then. Raises ProviderUnreachable; what was written stays."""
    name = f"pull:{records.name}:{since or 'all'}"
    stopped = books.read(lambda tx: tx.sync_state(name))
    went_on, _, began = (stopped[0] if stopped else "").partition(" ")
    done, began = PullSummary(went_on=went_on), began or str(clock.today())

    def write_pages(told: Iterable[ProviderInvoice | LeftOut], place: str) -> None:
        for chunk in chunked(told, _AT_ONCE):
            write = partial(_write, told=chunk, records=records, clock=clock, number_format=number_format, place=place)
            counts, news = books.write(write)
            done.imported.add(counts)
            done.news += news
            advance(len(chunk))

    write_pages(records.invoices(since=since, after=went_on), f"{name} {began}")
    if went_on:
        # They are listed the newest first: what was made since the stopped pull began comes before its place.
        write_pages(records.invoices(since=max(date.fromisoformat(began), since or date.min), after=""), "")
    # The next one begins at the newest again.
    books.write(lambda tx: tx.set_sync_state(name, ""))
    return done


def pull_one(records: ProviderRecords, name: str, *, books: Books, clock: Clock, number_format: str) -> PullSummary:
    """One invoice, by its number or its id there. Raises NotAtProvider, ProviderUnreachable."""
    told = records.invoice(name)
    if told is None:
        raise NotAtProvider(records, name)
    done = PullSummary()
    write = partial(_write, told=[told], records=records, clock=clock, number_format=number_format, place="")
    counts, done.news = books.write(write)
    done.imported.add(counts)
    return done


def _write(
    tx: Writing,
    *,
    told: Sequence[ProviderInvoice | LeftOut],
    records: ProviderRecords,
    clock: Clock,
    number_format: str,
    place: str,
) -> tuple[ImportCounts, int]:
    """`place`: under which name it is kept how far the pull came, and the day on which it began."""
    whole = [each for each in told if isinstance(each, ProviderInvoice)]
    known = [replace(_as_known(tx, each), line=line) for line, each in enumerate(whole)]
    reasons = _why_not(tx, known)
    good = [invoice for invoice in known if invoice.line not in reasons]
    source = f"pulled from {records.name.label}"
    alone, sharing = _apart(tx, good)
    counts = tx.import_invoices(alone, source=source) if alone else ImportCounts()
    news = sum(_note_shares(tx, each) for each in alone)
    captured = {reference: t.captured for each in whole for t in each.payments for reference in t.references}
    for shared in sharing:
        more, why = import_shares(tx, shared, captured, source=source)
        counts = _together(counts, more)
        news += 0 if why else _note_shares(tx, shared)
        if why:
            reasons[shared.line] = why
    for line, why in reasons.items():
        counts.kept.append((line, known[line].number, f"{why} It was left out."))
    for each in told:
        if isinstance(each, LeftOut):
            counts.kept.append((0, each.number or each.reference, f"{each.why} It was left out."))
    truths = [truth for each in whole for truth in each.payments]
    for truth, invoice, payment in list(match_snapshots(tx, records.name, truths)):
        if invoice and payment:
            fresh = tx.invoice(invoice.number) or invoice
            payment = next(p for p in fresh.payments if p.id == payment.id)
            news += sync_payment(tx, fresh, payment, truth, clock=clock, number_format=number_format).changed
    for each, new in zip(whole, known, strict=True):
        stored = tx.invoice(new.number)
        if stored and each.invoice.currency == stored.currency.code:
            news += note_credit(tx, stored, each.credited, evidence=f"asked {records.name.label}")
    if place:
        name, began = place.split()
        tx.set_sync_state(name, f"{told[-1].reference} {began}")
    return counts, news


def _apart(tx: Writing, invoices: Sequence[NewInvoice]) -> tuple[list[NewInvoice], list[NewInvoice]]:
    """Those whose payments are theirs alone, and those that share one with another here or before them in the list."""
    alone: list[NewInvoice] = []
    sharing: list[NewInvoice] = []
    taken = set[str]()
    for invoice in invoices:
        references = {known for payment in invoice.payments for known in references_of(payment)}
        if not taken.isdisjoint(references) or shares_a_payment(tx, invoice):
            sharing.append(invoice)
        else:
            alone.append(invoice)
            taken |= references
    return alone, sharing


def _together(first: ImportCounts, second: ImportCounts) -> ImportCounts:
    return ImportCounts(
        first.new + second.new, first.changed + second.changed, first.same + second.same, [*first.kept, *second.kept]
    )


def _note_shares(tx: Writing, pulled: NewInvoice) -> int:
    """What each payment paid of this invoice, where an older version counted all of a payment that pays several."""
    stored = tx.invoice(pulled.number)
    if stored is None or stored.currency.code != pulled.currency:
        return 0
    changed = 0
    for told in pulled.payments:
        share = Money(told.captured, stored.currency)
        payment = next((p for p in stored.payments if told.reference and told.reference in p.references), None)
        if payment and share < payment.allocated and payment.reserved + payment.refunded <= share:
            tx.note_share(stored, payment, share)
            changed += 1
    return changed


def _why_not(tx: Writing, invoices: Sequence[NewInvoice]) -> dict[int, str]:
    """Why some of them cannot stand beside what the books hold, or beside each other; by their lines."""
    problems = tx.import_conflicts(block_of(invoices)).problems
    # One payment may pay several invoices: what each of them has of it is reported.
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


def _as_known(tx: Writing, told: ProviderInvoice) -> NewInvoice:
    """Under the number that the books have for it: an import may have brought it in under one of its own.

    A draft has no number, and is known by its id until it gets one.
    """
    numbers = [number for number in tx.numbers_behind(told.reference) if number != told.invoice.number]
    if numbers == [told.reference] and tx.invoice(told.invoice.number) is None:
        tx.number_invoice(told.reference, told.invoice.number)
        return told.invoice
    return replace(told.invoice, number=numbers[0]) if numbers else told.invoice
