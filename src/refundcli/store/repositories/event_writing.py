"""Write what providers report: external refunds, failures and reversals, and the events themselves."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from typing import Any

from sqlalchemy import func, update
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from refundcli.domain.identifiers import new_id
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundKind, RefundState
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.provider_updates import (
    ACKNOWLEDGED,
    WORD_DECIDED,
    EventState,
    NewEvent,
    RefundUpdate,
    StoredEvent,
)
from refundcli.services.ports.records import Settlement
from refundcli.services.ports.rejection_reasons import RejectionReason
from refundcli.store.repositories.delivery_counts import count_rejected
from refundcli.store.repositories.event_rows import event_of
from refundcli.store.repositories.rows import row_of
from refundcli.store.repositories.share_writing import SqlShareWriting
from refundcli.store.schema import (
    DisputeRow,
    EventPaymentRow,
    PaymentRow,
    ProviderEventRow,
    RefundRow,
    SyncStateRow,
    WordDecisionRow,
)

_EVENT_KEY = ("id", "provider", "account", "event_key")
# One of the payment's ids at its provider.
_PAYMENT_ID: Any = func.coalesce(PaymentRow.payment_intent, PaymentRow.charge, PaymentRow.psp_reference)
_REFUND_ID = re.compile(r"rf_[0-9A-Z]{26}")


class SqlProviderWriting(SqlShareWriting):
    """A transaction that also writes what a provider reports."""

    # --- refunds -------------------------------------------------------------------------------------------

    def record_external(
        self, invoice: Invoice, payment: Payment, report: RefundUpdate, *, undecided: bool, update_source: str
    ) -> Refund:
        failed = report.state is RefundState.FAILED
        needs_a_person = report.may_be_retried or report.state is RefundState.REVERSED
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
            needs_acknowledgement_since=self._audit.at if needs_a_person else None,
            holding=failed and report.may_be_retried,
            hold_until=report.hold_until,
            succeeded_at=report.reported_at if report.state is RefundState.SUCCEEDED else None,
            failed_at=report.reported_at if failed else None,
        )
        row = row_of(refund)
        row.account, row.livemode = report.account, report.livemode
        self._session.add(row)
        self._session.flush()
        facts: dict[str, object] = {"invoice": invoice.number, "amount": str(report.amount), "state": report.state}
        facts |= {"evidence": update_source}
        facts |= {"provider": report.provider, "provider_reference": report.reference}
        if undecided:
            facts["undecided"] = True
        self._audit.write("refund made elsewhere seen", refund.id, {}, facts)
        self._count_external(payment.id)
        self._reserve_external(payment.id)
        self._update_invoice(invoice.id)
        return refund

    def _id_of_external(self, report: RefundUpdate) -> str:
        """Its old id if it is one of our refunds that a restored backup lost, else a new id.

        With the old id, a repeat of the original request is recognised.
        """
        forgotten = _REFUND_ID.fullmatch(report.refund_id) and self.refund(report.refund_id) is None
        return report.refund_id if forgotten else new_id("rf_", self._audit.at)

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
            after = {"provider_reference": report.reference, "evidence": update_source}
            self._audit.write("record matched at the provider", record.id, {}, after)

    def note_record_failed(self, record: Refund, report: RefundUpdate, *, update_source: str) -> bool:
        dated = report.reported_at or self._audit.at
        if record.failed_at and (report.reported_at is None or record.failed_at >= dated):
            return False
        failure = report.failure or f"{report.state} at {report.provider.label}"
        is_same = (record.provider_status, record.failure) == (report.status, failure)
        if is_same and record.has_failed_at_provider and report.provider in CAN_LOOK_UP:
            # Each lookup has a new date, but reports the same.
            return False
        noted = update(RefundRow).where(col(RefundRow.id) == record.id)
        values: dict[str, Any] = {"failed_at": dated, "failure": failure, "provider_status": report.status}
        self._hits(noted.values(**values, updated_at=self._audit.at))
        after = {"provider_status": report.status, "failure": failure, "evidence": update_source}
        self._audit.write("recorded refund failed at the provider", record.id, {}, after)
        return True

    def adopt(self, refund: Refund, *, reason: RefundReason, memo: str) -> Refund:
        self._audit.check_clock()
        values = {"reason": reason, "memo": memo, "operator": self._audit.operator, "updated_at": self._audit.at}
        unadopted = (col(RefundRow.id) == refund.id, col(RefundRow.reason) == "")
        assert self._hits(update(RefundRow).where(*unadopted).values(**values, undecided=False)), (
            "it was read in this transaction"
        )
        if refund.undecided:
            self._count_external(refund.payment_id)
            self._reserve_external(refund.payment_id)
            self._update_invoice(refund.invoice_id)
        self._count_shares_of([refund.payment_id])
        adopted = self.refund(refund.id)
        assert adopted
        self._draft_credit_note(adopted)
        self._audit.write("refund adopted", refund.id, {}, {"reason": reason} | ({"memo": memo} if memo else {}))
        return adopted

    def match_external(self, external: Refund, record: Refund) -> None:
        reference, account = external.provider_reference, self._account_of(external)
        gone = update(RefundRow).where(col(RefundRow.id) == external.id)
        # Its reference belongs to the record now. The external refund stays in the history and no longer counts.
        values: dict[str, Any] = {"state": RefundState.REVERSED, "provider_reference": None, "undecided": False}
        values |= {"failure": f"is recorded as {record.id}", "updated_at": self._audit.at}
        self._hits(gone.values(**values))
        self._audit.write("external refund matched", external.id, {"state": external.state}, {"record": record.id})
        matched = update(RefundRow).where(col(RefundRow.id) == record.id)
        provider = external.provider.value if external.provider else None
        values = {"provider_reference": reference, "provider": provider, "account": account}
        if external.provider not in CAN_LOOK_UP:
            values["succeeded_at"] = external.succeeded_at
        self._hits(matched.values(**values, updated_at=self._audit.at))
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
        values = {"pending_reason": report.pending_reason, "expires_at": report.expires_at}
        self._hits(update(RefundRow).where(col(RefundRow.id) == refund.id).values(**values))
        after = {"pending_reason": report.pending_reason, "expires_at": str(report.expires_at or "")}
        self._audit.write("refund reported again", refund.id, {}, {k: v for k, v in after.items() if v})
        return True

    def note_success(self, refund: Refund, *, at: datetime | None, update_source: str) -> bool:
        dated = at or self._audit.at
        if refund.succeeded_at and refund.succeeded_at >= dated:
            return False
        noted = update(RefundRow).where(col(RefundRow.id) == refund.id)
        self._hits(noted.values(succeeded_at=dated, updated_at=self._audit.at))
        after = {"succeeded_at": dated.isoformat(), "evidence": update_source}
        when = " after it failed" if refund.failed_at else ""
        self._audit.write(f"refund reported as successful{when}", refund.id, {}, after)
        return True

    def hold_failed(self, refund: Refund, *, update_source: str) -> bool:
        """An external refund is counted among those that hold an amount; one of ours needs money left to reserve."""
        if not refund.holding and not refund.is_external and not self._hold(refund):
            return False
        statement = update(RefundRow).where(col(RefundRow.id) == refund.id)
        values = {"holding": True, "hold_until": None, "acknowledged_at": None, "acknowledged_by": ""}
        self._hits(statement.values(**values, came_back_at=self._audit.at, updated_at=self._audit.at))
        self._audit.write("refund held", refund.id, {}, {"evidence": update_source})
        self._reserve_external(refund.payment_id)
        self._update_invoice(refund.invoice_id)
        return True

    def reverse_part(self, refund: Refund, amount: Money, *, update_source: str) -> None:
        values = {"reversed_amount": amount.minor, "came_back_at": self._audit.at, "acknowledged_at": None}
        reversed_ = update(RefundRow).where(col(RefundRow.id) == refund.id)
        self._hits(reversed_.values(**values, updated_at=self._audit.at))
        after = {"reversed": str(amount), "evidence": update_source}
        self._audit.write("refund reversed in part", refund.id, {"state": refund.state}, after)
        self._move_sums(refund, replace(refund, reversed_amount=amount))
        self._update_invoice(refund.invoice_id)

    def release_lapsed_holds(self, invoice: Invoice) -> bool:
        lapsed = [
            refund
            for refund in invoice.refunds
            if refund.holding and refund.hold_until and refund.hold_until <= self._audit.at
        ]
        for refund in lapsed:
            self._release_hold(refund)
            self._audit.write("hold lapsed", refund.id, {"hold_until": str(refund.hold_until)}, {})
        return bool(lapsed)

    def _release_hold(self, refund: Refund) -> None:
        freed = update(RefundRow).where(col(RefundRow.id) == refund.id)
        self._hits(freed.values(holding=False, hold_until=None, updated_at=self._audit.at))
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
        acknowledged = self.refund(refund.id)
        assert acknowledged
        return acknowledged

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
                "source": event.source,
                "not_applied": event.not_applied or "",
            }
            for event in events
        ]
        dialect = import_module(f"sqlalchemy.dialects.{self._session.get_bind().dialect.name}")
        insert_new = dialect.insert(ProviderEventRow).on_conflict_do_nothing()
        stored = insert_new.returning(*(col(getattr(ProviderEventRow, name)) for name in _EVENT_KEY))
        new = {tuple(row[1:]): row[0] for row in self._session.execute(stored, rows)}
        by_key = {(event.provider, event.account, event.key): event for event in events}
        self.link_payments({number: by_key[key] for key, number in new.items()})
        return len(new)

    def link_payments(self, events: Mapping[int, NewEvent]) -> None:
        named = list(events.values())
        linked = {**self._payments_of_disputes(named), **self._payments_of_refunds(named)}
        links = [
            {"event_id": number, "reference": reference}
            for number, event in events.items()
            for reference in dict.fromkeys(
                (*event.payments, *(linked[payment] for payment in event.payments if payment in linked))
            )
        ]
        if links:
            dialect = import_module(f"sqlalchemy.dialects.{self._session.get_bind().dialect.name}")
            self._session.execute(dialect.insert(EventPaymentRow).on_conflict_do_nothing(), links)

    def _payments_of_disputes(self, events: Sequence[NewEvent]) -> dict[str, str]:
        """The payment's reference by its dispute's, because an Adyen event may name only the dispute."""
        named = {
            reference
            for event in events
            if event.provider is Provider.ADYEN or event.not_applied
            for reference in event.payments
        }
        query = (
            select(DisputeRow.reference, _PAYMENT_ID)
            .join(PaymentRow, col(PaymentRow.id) == col(DisputeRow.payment_id))
            .where(col(DisputeRow.reference).in_(sorted(named)))
        )
        rows = self._session.exec(query) if named else ()
        return {dispute: payment for dispute, payment in rows if dispute and payment}

    def _payments_of_refunds(self, events: Sequence[NewEvent]) -> dict[str, str]:
        """The payment's reference by its refund's, because an event of an unknown shape may name only the refund."""
        named = {reference for event in events if event.not_applied for reference in event.payments}
        share = aliased(PaymentRow)
        query = (
            select(RefundRow.provider_reference, _PAYMENT_ID)
            .join(share, col(share.id) == col(RefundRow.payment_id))
            .join(PaymentRow, col(PaymentRow.id) == func.coalesce(share.share_of, share.id))
            .where(col(RefundRow.provider_reference).in_(sorted(named)))
        )
        rows = self._session.exec(query) if named else ()
        return {refund: payment for refund, payment in rows if refund and payment}

    def store_unreviewed(self, event: NewEvent, why: str) -> EventState:
        key = (
            col(ProviderEventRow.provider) == event.provider,
            col(ProviderEventRow.account) == event.account,
            col(ProviderEventRow.event_key) == event.key,
        )
        if not self.store_events([event]):
            return EventState(self._session.exec(select(ProviderEventRow.state).where(*key)).one())
        self._hits(update(ProviderEventRow).where(*key).values(state=EventState.UNREVIEWED, note=why))
        self._audit.write("unreviewed", event.about, {}, {"word": event.kind, "why": why})
        return EventState.UNREVIEWED

    def mark_event(self, event: StoredEvent, state: EventState, note: str) -> None:
        marked = update(ProviderEventRow).where(col(ProviderEventRow.id) == event.id)
        self._hits(marked.values(state=state, note=note))

    def mark_event_unchanged(self, event: StoredEvent, state: EventState, note: str) -> bool:
        unchanged = (
            col(ProviderEventRow.id) == event.id,
            col(ProviderEventRow.state) == event.state,
            col(ProviderEventRow.note) == event.note,
        )
        return self._hits(update(ProviderEventRow).where(*unchanged).values(state=state, note=note))

    def acknowledge_event(self, event: StoredEvent, *, memo: str) -> None:
        remark = f" ({memo})" if memo else ""
        note = f"{ACKNOWLEDGED} {self._audit.operator}{remark}; {event.note}"
        self.mark_event(event, EventState.APPLIED, note)
        after = {"state": EventState.APPLIED, "note": note}
        self._audit.write("event acknowledged", f"event {event.id}", {"state": event.state}, after)

    def decide_word(self, provider: Provider, word: str, effect: str) -> int:
        of_word = (ProviderEventRow.provider == provider, ProviderEventRow.kind == word)
        unreviewed = select(ProviderEventRow).where(*of_word, ProviderEventRow.state == EventState.UNREVIEWED)
        events = [event_of(row) for row in self._session.exec(unreviewed.order_by(col(ProviderEventRow.id)))]
        for event in events:
            self.acknowledge_event(event, memo=f"{word} {WORD_DECIDED} {effect}")
        existing = self._session.get(WordDecisionRow, (provider.value, word))
        row = existing or WordDecisionRow(provider=provider.value, word=word)
        row.effect, row.operator, row.decided_at = effect, self._audit.operator, self._audit.at
        self._session.add(row)
        self._session.flush()
        self._audit.write("word decided", f"{provider}:{word}", {}, {"effect": effect, "events": len(events)})
        return len(events)

    def end_decision(self, provider: Provider, word: str) -> None:
        row = self._session.get(WordDecisionRow, (provider.value, word))
        if row:
            before = {"effect": row.effect}
            self._session.delete(row)
            self._session.flush()
            self._audit.write("word decision ended", f"{provider}:{word}", before, {"why": "the word is listed"})

    def change_number_format(self, credit_note_format: str) -> None:
        before = self.number_format()
        store_info = self._info()
        store_info.number_format = credit_note_format
        self._session.add(store_info)
        self._session.flush()
        self._audit.write("number format changed", "store", {"format": before}, {"format": credit_note_format})

    def count_rejected_deliveries(self, counts: Mapping[tuple[Provider | None, RejectionReason], int]) -> None:
        """Changes no state, so it writes no audit entry."""
        count_rejected(self._session, counts, at=self._audit.at)

    def set_sync_state(self, name: str, value: str) -> None:
        row = self._session.get(SyncStateRow, name) or SyncStateRow(name=name)
        row.value, row.at = value, self._audit.at
        self._session.add(row)
        self._session.flush()
