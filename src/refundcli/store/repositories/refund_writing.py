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
from refundcli.store.repositories.store_writing import SqlStoreWriting
from refundcli.store.schema import CAPTURED_SHARE, PaymentRow, RefundRow
from refundcli.store.share_counting import share_rows, sums_of, taken_by_disputes
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
        """Compare and set on state and fence: one sender at a time, and a stale sender matches no row.

        `owner`: who holds the lease until `until`; empty if it was sent before. `at`: when it is or was sent.
        """
        assert refund.sending
        if owner:
            self._audit.check_clock()
        first_sent_at = refund.sending.first_sent_at or at
        sending = replace(
            refund.sending,
            fence=refund.sending.fence + 1,
            lease_owner=owner,
            lease_until=until,
            first_sent_at=first_sent_at,
        )
        is_claimed = self._changes(
            _REFUND_AS_IT_WAS,
            **_as_it_was(refund),
            state=RefundState.SUBMITTED.value,
            fence=sending.fence,
            lease_owner=owner,
            lease_until=until,
            first_sent_at=first_sent_at,
            updated_at=at,
        )
        if not is_claimed:
            return None
        facts_after = {"state": RefundState.SUBMITTED, "fence": sending.fence, "lease_owner": owner}
        self._audit.write("refund submitted", refund.id, _state(refund), facts_after)
        return replace(refund, state=RefundState.SUBMITTED, sending=sending)

    def release_lease(self, refund: Refund) -> None:
        if self._changes(_REFUND_AS_IT_WAS, **_as_it_was(refund), lease_owner="", lease_until=None):
            self._audit.write("refund outcome not known", refund.id, _state(refund), _state(refund))

    def settle(self, refund: Refund, settlement: Settlement) -> Refund | None:
        if not may_become(refund.state, settlement.state):
            return None
        needs_acknowledgement = refund.needs_acknowledgement_as(settlement.state)
        holding, hold_until = _hold_after(refund, settlement)
        reference_and_evidence = {"provider_reference": settlement.reference, "evidence": settlement.evidence}
        columns: dict[str, Any] = {
            "state": settlement.state.value,
            "provider_status": settlement.status,
            "failure": settlement.failure,
            "failure_code": settlement.failure_code,
            "pending_reason": settlement.pending_reason,
            "expires_at": settlement.expires_at,
            "holding": holding,
            "hold_until": hold_until,
            "lease_owner": "",
            "lease_until": None,
            "updated_at": self._audit.at,
            **{name: text for name, text in reference_and_evidence.items() if text},
            **_dates(refund, settlement, at=self._audit.at),
        }
        if needs_acknowledgement and refund.needs_acknowledgement_since is None:
            columns["came_back_at"] = self._audit.at
        if not self._changes(_REFUND_AS_IT_WAS, **_as_it_was(refund), **columns):
            return None
        facts_after = {
            "state": settlement.state,
            "provider_status": settlement.status,
            "failure": settlement.failure,
            **reference_and_evidence,
        }
        self._audit.write(
            f"refund {settlement.state}",
            refund.id,
            _state(refund),
            {field: fact for field, fact in facts_after.items() if fact},
        )
        settled_refund = replace(
            refund,
            state=settlement.state,
            provider_reference=settlement.reference or refund.provider_reference,
            provider_status=settlement.status,
            failure=settlement.failure,
            sending=refund.sending and replace(refund.sending, lease_owner="", lease_until=None),
            needs_acknowledgement_since=columns.get("came_back_at", refund.needs_acknowledgement_since),
            failure_code=settlement.failure_code,
            pending_reason=settlement.pending_reason,
            expires_at=settlement.expires_at,
            holding=holding,
            hold_until=hold_until,
            succeeded_at=columns.get("succeeded_at", refund.succeeded_at),
            failed_at=columns.get("failed_at", refund.failed_at),
        )
        self._move_sums(refund, settled_refund)
        self._update_invoice(refund.invoice_id)
        return settled_refund

    def _move_sums(self, refund_before: Refund, refund_after: Refund) -> None:
        """Move an amount between reserved, refunded and free: it counts in one place only (DESIGN: table of states)."""
        if refund_after.is_external:
            self._count_external(refund_after.payment_id)
            self._reserve_external(refund_after.payment_id)
            return
        reserved_minor = (refund_after.holds_reservation - refund_before.holds_reservation) * refund_after.counted.minor
        refunded_minor = _refunded(refund_after) - _refunded(refund_before)
        if not (reserved_minor or refunded_minor):
            return
        parameters = {"of_id": refund_after.payment_id, "to_reserved": reserved_minor, "to_refunded": refunded_minor}
        first_share_id = self._run(_MOVE_SUMS, parameters).scalar_one()
        self._session.expire_all()
        if first_share_id is not None:
            self._count_shares(first_share_id)
        elif reserved_minor + refunded_minor < 0:
            self._reserve_external(refund_after.payment_id)

    def _hold(self, refund: Refund) -> bool:
        """Reserve the amount of a failed refund; false if not enough is left."""
        return self._changes(_RESERVE, of_id=refund.payment_id, amount=refund.counted.minor)

    def _reserve_external(self, payment_id: int) -> None:
        """Reserve the amounts of external refunds that failed late or are undecided, as far as money is left (R14)."""
        condition = col(RefundRow.payment_id) == payment_id
        external_query = select(_REFUND.c.id).where(condition, _REFUND.c.kind == RefundKind.EXTERNAL).limit(1)
        payment_row = self._session.get(PaymentRow, payment_id, populate_existing=True)
        assert payment_row
        if payment_row.share_of is not None:
            self._count_shares(payment_row.share_of)
            return
        if self._session.execute(external_query).first() is None:
            return
        holding_refunds = [refund for refund in self._refunds(condition) if refund.holds_reservation]
        our_minor = sum(refund.amount.minor for refund in holding_refunds if not refund.is_external)
        external_minor = sum(refund.amount.minor for refund in holding_refunds if refund.is_external)
        free_minor = max(payment_row.allocated - payment_row.refunded - payment_row.returned_elsewhere - our_minor, 0)
        statement = update(PaymentRow).where(col(PaymentRow.id) == payment_id)
        self._hits(statement.values(reserved=our_minor + min(external_minor, free_minor)))

    def _count_external(self, payment_id: int) -> None:
        """Count external refunds. One from before the payment's import is in the imported figure already."""
        payment_row = self._session.get(PaymentRow, payment_id, populate_existing=True)
        assert payment_row
        if payment_row.share_of is not None:
            self._count_shares(payment_row.share_of)
            return
        external_refunds = self._refunds(
            (col(RefundRow.payment_id) == payment_id) & (col(RefundRow.kind) == RefundKind.EXTERNAL)
        )
        accepted_refunds = [refund for refund in external_refunds if refund.state.is_accepted]
        counted_refunds = [refund for refund in accepted_refunds if not refund.undecided]
        earlier_minor = sum(
            refund.counted.minor
            for refund in counted_refunds
            if payment_row.opening_at and refund.created_at < payment_row.opening_at
        )
        later_minor = sum(refund.counted.minor for refund in counted_refunds) - earlier_minor
        returned_elsewhere = max(payment_row.opening_returned, earlier_minor) + later_minor
        self._hits(
            update(PaymentRow).where(col(PaymentRow.id) == payment_id).values(returned_elsewhere=returned_elsewhere)
        )

    def _count_shares_of(self, payment_ids: Sequence[int], *, is_recorded: bool = False) -> None:
        """Recount the shares of those of these payments that pay several invoices.

        `is_recorded`: after `mark-refunded`. Raises WouldContradict if two rows of one file record the same loss.
        """
        first_share_query = select(_PAYMENT.c.share_of).where(among(_PAYMENT.c.id), _PAYMENT.c.share_of.is_not(None))
        for start in range(0, len(payment_ids), AT_ONCE):
            chunk_parameters = {AMONG: payment_ids[start : start + AT_ONCE]}
            for first_share_id in self._session.execute(first_share_query.distinct(), chunk_parameters).scalars().all():
                self._count_shares(first_share_id, is_recorded=is_recorded)

    def _count_shares(self, first_share_id: int, *, is_recorded: bool = False) -> None:
        """Recount reserved, returned and lost of every share of a payment, and the sums of their invoices."""
        shares = share_rows(self._session, first_share_id)
        refunds = self.refunds_of_payments(shares)
        disputes = disputes_by_payment(self._session, [first_share_id]).get(first_share_id, [])
        if is_recorded and sum(share.dispute_recorded for share in shares) > taken_by_disputes(shares, disputes):
            raise WouldContradict("more than a lost dispute took would be recorded on its shares")
        dispute_state = most_severe(disputes).value
        share_changes = []
        for share, sums in zip(shares, sums_of(shares, refunds, disputes), strict=True):
            columns_after = {
                "reserved": sums.reserved,
                "returned_elsewhere": sums.refunded_externally,
                "lost": sums.lost,
            }
            columns_after["dispute"] = dispute_state  # type: ignore[assignment]
            columns_before = {name: getattr(share, name) for name in columns_after}
            if columns_before != columns_after:
                share_changes.append((sums.payment_id, share.invoice_id, columns_before, columns_after))
        for payment_id, invoice_id, columns_before, columns_after in share_changes:
            self._hits(update(PaymentRow).where(col(PaymentRow.id) == payment_id).values(**columns_after))
            self._update_invoice(invoice_id)
            invoice_number = self._session.execute(
                select(_INVOICE.c.number).where(_INVOICE.c.id == invoice_id)
            ).scalar_one()
            changed_columns = {
                name: content for name, content in columns_after.items() if content != columns_before[name]
            }
            self._audit.write(
                "share counted",
                invoice_number,
                {name: columns_before[name] for name in changed_columns},
                changed_columns,
            )

    def _draft_credit_note(self, refund: Refund) -> None:
        """Insert a draft, which is numbered once the provider answers. Checks now that the next number is free."""
        assert refund.reason
        self._audit.check_clock()
        check_next_number(self._session, self._audit.today)
        note_columns = {
            "id": new_id("cn_", self._audit.at),
            "refund_id": refund.id,
            "invoice_id": refund.invoice_id,
            "status": CreditNoteStatus.DRAFT.value,
            "amount": refund.amount.minor,
            "currency": refund.amount.currency.code,
            "reason": refund.reason.value,
            "memo": refund.memo,
        }
        self._run(insert(_NOTE), note_columns)

    # --- credit notes --------------------------------------------------------------------------------------

    def issue_credit_note(self, refund: Refund, *, at: datetime, on: date, credit_note_format: str) -> None:
        """Give the draft the next number, counted in this transaction, so that no number is lost (I9)."""
        note_status, _ = self._note_of(refund)
        if note_status != CreditNoteStatus.DRAFT:
            return
        # The refund was made, so it must be dated even if the clock is wrong now: the books' time is used.
        at, on = self._audit.dated(at, on)
        (number,) = next_numbers(self._session, on, credit_note_format, 1)
        issued_status = CreditNoteStatus.ISSUED.value
        self._changes(_NOTE_OF, of_refund=refund.id, number=number, status=issued_status, issued_on=on, issued_at=at)
        self._audit.write("credit note issued", refund.id, {}, {"number": number})

    def void_credit_note(self, refund: Refund, *, at: datetime) -> None:
        """Void the note. It keeps its number, so the series has no gap and no number is used twice (I9)."""
        note_status, note_number = self._note_of(refund)
        if note_status in ("", CreditNoteStatus.VOID):
            return
        at, _ = self._audit.dated(at, at.date())
        self._changes(_NOTE_OF, of_refund=refund.id, status=CreditNoteStatus.VOID.value, voided_at=at)
        self._audit.write("credit note void", refund.id, {"status": note_status}, {"number": note_number})

    def _note_of(self, refund: Refund) -> tuple[str, str]:
        """Status and number; both empty for an external refund that is not adopted."""
        note_row = self._run(_STATUS_OF_NOTE, {"of_refund": refund.id}).first()
        return (note_row.status, note_row.number or "") if note_row else ("", "")


def _hold_after(refund: Refund, settlement: Settlement) -> tuple[bool, datetime | None]:
    """Does a failure keep the amount reserved, and until when? After a success, until acknowledged (R14)."""
    if settlement.state is not RefundState.FAILED:
        return False, None
    if refund.state is RefundState.SUCCEEDED:
        return True, None
    return (True, settlement.hold_until) if settlement.may_be_retried else (False, None)


def _dates(refund: Refund, settlement: Settlement, *, at: datetime) -> dict[str, datetime]:
    """When it succeeded or failed, by the provider's date: the newest of each."""
    reported_at = settlement.reported_at or at
    if settlement.state is RefundState.SUCCEEDED:
        return {"succeeded_at": max(reported_at, refund.succeeded_at or reported_at)}
    if settlement.state is RefundState.FAILED:
        return {"failed_at": max(reported_at, refund.failed_at or reported_at)}
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
