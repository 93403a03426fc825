"""Write refunds and credit notes. Each change is one guarded statement and one audit entry (I10).

`_RESERVE` is the bound on what a payment can refund (I1).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import bindparam, func, insert, or_, select, update
from sqlmodel import SQLModel, col

from refundcli.domain.dispute import most_severe
from refundcli.domain.identifiers import new_id
from refundcli.domain.invoice import Payment
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import CreditNoteStatus, RefundKind, RefundState, may_become
from refundcli.services.ports.books import WouldContradict
from refundcli.services.ports.records import Settlement
from refundcli.store.repositories.credit_note_numbers import check_next_number, next_numbers
from refundcli.store.repositories.payment_reading import disputes_by_payment
from refundcli.store.repositories.rows import facts_of, refund_values
from refundcli.store.repositories.share_counting import share_rows, sums_of, taken_by_disputes
from refundcli.store.repositories.store_writing import SqlStoreWriting
from refundcli.store.schema import CAPTURED_SHARE, PaymentRow, RefundRow
from refundcli.store.value_lists import AMONG, AT_ONCE, among


class SqlWriting(SqlStoreWriting):
    """A transaction that also writes refunds and credit notes."""

    # --- money ---------------------------------------------------------------------------------------------

    def reserve(self, payment: Payment, amount: Money) -> bool:
        """Reserve an amount. The statement prevents over-refunding whatever other programs do (I1)."""
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
        """Compare and set on state and fence: one sender at a time, and a stale sender matches no row."""
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
        details = {"provider_reference": end.reference, "evidence": end.evidence}
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
            **{name: text for name, text in details.items() if text},
            **_dates(refund, end, at=self._audit.at),
        }
        if needs_a_person and refund.needs_acknowledgement_since is None:
            values["came_back_at"] = self._audit.at
        if not self._changes(_REFUND_AS_IT_WAS, **_as_it_was(refund), **values):
            return None
        after = {"state": end.state, "provider_status": end.status, "failure": end.failure, **details}
        self._audit.write(f"refund {end.state}", refund.id, _state(refund), {k: v for k, v in after.items() if v})
        settled = replace(
            refund,
            state=end.state,
            provider_reference=end.reference or refund.provider_reference,
            provider_status=end.status,
            failure=end.failure,
            sending=refund.sending and replace(refund.sending, lease_owner="", lease_until=None),
            needs_acknowledgement_since=values.get("came_back_at", refund.needs_acknowledgement_since),
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
        """Move an amount between reserved, refunded and free: it counts in one place only (DESIGN: table of states)."""
        if after.is_external:
            self._count_external(after.payment_id)
            self._reserve_external(after.payment_id)
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
            self._reserve_external(after.payment_id)

    def _hold(self, refund: Refund) -> bool:
        """Reserve the amount of a failed refund; false if not enough is left."""
        return self._changes(_RESERVE, of_id=refund.payment_id, amount=refund.counted.minor)

    def _reserve_external(self, payment_id: int) -> None:
        """Reserve the amounts of external refunds that failed late or are undecided, as far as money is left (R14)."""
        of = col(RefundRow.payment_id) == payment_id
        theirs_too = select(_REFUND.c.id).where(of, _REFUND.c.kind == RefundKind.EXTERNAL).limit(1)
        row = self._session.get(PaymentRow, payment_id, populate_existing=True)
        assert row
        if row.share_of is not None:
            self._count_shares(row.share_of)
            return
        if self._session.execute(theirs_too).first() is None:
            return
        holding = [refund for refund in self._refunds(of) if refund.holds_reservation]
        ours = sum(refund.amount.minor for refund in holding if not refund.is_external)
        theirs = sum(refund.amount.minor for refund in holding if refund.is_external)
        room = max(row.allocated - row.refunded - row.returned_elsewhere - ours, 0)
        statement = update(PaymentRow).where(col(PaymentRow.id) == payment_id)
        self._hits(statement.values(reserved=ours + min(theirs, room)))

    def _count_external(self, payment_id: int) -> None:
        """Count external refunds. One from before the payment's import is in the imported figure already."""
        row = self._session.get(PaymentRow, payment_id, populate_existing=True)
        assert row
        if row.share_of is not None:
            self._count_shares(row.share_of)
            return
        external = self._refunds(
            (col(RefundRow.payment_id) == payment_id) & (col(RefundRow.kind) == RefundKind.EXTERNAL)
        )
        returned = [refund for refund in external if refund.state.is_accepted]
        counted = [refund for refund in returned if not refund.undecided]
        before = sum(
            refund.counted.minor for refund in counted if row.opening_at and refund.created_at < row.opening_at
        )
        later = sum(refund.counted.minor for refund in counted) - before
        elsewhere = max(row.opening_returned, before) + later
        self._hits(update(PaymentRow).where(col(PaymentRow.id) == payment_id).values(returned_elsewhere=elsewhere))

    def _count_shares_of(self, payments: Sequence[int], *, is_recorded: bool = False) -> None:
        """Recount the shares of those of these payments that pay several invoices.

        `is_recorded`: after `mark-refunded`. Raises WouldContradict if two rows of one file record the same loss.
        """
        first_shares = select(_PAYMENT.c.share_of).where(among(_PAYMENT.c.id), _PAYMENT.c.share_of.is_not(None))
        for start in range(0, len(payments), AT_ONCE):
            some = {AMONG: payments[start : start + AT_ONCE]}
            for first_share in self._session.execute(first_shares.distinct(), some).scalars().all():
                self._count_shares(first_share, is_recorded=is_recorded)

    def _count_shares(self, first_share: int, *, is_recorded: bool = False) -> None:
        """Recount reserved, returned and lost of every share of a payment, and the sums of their invoices."""
        rows = share_rows(self._session, first_share)
        refunds = self.refunds_of_payments(rows)
        disputes = disputes_by_payment(self._session, [first_share]).get(first_share, [])
        if is_recorded and sum(row.dispute_recorded for row in rows) > taken_by_disputes(rows, disputes):
            raise WouldContradict("more than a lost dispute took would be recorded on its shares")
        dispute = most_severe(disputes).value
        changed = []
        for row, sums in zip(rows, sums_of(rows, refunds, disputes), strict=True):
            after = {"reserved": sums.reserved, "returned_elsewhere": sums.refunded_externally, "lost": sums.lost}
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
        """Insert a draft, which is numbered once the provider answers. Checks now that the next number is free."""
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

    # --- credit notes --------------------------------------------------------------------------------------

    def issue_credit_note(self, refund: Refund, *, at: datetime, on: date, credit_note_format: str) -> None:
        """Give the draft the next number, counted in this transaction, so that no number is lost (I9)."""
        status, _ = self._note_of(refund)
        if status != CreditNoteStatus.DRAFT:
            return
        # The refund was made, so it must be dated even if the clock is wrong now: the books' time is used.
        at, on = self._audit.dated(at, on)
        (number,) = next_numbers(self._session, on, credit_note_format, 1)
        issued = CreditNoteStatus.ISSUED.value
        self._changes(_NOTE_OF, of_refund=refund.id, number=number, status=issued, issued_on=on, issued_at=at)
        self._audit.write("credit note issued", refund.id, {}, {"number": number})

    def void_credit_note(self, refund: Refund, *, at: datetime) -> None:
        """Void the note. It keeps its number, so the series has no gap and no number is used twice (I9)."""
        status, number = self._note_of(refund)
        if status in ("", CreditNoteStatus.VOID):
            return
        at, _ = self._audit.dated(at, at.date())
        self._changes(_NOTE_OF, of_refund=refund.id, status=CreditNoteStatus.VOID.value, voided_at=at)
        self._audit.write("credit note void", refund.id, {"status": status}, {"number": number})

    def _note_of(self, refund: Refund) -> tuple[str, str]:
        """Status and number; both empty for an external refund that is not adopted."""
        row = self._run(_STATUS_OF_NOTE, {"of_refund": refund.id}).first()
        return (row.status, row.number or "") if row else ("", "")


def _hold_after(refund: Refund, end: Settlement) -> tuple[bool, datetime | None]:
    """Does a failure keep the amount reserved, and until when? After a success, until acknowledged (R14)."""
    if end.state is not RefundState.FAILED:
        return False, None
    if refund.state is RefundState.SUCCEEDED:
        return True, None
    return (True, end.hold_until) if end.may_be_retried else (False, None)


def _dates(refund: Refund, end: Settlement, *, at: datetime) -> dict[str, datetime]:
    """When it succeeded or failed, by the provider's date: the newest of each."""
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
_USED: Any = _PAYMENT.c.reserved + _PAYMENT.c.refunded + _PAYMENT.c.returned_elsewhere
_RESERVE = (
    update(_PAYMENT)
    .where(
        _PAYMENT.c.id == bindparam("of_id"),
        _USED + _PAYMENT.c.lost + _PAYMENT.c.credited + bindparam("amount") <= CAPTURED_SHARE,
    )
    .values(reserved=_PAYMENT.c.reserved + bindparam("amount"))
)
_SHARES = _PAYMENT.alias("shares")
_USED_IN_ALL = (
    select(func.sum(_SHARES.c.reserved + _SHARES.c.refunded + _SHARES.c.returned_elsewhere))
    .where(_SHARES.c.share_of == bindparam("of_first"))
    .scalar_subquery()
)
# All shares together never refund more than the provider captured.
_RESERVE_SHARE = _RESERVE.where(
    or_(_PAYMENT.c.captured.is_(None), _USED_IN_ALL + bindparam("amount") <= _PAYMENT.c.captured)
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
