"""What a plan holds, and whether it may still be applied."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from refundcli.domain.bulk_run import BulkRun, RunKind, RunState
from refundcli.domain.money import Money, add_to
from refundcli.services.bulk.rows import FIRST_SHOWN, LAST_SHOWN, BulkRow
from refundcli.services.bulk.runs import resume_command
from refundcli.services.chunks import chunked
from refundcli.services.ports.books import BooksToRead

_CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class PlanRow:
    line: int
    invoice: str
    customer_name: str
    amount: Money


@dataclass(frozen=True, slots=True)
class PlanContents:
    """`ends`: the first and the last rows. `changed`: rows whose invoice has changed since, so are refused.

    `run`: the one that applied it, or is applying it.
    """

    file: str
    kind: RunKind
    source: str
    planned_by: str
    planned_at: str
    rows: int
    totals: Sequence[Money]
    ends: Sequence[PlanRow]
    changed: int
    run: BulkRun | None

    @property
    def refusal(self) -> str:
        """Why it may not be applied; empty if it may. Rows that have changed are refused one by one."""
        if self.run and self.run.state is RunState.FINISHED:
            return f"applied already, as {self.run.id}"
        if self.changed == self.rows:
            return "the invoices of all rows have changed since, or are gone"
        return ""

    @property
    def command(self) -> str:
        """The next step."""
        if self.run:
            is_finished = self.run.state is RunState.FINISHED
            return f"refundcli runs show {self.run.id}" if is_finished else resume_command(self.run)
        options = " --dry-run" if self.refusal else ""
        return f"refundcli {self.kind} --apply {shlex.quote(self.file)}{options}"


def plan_contents(
    books: BooksToRead, file: str, header: dict[str, str], rows: Iterable[BulkRow], seal: str
) -> PlanContents:
    """Of a plan whose seal was verified; its rows are read once, in chunks."""
    row_count, changed, totals = 0, 0, dict[str, Money]()
    first, last = list[PlanRow](), list[PlanRow]()
    for chunk in chunked(rows, _CHUNK):
        numbers = [row.invoice for row in chunk]
        invoices = books.read(lambda tx, numbers=numbers: tx.invoices.by_number(numbers))  # type: ignore[misc]
        for row in chunk:
            row_count += 1
            invoice = invoices.get(row.invoice)
            if invoice is None or row.planned is None:
                changed += 1
                continue
            changed += row.planned.remaining != invoice.refundable.minor
            amount = Money(row.planned.takes, invoice.currency)
            add_to(totals, amount.currency.code, amount)
            plan_row = PlanRow(row.line, invoice.number, invoice.customer_name or invoice.customer, amount)
            if len(first) < FIRST_SHOWN:
                first.append(plan_row)
            else:
                last = [*last, plan_row][-LAST_SHOWN:]
    return PlanContents(
        file=file,
        kind=RunKind(header["kind"]),
        source=header["file"],
        planned_by=header["planned_by"],
        planned_at=header["planned_at"],
        rows=row_count,
        totals=[total for _, total in sorted(totals.items())],
        ends=[*first, *last],
        changed=changed,
        run=books.read(lambda tx: tx.run_search.with_plan(seal)),
    )
