"""Record many refunds made elsewhere, from rows: the whole file is checked, then written chunk by chunk (R2).

A row's key is its own or made from what it says, so the same file again records nothing twice (I4).
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

from refundcli.domain.errors import RefundcliError
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money, parse_amount, zero
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import OutOfBand
from refundcli.services.bad_rows import BadRow, Problem
from refundcli.services.bulk_rows import MarkRow
from refundcli.services.chunks import chunked
from refundcli.services.finding import InvoiceNotFound
from refundcli.services.keys import checked_key, existing_refunds, row_key
from refundcli.services.mark_refunded import MarkRequest, mark_shares, record_in
from refundcli.services.ports import Books, Clock, Reading, Writing
from refundcli.services.shares import Share, total_of

Rows: TypeAlias = Callable[[], Iterable[MarkRow | BadRow]]
Advance: TypeAlias = Callable[[int], None]
Reject: TypeAlias = Callable[[BadRow], None]
KeyedRow: TypeAlias = tuple[MarkRow | BadRow, str]
Answer: TypeAlias = tuple[Money | None, BadRow | None]

# Each chunk is one short transaction, so that others get in between.
_CHUNK = 200
_SHOWN = 50
_REFUSED, _DONE_BEFORE = -1, 0


@dataclass(slots=True)
class BulkReport:
    """What the rows of a file come to; amounts by currency. `refused` holds the first ones, `codes` counts all."""

    rows: int = 0
    recorded: int = 0
    done_before: int = 0
    totals: dict[str, Money] = field(default_factory=dict)
    rows_by_currency: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    refused: list[BadRow] = field(default_factory=list)

    @property
    def refused_count(self) -> int:
        return self.rows - self.recorded - self.done_before

    def add(self, amount: Money | None, refusal: BadRow | None) -> None:
        """One row more: recorded with its amount, refused, or done before."""
        self.rows += 1
        if refusal:
            self.codes[refusal.problems[0].code] += 1
            if len(self.refused) < _SHOWN:
                self.refused.append(refusal)
        elif amount:
            code = amount.currency.code
            self.recorded += 1
            self.rows_by_currency[code] += 1
            self.totals[code] = self.totals.get(code, zero(amount.currency)) + amount
        else:
            self.done_before += 1


@dataclass(slots=True)
class CheckedRows:
    """The report of the check, and what it found for each row in turn: an amount in minor units, or why none."""

    report: BulkReport
    found: "array[int]"


@dataclass(slots=True)
class BulkMarks:
    """One file's worth of records, for one operator."""

    books: Books
    clock: Clock
    operator: str
    number_format: str
    _planned: dict[int, tuple[int, int]] = field(default_factory=dict)
    _keys: set[str] = field(default_factory=set)

    def check(self, rows: Rows, *, advance: Advance, reject: Reject) -> CheckedRows:
        """Ask every rule of every row and change nothing; rows that touch one invoice twice are summed."""
        checked = CheckedRows(BulkReport(), array("q"))
        for chunk in chunked(keyed(rows()), _CHUNK):
            for amount, refusal in self.books.read(partial(self._check_chunk, chunk)):
                checked.report.add(amount, refusal)
                checked.found.append(_REFUSED if refusal else amount.minor if amount else _DONE_BEFORE)
                if refusal:
                    reject(refusal)
            advance(len(chunk))
        return checked

    def record(self, rows: Rows, checked: CheckedRows, *, advance: Advance, reject: Reject) -> BulkReport:
        """Record what was checked, chunk by chunk. A row that is refused by now is rejected, the others go on."""
        report, start = BulkReport(), 0
        for chunk in chunked(keyed(rows()), _CHUNK):
            found = checked.found[start : start + len(chunk)]
            for amount, refusal in self.books.write(partial(self._record_chunk, chunk, found)):
                report.add(amount, refusal)
                if refusal:
                    reject(refusal)
            start += len(chunk)
            advance(len(chunk))
        return report

    def _check_chunk(self, chunk: Sequence[KeyedRow], tx: Reading) -> list[Answer]:
        invoices = tx.invoices_by_number(list({row.invoice for row, _ in chunk if isinstance(row, MarkRow)}))
        known = tx.refunds_by_keys([key for _, key in chunk if key])
        answers: list[Answer] = []
        for row, key in chunk:
            if isinstance(row, BadRow):
                answers.append((None, row))
                continue
            try:
                shares = self._shares(tx, row, key, invoices.get(row.invoice), known=key in known)
            except RefundcliError as refusal:
                answers.append((None, _rejected(row, key, refusal)))
                continue
            self._plan(shares, row.reason)
            answers.append((total_of(shares) if shares else None, None))
        return answers

    def _shares(self, tx: Reading, row: MarkRow, key: str, invoice: Invoice | None, *, known: bool) -> list[Share]:
        """What the row would take; nothing where it was recorded already. Raises the refusal."""
        request = self._request(row, checked_key(key), invoice)
        assert invoice
        if key in self._keys or (known and existing_refunds(tx, key, request.content)):
            return []
        shares = mark_shares(self._with_planned(invoice), request, today=self.clock.today())
        if row.key:
            self._keys.add(key)
        return shares

    def _record_chunk(self, chunk: Sequence[KeyedRow], found: "array[int]", tx: Writing) -> list[Answer]:
        return [self._record_row(row, key, wanted, tx) for (row, key), wanted in zip(chunk, found, strict=True)]

    def _record_row(self, row: MarkRow | BadRow, key: str, wanted: int, tx: Writing) -> Answer:
        if isinstance(row, BadRow):
            return None, row
        try:
            invoice = tx.invoice(row.invoice)
            request = self._request(row, checked_key(key), invoice)
            assert invoice
            if existing_refunds(tx, key, request.content):
                return None, None
            confirmed = Money(max(wanted, 0), invoice.currency)
            made = record_in(tx, request, confirmed=confirmed, clock=self.clock, number_format=self.number_format)
        except RefundcliError as refusal:
            return None, _rejected(row, key, refusal)
        return sum((refund.amount for refund in made), zero(invoice.currency)), None

    def _request(self, row: MarkRow, key: str, invoice: Invoice | None) -> MarkRequest:
        """Raises InvoiceNotFound, and InvalidAmount: only the invoice knows the currency of what was typed."""
        if invoice is None:
            raise InvoiceNotFound(row.invoice, "")
        return MarkRequest(
            number=row.invoice,
            amount=parse_amount(row.amount_text, invoice.currency) if row.amount_text else None,
            amount_text=row.amount_text,
            reason=row.reason,
            request_key=key,
            operator=self.operator,
            memo=row.memo,
            out_of_band=OutOfBand(row.method, row.reference, row.refunded_on),
        )

    def _plan(self, shares: Sequence[Share], reason: RefundReason) -> None:
        for share in shares:
            taken, charged = self._planned.get(share.payment.id, (0, 0))
            back = share.amount.minor if share.payment.taken_by_dispute and reason is RefundReason.CHARGEBACK else 0
            self._planned[share.payment.id] = (taken + share.amount.minor, charged + back)

    def _with_planned(self, invoice: Invoice) -> Invoice:
        """The invoice as it will stand after the rows before this one."""
        if not any(payment.id in self._planned for payment in invoice.payments):
            return invoice
        return replace(invoice, payments=tuple(map(self._taken, invoice.payments)))

    def _taken(self, payment: Payment) -> Payment:
        taken, charged = (Money(minor, payment.captured.currency) for minor in self._planned.get(payment.id, (0, 0)))
        return replace(
            payment,
            refunded=payment.refunded + taken,
            dispute_recorded=(payment.dispute_recorded or zero(taken.currency)) + charged,
        )


def keyed(rows: Iterable[MarkRow | BadRow]) -> Iterator[KeyedRow]:
    """Each row with its request key: its own, or one made from its fields and which of its equals it is."""
    seen: Counter[str] = Counter()
    for row in rows:
        if isinstance(row, MarkRow) and row.key:
            yield row, row.key
            continue
        fields = {"cells": row.original} if isinstance(row, BadRow) else _fields(row)
        first = row_key(fields, 1)
        seen[first] += 1
        key = first if seen[first] == 1 else row_key(fields, seen[first])
        yield (replace(row, key=key) if isinstance(row, BadRow) else row), key


def _fields(row: MarkRow) -> dict[str, object]:
    return {
        "invoice": row.invoice,
        "amount": row.amount_text or "full",
        "reason": row.reason,
        "method": row.method,
        "reference": row.reference,
        "refunded_on": row.refunded_on,
        "memo": row.memo,
    }


def _rejected(row: MarkRow, key: str, refusal: RefundcliError) -> BadRow:
    problem = Problem(row.line, "invoice", row.invoice, refusal.code, refusal.message, refusal.hint)
    return BadRow(row.line, (problem,), row.cells, key)
