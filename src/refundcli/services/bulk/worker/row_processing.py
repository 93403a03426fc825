"""The rows that a worker has started: checked, reserved, resumed, and ended by the outcomes of their refunds."""

from collections.abc import Sequence

from refundcli.domain.bulk_run import ItemState, RunItem
from refundcli.domain.errors import NotUsable, RefundcliError
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.bulk.report import Stopped
from refundcli.services.bulk.row_outcomes import ended, refused, waiting_again
from refundcli.services.bulk.worker.leased_rows import InFlightRefund, Row
from refundcli.services.bulk.worker.refund_sending import RefundSending
from refundcli.services.bulk.worker.request_pool import Job
from refundcli.services.dispatch.outcome_errors import UNREACHABLE
from refundcli.services.dispatch.send_refund import (
    is_first_send,
)
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.preflight.payment import snapshots_of
from refundcli.services.refunds.issue import Preview, UnsettledRefund


class RowProcessing(RefundSending):
    """Takes each row from its check to its outcome."""

    def _check_at_provider(self, row: Row, plan: Preview) -> None:
        shares, invoice = plan.shares, plan.invoice
        if row.closed or not self._connects(row, *(share.payment.provider for share in shares)):
            return
        checkable_shares = [share for share in shares if share.payment.provider in CAN_LOOK_UP]
        if not checkable_shares:
            self.next.to_reserve.append(row)
            return
        row.snapshots_at = self.clock.now()
        job = Job(lambda: snapshots_of(invoice, checkable_shares, self.providers), lambda job: self._checked(row, job))
        self.pool.send(job, urgent=False)

    def _checked(self, row: Row, job: Job) -> None:
        if row.closed:
            return
        try:
            row.snapshots = job.answer
        except RefundcliError as problem:
            if isinstance(problem, NotUsable) and problem.code != UNREACHABLE:
                self._cannot_be_used(row, problem)
                return
            if problem.code == UNREACHABLE:
                self.stop_policy.answered(is_outcome_clear=False)
            self._end(row, refused(row.stored, problem))
        else:
            self.next.to_reserve.append(row)

    def _connects(self, row: Row, *providers: Provider | None) -> bool:
        """Connect the providers. False if one cannot be used, which stops the run."""
        try:
            for provider in providers:
                if provider and provider not in self.connected:
                    connection = self.providers.of(provider)
                    if provider in CAN_LOOK_UP:
                        self.providers.records(provider)
                    self.connected[provider] = connection
        except NotUsable as problem:
            self._cannot_be_used(row, problem)
            return False
        return True

    def _cannot_be_used(self, row: Row, problem: NotUsable) -> None:
        self.stop_policy.stop(Stopped.SETTINGS, problem)
        self._end(row, waiting_again(row.stored))

    def _reserved(self, row: Row, refunds: Sequence[Refund]) -> None:
        for refund in refunds:
            assert refund.provider
            flight = InFlightRefund(refund, self.connected[refund.provider], [row], snapshot=row.snapshot_for(refund))
            row.own.append(flight)
            self.flights[refund.id] = flight
            if flight.is_listed:
                self._look_up_listed(flight)
            else:
                self.to_claim.append(flight)

    def _use_existing(self, row: Row, refunds: Sequence[Refund]) -> None:
        """Use the row's existing refunds: settle the unfinished ones; together they are its outcome."""
        row.finished = [refund for refund in refunds if not refund.state.unfinished]
        unfinished_refunds = [refund for refund in refunds if refund.state.unfinished]
        if self._connects(row, *(refund.provider for refund in unfinished_refunds)):
            row.own = [self._flight_of(refund, row) for refund in unfinished_refunds]
            self._end_where_settled(row)

    def _flight_of(self, refund: Refund, row: Row) -> InFlightRefund:
        """The refund as this worker has it in flight; it is taken over if it was not."""
        flight = self.flights.get(refund.id)
        if flight is None:
            assert refund.provider
            flight = InFlightRefund(refund, self.connected[refund.provider], first_send=is_first_send(refund))
            self.flights[refund.id] = flight
            self._resume_refund(flight)
        flight.rows.append(row)
        return flight

    def _refused(self, row: Row, error: RefundcliError) -> None:
        if row.closed:
            return
        if isinstance(error, UnsettledRefund) and self._settles_first(row, error.earlier):
            return
        self._end(row, refused(row.stored, error))

    def _settles_first(self, row: Row, earlier_refund: Refund) -> bool:
        """Settle an abandoned refund first, once. One that another run or command never sent is left to it."""
        may_settle = earlier_refund.state is RefundState.SUBMITTED or earlier_refund.run_id == self.run.id
        if self.is_stopping or not may_settle or earlier_refund.id in row.settled_blockers:
            return False
        row.settled_blockers.add(earlier_refund.id)
        if self._connects(row, earlier_refund.provider):
            flight = self._flight_of(earlier_refund, row)
            if flight.ended:
                self.next.to_look_at.append(row)
            else:
                row.blocked_by = flight
        return True

    def _flight_settled(self, flight: InFlightRefund) -> None:
        for row in flight.rows:
            if row.blocked_by is flight:
                row.blocked_by = None
                if not row.closed:
                    self.next.to_look_at.append(row)
            else:
                self._end_where_settled(row)

    def _end_where_settled(self, row: Row) -> None:
        if row.closed or not all(flight.ended for flight in row.own):
            return
        is_given_up = any(flight.given_up for flight in row.own)
        self._end(row, waiting_again(row.stored) if is_given_up else ended(row.stored, row.refunds))

    def _end(self, row: Row, outcome: RunItem) -> None:
        """Store the outcome with the next commit; later answers about the row change nothing."""
        row.closed = True
        self.rows.discard(row)
        self.busy.difference_update(row.locks)
        self.ending[outcome.n] = row
        self.next.ended.append(outcome)
        if outcome.state is ItemState.REFUSED:
            self.stop_policy.refused()
