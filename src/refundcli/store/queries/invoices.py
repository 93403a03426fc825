"""Read invoices with their payments, refunds and closings."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import Invoice, OtherShare
from refundcli.domain.money import zero
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider
from refundcli.store.conditions import LOSS
from refundcli.store.databases.rows import Reads, Row
from refundcli.store.queries.invoice_rows import INVOICE_COLUMNS, PAYMENT_COLUMNS, invoice_of
from refundcli.store.queries.near_numbers import numbers_near
from refundcli.store.queries.payments import (
    disputes_of,
    has_provider,
    may_be_disputed,
    named_by_first_share,
    other_shares_of,
    shared_payments,
    shares_by_payment,
    unreviewed_of,
)
from refundcli.store.queries.refunds import closings_where, refunds_of_payments, refunds_where

if TYPE_CHECKING:
    from refundcli.services.ports.reads import InvoiceFilter

_NUMBERED = f"SELECT {INVOICE_COLUMNS} FROM invoice WHERE number IN (SELECT key FROM json_each(:numbers))"
_WITH_IDS = f"SELECT {INVOICE_COLUMNS} FROM invoice WHERE id IN (SELECT CAST(key AS BIGINT) FROM json_each(:ids))"
_PAYMENTS = f"""
    SELECT {PAYMENT_COLUMNS} FROM payment
    WHERE invoice_id IN (SELECT CAST(key AS BIGINT) FROM json_each(:invoices)) ORDER BY invoice_id, position
"""
_OF_INVOICES = "IN (SELECT CAST(key AS BIGINT) FROM json_each(:invoices))"
_WITH_LOSS = f"SELECT number FROM invoice WHERE id IN (SELECT invoice_id FROM payment WHERE {LOSS}) ORDER BY number"
_HAS_REFERENCE = "payment_intent = :reference OR charge = :reference OR psp_reference = :reference"
# Of a payment that pays several invoices, only the first share has the ids.
_BEHIND = f"""
    SELECT number FROM invoice WHERE invoice_reference = :reference OR id IN (
        SELECT invoice_id FROM payment WHERE {_HAS_REFERENCE}
        UNION SELECT invoice_id FROM payment WHERE share_of IN (
            SELECT share_of FROM payment WHERE ({_HAS_REFERENCE}) AND share_of IS NOT NULL
        )
        UNION SELECT invoice_id FROM refund WHERE id = :reference OR provider_reference = :reference
        UNION SELECT invoice_id FROM credit_note WHERE number = :reference
        UNION SELECT invoice_id FROM closing WHERE id = :reference
    )
"""
_IN_ANY_CASE = "SELECT number FROM invoice WHERE lower(number) = lower(:number) ORDER BY number LIMIT 5"
_OF_PAYMENTS = """
    SELECT payment.{column}, invoice.number FROM payment JOIN invoice ON invoice.id = payment.invoice_id
    WHERE payment.provider = :provider AND payment.{column} IN (SELECT key FROM json_each(:references))
"""
_BY_REFERENCE = """
    SELECT invoice_reference, number FROM invoice WHERE invoice_reference IN (SELECT key FROM json_each(:references))
"""
_Record = TypeVar("_Record", Refund, Closing)


class SqlInvoiceReads(Reads):
    """Reads invoices from one snapshot of the books."""

    def get(self, number: str) -> Invoice | None:
        return self.by_number([number]).get(number)

    def by_number(self, numbers: Sequence[str]) -> dict[str, Invoice]:
        return {number: invoice for number, (invoice, _) in self.with_facts(numbers).items()}

    def with_facts(self, numbers: Sequence[str]) -> dict[str, tuple[Invoice, int]]:
        """By number, each with the hash of its facts."""
        invoice_rows = self._rows.all(_NUMBERED, numbers=numbers)
        if not invoice_rows:
            return {}
        invoice_ids = [invoice_row[0] for invoice_row in invoice_rows]
        payments = self._payments(invoice_ids)
        # A payment without a provider has no updates, and disputes only from an import.
        payment_rows = [payment_row for rows in payments.values() for payment_row in rows]
        disputes = disputes_of(self._rows, list(filter(may_be_disputed, payment_rows)))
        unreviewed = unreviewed_of(self._rows, list(filter(has_provider, payment_rows)))
        other_shares = self._other_shares(invoice_rows, payments)
        refunds = _by_invoice(refunds_where(self._rows, f"refund.invoice_id {_OF_INVOICES}", invoices=invoice_ids))
        closings = _by_invoice(closings_where(self._rows, f"closing.invoice_id {_OF_INVOICES}", invoices=invoice_ids))
        invoices: dict[str, tuple[Invoice, int]] = {}
        for invoice_row in invoice_rows:
            invoice_id, number = invoice_row[:2]
            rows, its_refunds = payments.get(invoice_id, ()), refunds.get(invoice_id, ())
            its_closings = closings.get(invoice_id, ())
            invoice = invoice_of(invoice_row, rows, its_refunds, its_closings, disputes, unreviewed, other_shares)
            invoices[number] = (invoice, _facts(invoice_row, rows))
        return invoices

    def facts(self, numbers: Sequence[str]) -> dict[str, int]:
        invoice_rows = self._rows.all(_NUMBERED, numbers=numbers)
        payments = self._payments([invoice_row[0] for invoice_row in invoice_rows])
        return {invoice_row[1]: _facts(invoice_row, payments.get(invoice_row[0], ())) for invoice_row in invoice_rows}

    def matching(self, filters: "InvoiceFilter") -> list[Invoice]:
        from refundcli.store.queries import lists

        invoice_rows = lists.invoice_rows(self._rows, filters)
        payments = self._payments([invoice_row[0] for invoice_row in invoice_rows])
        return [invoice_of(invoice_row, payments.get(invoice_row[0], ())) for invoice_row in invoice_rows]

    def ids(self, filters: "InvoiceFilter") -> list[int]:
        from refundcli.store.queries import lists

        return lists.invoice_ids(self._rows, filters)

    def by_id(self, ids: Sequence[int]) -> list[Invoice]:
        payments = self._payments(ids)
        invoice_rows = {row[0]: row for row in self._rows.all(_WITH_IDS, ids=ids)}
        return [invoice_of(invoice_rows[invoice_id], payments.get(invoice_id, ())) for invoice_id in ids]

    def count(self, filters: "InvoiceFilter") -> int:
        from refundcli.store.queries import lists

        return lists.count_invoices(self._rows, filters)

    def count_after(self, filters: "InvoiceFilter") -> int:
        from refundcli.store.queries import lists

        return lists.count_matching(self._rows, filters)

    def losses(self) -> list[Invoice]:
        invoices = self.by_number([row[0] for row in self._rows.all(_WITH_LOSS)])
        return [
            invoice
            for invoice in invoices.values()
            if any(payment.loss > (payment.loss_acknowledged or zero(invoice.currency)) for payment in invoice.payments)
        ]

    def numbers_behind(self, reference: str) -> list[str]:
        return sorted(row[0] for row in self._rows.all(_BEHIND, reference=reference))

    def numbers_in_any_case(self, number: str) -> list[str]:
        return [row[0] for row in self._rows.all(_IN_ANY_CASE, number=number)]

    def numbers_near(self, number: str) -> list[str]:
        return numbers_near(self._rows, "invoice", number)

    def of_payments(self, provider: Provider, references: Sequence[str]) -> dict[str, Invoice]:
        number_of_reference: dict[str, str] = {}
        for column in ("payment_intent", "charge", "psp_reference"):
            text = _OF_PAYMENTS.format(column=column)
            number_of_reference |= self._rows.pairs(text, provider=provider, references=references)
        return self._by_other_name(number_of_reference)

    def by_reference(self, references: Sequence[str]) -> dict[str, Invoice]:
        return self._by_other_name(self._rows.pairs(_BY_REFERENCE, references=references))

    def _by_other_name(self, number_of_name: Mapping[str, str]) -> dict[str, Invoice]:
        invoices = self.by_number(sorted(set(number_of_name.values())))
        return {name: invoices[number] for name, number in number_of_name.items()}

    def _payments(self, invoice_ids: Sequence[int]) -> dict[int, list[Row]]:
        """Rows of PAYMENT_COLUMNS by invoice, in order."""
        rows_by_invoice: dict[int, list[Row]] = {}
        payment_rows = self._rows.all(_PAYMENTS, invoices=invoice_ids)
        shares_by_first = shares_by_payment(self._rows, shared_payments(payment_rows))
        for payment_row in payment_rows:
            named_row = named_by_first_share(payment_row, shares_by_first) if shares_by_first else payment_row
            rows_by_invoice.setdefault(named_row[0], []).append(named_row)
        return rows_by_invoice

    def _other_shares(
        self, invoice_rows: Sequence[Row], payments_by_invoice: Mapping[int, Sequence[Row]]
    ) -> dict[int, list[OtherShare]]:
        """The other shares of payments that pay several invoices, by payment."""
        first_share_ids = shared_payments([payment for rows in payments_by_invoice.values() for payment in rows])
        if not first_share_ids:
            return {}
        shares_by_first = shares_by_payment(self._rows, first_share_ids)
        share_ids = [share_row[1] for share_rows in shares_by_first.values() for share_row in share_rows]
        refunds_by_payment: dict[int, list[Refund]] = {}
        for refund in refunds_of_payments(self._rows, share_ids):
            refunds_by_payment.setdefault(refund.payment_id, []).append(refund)
        currency_of_invoice = {invoice_row[0]: invoice_row[4] for invoice_row in invoice_rows}
        return {
            payment[1]: other_shares_of(payment, shares_by_first, currency_of_invoice[invoice_id], refunds_by_payment)
            for invoice_id, payment_rows in payments_by_invoice.items()
            for payment in payment_rows
        }


def _by_invoice(records: Iterable[_Record]) -> dict[int, list[_Record]]:
    by_invoice: dict[int, list[_Record]] = {}
    for record in records:
        by_invoice.setdefault(record.invoice_id, []).append(record)
    return by_invoice


def _facts(invoice_row: Row, payment_rows: Sequence[Row]) -> int:
    """A hash of invoice and payments, without closings: an invoice with refundable money cannot be voided (R9)."""
    return hash((tuple(invoice_row), *map(tuple, payment_rows)))
