"""Many new invoices by column, for files of a million invoices.

A block holds only text, numbers and flags, and days as `2026-10-31`, so that it can be written to disk and to the
database as it is.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import compress
from typing import Any, NamedTuple

from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider
from refundcli.services.ports.bad_rows import BadRow
from refundcli.services.ports.records import NewInvoice, NewPayment


class RowBatch(NamedTuple):
    """Consecutive lines of a file: the valid rows, the invalid rows, and the text of each valid row."""

    good: "InvoiceBlock"
    bad: Sequence[BadRow]
    originals: Sequence[Sequence[str] | str]

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


class InvoiceBlock(NamedTuple):
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
    products: Sequence[tuple[str, ...]] = ()
    subscriptions: Sequence[str] = ()
    payments: PaymentColumns = PaymentColumns()

    @classmethod
    def from_columns(cls, columns: Iterable[Any], payments: Iterable[Any]) -> "InvoiceBlock":
        """From the columns of the invoices and of their payments, in the order of the fields."""
        return cls._make([*columns, PaymentColumns(*payments)])

    @property
    def size(self) -> int:
        return len(self.lines)

    def invoices(self) -> Iterator[NewInvoice]:
        """The invoices as objects."""
        payments = self._payments_by_invoice()
        for place, row in enumerate(zip(*self[:-1], strict=True)):
            line, number, customer, name, currency, total, status, issued, due, paid, reference, products, plan = row
            yield NewInvoice(
                line=line,
                number=number,
                customer=customer,
                currency=currency,
                total=total,
                status=InvoiceStatus(status),
                issued_on=date.fromisoformat(issued),
                customer_name=name,
                due_on=date.fromisoformat(due) if due else None,
                paid_on=date.fromisoformat(paid) if paid else None,
                invoice_reference=reference,
                products=products,
                subscription=plan,
                payments=tuple(payments.get(place, ())),
            )

    def only(self, selectors: Sequence[bool]) -> "InvoiceBlock":
        """The invoices at the positions where `selectors` is true."""
        columns: list[Any] = [list(compress(column, selectors)) for column in self[:-1]]
        of_selected = [selectors[place] for place in self.payments.invoices]
        payments: list[Any] = [list(compress(column, of_selected)) for column in self.payments]
        now = {place: new for new, place in enumerate(compress(range(self.size), selectors))}
        payments[0] = [now[place] for place in payments[0]]
        return InvoiceBlock.from_columns(columns, payments)

    def parts(self, size: int) -> Iterator["InvoiceBlock"]:
        """Blocks of at most `size` invoices, in order."""
        for start in range(0, self.size, size):
            yield self.only([start <= place < start + size for place in range(self.size)])

    def _payments_by_invoice(self) -> dict[int, list[NewPayment]]:
        by_invoice: dict[int, list[NewPayment]] = {}
        for row in zip(*self.payments, strict=True):
            place, captured, provider, method, reference, charge, returned, auto, auto_is_explicit, *rest = row
            processing, dispute, dispute_amount, paid_on = rest
            payment = NewPayment(
                captured=captured,
                provider=Provider(provider) if provider else None,
                method=method,
                reference=reference,
                charge=charge,
                returned_elsewhere=returned,
                auto_refundable=auto,
                auto_refundable_is_explicit=auto_is_explicit,
                processing=processing,
                dispute=Dispute(dispute),
                dispute_amount=dispute_amount,
                paid_on=date.fromisoformat(paid_on) if paid_on else None,
            )
            by_invoice.setdefault(place, []).append(payment)
        return by_invoice


def block_of(invoices: Sequence[NewInvoice]) -> InvoiceBlock:
    columns = [
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
            invoice.products,
            invoice.subscription,
        )
        for invoice in invoices
    ]
    payments = [
        (
            place,
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
        )
        for place, invoice in enumerate(invoices)
        for payment in invoice.payments
    ]
    if not columns:
        return InvoiceBlock()
    return InvoiceBlock.from_columns(map(list, zip(*columns, strict=True)), map(list, zip(*payments, strict=True)))
