"""Many new invoices by column, for files of a million invoices.

A block holds only text, numbers and flags, and days as `2026-10-31`, so that it can be written to disk and to the
database as it is.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import lru_cache
from itertools import compress
from typing import Any, NamedTuple

from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider
from refundcli.services.ports.bad_rows import BadRow
from refundcli.services.ports.records import NewInvoice, NewPayment


class RowBatch(NamedTuple):
    """Consecutive lines of a file: the valid rows, the invalid rows, and what gives the text of each valid row."""

    good: "InvoiceBlock"
    bad: Sequence[BadRow]
    originals: Callable[[], Sequence[Sequence[str] | str]]

    @property
    def rows(self) -> int:
        return self.good.size + len(self.bad)


class PaymentColumns(NamedTuple):
    """`invoices`: the position in the block of each payment's invoice, ascending."""

    invoices: Sequence[int] = ()
    captured: Sequence[int] = ()
    providers: Sequence[str] = ()
    methods: Sequence[str] = ()
    references: Sequence[str] = ()
    charges: Sequence[str] = ()
    returned_elsewhere: Sequence[int] = ()
    auto_refundable: Sequence[bool] = ()
    auto_refundable_is_explicit: Sequence[bool] = ()
    processing: Sequence[bool] = ()
    disputes: Sequence[str] = ()
    dispute_amounts: Sequence[int | None] = ()
    paid_on: Sequence[str | None] = ()
    card_last4: Sequence[str] = ()
    card_brands: Sequence[str] = ()


class StagedRows(NamedTuple):
    """The rows `first` to `last` of a staging database at `path`."""

    path: str
    first: int
    last: int


class InvoiceBlock(NamedTuple):
    """`products`: names as a JSON list. `staged`: where the rows are on disk; then only the first line need be here."""

    lines: Sequence[int] = ()
    numbers: Sequence[str] = ()
    customers: Sequence[str] = ()
    customer_names: Sequence[str] = ()
    currencies: Sequence[str] = ()
    totals: Sequence[int] = ()
    statuses: Sequence[str] = ()
    issued_on: Sequence[str] = ()
    due_on: Sequence[str | None] = ()
    paid_on: Sequence[str | None] = ()
    references: Sequence[str] = ()
    products: Sequence[str] = ()
    subscriptions: Sequence[str] = ()
    customer_emails: Sequence[str] = ()
    billing: Sequence[str] = ()
    payments: PaymentColumns = PaymentColumns()
    staged: StagedRows | None = None

    @classmethod
    def from_columns(cls, columns: Iterable[Any], payments: Iterable[Any]) -> "InvoiceBlock":
        """From the columns of the invoices and of their payments, in the order of the fields."""
        block_columns: Any = (*columns, PaymentColumns(*payments), None)
        return cls._make(block_columns)

    @property
    def size(self) -> int:
        return self.staged.last - self.staged.first + 1 if self.staged else len(self.lines)

    def columns(self) -> list[Any]:
        """The columns of the invoices, without those of their payments."""
        return [*self][:_INVOICE_COLUMNS]

    def invoices(self) -> Iterator[NewInvoice]:
        """The invoices as objects."""
        payments_by_position = self._payments_by_invoice()
        for position, row in enumerate(zip(*self.columns(), strict=True)):
            (
                line,
                number,
                customer,
                customer_name,
                currency,
                total,
                status,
                issued_on,
                due_on,
                paid_on,
                invoice_reference,
                products,
                subscription,
                customer_email,
                billing,
            ) = row
            yield NewInvoice(
                line=line,
                number=number,
                customer=customer,
                currency=currency,
                total=total,
                status=InvoiceStatus(status),
                issued_on=date.fromisoformat(issued_on),
                customer_name=customer_name,
                due_on=date.fromisoformat(due_on) if due_on else None,
                paid_on=date.fromisoformat(paid_on) if paid_on else None,
                invoice_reference=invoice_reference,
                products=tuple(json.loads(products)) if products else (),
                subscription=subscription,
                customer_email=customer_email,
                billing=billing,
                payments=tuple(payments_by_position.get(position, ())),
            )

    def only(self, selectors: Sequence[bool]) -> "InvoiceBlock":
        """The invoices at the positions where `selectors` is true."""
        columns: list[Any] = [list(compress(column, selectors)) for column in self.columns()]
        payment_selectors = [selectors[position] for position in self.payments.invoices]
        payment_columns: list[Any] = [list(compress(column, payment_selectors)) for column in self.payments]
        new_positions = {
            position: new_position for new_position, position in enumerate(compress(range(self.size), selectors))
        }
        payment_columns[0] = [new_positions[position] for position in payment_columns[0]]
        return InvoiceBlock.from_columns(columns, payment_columns)

    def _payments_by_invoice(self) -> dict[int, list[NewPayment]]:
        payments_by_position: dict[int, list[NewPayment]] = {}
        for row in zip(*self.payments, strict=True):
            (
                position,
                captured,
                provider,
                method,
                reference,
                charge,
                returned_elsewhere,
                auto_refundable,
                auto_is_explicit,
                *other_cells,
            ) = row
            processing, dispute, dispute_amount, paid_on, card_last4, card_brand = other_cells
            payment = NewPayment(
                captured=captured,
                provider=Provider(provider) if provider else None,
                method=method,
                reference=reference,
                charge=charge,
                returned_elsewhere=returned_elsewhere,
                auto_refundable=bool(auto_refundable),
                auto_refundable_is_explicit=bool(auto_is_explicit),
                processing=bool(processing),
                dispute=Dispute(dispute),
                dispute_amount=dispute_amount,
                paid_on=date.fromisoformat(paid_on) if paid_on else None,
                card_last4=card_last4,
                card_brand=card_brand,
            )
            payments_by_position.setdefault(position, []).append(payment)
        return payments_by_position


_INVOICE_COLUMNS = InvoiceBlock._fields.index("payments")


@lru_cache
def products_text(names: tuple[str, ...]) -> str:
    """Product names as stored: a JSON list, empty for none."""
    return json.dumps(names, ensure_ascii=False) if names else ""


def block_of(invoices: Sequence[NewInvoice]) -> InvoiceBlock:
    invoice_rows = [
        (
            invoice.line,
            invoice.number,
            invoice.customer,
            invoice.customer_name,
            invoice.currency,
            invoice.total,
            invoice.status.value,
            invoice.issued_on.isoformat(),
            invoice.due_on.isoformat() if invoice.due_on else None,
            invoice.paid_on.isoformat() if invoice.paid_on else None,
            invoice.invoice_reference,
            products_text(invoice.products),
            invoice.subscription,
            invoice.customer_email,
            invoice.billing,
        )
        for invoice in invoices
    ]
    payment_rows = [
        (
            position,
            payment.captured,
            payment.provider.value if payment.provider else "",
            payment.method,
            payment.reference,
            payment.charge,
            payment.returned_elsewhere,
            payment.auto_refundable,
            payment.auto_refundable_is_explicit,
            payment.processing,
            payment.dispute.value,
            payment.dispute_amount,
            payment.paid_on.isoformat() if payment.paid_on else None,
            payment.card_last4,
            payment.card_brand,
        )
        for position, invoice in enumerate(invoices)
        for payment in invoice.payments
    ]
    if not invoice_rows:
        return InvoiceBlock()
    return InvoiceBlock.from_columns(
        map(list, zip(*invoice_rows, strict=True)), map(list, zip(*payment_rows, strict=True))
    )
