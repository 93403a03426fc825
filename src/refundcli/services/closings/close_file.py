"""Void or write off the invoices of a file: the whole file is checked first, then one invoice after the other (R9).

A file that was stopped is given again: invoices that are closed already are counted as done.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from refundcli.domain.errors import NotSent, RefundcliError
from refundcli.domain.money import Money, add_to
from refundcli.domain.statuses import ClosingState, InvoiceStatus
from refundcli.services.closings.close import CloseInvoices, ClosingRequest
from refundcli.services.invoices.lookup import invoice_behind
from refundcli.services.ports.bad_rows import BadRow, Problem
from refundcli.system.interrupts import Interrupted


@dataclass(frozen=True, slots=True)
class ClosingRow:
    """One requested row; `cells` as in the file."""

    line: int
    invoice: str
    memo: str
    cells: tuple[str, ...]


@dataclass(slots=True)
class ClosingsReport:
    """What the check of a file came to, and later what was done; `owed` by currency. Rows add up to `rows`."""

    rows: int = 0
    to_close: list[ClosingRow] = field(default_factory=list)
    owed: dict[str, Money] = field(default_factory=dict)
    at_provider: int = 0
    done_before: int = 0
    refused: list[BadRow] = field(default_factory=list)
    closed: int = 0
    unknown: list[str] = field(default_factory=list)
    # Why it was stopped before the last row.
    stopped: BaseException | None = None

    @property
    def codes(self) -> Counter[str]:
        return Counter(row.problems[0].code for row in self.refused)

    @property
    def not_started(self) -> int:
        return self.rows - self.done_before - len(self.refused) - self.closed - len(self.unknown)


@dataclass(frozen=True, slots=True)
class CloseFile:
    """`operator` closes the invoices of a file as `target`, each as `CloseInvoices` closes one."""

    service: CloseInvoices
    target: InvoiceStatus
    operator: str

    def check(self, rows: Iterable[ClosingRow | BadRow]) -> ClosingsReport:
        """Check every row against the books alone."""
        report, line_of = ClosingsReport(), dict[str, int]()
        for row in rows:
            report.rows += 1
            if isinstance(row, BadRow):
                report.refused.append(row)
                continue
            try:
                self._check_row(row, line_of, report)
            except RefundcliError as refusal:
                report.refused.append(_refused(row, refusal.code, refusal.message, refusal.hint))
        return report

    def _check_row(self, row: ClosingRow, line_of: dict[str, int], report: ClosingsReport) -> None:
        invoice = self.service.books.read(lambda tx: invoice_behind(tx, row.invoice))
        first_line = line_of.setdefault(invoice.number, row.line)
        if first_line != row.line:
            message = f"{invoice.number} is in line {first_line} already."
            report.refused.append(_refused(row, "duplicate-invoice", message, "Leave out one of them."))
        elif invoice.status is self.target:
            report.done_before += 1
        else:
            self.service.check(invoice.number, self.target)
            report.to_close.append(replace(row, invoice=invoice.number))
            report.at_provider += invoice.managed_by is not None
            add_to(report.owed, invoice.currency.code, invoice.owed)

    def close(self, report: ClosingsReport, memo: str, on_row_done: Callable[[int], None]) -> None:
        """Close the checked rows; the report gets the outcome of each.

        An unreachable provider, a store that fails and Ctrl-C stop it; a refused row does not.
        """
        for row in report.to_close:
            try:
                self._close_row(row, memo, report)
            except (Interrupted, KeyboardInterrupt, NotSent) as stop:
                report.stopped = stop
                return
            except RefundcliError as refusal:
                report.refused.append(_refused(row, refusal.code, refusal.message, refusal.hint))
            on_row_done(1)

    def _close_row(self, row: ClosingRow, memo: str, report: ClosingsReport) -> None:
        closed = self.service.close(ClosingRequest(row.invoice, self.target, row.memo or memo, self.operator))
        closing = closed.closing
        if closing is None or closing.state is ClosingState.DONE:
            report.closed += 1
        elif closing.state is ClosingState.FAILED:
            hint = f"refundcli invoice show {closed.invoice.number}"
            report.refused.append(_refused(row, closing.failure_code or "declined", closing.failure, hint))
        else:
            report.unknown.append(closing.id)


def _refused(row: ClosingRow, code: str, message: str, hint: str) -> BadRow:
    return BadRow(row.line, (Problem(row.line, "invoice", row.invoice, code, message, hint),), row.cells)
