"""Everything before the first row of a file is done: open it, check every row, show it, and have it confirmed once."""

import json
import shlex
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from refundcli.domain.bulk_run import BulkRun, RunKind, RunState
from refundcli.domain.identifiers import new_id
from refundcli.services.bulk.check_report import BulkReport, FileChecked, TooManyErrors
from refundcli.services.bulk.ports import BulkFiles, BulkRequest, OpenedFile, Presenter, RejectedRows
from refundcli.services.bulk.row_rules import RowRequests, RowRules
from refundcli.services.bulk.rows import FIRST_SHOWN, LAST_SHOWN, RowSpool
from refundcli.services.bulk.runs import fingerprint
from refundcli.services.bulk.validation import BulkCheck
from refundcli.services.ports.books import Books
from refundcli.services.ports.clock import Clock

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A checked and confirmed file: the run that it starts or resumes, its valid rows, and its rejected ones."""

    name: str
    run: BulkRun
    report: BulkReport
    rules: RowRules
    spool: RowSpool
    rejected: RejectedRows


@dataclass(frozen=True, slots=True)
class CheckFile:
    """Opens and checks a file of requests or a plan, and has it confirmed."""

    books: Books
    clock: Clock
    files: BulkFiles
    operator: str

    def then(
        self,
        request: BulkRequest,
        requested_rows: RowRequests,
        presenter: Presenter,
        do: Callable[[CheckedFile], T],
        *,
        connect: Callable[[BulkReport], bool] = lambda report: False,
    ) -> T | FileChecked:
        """Check and confirm the file, then `do` it. A dry run and a new plan end with the check.

        `connect` connects the providers before any question. It returns true when real money will move, which --yes
        does not confirm (R5, I12). Raises TooManyErrors, NotConfirmed, ConfirmationRequired, and problems of the file.
        """
        secret = self._secret() if request.apply else b""
        opened = self.files.opened(request, secret=secret, today=self.clock.today())
        with opened as file, self.files.spool() as spool:
            with closing(file.rows()) as rows:
                # A file without rows needs no confirmation.
                if next(rows, None) is not None:
                    presenter.require_an_answer()
            run = self._new_run(request, file)
            earlier_run = self.books.read(lambda tx: tx.runs.unfinished_of(run.fingerprint))
            rules = RowRules(requested_rows, self.clock, earlier_run.id if earlier_run else "", file.allow_duplicate)
            with self.files.rejected_rows(file.rejected_path, file.columns) as rejected:
                report = self._check(request, file, run, rules, spool, rejected, presenter)
                if request.dry_run:
                    return FileChecked(file.name, request.kind, report)
                _refuse_too_many_errors(request, report, file.name)
                if request.plan:
                    self._write_plan(request, file, report, spool)
                    presenter.note_plan(request, report.requested)
                    return FileChecked(file.name, request.kind, report, rejected.publish(), plan=request.plan)
                is_live = bool(report.requested) and connect(report)
                presenter.confirm(report.requested, request.kind, is_live=is_live, is_resumed=bool(rules.run_id))
                # Before the first row, so that no rejected row is lost.
                rejected.publish()
                return do(CheckedFile(file.name, run, report, rules, spool, rejected))

    def _check(
        self,
        request: BulkRequest,
        file: OpenedFile,
        run: BulkRun,
        rules: RowRules,
        spool: RowSpool,
        rejected: RejectedRows,
        presenter: Presenter,
    ) -> BulkReport:
        is_staged = request.kind is RunKind.REFUND and not request.plan
        staged_run_id, staged_fingerprint = (rules.run_id, run.fingerprint) if is_staged else ("", "")
        check = BulkCheck(self.books, rules, spool, staged_run_id, staged_fingerprint)
        with presenter.progress("Checking") as advance:
            report = check.check(file.rows, on_rows_done=advance, on_row_rejected=rejected.add)
        presenter.show_check(file.name, request.kind, report)
        self._show_ends(report, spool, presenter)
        return report

    def _show_ends(self, report: BulkReport, spool: RowSpool, presenter: Presenter) -> None:
        rows = spool.ends(FIRST_SHOWN, LAST_SHOWN)
        invoices = self.books.read(lambda tx: tx.invoices.by_id([row.invoice_id for row in rows]))
        customers = {invoice.id: invoice.customer_name or invoice.customer for invoice in invoices}
        presenter.show_rows([(row, customers.get(row.invoice_id, "")) for row in rows], report.requested)

    def _new_run(self, request: BulkRequest, file: OpenedFile) -> BulkRun:
        row_options = request.row_options | {"plan": bool(file.seal), "columns": file.columns}
        now = self.clock.now()
        return BulkRun(
            id=new_id("run_", now),
            kind=request.kind,
            state=RunState.RUNNING,
            source=file.source,
            fingerprint=fingerprint(request.kind, file.sha256, row_options),
            # Known once they are checked.
            rows=0,
            operator=self.operator,
            created_at=now,
            planned_by=file.planned_by,
            plan_hash=file.seal,
            options=json.dumps(row_options, sort_keys=True, default=str),
        )

    def _write_plan(self, request: BulkRequest, file: OpenedFile, report: BulkReport, spool: RowSpool) -> None:
        header = {
            "kind": request.kind,
            "file": file.label,
            "planned_by": self.operator,
            "planned_at": self.clock.now().isoformat(),
            "columns": file.columns,
            "rows_planned": report.requested,
            **request.row_options,
        }
        self.files.write_plan(request.plan, header, spool.chunks(), self._secret() if report.requested else b"")

    def _secret(self) -> bytes:
        return self.books.read(lambda tx: tx.store.secret())


def _refuse_too_many_errors(request: BulkRequest, report: BulkReport, file_name: str) -> None:
    """Raises TooManyErrors. Rows that the resumed run refused do not count again."""
    if request.max_errors is not None and report.refused_outside >= request.max_errors:
        hint = (
            f"Nothing was done. To see the refused rows: refundcli {request.kind} --from "
            f"{shlex.quote(file_name)} --dry-run"
        )
        raise TooManyErrors(report.refused_outside, request.max_errors, how_to_resume=hint)
