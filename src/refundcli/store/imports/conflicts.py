"""Find what keeps invoices in a file from being imported: currencies and references that contradict the store."""

from collections.abc import Iterator

from refundcli.services.ports.bad_rows import DUPLICATE_REFERENCE, ONE_INVOICE, Problem
from refundcli.services.ports.bulk_invoices import InvoiceBlock
from refundcli.services.ports.records import ImportConflicts
from refundcli.store.databases.rows import Reads, Rows
from refundcli.store.imports.payment_matching import id_columns
from refundcli.store.queries.store_facts import SqlAuditReads

_CURRENCIES = "SELECT number, currency FROM invoice WHERE number IN (SELECT key FROM json_each(:numbers))"
_INVOICES_OF = """
    SELECT invoice_reference, number FROM invoice WHERE invoice_reference IN (SELECT key FROM json_each(:references))
"""
_OWNERS = """
    SELECT payment.{column}, invoice.number, payment.share_of
    FROM payment JOIN invoice ON invoice.id = payment.invoice_id
    WHERE payment.{column} IN (SELECT key FROM json_each(:references))
"""
_SHARERS = """
    SELECT invoice.number FROM payment JOIN invoice ON invoice.id = payment.invoice_id
    WHERE payment.share_of = :first_share
"""


class SqlImportReads(Reads):
    """Reads what an import must agree with."""

    def conflicts(self, block: InvoiceBlock) -> ImportConflicts:
        """Why these rows cannot be imported beside what the store holds already."""
        return _conflicts(self._rows, block)


def _conflicts(rows: Rows, block: InvoiceBlock) -> ImportConflicts:
    newest_entry = SqlAuditReads(rows).newest_entry()
    if rows.first("SELECT id FROM invoice LIMIT 1") is None:
        return ImportConflicts([], 0, newest_entry)
    currency_of_number = rows.pairs(_CURRENCIES, numbers=block.numbers)
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
        owners = rows.all(_OWNERS.format(column=column), references=index_of_payment_id) if index_of_payment_id else ()
        for payment_reference, invoice_number, first_share_id in owners:
            invoice_index = index_of_payment_id[payment_reference]
            sharers = rows.all(_SHARERS, first_share=first_share_id) if first_share_id is not None else ()
            if block.numbers[invoice_index] not in (invoice_number, *(number for (number,) in sharers)):
                message, hint = f"It belongs to {invoice_number} in the store.", ONE_INVOICE
                line = block.lines[invoice_index]
                problems.append(
                    Problem(line, "payment_reference", payment_reference, "duplicate-payment", message, hint)
                )
    problems += _other_owners(rows, block)
    return ImportConflicts(problems, len(currency_of_number), newest_entry)


def _other_owners(rows: Rows, block: InvoiceBlock) -> Iterator[Problem]:
    """A problem for each provider invoice that already belongs to another invoice: voiding one would void both."""
    index_of_reference = {
        reference: invoice_index for invoice_index, reference in enumerate(block.references) if reference
    }
    for reference, invoice_number in (
        rows.all(_INVOICES_OF, references=index_of_reference) if index_of_reference else ()
    ):
        invoice_index = index_of_reference[reference]
        if block.numbers[invoice_index] != invoice_number:
            message = f"It belongs to {invoice_number} in the store."
            hint = "Each invoice at the provider can belong to only one invoice in the store."
            line = block.lines[invoice_index]
            yield Problem(line, "invoice_reference", reference, DUPLICATE_REFERENCE, message, hint)
