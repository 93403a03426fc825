"""Read refunds, records, credit notes and closings."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from refundcli.domain.closing import Closing
from refundcli.domain.refund import CreditNote, Refund
from refundcli.domain.statuses import ClosingState, Provider, RefundState
from refundcli.store.conditions import EXTERNAL, NEEDS_ACKNOWLEDGEMENT
from refundcli.store.databases.rows import Reads, Row, Rows
from refundcli.store.queries.near_numbers import numbers_near
from refundcli.store.queries.refund_rows import (
    CLOSING_COLUMNS,
    CREDIT_NOTE_COLUMNS,
    REFUND_COLUMNS,
    closing_of,
    credit_note_of,
    refund_of,
)

if TYPE_CHECKING:
    from refundcli.services.ports.documents import IssuedNote
    from refundcli.services.ports.reads import CreditNoteFilter, PendingRefunds
    from refundcli.services.ports.records import SucceededRefund

_REFUNDS = f"""
    SELECT {REFUND_COLUMNS} FROM refund JOIN invoice ON invoice.id = refund.invoice_id
    LEFT JOIN credit_note ON credit_note.refund_id = refund.id
    WHERE {{}}
"""
_CLOSINGS = f"""
    SELECT {CLOSING_COLUMNS} FROM closing JOIN invoice ON invoice.id = closing.invoice_id
    WHERE {{}} ORDER BY closing.created_at, closing.id
"""
_CREDIT_NOTES = f"""
    SELECT {CREDIT_NOTE_COLUMNS} FROM credit_note JOIN invoice ON invoice.id = credit_note.invoice_id WHERE {{}}
"""
_IS_URGENT = "CASE WHEN created_at < :overdue OR pending_reason = :stuck THEN 1 ELSE 0 END"
_COUNT_PENDING = f"""
    SELECT count(*), coalesce(sum({_IS_URGENT}), 0),
        coalesce(sum(CASE WHEN created_at >= :recent THEN 1 ELSE 0 END), 0),
        coalesce(sum(CASE WHEN created_at < :overdue THEN 1 ELSE 0 END), 0)
    FROM refund WHERE state = :pending
"""
_FIRST_PENDING = f"""
    SELECT id FROM refund WHERE state = :pending ORDER BY {_IS_URGENT} DESC, created_at, id LIMIT :limit
"""
# Those that failed after they were accepted are listed by themselves (R14).
_FAILED = """
    FROM refund WHERE state = 'failed' AND kind = 'provider' AND came_back_at IS NULL AND updated_at >= :since
    AND NOT EXISTS (
        SELECT 1 FROM refund AS later WHERE later.payment_id = refund.payment_id
        AND later.created_at > refund.created_at AND later.state NOT IN ('failed', 'reversed')
    )
"""


class SqlRefundReads(Reads):
    """Reads refunds and records."""

    def get(self, refund_id: str) -> Refund | None:
        return refund_with_id(self._rows, refund_id)

    def by_id(self, refund_ids: Sequence[str]) -> dict[str, Refund]:
        refunds = refunds_where(self._rows, "refund.id IN (SELECT key FROM json_each(:ids))", ids=refund_ids)
        return {refund.id: refund for refund in refunds}

    def by_key(self, request_key: str) -> list[Refund]:
        return refunds_where(self._rows, "refund.request_key = :key", key=request_key)

    def by_keys(self, request_keys: Sequence[str]) -> dict[str, list[Refund]]:
        refunds_of_key: dict[str, list[Refund]] = {}
        condition = "refund.request_key IN (SELECT key FROM json_each(:keys))"
        for refund in refunds_where(self._rows, condition, keys=request_keys):
            refunds_of_key.setdefault(refund.request_key, []).append(refund)
        return refunds_of_key

    def in_states(self, *states: RefundState) -> list[Refund]:
        return refunds_where(self._rows, "refund.state IN (SELECT key FROM json_each(:states))", states=states)

    def failed_since(self, since: datetime, *, limit: int) -> tuple[list[Refund], int]:
        count = int(self._rows.value(f"SELECT count(*) {_FAILED}", since=since))
        text = f"SELECT id {_FAILED} ORDER BY created_at DESC, id LIMIT :limit"
        refund_ids = [row[0] for row in self._rows.all(text, since=since, limit=limit)] if count else []
        refund_by_id = self.by_id(refund_ids)
        return [refund_by_id[refund_id] for refund_id in refund_ids], count

    def pending(self, *, recent: datetime, overdue: datetime, stuck: str, limit: int) -> "PendingRefunds":
        """`overdue`: those created before then are late; `stuck`: the reason of those that need someone.

        `recent`: those created since then are counted separately.
        """
        from refundcli.services.ports.reads import PendingRefunds

        parameters: dict[str, Any] = {"overdue": overdue, "stuck": stuck, "pending": RefundState.PENDING}
        counts = map(int, self._rows.all(_COUNT_PENDING, recent=recent, **parameters)[0])
        pending_count, attention_count, recent_count, overdue_count = counts
        refund_ids = [row[0] for row in self._rows.all(_FIRST_PENDING, limit=limit, **parameters)]
        refund_by_id = self.by_id(refund_ids)
        first_refunds = [refund_by_id[refund_id] for refund_id in refund_ids]
        return PendingRefunds(first_refunds, pending_count, attention_count, recent_count, overdue_count)

    def to_acknowledge(self) -> list[Refund]:
        return refunds_where(self._rows, NEEDS_ACKNOWLEDGEMENT)

    def by_provider_references(self, provider: Provider, references: Sequence[str]) -> list[Refund]:
        condition = (
            "refund.provider_reference IN (SELECT key FROM json_each(:references))"
            " AND (refund.provider = :provider OR refund.provider IS NULL)"
        )
        return refunds_where(self._rows, condition, references=references, provider=provider)

    def succeeded(
        self, provider: Provider, since: datetime, until: datetime, *, after: str, limit: int
    ) -> "list[SucceededRefund]":
        """`after`: the id of the last refund that was read."""
        from refundcli.store.queries.summaries import refunds_succeeded

        return refunds_succeeded(self._rows, provider, (since, until), after, limit)


class SqlExternalRefundReads(Reads):
    """Reads external refunds."""

    def listed(self, *, adopted: bool) -> list[Refund]:
        has_reason = "refund.reason <> ''" if adopted else "refund.reason = ''"
        return refunds_where(self._rows, f"refund.{EXTERNAL} AND {has_reason}")


class SqlClosingReads(Reads):
    """Reads closings."""

    def get(self, closing_id: str) -> Closing | None:
        return next(iter(closings_where(self._rows, "closing.id = :id", id=closing_id)), None)

    def in_states(self, *states: ClosingState) -> list[Closing]:
        return closings_where(self._rows, "closing.state IN (SELECT key FROM json_each(:states))", states=states)


class SqlCreditNoteReads(Reads):
    """Reads credit notes."""

    def matching(self, filters: "CreditNoteFilter") -> list[CreditNote]:
        """A page in the order of issue. It starts after the last note of the previous one: all are equally fast."""
        return [credit_note_of(row) for row in self._page(_CREDIT_NOTES, filters)]

    def with_content(self, filters: "CreditNoteFilter") -> "list[IssuedNote]":
        from refundcli.store.queries.note_documents import DOCUMENTS, issued_notes

        return issued_notes(self._rows, self._page(DOCUMENTS, filters))

    def _page(self, query: str, filters: "CreditNoteFilter") -> Sequence[Row]:
        conditions, parameters = ["credit_note.number IS NOT NULL"], dict[str, Any](limit=filters.limit)
        if filters.after:
            conditions.append(
                "(credit_note.issued_on, credit_note.issued_at, credit_note.number) > (:after_day, :after_time, :after)"
            )
            after = filters.after
            parameters |= {"after_day": after.issued_on, "after_time": after.issued_at, "after": after.number}
        elif filters.since:
            # Needed on the first page only: later pages contain later notes.
            conditions.append("credit_note.issued_on >= :since")
        if filters.until:
            conditions.append("credit_note.issued_on <= :until")
        if filters.invoice:
            conditions.append("invoice.number = :invoice")
        if filters.reason:
            conditions.append("credit_note.reason = :reason")
        if filters.run:
            conditions.append("credit_note.refund_id IN (SELECT id FROM refund WHERE run_id = :run)")
        if filters.numbers:
            conditions.append("credit_note.number IN (SELECT key FROM json_each(:numbers))")
        parameters |= {"run": filters.run, "numbers": filters.numbers}
        parameters |= {"since": filters.since, "until": filters.until}
        parameters |= {"invoice": filters.invoice, "reason": filters.reason}
        order = "credit_note.issued_on, credit_note.issued_at, credit_note.number"
        text = f"{query.format(' AND '.join(conditions))} ORDER BY {order} LIMIT :limit"
        return self._rows.all(text, **parameters)

    def get(self, number: str) -> CreditNote | None:
        row = self._rows.first(_CREDIT_NOTES.format("credit_note.number = :number"), number=number)
        return credit_note_of(row) if row else None

    def numbers_near(self, number: str) -> list[str]:
        return [near for near in numbers_near(self._rows, "credit_note", number) if near]

    def number_format(self) -> str:
        return str(self._rows.value("SELECT number_format FROM store_info"))


def refund_with_id(rows: Rows, refund_id: str) -> Refund | None:
    return next(iter(refunds_where(rows, "refund.id = :id", id=refund_id)), None)


def refunds_of_payments(rows: Rows, payment_ids: Sequence[int | None]) -> list[Refund]:
    condition = "refund.payment_id IN (SELECT CAST(key AS BIGINT) FROM json_each(:payments))"
    return refunds_where(rows, condition, payments=payment_ids)


def refunds_where(rows: Rows, condition: str, **parameters: object) -> list[Refund]:
    """In the order of creation. Sorted here: for an ORDER BY, SQLite would walk along the index of all refunds."""
    refunds = [refund_of(row) for row in rows.all(_REFUNDS.format(condition), **parameters)]
    return sorted(refunds, key=lambda refund: (refund.created_at, refund.id))


def closings_where(rows: Rows, condition: str, **parameters: object) -> list[Closing]:
    return [closing_of(row) for row in rows.all(_CLOSINGS.format(condition), **parameters)]
