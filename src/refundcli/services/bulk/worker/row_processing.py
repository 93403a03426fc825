"""One row of a run: checked, looked up at its providers, reserved, and ended by the outcomes of its refunds."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from refundcli.domain.bulk_run import RunItem
from refundcli.domain.errors import NotUsable, RefundcliError
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.bulk.refund_rows import request_of
from refundcli.services.bulk.report import Stopped
from refundcli.services.bulk.row_outcomes import refused, waiting_again
from refundcli.services.bulk.worker.context import WorkerContext
from refundcli.services.bulk.worker.leased_rows import InFlightRefund, Row, Stage, plan_of
from refundcli.services.bulk.worker.refund_sending import RefundSending
from refundcli.services.dispatch.outcome_errors import UNREACHABLE
from refundcli.services.dispatch.send_refund import is_first_send
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import RefundReading, Writing
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.providers import PaymentProvider
from refundcli.services.preflight.payment import claims, refuse_differences, snapshots_of, store_findings
from refundcli.services.refunds.issue import Preview, RefundRequest, UnsettledRefund, planned_refunds, reserve_in


class ProviderNotUsable(Exception):
    """It cannot be used with these settings, so no row of it can be done."""

    def __init__(self, problem: NotUsable) -> None:
        self.problem = problem


@dataclass(frozen=True, slots=True)
class RowProcessing:
    """Takes each row from its check to its outcome, each in a task of its own."""

    context: WorkerContext
    sending: RefundSending

    async def outcome_of(self, row: Row) -> RunItem:
        """Do the row. It waits again if the worker stops before any of its refunds was sent."""
        try:
            while True:
                try:
                    return await self._done(row)
                except UnsettledRefund as unsettled:
                    if not await self._settle_first(row, unsettled.earlier):
                        return refused(row.stored, unsettled)
        except ProviderNotUsable as error:
            self.context.stop_policy.stop(Stopped.SETTINGS, error.problem)
            return waiting_again(row.stored)
        except RefundcliError as error:
            if row.own:
                # Its refunds are reserved and may have been sent: it is no longer the row that is refused.
                raise
            return refused(row.stored, error)
        except asyncio.CancelledError:
            if self.context.commits.closed:
                raise
            return waiting_again(row.stored)

    async def _done(self, row: Row) -> RunItem:
        """The row's outcome by its refunds. Raises its refusal."""
        commits = self.context.commits
        plan = await commits.check(row, lambda tx, reading: self._planned(reading, row)[1])
        refunds, are_new = plan.existing, False
        if not refunds:
            for share in plan.shares:
                self._connect(share.payment.provider)
            await self._look_up_payments(row, plan)
            refunds, are_new = await commits.check(row, lambda tx, reading: self._reserve(tx, reading, row))
        # Existing refunds that are unfinished are settled; together they are the row's outcome.
        row.finished = [refund for refund in refunds if not refund.state.unfinished]
        row.own = [self._flight_of(refund, row, is_new=are_new) for refund in refunds if refund.state.unfinished]
        await asyncio.gather(*(self.sending.settle(flight, row) for flight in row.own))
        return row.outcome_by_refunds()

    def _planned(self, reading: RefundReading, row: Row) -> tuple[RefundRequest, Preview]:
        """What a row requests, and what it would do now."""
        invoice = invoice_named(reading, row.stored.invoice)
        request = request_of(row.stored, row.stored.request_key, invoice, self.context.run.operator)
        return request, plan_of(reading, row.stored, request, invoice, self.context.clock.now())

    async def _look_up_payments(self, row: Row, plan: Preview) -> None:
        checkable_shares = [share for share in plan.shares if share.payment.provider in CAN_LOOK_UP]
        if not checkable_shares:
            return
        row.snapshots_at = self.context.clock.now()
        try:
            row.snapshots = await self.context.look_up(
                lambda: snapshots_of(plan.invoice, checkable_shares, self.context.providers)
            )
        except RefundcliError as problem:
            if problem.code == UNREACHABLE:
                self.context.stop_policy.answered(is_outcome_clear=False)
            elif isinstance(problem, NotUsable):
                raise ProviderNotUsable(problem) from problem
            raise

    def _reserve(self, tx: Writing, reading: RefundReading, row: Row) -> tuple[Sequence[Refund], bool]:
        """T1, if the books still agree with the snapshots taken before. The refunds, and whether they are new."""
        context = self.context
        request, plan = self._planned(reading, row)
        if plan.existing:
            return plan.existing, False
        store_findings(tx, plan.invoice, row.snapshots)
        planned_refund_by_payment = planned_refunds(tx.store.secret(), request, plan)
        claim_differences = claims(tx, plan.invoice, row.snapshots)
        refuse_differences(plan.invoice, row.snapshots, planned_refund_by_payment, claim_differences=claim_differences)
        share_providers = {share.payment.provider for share in plan.shares if share.payment.provider}
        lease = context.lease(max(share_providers, key=context.lease_seconds))
        # All checks precede the first change; only a second reservation could still be refused.
        with tx.all_or_nothing() if len(plan.shares) > 1 else nullcontext():
            refunds = reserve_in(
                tx,
                request,
                plan,
                planned_refund_by_payment,
                providers=context.connected,
                lease=lease,
                reserved_at=context.clock.now(),
                run_id=context.run.id,
            )
        return refunds, True

    async def _settle_first(self, row: Row, earlier_refund: Refund) -> bool:
        """Settle an abandoned refund first, once. One that another run or command never sent is left to it."""
        may_settle = earlier_refund.state is RefundState.SUBMITTED or earlier_refund.run_id == self.context.run.id
        if not may_settle or earlier_refund.id in row.settled_blockers:
            return False
        row.settled_blockers.add(earlier_refund.id)
        flight = self._flight_of(earlier_refund)
        # If the work is aborted, its answer is stored too.
        row.earlier.append(flight)
        await self.sending.settle(flight)
        return True

    def _flight_of(self, refund: Refund, row: Row | None = None, *, is_new: bool = False) -> InFlightRefund:
        """`is_new`: this worker reserved it; else it was found, and is taken over."""
        provider = self._connect(refund.provider)
        if is_new and row:
            return InFlightRefund(refund, provider, Stage.OURS, snapshot=row.snapshot_for(refund))
        return InFlightRefund(refund, provider, first_send=is_first_send(refund))

    def _connect(self, provider: Provider | None) -> PaymentProvider:
        """Raises ProviderNotUsable."""
        assert provider, "a refund through a provider"
        try:
            return self.context.connect(provider)
        except NotUsable as problem:
            raise ProviderNotUsable(problem) from problem
