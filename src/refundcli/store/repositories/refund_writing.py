"""Write refunds. Each change is one guarded statement and one audit entry (I10)."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, insert, update

from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState, may_become
from refundcli.services.ports.records import Settlement
from refundcli.store.queries.refunds import SqlRefundReads
from refundcli.store.repositories.credit_note_writing import SqlCreditNotes
from refundcli.store.repositories.rows import facts_of, refund_values, trace_values
from refundcli.store.repositories.sums import SummingWrites
from refundcli.store.tables import REFUND


class SqlRefunds(SummingWrites, SqlRefundReads):
    """Refunds in a transaction that changes the books."""

    def add(self, refund: Refund) -> None:
        self._connection.execute(insert(REFUND), refund_values(refund))
        SqlCreditNotes(self._connection, self._audit).draft(refund)
        self._audit.write(f"refund {refund.state}", refund.id, {}, facts_of(refund))
        if refund.state.counts_as_refunded:
            self._sums.update_invoice(refund.invoice_id)

    def claim(self, refund: Refund, *, owner: str, until: datetime, at: datetime) -> Refund | None:
        """Compare and set on state and fence: one sender at a time, and a stale sender matches no row.

        `owner`: who holds the lease until `until`; empty if it was sent before. `at`: when it is or was sent.
        """
        assert refund.sending
        if owner:
            self._audit.check_clock()
        first_sent_at = refund.sending.first_sent_at or at
        sending = replace(
            refund.sending,
            fence=refund.sending.fence + 1,
            lease_owner=owner,
            lease_until=until,
            first_sent_at=first_sent_at,
        )
        is_claimed = self._hits(
            _REFUND_AS_IT_WAS,
            **_as_it_was(refund),
            state=RefundState.SUBMITTED.value,
            fence=sending.fence,
            lease_owner=owner,
            lease_until=until,
            first_sent_at=first_sent_at,
            updated_at=at,
        )
        if not is_claimed:
            return None
        facts_after = {"state": RefundState.SUBMITTED, "fence": sending.fence, "lease_owner": owner}
        self._audit.write("refund submitted", refund.id, _state(refund), facts_after)
        return replace(refund, state=RefundState.SUBMITTED, sending=sending)

    def release_lease(self, refund: Refund) -> None:
        if self._hits(_REFUND_AS_IT_WAS, **_as_it_was(refund), lease_owner="", lease_until=None):
            self._audit.write("refund outcome not known", refund.id, _state(refund), _state(refund))

    def settle(self, refund: Refund, settlement: Settlement) -> Refund | None:
        if not may_become(refund.state, settlement.state):
            return None
        needs_acknowledgement = refund.needs_acknowledgement_as(settlement.state)
        holding, hold_until = _hold_after(refund, settlement)
        reference_and_evidence = {"provider_reference": settlement.reference, "evidence": settlement.evidence}
        trace = refund.trace_after(settlement.trace)
        columns: dict[str, Any] = {
            "state": settlement.state.value,
            "provider_status": settlement.status,
            "failure": settlement.failure,
            "failure_code": settlement.failure_code,
            "pending_reason": settlement.pending_reason,
            "expires_at": settlement.expires_at,
            **trace_values(trace),
            "holding": holding,
            "hold_until": hold_until,
            "lease_owner": "",
            "lease_until": None,
            "updated_at": self._audit.at,
            **{name: text for name, text in reference_and_evidence.items() if text},
            **_dates(refund, settlement, at=self._audit.at),
        }
        if needs_acknowledgement and refund.needs_acknowledgement_since is None:
            columns["came_back_at"] = self._audit.at
        if not self._hits(_REFUND_AS_IT_WAS, **_as_it_was(refund), **columns):
            return None
        facts_after = {
            "state": settlement.state,
            "provider_status": settlement.status,
            "failure": settlement.failure,
            **reference_and_evidence,
        }
        self._audit.write(
            f"refund {settlement.state}",
            refund.id,
            _state(refund),
            {field: fact for field, fact in facts_after.items() if fact},
        )
        settled_refund = replace(
            refund,
            state=settlement.state,
            provider_reference=settlement.reference or refund.provider_reference,
            provider_status=settlement.status,
            failure=settlement.failure,
            sending=refund.sending and replace(refund.sending, lease_owner="", lease_until=None),
            needs_acknowledgement_since=columns.get("came_back_at", refund.needs_acknowledgement_since),
            failure_code=settlement.failure_code,
            pending_reason=settlement.pending_reason,
            expires_at=settlement.expires_at,
            trace=trace,
            holding=holding,
            hold_until=hold_until,
            succeeded_at=columns.get("succeeded_at", refund.succeeded_at),
            failed_at=columns.get("failed_at", refund.failed_at),
        )
        self._sums.move(refund, settled_refund)
        self._sums.update_invoice(refund.invoice_id)
        return settled_refund

    def note_report(self, refund: Refund, report: Settlement) -> bool:
        if report.state is not refund.state:
            return False
        trace = refund.trace_after(report.trace)
        if (report.pending_reason, report.expires_at, trace) == (
            refund.pending_reason,
            refund.expires_at,
            refund.trace,
        ):
            return False
        columns = {"pending_reason": report.pending_reason, "expires_at": report.expires_at, **trace_values(trace)}
        self._hits(update(REFUND).where(REFUND.c.id == refund.id).values(**columns))
        facts_after = {"pending_reason": report.pending_reason, "expires_at": str(report.expires_at or "")}
        if trace and trace != refund.trace:
            facts_after |= {"trace_number": trace.number, "trace_status": trace.status}
        self._audit.write(
            "refund reported again", refund.id, {}, {name: fact for name, fact in facts_after.items() if fact}
        )
        return True

    def note_success(self, refund: Refund, *, at: datetime | None, update_source: str) -> bool:
        """`at`: when it succeeded, by the provider's date."""
        succeeded_at = at or self._audit.at
        if refund.succeeded_at and refund.succeeded_at >= succeeded_at:
            return False
        statement = update(REFUND).where(REFUND.c.id == refund.id)
        self._hits(statement.values(succeeded_at=succeeded_at, updated_at=self._audit.at))
        facts_after = {"succeeded_at": succeeded_at.isoformat(), "evidence": update_source}
        after_failure = " after it failed" if refund.failed_at else ""
        self._audit.write(f"refund reported as successful{after_failure}", refund.id, {}, facts_after)
        return True

    def hold_failed(self, refund: Refund, *, update_source: str) -> bool:
        """An external refund is counted among those that hold an amount; one of ours needs money left to reserve."""
        if not refund.holding and not refund.is_external and not self._sums.hold(refund):
            return False
        statement = update(REFUND).where(REFUND.c.id == refund.id)
        columns = {"holding": True, "hold_until": None, "acknowledged_at": None, "acknowledged_by": ""}
        self._hits(statement.values(**columns, came_back_at=self._audit.at, updated_at=self._audit.at))
        self._audit.write("refund held", refund.id, {}, {"evidence": update_source})
        self._sums.reserve_external(refund.payment_id)
        self._sums.update_invoice(refund.invoice_id)
        return True

    def reverse_part(self, refund: Refund, reversed_amount: Money, *, update_source: str) -> None:
        columns = {"reversed_amount": reversed_amount.minor, "came_back_at": self._audit.at, "acknowledged_at": None}
        statement = update(REFUND).where(REFUND.c.id == refund.id)
        self._hits(statement.values(**columns, updated_at=self._audit.at))
        facts_after = {"reversed": str(reversed_amount), "evidence": update_source}
        self._audit.write("refund reversed in part", refund.id, {"state": refund.state}, facts_after)
        self._sums.move(refund, replace(refund, reversed_amount=reversed_amount))
        self._sums.update_invoice(refund.invoice_id)

    def release_lapsed_holds(self, invoice: Invoice) -> bool:
        lapsed_refunds = [
            refund
            for refund in invoice.refunds
            if refund.holding and refund.hold_until and refund.hold_until <= self._audit.at
        ]
        for refund in lapsed_refunds:
            self._release_hold(refund)
            self._audit.write("hold lapsed", refund.id, {"hold_until": str(refund.hold_until)}, {})
        return bool(lapsed_refunds)

    def _release_hold(self, refund: Refund) -> None:
        statement = update(REFUND).where(REFUND.c.id == refund.id)
        self._hits(statement.values(holding=False, hold_until=None, updated_at=self._audit.at))
        self._sums.move(refund, replace(refund, holding=False, hold_until=None))
        self._sums.update_invoice(refund.invoice_id)

    def acknowledge(self, refund: Refund, *, memo: str) -> Refund:
        statement = (
            update(REFUND)
            .where(REFUND.c.id == refund.id, REFUND.c.acknowledged_at.is_(None))
            .values(acknowledged_at=self._audit.at, acknowledged_by=self._audit.operator, updated_at=self._audit.at)
        )
        assert self._hits(statement), "it was read in this transaction"
        self._audit.write("refund acknowledged", refund.id, {}, {"memo": memo} if memo else {})
        if refund.holding:
            self._release_hold(refund)
        acknowledged_refund = self.get(refund.id)
        assert acknowledged_refund
        return acknowledged_refund


def _hold_after(refund: Refund, settlement: Settlement) -> tuple[bool, datetime | None]:
    """Does a failure keep the amount reserved, and until when? After a success, until acknowledged (R14)."""
    if settlement.state is not RefundState.FAILED:
        return False, None
    if refund.state is RefundState.SUCCEEDED:
        return True, None
    return (True, settlement.hold_until) if settlement.may_be_retried else (False, None)


def _dates(refund: Refund, settlement: Settlement, *, at: datetime) -> dict[str, datetime]:
    """When it succeeded or failed, by the provider's date: the newest of each."""
    reported_at = settlement.reported_at or at
    if settlement.state is RefundState.SUCCEEDED:
        return {"succeeded_at": max(reported_at, refund.succeeded_at or reported_at)}
    if settlement.state is RefundState.FAILED:
        return {"failed_at": max(reported_at, refund.failed_at or reported_at)}
    return {}


def _as_it_was(refund: Refund) -> dict[str, Any]:
    fence = refund.sending.fence if refund.sending else 0
    return {"of_id": refund.id, "of_state": refund.state.value, "of_fence": fence}


def _state(refund: Refund) -> dict[str, object]:
    return {"state": refund.state}


_REFUND_AS_IT_WAS = update(REFUND).where(
    REFUND.c.id == bindparam("of_id"),
    REFUND.c.state == bindparam("of_state"),
    REFUND.c.fence == bindparam("of_fence"),
)
