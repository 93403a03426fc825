"""Write what providers report about refunds: external refunds, failures, reversals and reservations."""

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, update
from sqlmodel import col, select

from refundcli.domain.identifiers import new_id
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundKind, RefundState
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.provider_updates import (
    RefundUpdate,
)
from refundcli.services.ports.records import Settlement
from refundcli.store.repositories.rows import row_of
from refundcli.store.repositories.share_writing import SqlShareWriting
from refundcli.store.schema import (
    PaymentRow,
    RefundRow,
)

_EVENT_KEY = ("id", "provider", "account", "event_key")
# One of the payment's ids at its provider.
_PAYMENT_ID: Any = func.coalesce(PaymentRow.payment_intent, PaymentRow.charge, PaymentRow.psp_reference)
_REFUND_ID = re.compile(r"rf_[0-9A-Z]{26}")


class SqlExternalRefundWriting(SqlShareWriting):
    """A transaction that also writes what a provider reports about refunds."""

    def record_external(
        self, invoice: Invoice, payment: Payment, report: RefundUpdate, *, undecided: bool, update_source: str
    ) -> Refund:
        """`undecided`: it may be one that was recorded by hand; `update_source`: the event or report that says so."""
        is_failed = report.state is RefundState.FAILED
        needs_acknowledgement = report.may_be_retried or report.state is RefundState.REVERSED
        refund = Refund(
            id=self._id_of_external(report),
            invoice_id=invoice.id,
            invoice_number=invoice.number,
            payment_id=payment.id,
            kind=RefundKind.EXTERNAL,
            amount=report.amount,
            reason=None,
            state=report.state,
            request_key=f"elsewhere:{report.reference}",
            content="",
            created_at=report.created_at or self._audit.at,
            operator="",
            provider_reference=report.reference,
            provider_status=report.status,
            failure=report.failure,
            seen_at=report.provider,
            pending_reason=report.pending_reason,
            expires_at=report.expires_at,
            undecided=undecided,
            # Reported only when it had failed: the provider may send it again.
            needs_acknowledgement_since=self._audit.at if needs_acknowledgement else None,
            holding=is_failed and report.may_be_retried,
            hold_until=report.hold_until,
            succeeded_at=report.reported_at if report.state is RefundState.SUCCEEDED else None,
            failed_at=report.reported_at if is_failed else None,
        )
        refund_row = row_of(refund)
        refund_row.account, refund_row.livemode = report.account, report.livemode
        self._session.add(refund_row)
        self._session.flush()
        audit_facts: dict[str, object] = {
            "invoice": invoice.number,
            "amount": str(report.amount),
            "state": report.state,
        }
        audit_facts |= {"evidence": update_source}
        audit_facts |= {"provider": report.provider, "provider_reference": report.reference}
        if undecided:
            audit_facts["undecided"] = True
        self._audit.write("refund made elsewhere seen", refund.id, {}, audit_facts)
        self._count_external(payment.id)
        self._reserve_external(payment.id)
        self._update_invoice(invoice.id)
        return refund

    def _id_of_external(self, report: RefundUpdate) -> str:
        """Its old id if it is one of our refunds that a restored backup lost, else a new id.

        With the old id, a repeat of the original request is recognised.
        """
        is_lost_refund = _REFUND_ID.fullmatch(report.refund_id) and self.refund(report.refund_id) is None
        return report.refund_id if is_lost_refund else new_id("rf_", self._audit.at)

    def match_record(self, record: Refund, report: RefundUpdate, *, update_source: str) -> None:
        statement = (
            update(RefundRow)
            .where(col(RefundRow.id) == record.id, col(RefundRow.provider_reference).is_(None))
            .values(
                provider_reference=report.reference,
                provider_status=report.status,
                succeeded_at=report.reported_at if report.may_outweigh_failure else None,
                updated_at=self._audit.at,
            )
        )
        if self._hits(statement):
            facts_after = {"provider_reference": report.reference, "evidence": update_source}
            self._audit.write("record matched at the provider", record.id, {}, facts_after)

    def note_record_failed(self, record: Refund, report: RefundUpdate, *, update_source: str) -> bool:
        failed_at = report.reported_at or self._audit.at
        if record.failed_at and (report.reported_at is None or record.failed_at >= failed_at):
            return False
        failure = report.failure or f"{report.state} at {report.provider.label}"
        is_same_failure = (record.provider_status, record.failure) == (report.status, failure)
        if is_same_failure and record.has_failed_at_provider and report.provider in CAN_LOOK_UP:
            # Each lookup has a new date, but reports the same.
            return False
        statement = update(RefundRow).where(col(RefundRow.id) == record.id)
        columns: dict[str, Any] = {"failed_at": failed_at, "failure": failure, "provider_status": report.status}
        self._hits(statement.values(**columns, updated_at=self._audit.at))
        facts_after = {"provider_status": report.status, "failure": failure, "evidence": update_source}
        self._audit.write("recorded refund failed at the provider", record.id, {}, facts_after)
        return True

    def adopt(self, refund: Refund, *, reason: RefundReason, memo: str) -> Refund:
        self._audit.check_clock()
        columns = {"reason": reason, "memo": memo, "operator": self._audit.operator, "updated_at": self._audit.at}
        conditions = (col(RefundRow.id) == refund.id, col(RefundRow.reason) == "")
        assert self._hits(update(RefundRow).where(*conditions).values(**columns, undecided=False)), (
            "it was read in this transaction"
        )
        if refund.undecided:
            self._count_external(refund.payment_id)
            self._reserve_external(refund.payment_id)
            self._update_invoice(refund.invoice_id)
        self._count_shares_of([refund.payment_id])
        adopted_refund = self.refund(refund.id)
        assert adopted_refund
        self._draft_credit_note(adopted_refund)
        self._audit.write("refund adopted", refund.id, {}, {"reason": reason} | ({"memo": memo} if memo else {}))
        return adopted_refund

    def match_external(self, external: Refund, record: Refund) -> None:
        reference, account = external.provider_reference, self._account_of(external)
        external_update = update(RefundRow).where(col(RefundRow.id) == external.id)
        # Its reference belongs to the record now. The external refund stays in the history and no longer counts.
        columns: dict[str, Any] = {"state": RefundState.REVERSED, "provider_reference": None, "undecided": False}
        columns |= {"failure": f"is recorded as {record.id}", "updated_at": self._audit.at}
        self._hits(external_update.values(**columns))
        self._audit.write("external refund matched", external.id, {"state": external.state}, {"record": record.id})
        record_update = update(RefundRow).where(col(RefundRow.id) == record.id)
        provider = external.provider.value if external.provider else None
        columns = {"provider_reference": reference, "provider": provider, "account": account}
        if external.provider not in CAN_LOOK_UP:
            columns["succeeded_at"] = external.succeeded_at
        self._hits(record_update.values(**columns, updated_at=self._audit.at))
        self._audit.write("record matched at the provider", record.id, {}, {"provider_reference": reference})
        self._count_external(external.payment_id)
        self._reserve_external(external.payment_id)
        self._update_invoice(external.invoice_id)

    def _account_of(self, refund: Refund) -> str | None:
        return self._session.exec(select(RefundRow.account).where(RefundRow.id == refund.id)).one()

    def note_report(self, refund: Refund, report: Settlement) -> bool:
        if report.state is not refund.state:
            return False
        if (report.pending_reason, report.expires_at) == (refund.pending_reason, refund.expires_at):
            return False
        columns = {"pending_reason": report.pending_reason, "expires_at": report.expires_at}
        self._hits(update(RefundRow).where(col(RefundRow.id) == refund.id).values(**columns))
        facts_after = {"pending_reason": report.pending_reason, "expires_at": str(report.expires_at or "")}
        self._audit.write(
            "refund reported again", refund.id, {}, {name: fact for name, fact in facts_after.items() if fact}
        )
        return True

    def note_success(self, refund: Refund, *, at: datetime | None, update_source: str) -> bool:
        """`at`: when it succeeded, by the provider's date."""
        succeeded_at = at or self._audit.at
        if refund.succeeded_at and refund.succeeded_at >= succeeded_at:
            return False
        statement = update(RefundRow).where(col(RefundRow.id) == refund.id)
        self._hits(statement.values(succeeded_at=succeeded_at, updated_at=self._audit.at))
        facts_after = {"succeeded_at": succeeded_at.isoformat(), "evidence": update_source}
        after_failure = " after it failed" if refund.failed_at else ""
        self._audit.write(f"refund reported as successful{after_failure}", refund.id, {}, facts_after)
        return True

    def hold_failed(self, refund: Refund, *, update_source: str) -> bool:
        """An external refund is counted among those that hold an amount; one of ours needs money left to reserve."""
        if not refund.holding and not refund.is_external and not self._hold(refund):
            return False
        statement = update(RefundRow).where(col(RefundRow.id) == refund.id)
        columns = {"holding": True, "hold_until": None, "acknowledged_at": None, "acknowledged_by": ""}
        self._hits(statement.values(**columns, came_back_at=self._audit.at, updated_at=self._audit.at))
        self._audit.write("refund held", refund.id, {}, {"evidence": update_source})
        self._reserve_external(refund.payment_id)
        self._update_invoice(refund.invoice_id)
        return True

    def reverse_part(self, refund: Refund, reversed_amount: Money, *, update_source: str) -> None:
        columns = {"reversed_amount": reversed_amount.minor, "came_back_at": self._audit.at, "acknowledged_at": None}
        statement = update(RefundRow).where(col(RefundRow.id) == refund.id)
        self._hits(statement.values(**columns, updated_at=self._audit.at))
        facts_after = {"reversed": str(reversed_amount), "evidence": update_source}
        self._audit.write("refund reversed in part", refund.id, {"state": refund.state}, facts_after)
        self._move_sums(refund, replace(refund, reversed_amount=reversed_amount))
        self._update_invoice(refund.invoice_id)

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
        statement = update(RefundRow).where(col(RefundRow.id) == refund.id)
        self._hits(statement.values(holding=False, hold_until=None, updated_at=self._audit.at))
        self._move_sums(refund, replace(refund, holding=False, hold_until=None))
        self._update_invoice(refund.invoice_id)

    def acknowledge(self, refund: Refund, *, memo: str) -> Refund:
        statement = (
            update(RefundRow)
            .where(col(RefundRow.id) == refund.id, col(RefundRow.acknowledged_at).is_(None))
            .values(acknowledged_at=self._audit.at, acknowledged_by=self._audit.operator, updated_at=self._audit.at)
        )
        assert self._hits(statement), "it was read in this transaction"
        self._audit.write("refund acknowledged", refund.id, {}, {"memo": memo} if memo else {})
        if refund.holding:
            self._release_hold(refund)
        acknowledged_refund = self.refund(refund.id)
        assert acknowledged_refund
        return acknowledged_refund
