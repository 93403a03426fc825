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

    # --- events --------------------------------------------------------------------------------------------

    def store_events(self, events: Sequence[NewEvent]) -> int:
        if not events:
            return 0
        event_rows = [
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
        dialect_module = import_module(f"sqlalchemy.dialects.{self._session.get_bind().dialect.name}")
        insert_new = dialect_module.insert(ProviderEventRow).on_conflict_do_nothing()
        insert_returning_keys = insert_new.returning(*(col(getattr(ProviderEventRow, column)) for column in _EVENT_KEY))
        new_id_by_key = {tuple(row[1:]): row[0] for row in self._session.execute(insert_returning_keys, event_rows)}
        event_by_key = {(event.provider, event.account, event.key): event for event in events}
        self.link_payments({event_id: event_by_key[event_key] for event_key, event_id in new_id_by_key.items()})
        return len(new_id_by_key)

    def link_payments(self, events: Mapping[int, NewEvent]) -> None:
        """Store which payments the events, by their ids, are about."""
        new_events = list(events.values())
        payment_of_reference = {**self._payments_of_disputes(new_events), **self._payments_of_refunds(new_events)}
        links = [
            {"event_id": event_id, "reference": reference}
            for event_id, event in events.items()
            for reference in dict.fromkeys(
                (
                    *event.payments,
                    *(payment_of_reference[named] for named in event.payments if named in payment_of_reference),
                )
            )
        ]
        if links:
            dialect_module = import_module(f"sqlalchemy.dialects.{self._session.get_bind().dialect.name}")
            self._session.execute(dialect_module.insert(EventPaymentRow).on_conflict_do_nothing(), links)

    def _payments_of_disputes(self, events: Sequence[NewEvent]) -> dict[str, str]:
        """The payment's reference by its dispute's, because an Adyen event may name only the dispute."""
        event_references = {
            reference
            for event in events
            if event.provider is Provider.ADYEN or event.not_applied
            for reference in event.payments
        }
        query = (
            select(DisputeRow.reference, _PAYMENT_ID)
            .join(PaymentRow, col(PaymentRow.id) == col(DisputeRow.payment_id))
            .where(col(DisputeRow.reference).in_(sorted(event_references)))
        )
        rows = self._session.exec(query) if event_references else ()
        return {
            dispute_reference: payment_reference
            for dispute_reference, payment_reference in rows
            if dispute_reference and payment_reference
        }

    def _payments_of_refunds(self, events: Sequence[NewEvent]) -> dict[str, str]:
        """The payment's reference by its refund's, because an event of an unknown shape may name only the refund."""
        event_references = {reference for event in events if event.not_applied for reference in event.payments}
        share_table = aliased(PaymentRow)
        query = (
            select(RefundRow.provider_reference, _PAYMENT_ID)
            .join(share_table, col(share_table.id) == col(RefundRow.payment_id))
            .join(PaymentRow, col(PaymentRow.id) == func.coalesce(share_table.share_of, share_table.id))
            .where(col(RefundRow.provider_reference).in_(sorted(event_references)))
        )
        rows = self._session.exec(query) if event_references else ()
        return {
            refund_reference: payment_reference
            for refund_reference, payment_reference in rows
            if refund_reference and payment_reference
        }

    def store_unreviewed(self, event: NewEvent, reason: str) -> EventState:
        conditions = (
            col(ProviderEventRow.provider) == event.provider,
            col(ProviderEventRow.account) == event.account,
            col(ProviderEventRow.event_key) == event.key,
        )
        if not self.store_events([event]):
            return EventState(self._session.exec(select(ProviderEventRow.state).where(*conditions)).one())
        self._hits(update(ProviderEventRow).where(*conditions).values(state=EventState.UNREVIEWED, note=reason))
        self._audit.write("unreviewed", event.about, {}, {"word": event.kind, "why": reason})
        return EventState.UNREVIEWED

    def mark_event(self, event: StoredEvent, state: EventState, note: str) -> None:
        statement = update(ProviderEventRow).where(col(ProviderEventRow.id) == event.id)
        self._hits(statement.values(state=state, note=note))

    def mark_event_unchanged(self, event: StoredEvent, state: EventState, note: str) -> bool:
        conditions = (
            col(ProviderEventRow.id) == event.id,
            col(ProviderEventRow.state) == event.state,
            col(ProviderEventRow.note) == event.note,
        )
        return self._hits(update(ProviderEventRow).where(*conditions).values(state=state, note=note))

    def acknowledge_event(self, event: StoredEvent, *, memo: str) -> None:
        memo_in_parentheses = f" ({memo})" if memo else ""
        note = f"{ACKNOWLEDGED} {self._audit.operator}{memo_in_parentheses}; {event.note}"
        self.mark_event(event, EventState.APPLIED, note)
        facts_after = {"state": EventState.APPLIED, "note": note}
        self._audit.write("event acknowledged", f"event {event.id}", {"state": event.state}, facts_after)

    def decide_word(self, provider: Provider, word: str, effect: str) -> int:
        """Store what an unlisted word of the provider means, and acknowledge its events. Returns how many."""
        word_conditions = (ProviderEventRow.provider == provider, ProviderEventRow.kind == word)
        unreviewed_query = select(ProviderEventRow).where(
            *word_conditions, ProviderEventRow.state == EventState.UNREVIEWED
        )
        events = [
            event_of(event_row) for event_row in self._session.exec(unreviewed_query.order_by(col(ProviderEventRow.id)))
        ]
        for event in events:
            self.acknowledge_event(event, memo=f"{word} {WORD_DECIDED} {effect}")
        stored_decision = self._session.get(WordDecisionRow, (provider.value, word))
        decision_row = stored_decision or WordDecisionRow(provider=provider.value, word=word)
        decision_row.effect, decision_row.operator, decision_row.decided_at = (
            effect,
            self._audit.operator,
            self._audit.at,
        )
        self._session.add(decision_row)
        self._session.flush()
        self._audit.write("word decided", f"{provider}:{word}", {}, {"effect": effect, "events": len(events)})
        return len(events)

    def end_decision(self, provider: Provider, word: str) -> None:
        """Delete what was decided about a word of the provider, because the word is listed now."""
        decision_row = self._session.get(WordDecisionRow, (provider.value, word))
        if decision_row:
            facts_before = {"effect": decision_row.effect}
            self._session.delete(decision_row)
            self._session.flush()
            self._audit.write("word decision ended", f"{provider}:{word}", facts_before, {"why": "the word is listed"})

    def change_number_format(self, credit_note_format: str) -> None:
        previous_format = self.number_format()
        store_info = self._info()
        store_info.number_format = credit_note_format
        self._session.add(store_info)
        self._session.flush()
        self._audit.write("number format changed", "store", {"format": previous_format}, {"format": credit_note_format})

    def count_rejected_deliveries(self, counts: Mapping[tuple[Provider | None, RejectionReason], int]) -> None:
        """Changes no state, so it writes no audit entry."""
        count_rejected(self._session, counts, at=self._audit.at)

    def set_sync_state(self, name: str, value: str) -> None:
        """`name`: what is pulled or compared; `value`: how far it has come."""
        sync_row = self._session.get(SyncStateRow, name) or SyncStateRow(name=name)
        sync_row.value, sync_row.at = value, self._audit.at
        self._session.add(sync_row)
        self._session.flush()
