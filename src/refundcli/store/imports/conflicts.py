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
    newest_entry = session.exec(select(func.coalesce(func.max(AuditEntryRow.seq), 0))).one()
    if session.exec(select(InvoiceRow.id).limit(1)).first() is None:
        return ImportConflicts([], 0, newest_entry)
    currency_of_number = _currencies(session, block.numbers)
    problems = []
    for line, invoice_number, currency_code in zip(block.lines, block.numbers, block.currencies, strict=True):
        if currency_of_number.get(invoice_number, currency_code) != currency_code:
            message = f"{invoice_number} is in {currency_of_number[invoice_number]} in the store."
            hint = "An invoice's currency cannot change; an invoice in another currency needs its own number."
            problems.append(Problem(line, "currency", currency_code, "other-currency", message, hint))
    payments = block.payments
    for column, payment_ids in id_columns(payments).items():
        index_of_payment_id = {
            payment_id: invoice_index
            for payment_id, invoice_index in zip(payment_ids, payments.invoices, strict=True)
            if payment_id
        }
        for payment_reference, invoice_number, first_share_id in _owners(session, column, list(index_of_payment_id)):
            invoice_index = index_of_payment_id[payment_reference]
            if block.numbers[invoice_index] != invoice_number and block.numbers[invoice_index] not in _sharers(
                session, first_share_id
            ):
                message, hint = f"It belongs to {invoice_number} in the store.", ONE_INVOICE
                line = block.lines[invoice_index]
                problems.append(
                    Problem(line, "payment_reference", payment_reference, "duplicate-payment", message, hint)
                )
    problems += _other_owners(session, block)
    return ImportConflicts(problems, len(currency_of_number), newest_entry)


def _other_owners(session: Session, block: InvoiceBlock) -> Iterator[Problem]:
    """A problem for each provider invoice that already belongs to another invoice: voiding one would void both."""
    index_of_reference = {
        reference: invoice_index for invoice_index, reference in enumerate(block.references) if reference
    }
    query = select(InvoiceRow.invoice_reference, InvoiceRow.number)
    for reference_chunk in chunked(list(index_of_reference), AT_ONCE):
        owners_query = query.where(among(col(InvoiceRow.invoice_reference)))
        for reference, invoice_number in session.exec(owners_query, params={AMONG: reference_chunk}):
            invoice_index = index_of_reference[str(reference)]
            if block.numbers[invoice_index] != invoice_number:
                message = f"It belongs to {invoice_number} in the store."
                hint = "Each invoice at the provider can belong to only one invoice in the store."
                yield Problem(
                    block.lines[invoice_index],
                    "invoice_reference",
                    str(reference),
                    "duplicate-reference",
                    message,
                    hint,
                )


def _currencies(session: Session, numbers: Sequence[str]) -> dict[str, str]:
    """The currency of each of these invoices that the store has."""
    query = select(InvoiceRow.number, InvoiceRow.currency)
    currency_of_number: dict[str, str] = {}
    for number_chunk in chunked(numbers, AT_ONCE):
        currency_of_number |= dict(
            session.exec(query.where(among(col(InvoiceRow.number))), params={AMONG: number_chunk}).all()
        )
    return currency_of_number


def _sharers(session: Session, first_share_id: int | None) -> Sequence[str]:
    """The invoices that have a share of a payment."""
    if first_share_id is None:
        return ()
    query = select(InvoiceRow.number).join(PaymentRow, col(PaymentRow.invoice_id) == col(InvoiceRow.id))
    return session.exec(query.where(PaymentRow.share_of == first_share_id)).all()


def _owners(session: Session, column_name: str, references: Sequence[str]) -> Iterator[tuple[str, str, int | None]]:
    """The payments in the store with these ids: id, invoice number, and the first share if it is shared."""
    column = col(getattr(PaymentRow, column_name))
    query = select(column, InvoiceRow.number, PaymentRow.share_of).join(
        InvoiceRow, col(InvoiceRow.id) == col(PaymentRow.invoice_id)
    )
    for reference_chunk in chunked(references, AT_ONCE):
        yield from session.exec(query.where(among(column)), params={AMONG: reference_chunk})
