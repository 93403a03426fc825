"""Bring invoices in from a provider that keeps them: each with its payments, refunds and disputes.

Page by page, and a pull that was stopped goes on where it was; what the books know better stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial

from refundcli.domain.errors import NotFound
from refundcli.services.chunks import chunked
from refundcli.services.finding import invoice_behind
from refundcli.services.import_invoices import ImportResult
from refundcli.services.invoice_block import block_of
from refundcli.services.ports import (
    Books,
    Clock,
    ImportCounts,
    NewInvoice,
    ProviderRecords,
    Reading,
    ToldInvoice,
    Writing,
)
from refundcli.services.take_in import payments_told, take_in

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
class Pulled:
    """What a pull did; `news` counts changes of refunds, disputes and payments. `went_on` after which invoice."""

    imported: ImportResult = field(default_factory=ImportResult)
    news: int = 0
    went_on: str = ""


def pull(
    records: ProviderRecords, *, since: date | None, books: Books, clock: Clock, number_format: str, advance: Advance
) -> Pulled:
    """Every invoice made since then. Raises ProviderUnreachable; what was written stays."""
    name = f"pull:{records.name}:{since or 'all'}"
    stopped_after = books.read(lambda tx: tx.sync_state(name))
    done = Pulled(went_on=stopped_after[0] if stopped_after else "")
    for chunk in chunked(records.invoices(since=since, after=done.went_on), _AT_ONCE):
        write = partial(_write, told=chunk, records=records, clock=clock, number_format=number_format, name=name)
        counts, news = books.write(write)
        done.imported.add(counts)
        done.news += news
        advance(len(chunk))
    # The next one begins at the newest again.
    books.write(lambda tx: tx.set_sync_state(name, ""))
    return done


def pull_one(records: ProviderRecords, name: str, *, books: Books, clock: Clock, number_format: str) -> Pulled:
    """One invoice, by its number or its id there. Raises NotAtProvider, ProviderUnreachable."""
    told = records.invoice(name)
    if told is None:
        raise NotAtProvider(records, name)
    done = Pulled()
    write = partial(_write, told=[told], records=records, clock=clock, number_format=number_format, name="")
    counts, done.news = books.write(write)
    done.imported.add(counts)
    return done


def name_there(reading: Reading, name: str) -> str:
    """How the provider knows an invoice of the books: by its id there, else by its number."""
    invoice = invoice_behind(reading, name)
    return invoice.invoice_reference or invoice.number


def _write(
    tx: Writing, *, told: Sequence[ToldInvoice], records: ProviderRecords, clock: Clock, number_format: str, name: str
) -> tuple[ImportCounts, int]:
    label = records.name.label
    known = [replace(_as_known(tx, each), line=line) for line, each in enumerate(told)]
    conflicts = {problem.line: problem for problem in tx.beside(block_of(known)).problems}
    counts = tx.import_invoices([each for each in known if each.line not in conflicts], source=f"pulled from {label}")
    for each in known:
        if each.line in conflicts:
            counts.kept.append((each.line, each.number, f"{conflicts[each.line].message} It was left out."))
    truths = [truth for each in told for truth in each.payments]
    news = 0
    for truth, invoice, payment in list(payments_told(tx, records.name, truths)):
        if invoice and payment:
            fresh = tx.invoice(invoice.number) or invoice
            payment = next(p for p in fresh.payments if p.id == payment.id)
            news += take_in(tx, fresh, payment, truth, clock=clock, number_format=number_format).changed
    if name:
        tx.set_sync_state(name, told[-1].reference)
    return counts, news


def _as_known(tx: Writing, told: ToldInvoice) -> NewInvoice:
    """Under the number that the books have for it: an import may have brought it in under one of its own."""
    numbers = [number for number in tx.numbers_behind(told.reference) if number != told.invoice.number]
    return replace(told.invoice, number=numbers[0]) if numbers else told.invoice
