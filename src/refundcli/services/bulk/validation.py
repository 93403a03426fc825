"""Checks a bulk file against the books: every rule of every row, before anything is done and again as it is done.

A row's key is its own, or derived from its content and its number among equal rows of the file. So running a file again
repeats nothing, and editing one row changes no other key (I4). Of equal rows only the first is done, unless the others
have their own keys or repeats are allowed (R5); rows done before that rule existed stay done.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeAlias

from refundcli.domain.bulk_run import ItemState, RunItem, RunKind
from refundcli.domain.errors import RefundcliError
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.services.bulk.check_report import BulkReport, is_partly_refunded, parts_of
from refundcli.services.bulk.earlier_rows import EarlierRows, FileRows
from refundcli.services.bulk.row_outcomes import settled
from refundcli.services.bulk.row_refusals import DuplicateKey, UndoneSince, rejected
from refundcli.services.bulk.row_rules import AlreadyDone, RowRules, payment_of
from refundcli.services.bulk.rows import BulkRow, CheckedRow, RowSpool
from refundcli.services.chunks import chunked
from refundcli.services.dispatch.idempotency_keys import row_key
from refundcli.services.dispatch.outcome_errors import PARTLY_REFUNDED, PartlyRefunded, RefundDeclined
from refundcli.services.invoices.allocation import Share, total_of
from refundcli.services.ports.bad_rows import BadRow, Problem
from refundcli.services.ports.books import Books, Reading

Rows: TypeAlias = Callable[[], Iterable[BulkRow | BadRow]]
Reject: TypeAlias = Callable[[BadRow], None]
CHUNK = 1000


class Advance(Protocol):
    def __call__(self, rows: int, *, refused: int = 0) -> None: ...


@dataclass(slots=True)
class BulkCheck:
    """Checks every rule of every row, changes nothing, and puts the rows that may be done into the spool.

    `staged`: the resumed run, if its rows are in the store. They were checked and confirmed, and are checked again as
    they are done, so only rows that it does not have are checked here. `fingerprint`: of the run that this file would
    start, which another worker may start during the check.
    """

    books: Books
    rules: RowRules
    spool: RowSpool
    staged: str = ""
    fingerprint: str = ""
    report: BulkReport = field(default_factory=BulkReport)

    def check(self, rows: Rows, *, advance: Advance, reject: Reject) -> BulkReport:
        self.report.checked_at = self.books.read(lambda tx: tx.newest_entry())
        for chunk in chunked(rows(), CHUNK):
            before = self.report.refused_count
            keyed = self._keyed(chunk)
            for row in self.books.read(partial(self._check_chunk, keyed)):
                self.report.refuse(row)
                if not is_partly_refunded(row):
                    reject(row)
            advance(len(chunk), refused=self.report.refused_count - before)
        return self.report

    def _keyed(self, chunk: Sequence[BulkRow | BadRow]) -> "list[_Keyed]":
        """Each row with its key. The derivation never changes, so that last month's file still finds its rows done."""
        fields = [_fields(self.rules.requests.kind, row) for row in chunk]
        first = [row_key(of, 1) for of in fields]
        keyless = [at for at, row in enumerate(chunk) if not _own_key(row)]
        times = dict(zip(keyless, self.spool.occurrences([first[at] for at in keyless]), strict=True))
        keyed = []
        for at, row in enumerate(chunk):
            key = _own_key(row)
            if at in times:
                key = first[at] if times[at] == 1 else row_key(fields[at], times[at])
            keyed.append(_Keyed(row, key, first[at]))
        return keyed

    def _check_chunk(self, chunk: "Sequence[_Keyed]", tx: Reading) -> list[BadRow]:
        numbers_in_file = [keyed.row.invoice for keyed in chunk if isinstance(keyed.row, BulkRow)]
        numbers = list(dict.fromkeys(numbers_in_file))
        invoices = tx.invoices_with_facts(numbers)
        refunds_by_key = tx.refunds_by_keys([keyed.key for keyed in chunk])
        self._find_run(tx)
        staged = tx.items_on_lines(self.staged, [keyed.row.line for keyed in chunk]) if self.staged else {}
        payments = [payment for invoice, _ in invoices.values() for payment in invoice.payments]
        ids = dict.fromkeys(of for payment in payments for of in payment.ids_of_shares)
        earlier_rows = EarlierRows(self.spool.taken(list(ids)))
        file_rows = FileRows(self.spool, earlier_rows)
        refused, checked = [], []
        for keyed in chunk:
            if isinstance(keyed.row, BadRow):
                refused.append(replace(keyed.row, key=keyed.key))
                continue
            refunds, stored = refunds_by_key.get(keyed.key, ()), staged.get(keyed.row.line)
            try:
                invoice, facts = invoices.get(keyed.row.invoice, (None, 0))
                invoice = earlier_rows.of(invoice)
                self._check_own_key(keyed, keyed.row)
                if stored:
                    stored = settled(stored, refunds) or stored
                if stored and stored.state is ItemState.REFUSED:
                    if stored.code == PARTLY_REFUNDED:
                        self.report.partly_by_run.add(stored.line)
                    else:
                        self.report.refused_by_run[stored.line] = stored.code
                    refused.append(_as_refused(stored, keyed.row))
                    continue
                if stored:
                    shares = self._remaining_shares(stored, keyed.row, invoice, refunds)
                else:
                    shares = self.rules.shares_of(keyed.row, keyed.key, invoice, refunds, file_rows)
            except AlreadyDone:
                file_rows.add(keyed.row, (), refunds)
                self.report.done(by_run=stored is not None)
            except RefundcliError as refusal:
                if isinstance(refusal, UndoneSince | RefundDeclined | PartlyRefunded):
                    # A later equal row must not repeat what was undone or declined.
                    file_rows.add(keyed.row, (), refunds)
                refused.append(rejected(keyed.row, keyed.key, refusal))
            else:
                assert invoice
                file_rows.add(keyed.row, shares, refunds)
                self.report.take(parts_of(shares))
                # A reserved amount already counts in the books.
                is_reserved = any(refund.state.unfinished for refund in refunds)
                parts = () if is_reserved else earlier_rows.take(shares, keyed.row.reason)
                if stored:
                    continue
                checked.append(
                    CheckedRow(
                        row=keyed.row,
                        key=keyed.key,
                        takes=total_of(shares).minor,
                        remaining=invoice.refundable.minor,
                        currency=invoice.currency.code,
                        invoice_id=invoice.id,
                        facts=facts,
                        parts=parts,
                    )
                )
        self.spool.put(checked)
        self.spool.take(earlier_rows.changed)
        file_rows.save()
        return refused

    def _find_run(self, tx: Reading) -> None:
        """Use the run that another worker may have started for this file since the check began."""
        if self.fingerprint and not self.staged and (begun := tx.unfinished_run(self.fingerprint)):
            self.staged = self.rules.run_id = begun.id

    def _remaining_shares(
        self, stored: RunItem, row: BulkRow, invoice: Invoice | None, refunds: Sequence[Refund]
    ) -> list[Share]:
        """What a row of the resumed run will take. Raises AlreadyDone."""
        assert invoice, "the invoice existed when the row was staged"
        if stored.state is ItemState.DONE:
            raise AlreadyDone
        begun = [refund for refund in refunds if refund.state.unfinished]
        if begun:
            return [Share(payment_of(invoice, refund), refund.amount) for refund in begun]
        try:
            return self.rules.requests.shares(
                row, stored.request_key, invoice, allow_duplicate=self.rules.allow_duplicate
            )
        except RefundcliError:
            # It is checked again when it is done, and may pass by then.
            return [Share(invoice.payments[0], Money(stored.expected, invoice.currency))]

    def _check_own_key(self, keyed: "_Keyed", row: BulkRow) -> None:
        """Rows that share a key must have the same content, and count as one request (I4)."""
        if not row.key:
            return
        line, same = self.spool.first_with_key({row.key: (row.line, keyed.content)})[row.key]
        if line != row.line:
            if same != keyed.content:
                raise DuplicateKey(row.key, line)
            raise AlreadyDone


@dataclass(frozen=True, slots=True)
class _Keyed:
    """A row, its key, and its content as one text."""

    row: BulkRow | BadRow
    key: str
    content: str


def _as_refused(stored: RunItem, row: BulkRow) -> BadRow:
    """A row that the resumed run refused."""
    problem = Problem(stored.line, "invoice", stored.invoice, stored.code, stored.message, stored.hint)
    return BadRow(stored.line, (problem,), row.cells, stored.request_key)


def _own_key(row: BulkRow | BadRow) -> str:
    """The row's own key, or that of its plan; "" without one."""
    if isinstance(row, BadRow):
        return ""
    return row.planned.key if row.planned else row.key


def _fields(kind: RunKind, row: BulkRow | BadRow) -> dict[str, object]:
    """The fields from which a row's key is derived."""
    if isinstance(row, BadRow):
        return {"cells": row.original}
    return {
        # Records came first, and their keys must not change.
        "kind": "" if kind is RunKind.MARK_REFUNDED else kind,
        "invoice": row.invoice,
        "amount": row.amount_text or "full",
        "reason": row.reason,
        "method": row.method,
        "reference": row.reference,
        "refunded_on": row.refunded_on and row.refunded_on.isoformat(),
        "memo": row.memo,
        "payment": row.payment,
    }
