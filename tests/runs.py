"""A provider run as the command line stages it from a file, and the worker that processes it."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import text

from desk import Desk
from refundcli.bootstrap import Services
from refundcli.domain.bulk_run import BulkRun, ItemState, RunItem, RunKind, RunState
from refundcli.domain.identifiers import new_id
from refundcli.domain.money import parse_money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider
from refundcli.services.bulk.refund_run import RunWorker
from refundcli.services.bulk.report import OnRowEnd, RefundedFile, RowCounts, RunLimits, RunReport
from refundcli.services.ports.bad_rows import BadRow
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.settings import load


@dataclass(frozen=True, slots=True)
class RequestedRow:
    """One row: all that remains of the invoice, or an amount like "40.00 EUR"."""

    invoice: str
    expected: str
    amount: str = ""
    payment: str = ""
    key: str = ""

    def item(self, run_id: str, n: int) -> RunItem:
        return RunItem(
            run_id=run_id,
            n=n,
            line=n + 1,
            invoice=self.invoice,
            amount_text=self.amount,
            reason=RefundReason.RETURNED_GOODS,
            request_key=self.key or f"row-{n}",
            expected=parse_money(self.expected).minor,
            payment=self.payment,
        )


def stage(books: Books, clock: Clock, rows: Sequence[RequestedRow], *, fingerprint: str = "f1") -> BulkRun:
    """The staged run, checked and confirmed, with no row done."""
    at = clock.now()
    run = BulkRun(
        id=new_id("run_", at),
        kind=RunKind.REFUND,
        state=RunState.RUNNING,
        source="refunds.csv",
        fingerprint=fingerprint,
        rows=len(rows),
        operator="Ada Lovelace",
        created_at=at,
        options='{"columns": ["invoice", "amount", "reason"]}',
    )

    def write(tx: Writing) -> None:
        tx.runs.begin(run)
        tx.runs.stage_items([row.item(run.id, n) for n, row in enumerate(rows, 1)])

    books.write(write)
    return run


def refunded_file(
    report: RunReport, counts: RowCounts, codes: Counter[str] | None = None, bad_rows: Sequence[BadRow] = ()
) -> RefundedFile:
    """The outcome of run_1, as the command shows it."""
    at = datetime(2026, 10, 2, tzinfo=UTC)
    run = BulkRun("run_1", RunKind.REFUND, RunState.RUNNING, "refunds.csv", "f1", counts.rows, "Ada Lovelace", at)
    return RefundedFile("refunds.csv", run, report, counts, codes or Counter(), bad_rows, None, None)


def services_of(environ: dict[str, str]) -> Services:
    loaded = load(config=None, store_url=None, environ=environ, cwd=Path("/"), user_config=Path("/nowhere"))
    return Services(loaded.settings, environ)


@dataclass
class Runner:
    """Runs at a desk, and the outcome of every row."""

    desk: Desk
    reported: list[tuple[RunItem, Sequence[Refund]]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def stage(self, *rows: RequestedRow, fingerprint: str = "f1") -> BulkRun:
        services = services_of(self.desk.environ)
        return stage(services.books, services.clock, rows, fingerprint=fingerprint)

    def work(
        self,
        run: BulkRun,
        *,
        tell: OnRowEnd | None = None,
        environ: dict[str, str] | None = None,
        pauses: Mapping[Provider, float] = MappingProxyType({}),
        **limits: int,
    ) -> RunReport:
        """Runs one worker with its own settings to its end. `pauses`: seconds to pause, by provider."""
        services = services_of(self.desk.environ | (environ or {}))
        for provider, seconds in pauses.items():
            services.providers.pace(provider).slow_down(seconds)

        def record_outcome(item: RunItem, refunds: Sequence[Refund]) -> None:
            self.reported.append((item, refunds))
            if tell:
                tell(item, refunds)

        return RunWorker(
            run,
            dispatch=replace(services.refund_dispatch, policy=replace(services.policy, sleep=lambda seconds: None)),
            limits=RunLimits(**limits),
            on_row_end=record_outcome,
            stop_request=self.stop,
        ).run()

    def stop_after(self, seconds: float) -> None:
        """Stops the run as Ctrl-C does."""
        timer = threading.Timer(seconds, self.stop.set)
        timer.daemon = True
        timer.start()

    def items(self, run: BulkRun) -> list[RunItem]:
        return self.desk.books.read(lambda tx: tx.runs.items(run.id, *ItemState, after=0, limit=10_000))

    def states(self, run: BulkRun) -> list[str]:
        return [item.code or item.state for item in self.items(run)]

    def run_state(self, run: BulkRun) -> RunState:
        stored = self.desk.books.read(lambda tx: tx.runs.get(run.id))
        assert stored
        return stored.state


def forget_the_worker(desk: Desk) -> None:
    """Marks its leases as held by a process that is gone; it ran in this one, which lives."""
    with desk.books.engine.begin() as line:
        line.execute(text("UPDATE bulk_item SET worker = worker || 'gone' WHERE worker <> ''"))
        line.execute(text("UPDATE refund SET lease_owner = lease_owner || 'gone' WHERE lease_owner <> ''"))
