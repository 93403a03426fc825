"""Write and undo records of refunds made by other means, many at once, each within its payment's bound (I1)."""

import json
from collections.abc import Sequence
from datetime import date
from itertools import repeat
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from refundcli.domain.identifiers import new_id
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import CreditNoteStatus, RefundKind, RefundState
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.provider_updates import RefundUpdate
from refundcli.services.ports.records import Record
from refundcli.services.ports.store_problems import WouldContradict
from refundcli.store.audit import AuditTrail
from refundcli.store.conditions import CAPTURED, TAKEN_BY_DISPUTES
from refundcli.store.databases.bulk_sql import NotMatched, insert_many, stored, update_many
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.databases.driver_errors import reason
from refundcli.store.repositories.credit_note_numbers import next_numbers
from refundcli.store.repositories.note_contents import Copied, NoteContents, SellerText, issue_facts
from refundcli.store.repositories.rows import facts_of, refund_values, trace_values
from refundcli.store.repositories.sums import SummingWrites, sums_of_invoices
from refundcli.store.tables import REFUND

_RECORDED, _OF_DISPUTE = f"refund {RefundState.RECORDED}", "of_dispute"
# The same guard as for every amount: a payment never refunds more than was captured (I1).
_TAKE = (
    "UPDATE payment SET refunded = refunded + ?, dispute_recorded = dispute_recorded + ?, lost = lost - ?"  # noqa: S608
    f" WHERE id = ? AND reserved + refunded + returned_elsewhere + credited + lost - ? + ? <= {CAPTURED}"
)
_GIVE = (
    "UPDATE payment SET refunded = refunded - ?,"
    " dispute_recorded = CASE WHEN dispute_recorded > ? THEN dispute_recorded - ? ELSE 0 END"
    " WHERE id = ? AND refunded >= ?"
)
# Of older records it is unclear what they took: no more counts as recorded than the records that still stand.
_BOUND = """
    UPDATE payment SET dispute_recorded = (
        SELECT CASE WHEN sum(r.amount) < payment.dispute_recorded THEN sum(r.amount)
            WHEN count(*) = 0 THEN 0 ELSE payment.dispute_recorded END
        FROM refund r WHERE r.payment_id = payment.id AND r.kind = 'record' AND r.state = 'recorded'
            AND r.reason = 'chargeback')
    WHERE id = ?"""
# What disputes have taken may have changed since it was recorded (R11).
_LOSE = (
    f"UPDATE payment SET lost = CASE WHEN {TAKEN_BY_DISPUTES} > dispute_recorded"  # noqa: S608
    f" THEN {TAKEN_BY_DISPUTES} - dispute_recorded ELSE 0 END WHERE id = ?"
)
_REVERSE = "UPDATE refund SET state = ?, failure = ?, updated_at = ? WHERE id = ? AND state = ?"
_VOID = "UPDATE credit_note SET status = ?, voided_at = ? WHERE refund_id = ? AND status = ?"
_RECORDS = """
    SELECT subject, "after" FROM audit_entry
    WHERE subject IN (SELECT key FROM json_each(:subjects)) AND action = :action
"""
# Sums and status in one UPDATE, so that the CHECK on Refunded always holds (R6).
_SUMS = "UPDATE invoice SET paid = ?, returned = ?, status = ?, updated_at = ? WHERE id = ?"
_NOTE = (
    "id", "refund_id", "invoice_id", "number", "status", "amount", "currency", "reason", "memo", "issued_on",
    "issued_at",
)  # fmt: skip


class Recording:
    """Writes records in the given transaction, whose lock keeps every other writer out."""

    def __init__(self, connection: Connection, audit: AuditTrail, seller: SellerText = lambda: "") -> None:
        self._connection, self._audit = connection, audit
        self._contents = NoteContents(connection, seller)
        self._rows = ConnectionRows(self._connection)
        self._stored_at = stored(self._connection, audit.at)

    def record(self, records: Sequence[Record], *, issue_date: date, credit_note_format: str) -> None:
        """Payments, refunds, issued credit notes, invoices, and an audit entry for each change (R7, I10)."""
        if not records:
            return
        self._audit.check_clock()
        update_many(self._connection, _TAKE, list(map(_taken, records)))
        self._insert_refunds(records)
        note_numbers = next_numbers(self._connection, issue_date, credit_note_format, len(records))
        copied = self._contents.copied([record.refund for record in records])
        self._issue(records, note_numbers, issue_date, copied)
        for record, note_number, copy in zip(records, note_numbers, copied or repeat(("", None)), strict=False):
            refund = record.refund
            self._audit.write(_RECORDED, refund.id, {}, facts_of(refund) | _of_dispute(record))
            self._audit.write("credit note issued", refund.id, {}, issue_facts(note_number, *copy))
        self._update_invoices([record.refund.invoice_id for record in records])
        self._touch([record.refund for record in records])

    def _touch(self, refunds: Sequence[Refund]) -> None:
        """For the audit entry: these rows were written past SQLAlchemy."""
        rows, refund_ids = self._audit.rows, [refund.id for refund in refunds]
        rows.touch("refund", refund_ids)
        rows.touch("credit_note", refund_ids, column="refund_id")
        rows.touch("payment", [refund.payment_id for refund in refunds])
        rows.touch("invoice", [refund.invoice_id for refund in refunds])

    def undo(self, records: Sequence[Record], *, memo: str) -> None:
        """Undo records: `recorded` becomes `reversed`, the amounts are free, and the void notes keep their numbers."""
        if not records:
            return
        refunds = [record.refund for record in records]
        disputed_refund_ids = self._taken_by_disputes([record.refund.id for record in records if record.charged_back])
        update_many(
            self._connection, _GIVE, [_given_back(refund, refund.id in disputed_refund_ids) for refund in refunds]
        )
        recorded_state, reversed_state = RefundState.RECORDED.value, RefundState.REVERSED.value
        update_many(
            self._connection,
            _REVERSE,
            [(reversed_state, memo, self._stored_at, refund.id, recorded_state) for refund in refunds],
        )
        charged_back_payments = [(record.refund.payment_id,) for record in records if record.charged_back]
        update_many(self._connection, _BOUND, charged_back_payments)
        update_many(self._connection, _LOSE, charged_back_payments)
        issued_status, void_status = CreditNoteStatus.ISSUED.value, CreditNoteStatus.VOID.value
        update_many(
            self._connection, _VOID, [(void_status, self._stored_at, refund.id, issued_status) for refund in refunds]
        )
        for refund in refunds:
            note_number = refund.credit_note.number if refund.credit_note else ""
            facts_after = {"state": RefundState.REVERSED, "memo": memo}
            self._audit.write("refund reversed", refund.id, {"state": refund.state}, facts_after)
            self._audit.write(
                "credit note void", refund.id, {"status": CreditNoteStatus.ISSUED}, {"number": note_number}
            )
        self._update_invoices([refund.invoice_id for refund in refunds])
        self._touch(refunds)

    def _taken_by_disputes(self, refund_ids: Sequence[str]) -> set[str]:
        """Those of the records that were written as taken by a dispute; records of earlier releases do not say."""
        entries = self._rows.all(_RECORDS, subjects=refund_ids, action=_RECORDED)
        return {refund_id for refund_id, facts_json in entries if _OF_DISPUTE in json.loads(facts_json)}

    def _insert_refunds(self, records: Sequence[Record]) -> None:
        rows = []
        for record in records:
            row = refund_values(record.refund)
            row["created_at"] = row["updated_at"] = self._stored_at
            row["refunded_on"] = stored(self._connection, row["refunded_on"])
            rows.append(row)
        insert_many(self._connection, "refund", tuple(rows[0]), [tuple(row.values()) for row in rows])

    def _issue(
        self,
        records: Sequence[Record],
        note_numbers: Sequence[str],
        issue_date: date,
        copied: Sequence[Copied] | None,
    ) -> None:
        stored_issue_date, issued_status = stored(self._connection, issue_date), CreditNoteStatus.ISSUED.value
        note_rows = []
        for record, note_number in zip(records, note_numbers, strict=True):
            refund = record.refund
            assert refund.reason
            amount_and_reason = (refund.amount.minor, refund.amount.currency.code, refund.reason.value, refund.memo)
            note_rows.append(
                (
                    new_id("cn_", self._audit.at),
                    refund.id,
                    refund.invoice_id,
                    note_number,
                    issued_status,
                    *amount_and_reason,
                    stored_issue_date,
                    self._stored_at,
                )
            )
        if copied is None:
            insert_many(self._connection, "credit_note", _NOTE, note_rows)
            return
        rows_with_content = [(*row, *copy) for row, copy in zip(note_rows, copied, strict=True)]
        insert_many(self._connection, "credit_note", (*_NOTE, "content", "seller_id"), rows_with_content)

    def _update_invoices(self, invoice_ids: Sequence[int]) -> None:
        sums = sums_of_invoices(self._rows, self._audit, dict.fromkeys(invoice_ids))
        update_many(self._connection, _SUMS, [(*columns, self._stored_at, invoice_id) for *columns, invoice_id in sums])


def _taken(record: Record) -> tuple[int, ...]:
    amount_minor = record.refund.amount.minor
    disputed_minor = amount_minor if record.charged_back else 0
    return amount_minor, disputed_minor, disputed_minor, record.refund.payment_id, disputed_minor, amount_minor


def _of_dispute(record: Record) -> dict[str, object]:
    """For the audit entry, from which `undo` reads it: whether disputes took it (R11)."""
    return {_OF_DISPUTE: str(record.refund.amount)} if record.charged_back else {}


def _given_back(refund: Refund, was_taken_by_dispute: bool) -> tuple[int, ...]:
    amount_minor = refund.amount.minor
    disputed_minor = amount_minor if was_taken_by_dispute else 0
    return amount_minor, disputed_minor, disputed_minor, refund.payment_id, amount_minor


class SqlRecords(SummingWrites):
    """Records in a transaction that changes the books. `seller`: of the settings, for the notes issued here."""

    def __init__(self, connection: Connection, audit: AuditTrail, seller: SellerText = lambda: "") -> None:
        super().__init__(connection, audit)
        self._seller = seller

    def add(self, records: Sequence[Record], *, on: date, credit_note_format: str) -> None:
        """`on`: the day of their credit notes; `credit_note_format` applies if the store has no numbers yet."""
        try:
            Recording(self._connection, self._audit, self._seller).record(
                records, issue_date=on, credit_note_format=credit_note_format
            )
        except NotMatched as error:
            raise WouldContradict("more than is left of a payment would be recorded") from error
        except IntegrityError as error:
            raise WouldContradict(reason(error.orig)) from error
        self._sums.count_shares_of([record.refund.payment_id for record in records], is_recorded=True)

    def undo(self, records: Sequence[Record], *, memo: str) -> None:
        Recording(self._connection, self._audit).undo(records, memo=memo)
        payment_ids = [record.refund.payment_id for record in records]
        self._sums.count_shares_of(payment_ids)
        external_query = select(REFUND.c.payment_id).where(
            REFUND.c.payment_id.in_(payment_ids), REFUND.c.kind == RefundKind.EXTERNAL
        )
        for payment_id in self._connection.execute(external_query.distinct()).scalars().all():
            self._sums.reserve_external(payment_id)

    def match(self, record: Refund, report: RefundUpdate, *, update_source: str) -> None:
        statement = (
            update(REFUND)
            .where(REFUND.c.id == record.id, REFUND.c.provider_reference.is_(None))
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

    def note_trace(self, record: Refund, report: RefundUpdate, *, update_source: str) -> bool:
        trace = record.trace_after(report.trace)
        if trace is None or trace == record.trace:
            return False
        self._hits(update(REFUND).where(REFUND.c.id == record.id).values(**trace_values(trace)))
        facts_after = {"trace_number": trace.number, "trace_status": trace.status, "evidence": update_source}
        self._audit.write(
            "trace number reported", record.id, {}, {name: fact for name, fact in facts_after.items() if fact}
        )
        return True

    def note_failed(self, record: Refund, report: RefundUpdate, *, update_source: str) -> bool:
        failed_at = report.reported_at or self._audit.at
        if record.failed_at and (report.reported_at is None or record.failed_at >= failed_at):
            return False
        failure = report.failure or f"{report.state} at {report.provider.label}"
        is_same_failure = (record.provider_status, record.failure) == (report.status, failure)
        if is_same_failure and record.has_failed_at_provider and report.provider in CAN_LOOK_UP:
            # Each lookup has a new date, but reports the same.
            return False
        statement = update(REFUND).where(REFUND.c.id == record.id)
        columns: dict[str, Any] = {"failed_at": failed_at, "failure": failure, "provider_status": report.status}
        self._hits(statement.values(**columns, updated_at=self._audit.at))
        facts_after = {"provider_status": report.status, "failure": failure, "evidence": update_source}
        self._audit.write("recorded refund failed at the provider", record.id, {}, facts_after)
        return True
