"""Write external refunds: seen, adopted, matched, assigned."""

import re
from typing import Any

from sqlalchemy import insert, select, update

from refundcli.domain.identifiers import new_id
from refundcli.domain.invoice import Invoice, OtherShare, Payment
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundKind, RefundState
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.provider_updates import (
    RefundUpdate,
)
from refundcli.store.queries.refunds import SqlExternalRefundReads, refund_with_id
from refundcli.store.repositories.credit_note_writing import SqlCreditNotes
from refundcli.store.repositories.rows import refund_values
from refundcli.store.repositories.sums import SummingWrites
from refundcli.store.tables import PAYMENT, REFUND

_REFUND_ID = re.compile(r"rf_[0-9A-Z]{26}")


class SqlExternalRefunds(SummingWrites, SqlExternalRefundReads):
    """External refunds in a transaction that changes the books."""

    def record(
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
            trace=report.trace,
            undecided=undecided,
            # Reported only when it had failed: the provider may send it again.
            needs_acknowledgement_since=self._audit.at if needs_acknowledgement else None,
            holding=is_failed and report.may_be_retried,
            hold_until=report.hold_until,
            succeeded_at=report.reported_at if report.state is RefundState.SUCCEEDED else None,
            failed_at=report.reported_at if is_failed else None,
        )
        columns = refund_values(refund) | {"account": report.account, "livemode": report.livemode}
        self._connection.execute(insert(REFUND), columns)
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
        self._sums.count_external(payment.id)
        self._sums.reserve_external(payment.id)
        self._sums.update_invoice(invoice.id)
        return refund

    def _id_of_external(self, report: RefundUpdate) -> str:
        """Its old id if it is one of our refunds that a restored backup lost, else a new id.

        With the old id, a repeat of the original request is recognised.
        """
        is_lost_refund = _REFUND_ID.fullmatch(report.refund_id) and refund_with_id(self._rows, report.refund_id) is None
        return report.refund_id if is_lost_refund else new_id("rf_", self._audit.at)

    def adopt(self, refund: Refund, *, reason: RefundReason, memo: str) -> Refund:
        self._audit.check_clock()
        columns = {"reason": reason, "memo": memo, "operator": self._audit.operator, "updated_at": self._audit.at}
        conditions = (REFUND.c.id == refund.id, REFUND.c.reason == "")
        assert self._hits(update(REFUND).where(*conditions).values(**columns, undecided=False)), (
            "it was read in this transaction"
        )
        if refund.undecided:
            self._sums.count_external(refund.payment_id)
            self._sums.reserve_external(refund.payment_id)
            self._sums.update_invoice(refund.invoice_id)
        self._sums.count_shares_of([refund.payment_id])
        adopted_refund = refund_with_id(self._rows, refund.id)
        assert adopted_refund
        SqlCreditNotes(self._connection, self._audit).draft(adopted_refund)
        self._audit.write("refund adopted", refund.id, {}, {"reason": reason} | ({"memo": memo} if memo else {}))
        return adopted_refund

    def match(self, external: Refund, record: Refund) -> None:
        reference, account = external.provider_reference, self._account_of(external)
        external_update = update(REFUND).where(REFUND.c.id == external.id)
        # Its reference belongs to the record now. The external refund stays in the history and no longer counts.
        columns: dict[str, Any] = {"state": RefundState.REVERSED, "provider_reference": None, "undecided": False}
        columns |= {"failure": f"is recorded as {record.id}", "updated_at": self._audit.at}
        self._hits(external_update.values(**columns))
        self._audit.write("external refund matched", external.id, {"state": external.state}, {"record": record.id})
        record_update = update(REFUND).where(REFUND.c.id == record.id)
        provider = external.provider.value if external.provider else None
        columns = {"provider_reference": reference, "provider": provider, "account": account}
        if external.provider not in CAN_LOOK_UP:
            columns["succeeded_at"] = external.succeeded_at
        self._hits(record_update.values(**columns, updated_at=self._audit.at))
        self._audit.write("record matched at the provider", record.id, {}, {"provider_reference": reference})
        self._sums.count_external(external.payment_id)
        self._sums.reserve_external(external.payment_id)
        self._sums.update_invoice(external.invoice_id)

    def _account_of(self, refund: Refund) -> str | None:
        account_query = select(REFUND.c.account).where(REFUND.c.id == refund.id)
        account: str | None = self._connection.execute(account_query).scalar_one()
        return account

    def assign(self, refund: Refund, share: OtherShare) -> Refund:
        invoice_id_query = select(PAYMENT.c.invoice_id).where(PAYMENT.c.id == share.payment_id)
        columns: dict[str, Any] = {
            "payment_id": share.payment_id,
            "invoice_id": self._connection.execute(invoice_id_query).scalar_one(),
        }
        statement = update(REFUND).where(REFUND.c.id == refund.id)
        self._hits(statement.values(**columns, updated_at=self._audit.at))
        facts_before, facts_after = {"invoice": refund.invoice_number}, {"invoice": share.invoice_number}
        self._audit.write("external refund assigned", refund.id, facts_before, facts_after)
        assigned_refund = refund_with_id(self._rows, refund.id)
        assert assigned_refund
        return assigned_refund
