"""Find what keeps invoices in a file from being imported: currencies and references that contradict the store."""

from collections.abc import Iterator, Sequence

from sqlalchemy import func
from sqlmodel import Session, col, select

from refundcli.services.chunks import chunked
from refundcli.services.ports.bad_rows import ONE_INVOICE, Problem
from refundcli.services.ports.bulk_invoices import InvoiceBlock
from refundcli.services.ports.records import ImportConflicts
from refundcli.store.imports.payment_matching import id_columns
from refundcli.store.schema import AuditEntryRow, InvoiceRow, PaymentRow
from refundcli.store.value_lists import AMONG, AT_ONCE, among


def import_conflicts(session: Session, block: InvoiceBlock) -> ImportConflicts:
    """Why these rows cannot be imported beside what the store holds already."""
    newest = session.exec(select(func.coalesce(func.max(AuditEntryRow.seq), 0))).one()
    if session.exec(select(InvoiceRow.id).limit(1)).first() is None:
        return ImportConflicts([], 0, newest)
    currencies = _currencies(session, block.numbers)
    problems = []
    for line, number, unit in zip(block.lines, block.numbers, block.currencies, strict=True):
        if currencies.get(number, unit) != unit:
            what = f"{number} is in {currencies[number]} in the store."
            hint = "An invoice keeps its currency; another one needs its own number."
            problems.append(Problem(line, "currency", unit, "other-currency", what, hint))
    payments = block.payments
    for column, ids in id_columns(payments).items():
        places = {payment_id: place for payment_id, place in zip(ids, payments.invoices, strict=True) if payment_id}
        for value, number, share_of in _owners(session, column, list(places)):
            place = places[value]
            if block.numbers[place] != number and block.numbers[place] not in _sharers(session, share_of):
                what, hint = f"It belongs to {number} in the store.", ONE_INVOICE
                line = block.lines[place]
                problems.append(Problem(line, "payment_reference", value, "duplicate-payment", what, hint))
    problems += _other_owners(session, block)
    return ImportConflicts(problems, len(currencies), newest)


def _other_owners(session: Session, block: InvoiceBlock) -> Iterator[Problem]:
    """A problem for each provider invoice that already belongs to another invoice: voiding one would void both."""
    places = {reference: place for place, reference in enumerate(block.references) if reference}
    query = select(InvoiceRow.invoice_reference, InvoiceRow.number)
    for some in chunked(list(places), AT_ONCE):
        owned = query.where(among(col(InvoiceRow.invoice_reference)))
        for reference, number in session.exec(owned, params={AMONG: some}):
            place = places[str(reference)]
            if block.numbers[place] != number:
                what, hint = f"It belongs to {number} in the store.", "A provider's invoice belongs to one invoice."
                yield Problem(
                    block.lines[place], "invoice_reference", str(reference), "duplicate-reference", what, hint
                )


def _currencies(session: Session, numbers: Sequence[str]) -> dict[str, str]:
    """The currency of each of these invoices that the store has."""
    query = select(InvoiceRow.number, InvoiceRow.currency)
    currencies: dict[str, str] = {}
    for some in chunked(numbers, AT_ONCE):
        currencies |= dict(session.exec(query.where(among(col(InvoiceRow.number))), params={AMONG: some}).all())
    return currencies


def _sharers(session: Session, first_share: int | None) -> Sequence[str]:
    """The invoices that have a share of a payment."""
    if first_share is None:
        return ()
    query = select(InvoiceRow.number).join(PaymentRow, col(PaymentRow.invoice_id) == col(InvoiceRow.id))
    return session.exec(query.where(PaymentRow.share_of == first_share)).all()


def _owners(session: Session, name: str, references: Sequence[str]) -> Iterator[tuple[str, str, int | None]]:
    """The payments in the store with these ids: id, invoice number, and the first share if it is shared."""
    column = col(getattr(PaymentRow, name))
    query = select(column, InvoiceRow.number, PaymentRow.share_of).join(
        InvoiceRow, col(InvoiceRow.id) == col(PaymentRow.invoice_id)
    )
    for some in chunked(references, AT_ONCE):
        yield from session.exec(query.where(among(column)), params={AMONG: some})
