"""The rules for one row of a bulk file: what it takes of which payments, or why it is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from refundcli.domain.bulk_run import RunKind
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState
from refundcli.services.bulk.earlier_rows import FileRows
from refundcli.services.bulk.row_refusals import ChangedSincePlan, EqualRow, RepeatsEarlierRefund, UndoneSince
from refundcli.services.bulk.rows import BulkRow
from refundcli.services.dispatch.idempotency_keys import existing_among, is_derived
from refundcli.services.dispatch.outcome_errors import PartlyRefunded, RefundDeclined
from refundcli.services.invoices.allocation import Share, candidate_of, total_of
from refundcli.services.invoices.lookup import InvoiceNotFound
from refundcli.services.ports.clock import Clock


class AlreadyDone(Exception):
    """The row was done by an earlier run, or by an earlier row of this file with the same key."""


class RowRequests(Protocol):
    """What the rows of one kind of run request."""

    @property
    def kind(self) -> RunKind: ...
    def content(self, row: BulkRow, request_key: str, invoice: Invoice) -> str:
        """The request, in one canonical text."""
        ...

    def shares(self, row: BulkRow, request_key: str, invoice: Invoice, *, allow_duplicate: bool) -> list[Share]:
        """The payments and the amount of each. Raises the first refusal.

        `allow_duplicate`: even if it may be a known external refund (R12).
        """
        ...


@dataclass(slots=True)
class RowRules:
    """The rules for one file's rows. `run_id`: the resumed run, whose own refunds are no duplicates."""

    requests: RowRequests
    clock: Clock
    run_id: str = ""
    allow_duplicate: bool = False

    def shares_of(
        self,
        row: BulkRow,
        request_key: str,
        invoice: Invoice | None,
        refunds: Sequence[Refund],
        file_rows: FileRows,
    ) -> list[Share]:
        """What the row takes now. Raises the first refusal, or AlreadyDone.

        `refunds`: those under its key. `file_rows`: the index of the rows before it in the file.
        """
        if invoice is None:
            raise InvoiceNotFound(row.invoice, "")
        existing_refunds = (
            existing_among(refunds, request_key, self.requests.content(row, request_key, invoice)) if refunds else []
        )
        if any(refund.state is RefundState.REVERSED for refund in existing_refunds):
            raise UndoneSince(existing_refunds[0])
        if existing_refunds and not any(refund.state.unfinished for refund in existing_refunds):
            failed_refunds = [refund for refund in existing_refunds if refund.state is RefundState.FAILED]
            if failed_refunds and any(refund.state.is_accepted for refund in existing_refunds):
                if all(_was_refunded_since(refund, invoice) for refund in failed_refunds):
                    raise AlreadyDone
                raise PartlyRefunded(existing_refunds)
            if failed_refunds:
                raise RefundDeclined(failed_refunds[0])
            raise AlreadyDone
        if existing_refunds:
            # A killed run sent it: it is settled, not repeated.
            return [Share(payment_of(invoice, refund), refund.amount) for refund in existing_refunds]
        if row.planned and row.planned.remaining != invoice.refundable.minor:
            raise ChangedSincePlan(invoice, row.planned)
        shares = self.requests.shares(row, request_key, invoice, allow_duplicate=self.allow_duplicate)
        if row.planned and row.planned.takes != total_of(shares).minor:
            raise ChangedSincePlan(invoice, row.planned)
        # A rejected row keeps its derived key, which does not mean that a repeat is intended.
        has_own_key = row.key and not is_derived(row.key)
        if not (has_own_key or self.allow_duplicate):
            self._refuse_duplicate(row, invoice, shares, file_rows)
        return shares

    def _refuse_duplicate(self, row: BulkRow, invoice: Invoice, shares: Sequence[Share], file_rows: FileRows) -> None:
        if not (invoice.refunds or file_rows.take_of(shares)):
            return
        candidate = candidate_of(shares, row.reason, row.reference, is_row=True, run_id=self.run_id)
        earlier_line = file_rows.line_of_equal(candidate, row.line)
        if earlier_line:
            raise EqualRow(invoice.number, total_of(shares), earlier_line)
        for earlier_refund in candidate.earlier(invoice.refunds, self.clock.now()):
            if not file_rows.made(earlier_refund):
                raise RepeatsEarlierRefund(earlier_refund)


def _was_refunded_since(failed_refund: Refund, invoice: Invoice) -> bool:
    """Was the amount of the failed one returned later, by refunds of its payment for the same reason?

    Another row of its run is a request of its own.
    """
    later_amounts = [
        refund.amount.minor
        for refund in invoice.refunds
        if refund.payment_id == failed_refund.payment_id
        and refund.created_at > failed_refund.created_at
        and refund.reason is failed_refund.reason
        and refund.request_key != failed_refund.request_key
        and not (refund.run_id and refund.run_id == failed_refund.run_id)
        and (refund.state.is_accepted or refund.state is RefundState.RECORDED)
    ]
    return sum(later_amounts) >= failed_refund.amount.minor


def payment_of(invoice: Invoice, refund: Refund) -> Payment:
    return next(payment for payment in invoice.payments if payment.id == refund.payment_id)
