"""What providers tell, written down: refunds made elsewhere, disputes, what came back, and the events themselves."""

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from sqlalchemy import insert, update
from sqlmodel import col, select

from refundcli.domain.identifiers import new_id
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Dispute, RefundKind
from refundcli.services.provider_news import DisputeNews, EventState, NewEvent, RefundNews, StoredEvent
from refundcli.store.reading import REFUSED_DELIVERY
from refundcli.store.rows import row_of
from refundcli.store.tables import CounterRow, InvoiceRow, PaymentRow, ProviderEventRow, RefundRow, SyncStateRow
from refundcli.store.writing import SqlWriting

_REFUND_ID = re.compile(r"rf_[0-9A-Z]{26}")
# Of two words of the same moment the graver one holds, whichever came first.
_GRAVITY = (Dispute.NONE, Dispute.WON, Dispute.OPEN, Dispute.LOST)


class SqlProviderWriting(SqlWriting):
    """One transaction that also takes down what a provider tells."""

    # --- refunds -------------------------------------------------------------------------------------------

    def see_elsewhere(self, invoice: Invoice, payment: Payment, news: RefundNews, *, evidence: str) -> Refund:
        made = Refund(
            id=self._id_of_external(news),
            invoice_id=invoice.id,
            invoice_number=invoice.number,
            payment_id=payment.id,
            kind=RefundKind.EXTERNAL,
            amount=news.amount,
            reason=None,
            state=news.state,
            request_key=f"elsewhere:{news.reference}",
            content="",
            created_at=news.created_at or self._audit.at,
            operator="",
            provider_reference=news.reference,
            provider_status=news.status,
            failure=news.failure,
            seen_at=news.provider,
        )
        row = row_of(made)
        row.account, row.livemode = news.account, news.livemode
        if made.comes_back_by(news.state, is_late=news.is_late):
            row.came_back_at = self._audit.at
        self._session.add(row)
        self._session.flush()
        facts = {"invoice": invoice.number, "amount": str(news.amount), "state": news.state, "evidence": evidence}
        facts |= {"provider": news.provider, "provider_reference": news.reference}
        self._audit.write("refund made elsewhere seen", made.id, {}, facts)
        self._count_elsewhere(payment.id)
        self._hold_what_came_back(payment.id)
        self._update_invoice(invoice.id)
        return made

    def _id_of_external(self, news: RefundNews) -> str:
        """The id that it bears at the provider, if it is one of ours that these books have forgotten.

        Then they were restored from a backup, and the request that made it is known again by this id when it comes.
        """
        forgotten = _REFUND_ID.fullmatch(news.refund_id) and self.refund(news.refund_id) is None
        return news.refund_id if forgotten else new_id("rf_", self._audit.at)

    def match_record(self, record: Refund, news: RefundNews, *, evidence: str) -> None:
        statement = (
            update(RefundRow)
            .where(col(RefundRow.id) == record.id, col(RefundRow.provider_reference).is_(None))
            .values(provider_reference=news.reference, provider_status=news.status, updated_at=self._audit.at)
        )
        if self._hits(statement):
            after = {"provider_reference": news.reference, "evidence": evidence}
            self._audit.write("record matched at the provider", record.id, {}, after)

    def adopt(self, refund: Refund, *, reason: RefundReason, memo: str) -> Refund:
        values = {"reason": reason, "memo": memo, "operator": self._audit.operator, "updated_at": self._audit.at}
        unadopted = (col(RefundRow.id) == refund.id, col(RefundRow.reason) == "")
        assert self._hits(update(RefundRow).where(*unadopted).values(**values)), "it was read in this transaction"
        adopted = self.refund(refund.id)
        assert adopted
        self._draft_credit_note(adopted)
        self._audit.write("refund adopted", refund.id, {}, {"reason": reason} | ({"memo": memo} if memo else {}))
        return adopted

    def doubt_failure(self, refund: Refund, *, evidence: str) -> bool:
        if not self._hold(refund):
            return False
        doubted = update(RefundRow).where(col(RefundRow.id) == refund.id)
        self._hits(doubted.values(came_back_at=self._audit.at, updated_at=self._audit.at))
        self._audit.write("refund told as successful after it failed", refund.id, {}, {"evidence": evidence})
        self._update_invoice(refund.invoice_id)
        return True

    def acknowledge(self, refund: Refund, *, memo: str) -> Refund:
        statement = (
            update(RefundRow)
            .where(col(RefundRow.id) == refund.id, col(RefundRow.acknowledged_at).is_(None))
            .values(acknowledged_at=self._audit.at, acknowledged_by=self._audit.operator, updated_at=self._audit.at)
        )
        assert self._hits(statement), "it was read in this transaction"
        known = self.refund(refund.id)
        assert known
        self._audit.write("refund acknowledged", refund.id, {}, {"memo": memo} if memo else {})
        self._move_sums(refund, known)
        self._update_invoice(refund.invoice_id)
        return known

    # --- payments ------------------------------------------------------------------------------------------

    def note_dispute(self, payment: Payment, news: DisputeNews, *, evidence: str) -> bool:
        row = self._session.get(PaymentRow, payment.id, populate_existing=True)
        assert row
        known, told = Dispute(row.dispute), news.dispute
        if row.dispute_at and (news.at, _GRAVITY.index(told)) < (row.dispute_at, _GRAVITY.index(known)):
            return False
        amount = news.amount.minor if news.amount else row.dispute_amount
        values: dict[str, Any] = {"dispute": told, "dispute_amount": amount, "dispute_at": news.at}
        self._hits(update(PaymentRow).where(col(PaymentRow.id) == payment.id).values(**values))
        if (known, row.dispute_amount) == (told, amount):
            return False
        before, after = {"dispute": known}, {"dispute": told, "status": news.status, "evidence": evidence}
        self._audit.write(f"dispute {told or 'none'}", self._number_of(row.invoice_id), before, after)
        return True

    def note_payment(self, payment: Payment, *, captured: Money, processing: bool, evidence: str) -> bool:
        row = self._session.get(PaymentRow, payment.id, populate_existing=True)
        assert row
        before = {"captured": row.captured, "processing": row.processing}
        after = {"captured": captured.minor, "processing": processing}
        if before == after or captured.minor < row.reserved + row.refunded:
            return False
        self._hits(update(PaymentRow).where(col(PaymentRow.id) == payment.id).values(**after))
        told = after | {"payment": payment.reference, "evidence": evidence}
        self._audit.write("payment corrected", self._number_of(row.invoice_id), before, told)
        self._update_invoice(row.invoice_id)
        return True

    # --- events --------------------------------------------------------------------------------------------

    def store_events(self, events: Sequence[NewEvent]) -> int:
        if not events:
            return 0
        rows = [
            {
                "provider": event.provider,
                "account": event.account,
                "event_key": event.key,
                "kind": event.kind,
                "about": event.about,
                "livemode": event.livemode,
                "occurred_at": event.occurred_at,
                "received_at": self._audit.at,
                "payload": event.payload,
                "state": EventState.WAITING,
                "note": "",
            }
            for event in events
        ]
        dialect = import_module(f"sqlalchemy.dialects.{self._session.get_bind().dialect.name}")
        statement = dialect.insert(ProviderEventRow).on_conflict_do_nothing().returning(col(ProviderEventRow.id))
        return len(self._session.execute(statement, rows).all())

    def mark_event(self, event: StoredEvent, state: EventState, note: str) -> None:
        marked = update(ProviderEventRow).where(col(ProviderEventRow.id) == event.id)
        self._hits(marked.values(state=state, note=note))

    def acknowledge_event(self, event: StoredEvent, *, memo: str) -> None:
        said = f" ({memo})" if memo else ""
        note = f"acknowledged by {self._audit.operator}{said}; {event.note}"
        self.mark_event(event, EventState.APPLIED, note)
        after = {"state": EventState.APPLIED, "note": note}
        self._audit.write("event acknowledged", f"event {event.id}", {"state": event.state}, after)

    def count_refused_deliveries(self, counts: Mapping[str, int]) -> None:
        """No change of any state, and so no entry in the audit trail."""
        for flaw, count in counts.items():
            name = REFUSED_DELIVERY + flaw
            more = update(CounterRow).where(col(CounterRow.name) == name)
            if not self._hits(more.values(value=col(CounterRow.value) + count)):
                self._session.execute(insert(CounterRow).values(name=name, value=count))

    def set_sync_state(self, name: str, value: str) -> None:
        row = self._session.get(SyncStateRow, name) or SyncStateRow(name=name)
        row.value, row.at = value, self._audit.at
        self._session.add(row)
        self._session.flush()

    def _number_of(self, invoice_id: int) -> str:
        return self._session.exec(select(InvoiceRow.number).where(InvoiceRow.id == invoice_id)).one()
