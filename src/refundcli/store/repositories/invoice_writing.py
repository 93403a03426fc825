"""Write the status and number of invoices, acknowledged losses, and imports."""

from collections.abc import Iterable, Sequence

from sqlalchemy import update

from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import InvoiceStatus
from refundcli.services.ports.bulk_invoices import InvoiceBlock, block_of
from refundcli.services.ports.records import ImportCounts, NewInvoice
from refundcli.store.imports.conflicts import SqlImportReads
from refundcli.store.imports.upsert import Importer
from refundcli.store.queries.invoices import SqlInvoiceReads
from refundcli.store.repositories.writes import Writes
from refundcli.store.tables import INVOICE, PAYMENT


class SqlInvoices(Writes, SqlInvoiceReads):
    """Invoices in a transaction that changes the books."""

    def change_status(self, invoice: Invoice, status: InvoiceStatus, *, memo: str, evidence: str = "") -> None:
        statement = (
            update(INVOICE)
            .where(INVOICE.c.id == invoice.id, INVOICE.c.status == invoice.status)
            .values(status=status, updated_at=self._audit.at)
        )
        assert self._hits(statement), "the invoice was read in this transaction"
        facts = {"status": status, "memo": memo, "evidence": evidence}
        facts_after = {name: fact for name, fact in facts.items() if fact}
        self._audit.write(f"invoice {status}", invoice.number, {"status": invoice.status}, facts_after)

    def change_number(self, old_number: str, new_number: str) -> None:
        statement = update(INVOICE).where(INVOICE.c.number == old_number)
        assert self._hits(statement.values(number=new_number, updated_at=self._audit.at)), (
            "it was read in this transaction"
        )
        self._audit.write("invoice numbered", new_number, {"number": old_number}, {"number": new_number})

    def acknowledge_loss(self, invoice: Invoice, *, memo: str) -> None:
        for payment in invoice.payments:
            if payment.loss:
                statement = update(PAYMENT).where(PAYMENT.c.id == payment.id)
                self._hits(statement.values(loss_acknowledged=payment.loss.minor))
                facts_after = {"loss": str(payment.loss), "payment": payment.reference, "memo": memo}
                self._audit.write(
                    "loss acknowledged", invoice.number, {}, {name: fact for name, fact in facts_after.items() if fact}
                )


class SqlImports(Writes, SqlImportReads):
    """Imports into the books."""

    def add_invoices(self, invoices: Sequence[NewInvoice], *, source: str) -> ImportCounts:
        return self.add_blocks([block_of(invoices)] if invoices else [], source=source)

    def add_blocks(self, blocks: Iterable[InvoiceBlock], *, source: str, all_new: bool = False) -> ImportCounts:
        return Importer(self._connection, self._audit, source=source).import_blocks(blocks, all_new=all_new)
