"""Write refunds and credit notes. Each change is one guarded statement and one audit entry (I10).

`_RESERVE` is the bound on what a payment can refund (I1).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import CursorResult, Executable, Update, bindparam, func, insert, or_, select, update
from sqlmodel import Session, SQLModel, col

from refundcli.domain.currencies import currency
from refundcli.domain.dispute import most_severe
from refundcli.domain.identifiers import new_id
from refundcli.domain.invoice import Invoice, Payment, status_after
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import (
    CreditNoteStatus,
    InvoiceStatus,
    Provider,
    RefundKind,
    RefundState,
    may_become,
)
from refundcli.services.ports.books import WouldContradict
from refundcli.services.ports.invoice_block import InvoiceBlock, block_of
from refundcli.services.ports.records import ImportCounts, NewInvoice, Settlement
from refundcli.store.audit import AuditTrail
from refundcli.store.errors import DayTooEarly, ZonePinned
from refundcli.store.imports.upsert import Importer
from refundcli.store.repositories.credit_note_numbers import check_next_number, next_numbers
from refundcli.store.repositories.delivery_counts import name_account_of_events
from refundcli.store.repositories.payment_reading import disputes_by_payment
from refundcli.store.repositories.reading import SqlReading
from refundcli.store.repositories.rows import facts_of, refund_values
from refundcli.store.repositories.share_counting import share_rows, sums_of, taken_by_disputes
from refundcli.store.schema import (
    CAPTURED_SHARE,
    InvoiceRow,
    PaymentRow,
    ProviderAccountRow,
    RefundRow,
)
from refundcli.store.value_lists import AMONG, AT_ONCE, among


class SqlWriting(SqlReading):
    """One transaction that changes the books."""

    def __init__(self, session: Session, audit: AuditTrail) -> None:
        super().__init__(session)
        self._audit = audit

    # --- money ---------------------------------------------------------------------------------------------

    def reserve(self, payment: Payment, amount: Money) -> bool:
        """Over-refund is impossible by this statement, whoever else is at work (I1)."""
        if payment.share_of is None:
            return self._changes(_RESERVE, of_id=payment.id, amount=amount.minor)
        return self._changes(_RESERVE_SHARE, of_id=payment.id, of_first=payment.share_of, amount=amount.minor)

    # --- refunds -------------------------------------------------------------------------------------------

    def add_refund(self, refund: Refund) -> None:
        self._run(insert(_REFUND), refund_values(refund))
        self._draft_credit_note(refund)
        self._audit.write(f"refund {refund.state}", refund.id, {}, facts_of(refund))
        if refund.state.counts_as_refunded:
            self._update_invoice(refund.invoice_id)

    def claim(self, refund: Refund, *, owner: str, until: datetime, at: datetime) -> Refund | None:
        """Compare and set on state and fence: one sender at a time, and a late one finds the door shut."""
        assert refund.sending
        if owner:
            self._audit.check_clock()
        first_sent = refund.sending.first_sent_at or at
        sending = replace(
            refund.sending,
            fence=refund.sending.fence + 1,
            lease_owner=owner,
            lease_until=until,
            first_sent_at=first_sent,
        )
        changed = self._changes(
            _REFUND_AS_IT_WAS,
            **_as_it_was(refund),
            state=RefundState.SUBMITTED.value,
            fence=sending.fence,
            lease_owner=owner,
            lease_until=until,
            first_sent_at=first_sent,
            updated_at=at,
        )
        if not changed:
            return None
        after = {"state": RefundState.SUBMITTED, "fence": sending.fence, "lease_owner": owner}
        self._audit.write("refund submitted", refund.id, _state(refund), after)
        return replace(refund, state=RefundState.SUBMITTED, sending=sending)

    def release_lease(self, refund: Refund) -> None:
        if self._changes(_REFUND_AS_IT_WAS, **_as_it_was(refund), lease_owner="", lease_until=None):
            self._audit.write("refund outcome not known", refund.id, _state(refund), _state(refund))

    def settle(self, refund: Refund, end: Settlement) -> Refund | None:
        if not may_become(refund.state, end.state):
            return None
        needs_a_person = refund.needs_acknowledgement_as(end.state)
        holding, hold_until = _hold_after(refund, end)
        told = {"provider_reference": end.reference, "evidence": end.evidence}
        values: dict[str, Any] = {
            "state": end.state.value,
            "provider_status": end.status,
            "failure": end.failure,
            "failure_code": end.failure_code,
            "pending_reason": end.pending_reason,
            "expires_at": end.expires_at,
            "holding": holding,
            "hold_until": hold_until,
            "lease_owner": "",
            "lease_until": None,
            "updated_at": self._audit.at,
            **{name: text for name, text in told.items() if text},
            **_dates(refund, end, at=self._audit.at),
        }
        if needs_a_person and refund.came_back_at is None:
            values["came_back_at"] = self._audit.at
        if not self._changes(_REFUND_AS_IT_WAS, **_as_it_was(refund), **values):
            return None
        after = {"state": end.state, "provider_status": end.status, "failure": end.failure, **told}
        self._audit.write(f"refund {end.state}", refund.id, _state(refund), {k: v for k, v in after.items() if v})
        settled = replace(
            refund,
            state=end.state,
            provider_reference=end.reference or refund.provider_reference,
            provider_status=end.status,
            failure=end.failure,
            sending=refund.sending and replace(refund.sending, lease_owner="", lease_until=None),
            came_back_at=values.get("came_back_at", refund.came_back_at),
            failure_code=end.failure_code,
            pending_reason=end.pending_reason,
            expires_at=end.expires_at,
            holding=holding,
            hold_until=hold_until,
            succeeded_at=values.get("succeeded_at", refund.succeeded_at),
            failed_at=values.get("failed_at", refund.failed_at),
        )
        self._move_sums(refund, settled)
        self._update_invoice(refund.invoice_id)
        return settled

    def _move_sums(self, before: Refund, after: Refund) -> None:
        """Reserved, refunded or free: an amount is counted in exactly one place (DESIGN: the table of states)."""
        if after.is_external:
            self._count_elsewhere(after.payment_id)
            self._hold_what_came_back(after.payment_id)
            return
        reserved = (after.holds_reservation - before.holds_reservation) * after.counted.minor
        refunded = _refunded(after) - _refunded(before)
        if not (reserved or refunded):
            return
        values = {"of_id": after.payment_id, "to_reserved": reserved, "to_refunded": refunded}
        first_share = self._run(_MOVE_SUMS, values).scalar_one()
        self._session.expire_all()
        if first_share is not None:
            self._count_shares(first_share)
        elif reserved + refunded < 0:
            self._hold_what_came_back(after.payment_id)

    def _hold(self, refund: Refund) -> bool:
        """Keep the amount from being refunded again; false where it is not there to be kept."""
        return self._changes(_RESERVE, of_id=refund.payment_id, amount=refund.counted.minor)

    def _hold_what_came_back(self, payment_id: int) -> None:
        """Reserve the amounts of external refunds that failed late or are undecided, as far as money is left."""
        of = col(RefundRow.payment_id) == payment_id
        theirs_too = select(_REFUND.c.id).where(of, _REFUND.c.kind == RefundKind.EXTERNAL).limit(1)
        row = self._session.get(PaymentRow, payment_id, populate_existing=True)
        assert row
        if row.share_of is not None:
            self._count_shares(row.share_of)
            return
        if self._session.execute(theirs_too).first() is None:
            return
        holding = [each for each in self._refunds(of) if each.holds_reservation]
        ours = sum(each.amount.minor for each in holding if not each.is_external)
        theirs = sum(each.amount.minor for each in holding if each.is_external)
        room = max(row.allocated - row.refunded - row.returned_elsewhere - ours, 0)
        held = update(PaymentRow).where(col(PaymentRow.id) == payment_id)
        self._hits(held.values(reserved=ours + min(theirs, room)))

    def _count_elsewhere(self, payment_id: int) -> None:
        """What went back by other hands. A refund from before the payment came in is in the figure it came with."""
        row = self._session.get(PaymentRow, payment_id, populate_existing=True)
        assert row
        if row.share_of is not None:
            self._count_shares(row.share_of)
            return
        made = self._refunds((col(RefundRow.payment_id) == payment_id) & (col(RefundRow.kind) == RefundKind.EXTERNAL))
        given = [each for each in made if each.state.is_given]
        counted = [each for each in given if not each.undecided]
        before = sum(each.counted.minor for each in counted if row.opening_at and each.created_at < row.opening_at)
        later = sum(each.counted.minor for each in counted) - before
        elsewhere = max(row.opening_returned, before) + later
        self._hits(update(PaymentRow).where(col(PaymentRow.id) == payment_id).values(returned_elsewhere=elsewhere))

    def _count_shares_of(self, payments: Sequence[int], *, is_recorded: bool = False) -> None:
        """The same for those of these payments that pay several invoices.

        `is_recorded`: after `mark-refunded`. Two rows of one file may each record all that a dispute took of a payment:
        raises WouldContradict.
        """
        first_shares = select(_PAYMENT.c.share_of).where(among(_PAYMENT.c.id), _PAYMENT.c.share_of.is_not(None))
        for start in range(0, len(payments), AT_ONCE):
            some = {AMONG: payments[start : start + AT_ONCE]}
            for first_share in self._session.execute(first_shares.distinct(), some).scalars().all():
                self._count_shares(first_share, is_recorded=is_recorded)

    def _count_shares(self, first_share: int, *, is_recorded: bool = False) -> None:
        """Reserved, returned and lost of every share of a payment, and the sums of their invoices."""
        rows = share_rows(self._session, first_share)
        refunds = self.refunds_of_payments(rows)
        disputes = disputes_by_payment(self._session, [first_share]).get(first_share, [])
        if is_recorded and sum(row.dispute_recorded for row in rows) > taken_by_disputes(rows, disputes):
            raise WouldContradict("more than a lost dispute took would be recorded on its shares")
        dispute = most_severe(disputes).value
        changed = []
        for row, sums in zip(rows, sums_of(rows, refunds, disputes), strict=True):
            after = {"reserved": sums.reserved, "returned_elsewhere": sums.returned_elsewhere, "lost": sums.lost}
            after["dispute"] = dispute  # type: ignore[assignment]
            before = {name: getattr(row, name) for name in after}
            if before != after:
                changed.append((sums.payment_id, row.invoice_id, before, after))
        for payment_id, invoice_id, before, after in changed:
            self._hits(update(PaymentRow).where(col(PaymentRow.id) == payment_id).values(**after))
            self._update_invoice(invoice_id)
            number = self._session.execute(select(_INVOICE.c.number).where(_INVOICE.c.id == invoice_id)).scalar_one()
            differs = {name: value for name, value in after.items() if value != before[name]}
            self._audit.write("share counted", number, {name: before[name] for name in differs}, differs)

    def _draft_credit_note(self, refund: Refund) -> None:
        """A draft gets its number with the provider's answer; this checks now that the next number is free."""
        assert refund.reason
        self._audit.check_clock()
        check_next_number(self._session, self._audit.today)
        note = {
            "id": new_id("cn_", self._audit.at),
            "refund_id": refund.id,
            "invoice_id": refund.invoice_id,
            "status": CreditNoteStatus.DRAFT.value,
            "amount": refund.amount.minor,
            "currency": refund.amount.currency.code,
            "reason": refund.reason.value,
            "memo": refund.memo,
        }
        self._run(insert(_NOTE), note)

    def check_clock(self) -> None:
        self._audit.check_clock()

    def pin_timezone(self, timezone: str, *, force: bool = False) -> None:
        info = self._info()
        if info.timezone != timezone:
            if info.timezone and not force:
                raise ZonePinned(info.timezone, timezone)
            newest = self._session.execute(select(func.max(_NOTE.c.issued_on))).scalar()
            if newest and self._audit.at.astimezone(ZoneInfo(timezone)).date() < newest:
                raise DayTooEarly(timezone, newest)
            before, info.timezone = info.timezone, timezone
            self._session.add(info)
            self._audit.write("store timezone changed", "store", {"timezone": before}, {"timezone": timezone})

    def accept_clock(self) -> datetime | None:
        return self._audit.accept_clock()

    # --- credit notes --------------------------------------------------------------------------------------

    def issue_credit_note(self, refund: Refund, *, at: datetime, on: date, number_format: str) -> None:
        """Give the draft the next number. Counted in this transaction, so that no number is ever lost (I9)."""
        status, _ = self._note_of(refund)
        if status != CreditNoteStatus.DRAFT:
            return
        # The refund was made, whatever became of the clock since: it is dated by the books.
        at, on = self._audit.dated(at, on)
        (number,) = next_numbers(self._session, on, number_format, 1)
        issued = CreditNoteStatus.ISSUED.value
        self._changes(_NOTE_OF, of_refund=refund.id, number=number, status=issued, issued_on=on, issued_at=at)
        self._audit.write("credit note issued", refund.id, {}, {"number": number})

    def void_credit_note(self, refund: Refund, *, at: datetime) -> None:
        """The number stays with the void note: series have no holes and no second use."""
        status, number = self._note_of(refund)
        if status in ("", CreditNoteStatus.VOID):
            return
        at, _ = self._audit.dated(at, at.date())
        self._changes(_NOTE_OF, of_refund=refund.id, status=CreditNoteStatus.VOID.value, voided_at=at)
        self._audit.write("credit note void", refund.id, {"status": status}, {"number": number})

    def _note_of(self, refund: Refund) -> tuple[str, str]:
        """Status and number; both empty where a refund made elsewhere was not adopted yet."""
        row = self._run(_STATUS_OF_NOTE, {"of_refund": refund.id}).first()
        return (row.status, row.number or "") if row else ("", "")

    # --- invoices ------------------------------------------------------------------------------------------

    def change_status(self, invoice: Invoice, status: InvoiceStatus, *, memo: str, evidence: str = "") -> None:
        statement = (
            update(InvoiceRow)
            .where(col(InvoiceRow.id) == invoice.id, col(InvoiceRow.status) == invoice.status)
            .values(status=status, updated_at=self._audit.at)
        )
        assert self._hits(statement), "the invoice was read in this transaction"
        told = {"status": status, "memo": memo, "evidence": evidence}
        after = {name: text for name, text in told.items() if text}
        self._audit.write(f"invoice {status}", invoice.number, {"status": invoice.status}, after)

    def number_invoice(self, known_as: str, number: str) -> None:
        named = update(InvoiceRow).where(col(InvoiceRow.number) == known_as)
        assert self._hits(named.values(number=number, updated_at=self._audit.at)), "it was read in this transaction"
        self._audit.write("invoice numbered", number, {"number": known_as}, {"number": number})

    def import_invoices(self, invoices: Sequence[NewInvoice], *, source: str) -> ImportCounts:
        return self.import_blocks([block_of(invoices)] if invoices else [], source=source)

    def import_blocks(self, blocks: Iterable[InvoiceBlock], *, source: str, all_new: bool = False) -> ImportCounts:
        return Importer(self._session, self._audit, source=source).bring_in(blocks, all_new=all_new)

    def newest_entry(self) -> int:
        return self._audit.head[0] if self._audit.head else super().newest_entry()

    def _update_invoice(self, invoice_id: int) -> None:
        """Sums and status in one UPDATE, so that the CHECK on Refunded holds at every instant (R6)."""
        row = self._run(_SUMS_OF_INVOICE, {"of_id": invoice_id}).one()
        unit, before = currency(row.currency), InvoiceStatus(row.status)
        paid, returned = int(row.paid), int(row.returned)
        status = status_after(before, paid=Money(paid, unit), returned=Money(returned, unit))
        self._changes(
            _INVOICE_OF, of_id=invoice_id, paid=paid, returned=returned, status=status.value, updated_at=self._audit.at
        )
        if status is not before:
            self._audit.write(f"invoice {status}", row.number, {"status": before}, {"status": status})

    # --- whose money ---------------------------------------------------------------------------------------

    def pin_livemode(self, livemode: bool) -> bool:
        info = self._info()
        if info.livemode is None:
            info.livemode = livemode
            self._session.add(info)
            self._audit.write("store mode pinned", "store", {}, {"livemode": livemode})
        return info.livemode

    def remember_account(self, provider: Provider, key_fingerprint: str, account: str, *, livemode: bool) -> None:
        # Another process may have asked the provider at the same time.
        if self.account(provider, key_fingerprint) is not None:
            return
        row = ProviderAccountRow(provider=provider, key_fingerprint=key_fingerprint, account=account, livemode=livemode)
        self._session.add(row)
        self._audit.write("provider account seen", provider, {}, {"account": account, "livemode": livemode})
        name_account_of_events(self._session, provider, account)

    def _hits(self, statement: Update) -> bool:
        """Run a guarded statement: true when it found its row as it expected it."""
        result = self._session.exec(statement, execution_options={"synchronize_session": False})
        assert isinstance(result, CursorResult)
        self._session.expire_all()
        return result.rowcount == 1

    def _changes(self, statement: Update, **values: Any) -> bool:
        """The same with one of the statements below, which are made once: what it has no place for is what to set."""
        changed = self._run(statement, values).rowcount == 1
        self._session.expire_all()
        return changed

    def _run(self, statement: Executable, values: dict[str, Any]) -> CursorResult[Any]:
        self._session.flush()
        return self._session.connection().execute(statement, values)


def _hold_after(refund: Refund, end: Settlement) -> tuple[bool, datetime | None]:
    """Does a failure keep the amount reserved, and until when? After a success, until it is acknowledged (R14)."""
    if end.state is not RefundState.FAILED:
        return False, None
    if refund.state is RefundState.SUCCEEDED:
        return True, None
    return (True, end.hold_until) if end.may_be_retried else (False, None)


def _dates(refund: Refund, end: Settlement, *, at: datetime) -> dict[str, datetime]:
    """When it succeeded and failed, by the provider's date: the newest of each."""
    dated = end.reported_at or at
    if end.state is RefundState.SUCCEEDED:
        return {"succeeded_at": max(dated, refund.succeeded_at or dated)}
    if end.state is RefundState.FAILED:
        return {"failed_at": max(dated, refund.failed_at or dated)}
    return {}


def _refunded(refund: Refund) -> int:
    """The part of it that counts as refunded, in minor units."""
    return refund.counted.minor if refund.state.counts_as_refunded else 0


def _as_it_was(refund: Refund) -> dict[str, Any]:
    fence = refund.sending.fence if refund.sending else 0
    return {"of_id": refund.id, "of_state": refund.state.value, "of_fence": fence}


def _state(refund: Refund) -> dict[str, object]:
    return {"state": refund.state}


# --- statements that every refund needs ---

_TABLES = SQLModel.metadata.tables
_INVOICE, _PAYMENT, _REFUND, _NOTE = (_TABLES[name] for name in ("invoice", "payment", "refund", "credit_note"))
_GIVEN: Any = _PAYMENT.c.reserved + _PAYMENT.c.refunded + _PAYMENT.c.returned_elsewhere
_RETURNED: Any = _PAYMENT.c.refunded + _PAYMENT.c.returned_elsewhere
_RESERVE = (
    update(_PAYMENT)
    .where(
        _PAYMENT.c.id == bindparam("of_id"),
        _GIVEN + _PAYMENT.c.lost + _PAYMENT.c.credited + bindparam("amount") <= CAPTURED_SHARE,
    )
    .values(reserved=_PAYMENT.c.reserved + bindparam("amount"))
)
_SHARES = _PAYMENT.alias("shares")
_GIVEN_IN_ALL = (
    select(func.sum(_SHARES.c.reserved + _SHARES.c.refunded + _SHARES.c.returned_elsewhere))
    .where(_SHARES.c.share_of == bindparam("of_first"))
    .scalar_subquery()
)
# All shares together never give more than the provider took, whatever each of them may give.
_RESERVE_SHARE = _RESERVE.where(
    or_(_PAYMENT.c.captured.is_(None), _GIVEN_IN_ALL + bindparam("amount") <= _PAYMENT.c.captured)
)
_MOVE_SUMS = (
    update(_PAYMENT)
    .where(_PAYMENT.c.id == bindparam("of_id"))
    .values(
        reserved=_PAYMENT.c.reserved + bindparam("to_reserved"),
        refunded=_PAYMENT.c.refunded + bindparam("to_refunded"),
    )
    .returning(_PAYMENT.c.share_of)
)
_REFUND_AS_IT_WAS = update(_REFUND).where(
    _REFUND.c.id == bindparam("of_id"),
    _REFUND.c.state == bindparam("of_state"),
    _REFUND.c.fence == bindparam("of_fence"),
)
_NOTE_OF = update(_NOTE).where(_NOTE.c.refund_id == bindparam("of_refund"))
_STATUS_OF_NOTE = select(_NOTE.c.status, _NOTE.c.number).where(_NOTE.c.refund_id == bindparam("of_refund"))
_INVOICE_OF = update(_INVOICE).where(_INVOICE.c.id == bindparam("of_id"))
_OF_INVOICE = (_INVOICE.c.number, _INVOICE.c.status, _INVOICE.c.currency)
_SUMS_OF_INVOICE = (
    select(*_OF_INVOICE, func.sum(CAPTURED_SHARE).label("paid"), func.sum(_RETURNED).label("returned"))
    .select_from(_INVOICE.join(_PAYMENT, _PAYMENT.c.invoice_id == _INVOICE.c.id))
    .where(_INVOICE.c.id == bindparam("of_id"))
    .group_by(*_OF_INVOICE)
)
