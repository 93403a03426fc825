"""Checks a bulk file against the books: every rule of every row, before anything is done and again as it is done.

A row's key is its own, or derived from its content and its number among equal rows of the file. So running a file again
repeats nothing, and editing one row changes no other key (I4). Of equal rows only the first is done, unless the others
have their own keys or repeats are allowed (R5); rows done before that rule existed stay done.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from refundcli.domain.bulk_run import PARTLY_REFUNDED, ItemState, RunItem, RunKind
from refundcli.domain.errors import RefundcliError
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.services.bulk.check_report import BulkReport, is_partly_refunded, parts_of
from refundcli.services.bulk.earlier_rows import EarlierRows, FileRows
from refundcli.services.bulk.ports import Advance, Reject, Rows
from refundcli.services.bulk.row_outcomes import settled
from refundcli.services.bulk.row_refusals import DuplicateKey, UndoneSince, rejected
from refundcli.services.bulk.row_rules import AlreadyDone, RowRules, payment_of
from refundcli.services.bulk.rows import BulkRow, CheckedRow, RowSpool
from refundcli.services.chunks import chunked
from refundcli.services.dispatch.idempotency_keys import row_key
from refundcli.services.dispatch.outcome_errors import PartlyRefunded, RefundDeclined
from refundcli.services.invoices.allocation import Share, total_of
from refundcli.services.ports.bad_rows import BadRow, Problem
from refundcli.services.ports.books import Books, Reading

CHUNK = 1000


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

    def check(self, rows: Rows, *, on_rows_done: Advance, on_row_rejected: Reject) -> BulkReport:
        self.report.checked_at = self.books.read(lambda tx: tx.audit.newest_entry())
        for chunk in chunked(rows(), CHUNK):
            refused_before = self.report.refused_count
            keyed_rows = self._keyed(chunk)
            for row in self.books.read(partial(self._check_chunk, keyed_rows)):
                self.report.refuse(row)
                if not is_partly_refunded(row):
                    on_row_rejected(row)
            on_rows_done(len(chunk), refused=self.report.refused_count - refused_before)
        return self.report

    def _keyed(self, chunk: Sequence[BulkRow | BadRow]) -> "list[_Keyed]":
        """Each row with its key. The derivation never changes, so that last month's file still finds its rows done."""
        key_fields = [_fields(self.rules.requests.kind, row) for row in chunk]
        first_keys = [row_key(fields, 1) for fields in key_fields]
        keyless_indexes = [row_index for row_index, row in enumerate(chunk) if not _own_key(row)]
        keys = list(map(_own_key, chunk))
        occurrences = self.spool.occurrences([first_keys[row_index] for row_index in keyless_indexes])
        for row_index, nth in zip(keyless_indexes, occurrences, strict=True):
            keys[row_index] = first_keys[row_index] if nth == 1 else row_key(key_fields[row_index], nth)
        return list(map(_Keyed, chunk, keys, first_keys))

    def _check_chunk(self, chunk: "Sequence[_Keyed]", tx: Reading) -> list[BadRow]:
        """Check the rows, put those that may be done into the spool, and return the others."""
        numbers_of_rows = [keyed_row.row.invoice for keyed_row in chunk if isinstance(keyed_row.row, BulkRow)]
        invoice_numbers = list(dict.fromkeys(numbers_of_rows))
        invoices_and_facts = tx.invoices.with_facts(invoice_numbers)
        refunds_by_key = tx.refunds.by_keys([keyed_row.key for keyed_row in chunk])
        self._find_run(tx)
        lines = [keyed_row.row.line for keyed_row in chunk]
        staged_by_line = tx.runs.items_on_lines(self.staged, lines) if self.staged else {}
        payments = [payment for invoice, _ in invoices_and_facts.values() for payment in invoice.payments]
        payment_ids = dict.fromkeys(payment_id for payment in payments for payment_id in payment.ids_of_shares)
        earlier_rows = EarlierRows(self.spool.taken(list(payment_ids)))
        file_rows = FileRows(self.spool, earlier_rows)
        rejected_rows, checked_rows = [], []
        for keyed_row in chunk:
            if isinstance(keyed_row.row, BadRow):
                rejected_rows.append(replace(keyed_row.row, key=keyed_row.key))
                continue
            refunds, stored_row = refunds_by_key.get(keyed_row.key, ()), staged_by_line.get(keyed_row.row.line)
            try:
                invoice, facts = invoices_and_facts.get(keyed_row.row.invoice, (None, 0))
                invoice = earlier_rows.of(invoice)
                self._check_own_key(keyed_row, keyed_row.row)
                if stored_row:
                    stored_row = settled(stored_row, refunds) or stored_row
                if stored_row and stored_row.state is ItemState.REFUSED:
                    if stored_row.code == PARTLY_REFUNDED:
                        self.report.partly_by_run.add(stored_row.line)
                    else:
                        self.report.refused_by_run[stored_row.line] = stored_row.code
                    rejected_rows.append(_as_refused(stored_row, keyed_row.row))
                    continue
                if stored_row:
                    shares = self._remaining_shares(stored_row, keyed_row.row, invoice, refunds)
                else:
                    shares = self.rules.shares_of(keyed_row.row, keyed_row.key, invoice, refunds, file_rows)
            except AlreadyDone:
                file_rows.add(keyed_row.row, (), refunds)
                self.report.done(is_in_resumed_run=stored_row is not None)
            except RefundcliError as refusal:
                if isinstance(refusal, UndoneSince | RefundDeclined | PartlyRefunded):
                    # A later equal row must not repeat what was undone or declined.
                    file_rows.add(keyed_row.row, (), refunds)
                rejected_rows.append(rejected(keyed_row.row, keyed_row.key, refusal))
            else:
                assert invoice
                file_rows.add(keyed_row.row, shares, refunds)
                self.report.take(parts_of(shares))
                # A reserved amount already counts in the books.
                is_reserved = any(refund.state.unfinished for refund in refunds)
                payment_parts = () if is_reserved else earlier_rows.take(shares, keyed_row.row.reason)
                if stored_row:
                    continue
                checked_rows.append(
                    CheckedRow(
                        row=keyed_row.row,
                        key=keyed_row.key,
                        takes=total_of(shares).minor,
                        remaining=invoice.refundable.minor,
                        currency=invoice.currency.code,
                        invoice_id=invoice.id,
                        facts=facts,
                        parts=payment_parts,
                    )
                )
        self.spool.put(checked_rows)
        self.spool.take(earlier_rows.changed)
        file_rows.save()
        return rejected_rows

    def _find_run(self, tx: Reading) -> None:
        """Use the run that another worker may have started for this file since the check began."""
        if self.fingerprint and not self.staged and (started_run := tx.runs.unfinished_of(self.fingerprint)):
            self.staged = self.rules.run_id = started_run.id

    def _remaining_shares(
        self, stored_row: RunItem, row: BulkRow, invoice: Invoice | None, refunds: Sequence[Refund]
    ) -> list[Share]:
        """What a row of the resumed run will take. Raises AlreadyDone."""
        assert invoice, "the invoice existed when the row was staged"
        if stored_row.state is ItemState.DONE:
            raise AlreadyDone
        unfinished_refunds = [refund for refund in refunds if refund.state.unfinished]
        if unfinished_refunds:
            return [Share(payment_of(invoice, refund), refund.amount) for refund in unfinished_refunds]
        try:
            return self.rules.requests.shares(
                row, stored_row.request_key, invoice, allow_duplicate=self.rules.allow_duplicate
            )
        except RefundcliError:
            # It is checked again when it is done, and may pass by then.
            return [Share(invoice.payments[0], Money(stored_row.expected, invoice.currency))]

    def _check_own_key(self, keyed_row: "_Keyed", row: BulkRow) -> None:
        """Rows that share a key must have the same content, and count as one request (I4)."""
        if not row.key:
            return
        first_line, first_content = self.spool.first_with_key({row.key: (row.line, keyed_row.content)})[row.key]
        if first_line != row.line:
            raise AlreadyDone if first_content == keyed_row.content else DuplicateKey(row.key, first_line)


class _Keyed(NamedTuple):
    """A row, its key, and its content as one text."""

    row: BulkRow | BadRow
    key: str
    content: str


def _as_refused(stored_row: RunItem, row: BulkRow) -> BadRow:
    """A row that the resumed run refused."""
    problem = Problem(
        stored_row.line, "invoice", stored_row.invoice, stored_row.code, stored_row.message, stored_row.hint
    )
    return BadRow(stored_row.line, (problem,), row.cells, stored_row.request_key)


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
