"""Rows that request refunds through a provider: their requests, and how they are stored for the workers."""

import json
from dataclasses import dataclass

from refundcli.domain.bulk_run import BulkRun, RunItem, RunKind
from refundcli.domain.eligibility import refund_blockers
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import parse_amount
from refundcli.domain.statuses import RefundKind
from refundcli.services.bulk.rows import BulkRow, CheckedRow, RowSpool
from refundcli.services.invoices.allocation import Share, shares_of
from refundcli.services.ports.books import Books, Writing
from refundcli.services.refunds.issue import RefundRequest


@dataclass(frozen=True, slots=True)
class RefundRowRequests:
    """Rows that request refunds."""

    operator: str
    kind: RunKind = RunKind.REFUND

    def request(self, row: BulkRow, key: str, invoice: Invoice) -> RefundRequest:
        """Raises InvalidAmount: only the invoice knows the currency of what was typed."""
        return RefundRequest(
            number=row.invoice,
            amount=parse_amount(row.amount_text, invoice.currency) if row.amount_text else None,
            amount_text=row.amount_text,
            reason=row.reason,
            request_key=key,
            operator=self.operator,
            memo=row.memo,
            payment=row.payment,
        )

    def content(self, row: BulkRow, key: str, invoice: Invoice) -> str:
        return self.request(row, key, invoice).content

    def shares(self, row: BulkRow, key: str, invoice: Invoice, *, allow_duplicate: bool) -> list[Share]:
        request = self.request(row, key, invoice)
        return shares_of(
            invoice,
            request.amount,
            kind=RefundKind.PROVIDER,
            blockers=refund_blockers,
            intent=request.intent,
            reference=request.payment,
        )


def begin_staged(run: BulkRun, spool: RowSpool, *, checked_as: str, books: Books) -> BulkRun:
    """Store a run and all of its rows, where any worker finds them, in one transaction.

    Rows that an unfinished run does not have yet are added to it: they were refused when it started.

    `checked_as`: the run as which the rows were checked, or "". If it was finished meanwhile, no new run is started.
    """

    def work(tx: Writing) -> BulkRun:
        existing = tx.run(checked_as) if checked_as else tx.unfinished_run(run.fingerprint)
        if existing is None:
            tx.begin_run(run)
        begun = existing or run
        n = sum(tx.item_counts(begun.id).values())
        for chunk in spool.chunks():
            there = tx.items_on_lines(begun.id, [checked.row.line for checked in chunk]) if existing else {}
            new = [checked for checked in chunk if checked.row.line not in there]
            tx.stage_items([_item(begun.id, n + place, checked) for place, checked in enumerate(new, 1)])
            n += len(new)
        return begun

    return books.write(work)


def _item(run_id: str, n: int, checked: CheckedRow) -> RunItem:
    row = checked.row
    return RunItem(
        run_id=run_id,
        n=n,
        line=row.line,
        invoice=row.invoice,
        amount_text=row.amount_text,
        reason=row.reason,
        request_key=checked.key,
        expected=checked.takes,
        memo=row.memo,
        payment=row.payment,
        cells=json.dumps(row.cells, ensure_ascii=False),
    )
