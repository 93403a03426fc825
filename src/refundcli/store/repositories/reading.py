"""Read the books: invoices, refunds, events, losses and unreviewed updates."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sql
from sqlalchemy import ColumnElement, and_, func, or_
from sqlalchemy.orm import Mapped
from sqlmodel import Session, SQLModel, col, select

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import Invoice, OtherShare, Payment
from refundcli.domain.money import Money, zero
from refundcli.domain.refund import CreditNote, Refund
from refundcli.domain.statuses import ClosingState, Provider, RefundState
from refundcli.services.ports.vocabulary import CaptureChange
from refundcli.store.imports.payment_matching import id_column
from refundcli.store.repositories.payment_reading import (
    disputes_of,
    has_provider,
    may_be_disputed,
    named_by_first_share,
    other_shares_of,
    shared_payments,
    shares_by_payment,
    unreviewed_of,
)
from refundcli.store.repositories.rows import (
    INVOICE_COLUMNS,
    NOTE_COLUMNS,
    OWNER_COLUMNS,
    PAYMENT_COLUMNS,
    audit_entry_of,
    closing_of,
    credit_note_of,
    event_of,
    invoice_of,
    refund_of,
)
from refundcli.store.repositories.run_reading import SqlRunReading
from refundcli.store.schema import (
    LOSS,
    AuditEntryRow,
    CaptureRow,
    ClosingRow,
    CreditNoteRow,
    DisputeRow,
    EventPaymentRow,
    InvoiceRow,
    PaymentRow,
    ProviderAccountRow,
    ProviderEventRow,
    RefundRow,
    StoreInfo,
    SyncStateRow,
    WordDecisionRow,
)
from refundcli.store.value_lists import AMONG, AT_ONCE, among

if TYPE_CHECKING:
    from refundcli.services.ports.invoice_block import InvoiceBlock
    from refundcli.services.ports.provider_updates import EventState, StoredEvent
    from refundcli.services.ports.records import (
        Account,
        AuditEntry,
        Capture,
        CreditNoteFilter,
        EventFilter,
        FailedCapture,
        ImportConflicts,
        InvoiceFilter,
        PaymentLine,
        PendingRefunds,
        SucceededRefund,
    )
    from refundcli.services.ports.rejections import DeliveryCount

_TABLES = SQLModel.metadata.tables
_INVOICE, _PAYMENT, _REFUND, _NOTE, _CLOSING = (
    _TABLES[name] for name in ("invoice", "payment", "refund", "credit_note", "closing")
)
_NEAR_ENOUGH = 2_000
_INVOICES_NUMBERED = sql.select(*INVOICE_COLUMNS).where(among(_INVOICE.c.number))
_PAYMENTS_OF = (
    sql.select(*PAYMENT_COLUMNS)
    .where(among(_PAYMENT.c.invoice_id))
    .order_by(_PAYMENT.c.invoice_id, _PAYMENT.c.position)
)
_Made = TypeVar("_Made", Refund, Closing)


class SqlReading(SqlRunReading):
    """One consistent look at the books."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._secret = b""

    def invoice(self, number: str) -> Invoice | None:
        return self.invoices_by_number([number]).get(number)

    def invoices_by_number(self, numbers: Sequence[str]) -> dict[str, Invoice]:
        return {number: invoice for number, (invoice, _) in self.invoices_with_facts(numbers).items()}

    def invoices_with_facts(self, numbers: Sequence[str]) -> dict[str, tuple[Invoice, int]]:
        found: dict[str, tuple[Invoice, int]] = {}
        for rows, payments in self._numbered(numbers):
            ids = [row[0] for row in rows]
            # Money taken outside has no updates, and a dispute only where an import says so.
            of_provider = [payment for of in payments.values() for payment in of if has_provider(payment)]
            disputed = [payment for of in payments.values() for payment in of if may_be_disputed(payment)]
            disputes = disputes_of(self._session, disputed)
            unreviewed = unreviewed_of(self._session, of_provider)
            others = self._other_shares(rows, payments)
            made = _by_invoice(self._refunds(among(_REFUND.c.invoice_id), ids))
            asked = _by_invoice(self._closings(among(_CLOSING.c.invoice_id), ids))
            for row in rows:
                of = payments.get(row[0], ())
                invoice = invoice_of(row, of, made.get(row[0], ()), asked.get(row[0], ()), disputes, unreviewed, others)
                found[row[1]] = (invoice, _facts(row, of))
        return found

    def _other_shares(
        self, invoices: Sequence[Any], payments: Mapping[int, Sequence[Any]]
    ) -> dict[int, list[OtherShare]]:
        """By payment, for those that pay several invoices."""
        first_shares = shared_payments([payment for of in payments.values() for payment in of])
        if not first_shares:
            return {}
        shares = shares_by_payment(self._session, first_shares)
        ids = [row[1] for of in shares.values() for row in of]
        refunds: dict[int, list[Refund]] = {}
        for refund in self._refunds(among(_REFUND.c.payment_id), ids):
            refunds.setdefault(refund.payment_id, []).append(refund)
        codes = {row[0]: row[4] for row in invoices}
        return {
            payment[1]: other_shares_of(payment, shares, codes[invoice], refunds)
            for invoice, of in payments.items()
            for payment in of
        }

    def payment_of_dispute(self, provider: Provider, account: str, reference: str) -> tuple[Invoice, Payment] | None:
        query = (
            select(InvoiceRow.number, DisputeRow.payment_id)
            .join(PaymentRow, col(PaymentRow.invoice_id) == col(InvoiceRow.id))
            .join(DisputeRow, col(DisputeRow.payment_id) == col(PaymentRow.id))
            .where(DisputeRow.provider == provider, DisputeRow.reference == reference)
            .where(col(DisputeRow.account).in_((account, "")))
        )
        found = self._session.exec(query).first()
        invoice = self.invoice(found[0]) if found else None
        payments = [p for p in invoice.payments if found and p.id == found[1]] if invoice else []
        return (invoice, payments[0]) if invoice and payments else None

    def captures(self, payment: Payment) -> "dict[str, Capture]":
        from refundcli.services.ports.records import Capture

        unit = payment.allocated.currency
        rows = self._session.exec(select(CaptureRow).where(CaptureRow.payment_id == payment.home_id))
        return {
            row.reference: Capture(CaptureChange(row.state), Money(row.amount, unit), row.reported_at) for row in rows
        }

    def losses(self) -> list[Invoice]:
        query = select(InvoiceRow.number).where(col(InvoiceRow.id).in_(sql.select(_PAYMENT.c.invoice_id).where(LOSS)))
        found = self.invoices_by_number(sorted(self._session.exec(query).all()))
        return [
            invoice
            for invoice in found.values()
            if any(p.loss > (p.loss_acknowledged or zero(invoice.currency)) for p in invoice.payments)
        ]

    def unreviewed_events(self, *, limit: int) -> "list[StoredEvent]":
        from refundcli.services.ports.provider_updates import EventState

        query = select(ProviderEventRow).where(ProviderEventRow.state == EventState.UNREVIEWED)
        rows = self._session.exec(query.order_by(col(ProviderEventRow.id)).limit(limit))
        return [event_of(row) for row in rows]

    def payments_of_event(self, number: int) -> list[str]:
        query = select(EventPaymentRow.reference).where(EventPaymentRow.event_id == number)
        return sorted(self._session.exec(query).all())

    def unreviewed_count(self, provider: Provider) -> int:
        from refundcli.services.ports.provider_updates import EventState

        query = select(func.count()).where(
            ProviderEventRow.provider == provider, ProviderEventRow.state == EventState.UNREVIEWED
        )
        return self._session.exec(query).one()

    def decided_words(self, provider: Provider) -> dict[str, str]:
        rows = self._session.exec(select(WordDecisionRow).where(WordDecisionRow.provider == provider))
        return {row.word: row.effect for row in rows}

    def facts_by_number(self, numbers: Sequence[str]) -> dict[str, int]:
        return {
            row[1]: _facts(row, payments.get(row[0], ())) for rows, payments in self._numbered(numbers) for row in rows
        }

    def changed_since(self, entry: int, *, apart_from: str) -> bool:
        later = select(AuditEntryRow.seq).where(col(AuditEntryRow.seq) > entry, AuditEntryRow.subject != apart_from)
        return self._session.exec(later.limit(1)).first() is not None

    def _numbered(self, numbers: Sequence[str]) -> Iterator[tuple[Sequence[Any], dict[int, list[Any]]]]:
        """Rows of INVOICE_COLUMNS, and those of their payments."""
        for start in range(0, len(numbers), AT_ONCE):
            rows = self._session.execute(_INVOICES_NUMBERED, {AMONG: numbers[start : start + AT_ONCE]}).all()
            yield rows, self._payments([row[0] for row in rows])

    def invoices(self, wanted: "InvoiceFilter") -> list[Invoice]:
        from refundcli.store.queries import lists

        rows = lists.invoice_rows(self._session, wanted)
        payments = self._payments([row[0] for row in rows])
        return [invoice_of(row, payments.get(row[0], ())) for row in rows]

    def numbers_behind(self, reference: str) -> list[str]:
        by_payment = select(PaymentRow.invoice_id).where(
            or_(
                col(PaymentRow.payment_intent) == reference,
                col(PaymentRow.charge) == reference,
                col(PaymentRow.psp_reference) == reference,
            )
        )
        # A payment that pays several invoices is named on its first share alone.
        first = by_payment.with_only_columns(col(PaymentRow.share_of)).where(col(PaymentRow.share_of).is_not(None))
        by_share = select(PaymentRow.invoice_id).where(col(PaymentRow.share_of).in_(first))
        by_refund = select(RefundRow.invoice_id).where(
            or_(col(RefundRow.id) == reference, col(RefundRow.provider_reference) == reference)
        )
        by_note = select(CreditNoteRow.invoice_id).where(CreditNoteRow.number == reference)
        by_closing = select(ClosingRow.invoice_id).where(ClosingRow.id == reference)
        ids = by_payment.union(by_share, by_refund, by_note, by_closing)
        query = select(InvoiceRow.number).where(
            or_(col(InvoiceRow.id).in_(ids), col(InvoiceRow.invoice_reference) == reference)
        )
        return sorted(self._session.exec(query).all())

    def numbers_near(self, number: str) -> list[str]:
        return self._near(col(InvoiceRow.number), number)

    def credit_note_numbers_near(self, number: str) -> list[str]:
        return [near for near in self._near(col(CreditNoteRow.number), number) if near]

    def _near(self, column: Mapped[Any], number: str) -> list[str]:
        """Numbers around the wanted one: enough to find a slip of the finger. Those that begin alike come first."""
        near = select(column).order_by(column).limit(_NEAR_ENOUGH)
        found: dict[str, None] = {}
        for length in (len(number) - 1, len(number) - 2, len(number) // 2):
            stem = number[: max(2, length)]
            found |= dict.fromkeys(self._session.exec(near.where(column.startswith(stem, autoescape=True))))
        return list(found) or list(self._session.exec(near).all())

    def refund(self, refund_id: str) -> Refund | None:
        return next(iter(self._refunds(_REFUND.c.id == refund_id)), None)

    def refunds_by_id(self, refund_ids: Sequence[str]) -> dict[str, Refund]:
        return {refund.id: refund for refund in self._refunds(among(_REFUND.c.id), refund_ids)}

    def refunds_by_key(self, request_key: str) -> list[Refund]:
        return self._refunds(_REFUND.c.request_key == request_key)

    def refunds_by_keys(self, request_keys: Sequence[str]) -> dict[str, list[Refund]]:
        found: dict[str, list[Refund]] = {}
        for start in range(0, len(request_keys), AT_ONCE):
            for refund in self._refunds(among(_REFUND.c.request_key), request_keys[start : start + AT_ONCE]):
                found.setdefault(refund.request_key, []).append(refund)
        return found

    def refunds_of_payments(self, payments: Sequence[PaymentRow]) -> list[Refund]:
        return self._refunds(col(RefundRow.payment_id).in_([payment.id for payment in payments]))

    def refunds_in(self, *states: RefundState) -> list[Refund]:
        return self._refunds(col(RefundRow.state).in_(states))

    def refunds_of_run(self, run_id: str, *, after: str, limit: int) -> list[Refund]:
        query = select(RefundRow.id).where(RefundRow.run_id == run_id, RefundRow.id > after)
        ids = list(self._session.exec(query.order_by(col(RefundRow.id)).limit(limit)))
        return sorted(self._refunds(among(_REFUND.c.id), ids), key=lambda refund: refund.id)

    def closing(self, closing_id: str) -> Closing | None:
        return next(iter(self._closings(_CLOSING.c.id == closing_id)), None)

    def closings_in(self, *states: ClosingState) -> list[Closing]:
        return self._closings(_CLOSING.c.state.in_(states))

    def pending_refunds(self, *, overdue: datetime, stuck: str, limit: int) -> "PendingRefunds":
        from refundcli.services.ports.records import PendingRefunds
        from refundcli.store.queries import totals

        ids, count, attention = totals.pending_refunds(self._session, overdue, stuck, limit)
        found = self.refunds_by_id(ids)
        return PendingRefunds([found[each] for each in ids], count, attention)

    def newest_refund_of_run(self, run_id: str) -> datetime | None:
        newest: datetime | None = self._session.exec(
            select(func.max(RefundRow.created_at)).where(RefundRow.run_id == run_id)
        ).one()
        return newest

    def failed_captures(self) -> "list[FailedCapture]":
        from refundcli.store.queries import totals

        return totals.failed_captures(self._session)

    def count_invoices(self, wanted: "InvoiceFilter") -> int:
        from refundcli.store.queries import lists

        return lists.count_invoices(self._session, wanted)

    def refunds_to_acknowledge(self) -> list[Refund]:
        return self._refunds(col(RefundRow.came_back_at).is_not(None) & col(RefundRow.acknowledged_at).is_(None))

    def external_refunds(self, *, adopted: bool) -> list[Refund]:
        reason = col(RefundRow.reason)
        return self._refunds((col(RefundRow.kind) == "external") & ((reason != "") if adopted else (reason == "")))

    def refunds_by_provider_references(self, provider: Provider, references: Sequence[str]) -> list[Refund]:
        here = or_(col(RefundRow.provider) == provider, col(RefundRow.provider).is_(None))
        return [
            refund
            for start in range(0, len(references), AT_ONCE)
            for refund in self._refunds(among(_REFUND.c.provider_reference) & here, references[start : start + AT_ONCE])
        ]

    def invoices_of_payments(self, provider: Provider, references: Sequence[str]) -> dict[str, Invoice]:
        owners: dict[str, str] = {}
        for column in (PaymentRow.payment_intent, PaymentRow.charge, PaymentRow.psp_reference):
            query = (
                select(col(column), InvoiceRow.number)
                .join(InvoiceRow, col(InvoiceRow.id) == col(PaymentRow.invoice_id))
                .where(PaymentRow.provider == provider)
            )
            for start in range(0, len(references), AT_ONCE):
                some = {AMONG: references[start : start + AT_ONCE]}
                rows = self._session.exec(query.where(among(col(column))), params=some)
                owners |= {str(reference): number for reference, number in rows}
        found = self.invoices_by_number(sorted(set(owners.values())))
        return {reference: found[number] for reference, number in owners.items()}

    def payments_known_as(self, provider: Provider, references: Sequence[str]) -> dict[str, tuple[str, int]]:
        found: dict[str, tuple[str, int]] = {}
        for reference in references:
            column = col(getattr(PaymentRow, id_column(provider, reference)))
            query = select(InvoiceRow.number, PaymentRow.id).where(column == reference)
            row = self._session.exec(query.join(PaymentRow, col(PaymentRow.invoice_id) == col(InvoiceRow.id))).first()
            if row:
                found[reference] = (row[0], row[1] or 0)
        return found

    def invoices_by_reference(self, references: Sequence[str]) -> dict[str, Invoice]:
        query = select(col(InvoiceRow.invoice_reference), InvoiceRow.number)
        rows = self._session.exec(query.where(among(col(InvoiceRow.invoice_reference))), params={AMONG: references})
        numbers = {str(reference): number for reference, number in rows}
        found = self.invoices_by_number(sorted(numbers.values()))
        return {reference: found[number] for reference, number in numbers.items()}

    def refunds_succeeded(
        self, provider: Provider, since: datetime, until: datetime, *, after: str, limit: int
    ) -> "list[SucceededRefund]":
        from refundcli.store.queries import summaries

        return summaries.refunds_succeeded(self._session, provider, (since, until), after, limit)

    def payment_lines(self, provider: Provider, references: Sequence[str]) -> "dict[str, PaymentLine]":
        from refundcli.store.queries import summaries

        return summaries.payment_lines(self._session, provider, references)

    def payment_count(self, provider: Provider) -> int:
        from refundcli.store.queries import summaries

        return summaries.payment_count(self._session, provider)

    def payment_lines_after(self, provider: Provider, after: int, *, limit: int) -> "list[PaymentLine]":
        from refundcli.store.queries import summaries

        return summaries.payment_lines_after(self._session, provider, after, limit)

    def events(self, wanted: "EventFilter") -> "list[StoredEvent]":
        query = select(ProviderEventRow).order_by(col(ProviderEventRow.id).desc()).limit(wanted.limit)
        if wanted.state:
            query = query.where(ProviderEventRow.state == wanted.state)
        if wanted.provider:
            query = query.where(ProviderEventRow.provider == wanted.provider)
        if wanted.about:
            query = query.where(ProviderEventRow.about == wanted.about)
        return [event_of(row) for row in self._session.exec(query)]

    def event(self, number: int) -> "StoredEvent | None":
        row = self._session.get(ProviderEventRow, number)
        return event_of(row) if row else None

    def events_to_apply(self, *, after: int, limit: int) -> "list[StoredEvent]":
        from refundcli.services.ports.provider_updates import EventState

        open_ones = col(ProviderEventRow.state).in_((EventState.WAITING, EventState.UNMATCHED))
        query = select(ProviderEventRow).where(open_ones, col(ProviderEventRow.id) > after)
        return [event_of(row) for row in self._session.exec(query.order_by(col(ProviderEventRow.id)).limit(limit))]

    def events_of_known_payments(self, provider: Provider, *, after: int, limit: int) -> "list[StoredEvent]":
        query = (
            select(ProviderEventRow)
            .join(EventPaymentRow, col(EventPaymentRow.event_id) == col(ProviderEventRow.id))
            .where(*_not_applied_to_known_payment(provider), col(ProviderEventRow.id) > after)
            .order_by(col(ProviderEventRow.id))
            .limit(limit)
        )
        return list({row.id: event_of(row) for row in self._session.exec(query)}.values())

    def ignored_events(self, provider: Provider, *, after: int, limit: int) -> "list[StoredEvent]":
        from refundcli.services.ports.provider_updates import ACKNOWLEDGED, WORD_DECIDED, EventSource, EventState

        state, note = col(ProviderEventRow.state), col(ProviderEventRow.note)
        by_word = and_(
            state == EventState.APPLIED, note.startswith(ACKNOWLEDGED), note.contains(WORD_DECIDED, autoescape=True)
        )
        query = (
            select(ProviderEventRow)
            .where(or_(state == EventState.NOTED, by_word), col(ProviderEventRow.not_applied) == "")
            .where(ProviderEventRow.provider == provider, ProviderEventRow.source == EventSource.WEBHOOK)
            .where(col(ProviderEventRow.id) > after)
            .order_by(col(ProviderEventRow.id))
            .limit(limit)
        )
        return [event_of(row) for row in self._session.exec(query)]

    def event_counts_of_known_payments(self) -> dict[str, int]:
        counts = Counter[str]()
        for provider in Provider:
            query = (
                select(ProviderEventRow.state, func.count(col(ProviderEventRow.id).distinct()))
                .join(EventPaymentRow, col(EventPaymentRow.event_id) == col(ProviderEventRow.id))
                .where(*_not_applied_to_known_payment(provider))
                .group_by(col(ProviderEventRow.state))
            )
            counts.update(dict(self._session.exec(query).all()))
        return counts

    def oldest_event(self, state: "EventState") -> datetime | None:
        query = select(ProviderEventRow.received_at).where(ProviderEventRow.state == state)
        return self._session.exec(query.order_by(col(ProviderEventRow.id)).limit(1)).first()

    def last_delivery(self, provider: Provider) -> datetime | None:
        from refundcli.store.queries import totals

        return totals.last_delivery(self._session, provider)

    def event_counts(self) -> dict[str, int]:
        query = select(ProviderEventRow.state, func.count()).group_by(col(ProviderEventRow.state))
        return dict(self._session.exec(query).all())

    def delivery_counts(self) -> "list[DeliveryCount]":
        from refundcli.store.repositories.delivery_counts import delivery_counts

        return delivery_counts(self._session)

    def sync_state(self, name: str) -> tuple[str, datetime] | None:
        row = self._session.get(SyncStateRow, name)
        return (row.value, row.at) if row else None

    def credit_notes(self, wanted: "CreditNoteFilter") -> list[CreditNote]:
        from refundcli.store.queries import lists

        return [credit_note_of(row) for row in lists.credit_note_rows(self._session, wanted)]

    def credit_note(self, number: str) -> CreditNote | None:
        query = (
            sql.select(*NOTE_COLUMNS, *OWNER_COLUMNS)
            .join(_INVOICE, _INVOICE.c.id == _NOTE.c.invoice_id)
            .where(_NOTE.c.number == number)
        )
        row = self._session.execute(query).first()
        return credit_note_of(row) if row else None

    def history(self, invoice: Invoice) -> "list[AuditEntry]":
        subjects = [invoice.number, *(refund.id for refund in invoice.refunds), *(c.id for c in invoice.closings)]
        query = select(AuditEntryRow).where(col(AuditEntryRow.subject).in_(subjects)).order_by(col(AuditEntryRow.seq))
        return [audit_entry_of(row) for row in self._session.exec(query)]

    def imported(self, invoice: Invoice) -> "AuditEntry":
        row = self._session.exec(select(InvoiceRow).where(InvoiceRow.number == invoice.number)).one()
        batch = select(AuditEntryRow).where(AuditEntryRow.subject == row.source, AuditEntryRow.at == row.created_at)
        entry = audit_entry_of(self._session.exec(batch.order_by(col(AuditEntryRow.seq)).limit(1)).one())
        return replace(entry, action="invoice imported", subject=row.number, after={"file": row.source})

    def import_conflicts(self, block: "InvoiceBlock") -> "ImportConflicts":
        from refundcli.store.imports.upsert import import_conflicts

        return import_conflicts(self._session, block)

    def newest_entry(self) -> int:
        newest: int = self._session.exec(select(func.coalesce(func.max(AuditEntryRow.seq), 0))).one()
        return newest

    def number_format(self) -> str:
        return self._info().number_format

    def secret(self) -> bytes:
        self._secret = self._secret or bytes.fromhex(self._info().secret)
        return self._secret

    def livemode(self) -> bool | None:
        # As a bare column: `invoice show` asks for it, and needs no session's objects otherwise.
        livemode: bool | None = self._session.execute(sql.select(_TABLES["store_info"].c.livemode)).scalar_one()
        return livemode

    def accounts(self) -> "list[Account]":
        from refundcli.services.ports.records import Account

        rows = self._session.exec(select(ProviderAccountRow).order_by(col(ProviderAccountRow.provider)))
        return sorted({Account(Provider(row.provider), row.account, row.livemode) for row in rows}, key=str)

    def account(self, provider: Provider, key_fingerprint: str) -> str | None:
        row = self._session.get(ProviderAccountRow, (provider.value, key_fingerprint))
        return row.account if row else None

    def _info(self) -> StoreInfo:
        return self._session.exec(select(StoreInfo)).one()

    def _payments(self, invoice_ids: Sequence[int]) -> dict[int, list[Any]]:
        """Rows of PAYMENT_COLUMNS by invoice, in order."""
        payments: dict[int, list[Any]] = {}
        found = self._session.execute(_PAYMENTS_OF, {AMONG: invoice_ids}).all()
        first_shares = shared_payments(found)
        shares = shares_by_payment(self._session, first_shares) if first_shares else {}
        for row in found:
            payment = named_by_first_share(row, shares) if shares else row
            payments.setdefault(payment[0], []).append(payment)
        return payments

    def _refunds(self, condition: ColumnElement[bool], values: Sequence[Any] = ()) -> list[Refund]:
        """`values`: those that the condition is `among`."""
        query = (
            sql.select(_REFUND, *OWNER_COLUMNS, *NOTE_COLUMNS)
            .join(_INVOICE, _INVOICE.c.id == _REFUND.c.invoice_id)
            .join(_NOTE, _NOTE.c.refund_id == _REFUND.c.id, isouter=True)
            .where(condition)
            .order_by(_REFUND.c.created_at, _REFUND.c.id)
        )
        return [refund_of(row) for row in self._session.execute(query, {AMONG: values})]

    def _closings(self, condition: ColumnElement[bool], values: Sequence[Any] = ()) -> list[Closing]:
        query = (
            sql.select(_CLOSING, OWNER_COLUMNS[0])
            .join(_INVOICE, _INVOICE.c.id == _CLOSING.c.invoice_id)
            .where(condition)
            .order_by(_CLOSING.c.created_at, _CLOSING.c.id)
        )
        return [closing_of(row) for row in self._session.execute(query, {AMONG: values})]


def _by_invoice(made: Sequence[_Made]) -> dict[int, list[_Made]]:
    found: dict[int, list[_Made]] = {}
    for each in made:
        found.setdefault(each.invoice_id, []).append(each)
    return found


def _facts(invoice: Sequence[Any], payments: Sequence[Sequence[Any]]) -> int:
    """Without closings: an invoice with money to return cannot begin to be voided while its facts are these (R9)."""
    return hash((tuple(invoice), *map(tuple, payments)))


def _not_applied_to_known_payment(provider: Provider) -> tuple[ColumnElement[bool], ...]:
    """Stored events that are not applied and name a payment that is in the books."""
    from refundcli.services.ports.provider_updates import EventState

    of = (_PAYMENT.c.psp_reference,) if provider is Provider.ADYEN else (_PAYMENT.c.payment_intent, _PAYMENT.c.charge)
    known = or_(*(sql.exists().where(column == EventPaymentRow.reference) for column in of))
    # What is stored and not applied needs a person as soon as a payment that it names is in the books.
    set_aside = and_(col(ProviderEventRow.state) == EventState.NOTED, col(ProviderEventRow.not_applied) != "")
    open_ones = col(ProviderEventRow.state).in_((EventState.WAITING, EventState.UNMATCHED))
    return (or_(open_ones, set_aside), known, col(ProviderEventRow.provider) == provider)
