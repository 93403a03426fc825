"""Changes to the books. Each is guarded by its own statement and leaves one audit entry (I10)."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import CursorResult, Update, func, update
from sqlmodel import Session, col, select

from refundcli.domain.currencies import currency
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
from refundcli.services.invoice_block import InvoiceBlock, block_of
from refundcli.services.ports import ImportCounts, NewInvoice, Settlement
from refundcli.store.audit import AuditTrail
from refundcli.store.importing import Importer
from refundcli.store.numbering import next_numbers
from refundcli.store.reading import SqlReading
from refundcli.store.rows import facts_of, row_of
from refundcli.store.tables import (
    CreditNoteRow,
    InvoiceRow,
    PaymentRow,
    ProviderAccountRow,
    RefundRow,
)


class SqlWriting(SqlReading):
    """One transaction that changes the books."""

    def __init__(self, session: Session, audit: AuditTrail) -> None:
        super().__init__(session)
        self._audit = audit

    # --- money ---------------------------------------------------------------------------------------------

    def reserve(self, payment: Payment, amount: Money, held_back: Money) -> bool:
        """Over-refund is impossible by this statement, whoever else is at work (I1)."""
        statement = (
            update(PaymentRow)
            .where(
                col(PaymentRow.id) == payment.id,
                given() + amount.minor + held_back.minor <= col(PaymentRow.captured),
            )
            .values(reserved=col(PaymentRow.reserved) + amount.minor)
        )
        return self._hits(statement)

    # --- refunds -------------------------------------------------------------------------------------------

    def add_refund(self, refund: Refund) -> None:
        self._session.add(row_of(refund))
        self._session.flush()
        self._draft_credit_note(refund)
        self._audit.write(f"refund {refund.state}", refund.id, {}, facts_of(refund))
        if refund.state.counts_as_refunded:
            self._update_invoice(refund.invoice_id)

    def claim(self, refund: Refund, *, owner: str, until: datetime, at: datetime) -> Refund | None:
        """Compare and set on state and fence: one sender at a time, and a late one finds the door shut."""
        assert refund.sending
        first_sent = refund.sending.first_sent_at or at
        statement = (
            update(RefundRow)
            .where(*_as_it_was(refund))
            .values(
                state=RefundState.SUBMITTED,
                fence=refund.sending.fence + 1,
                lease_owner=owner,
                lease_until=until,
                first_sent_at=first_sent,
                updated_at=at,
            )
        )
        if not self._hits(statement):
            return None
        after = {"state": RefundState.SUBMITTED, "fence": refund.sending.fence + 1, "lease_owner": owner}
        self._audit.write("refund submitted", refund.id, _state(refund), after)
        return self.refund(refund.id)

    def let_go(self, refund: Refund) -> None:
        statement = update(RefundRow).where(*_as_it_was(refund)).values(lease_owner="", lease_until=None)
        if self._hits(statement):
            self._audit.write("refund outcome not known", refund.id, _state(refund), _state(refund))

    def settle(self, refund: Refund, end: Settlement) -> Refund | None:
        if not may_become(refund.state, end.state):
            return None
        comes_back = refund.comes_back_by(end.state, is_late=end.is_late)
        told = {"provider_reference": end.reference, "evidence": end.evidence}
        values: dict[str, Any] = {
            "state": end.state,
            "provider_status": end.status,
            "failure": end.failure,
            "lease_owner": "",
            "lease_until": None,
            "updated_at": self._audit.at,
            **{name: text for name, text in told.items() if text},
        }
        if comes_back and refund.came_back_at is None:
            values["came_back_at"] = self._audit.at
        if not self._hits(update(RefundRow).where(*_as_it_was(refund)).values(**values)):
            return None
        after = {"state": end.state, "provider_status": end.status, "failure": end.failure, **told}
        self._audit.write(f"refund {end.state}", refund.id, _state(refund), {k: v for k, v in after.items() if v})
        settled = self.refund(refund.id)
        assert settled
        self._move_sums(refund, settled)
        self._update_invoice(refund.invoice_id)
        return settled

    def _move_sums(self, before: Refund, after: Refund) -> None:
        """Reserved, refunded or free: an amount is counted in exactly one place (DESIGN: the table of states)."""
        if after.is_external:
            self._move_sums_elsewhere(before, after)
            return
        amount = after.amount.minor
        reserved = (after.holds_reservation - before.holds_reservation) * amount
        refunded = (after.state.counts_as_refunded - before.state.counts_as_refunded) * amount
        if reserved or refunded:
            values = {
                "reserved": col(PaymentRow.reserved) + reserved,
                "refunded": col(PaymentRow.refunded) + refunded,
            }
            self._hits(update(PaymentRow).where(col(PaymentRow.id) == after.payment_id).values(**values))

    def _move_sums_elsewhere(self, before: Refund, after: Refund) -> None:
        self._count_elsewhere(after.payment_id)
        if after.holds_reservation and not before.holds_reservation:
            self._hold(after)
        if before.holds_reservation and not after.holds_reservation:
            self._let_go_of_held(after)

    def _hold(self, refund: Refund) -> bool:
        """Keep the amount from being refunded again; false where it is not there to be kept."""
        amount = refund.amount.minor
        room = (col(PaymentRow.id) == refund.payment_id, given() + amount <= col(PaymentRow.captured))
        return self._hits(update(PaymentRow).where(*room).values(reserved=col(PaymentRow.reserved) + amount))

    def _let_go_of_held(self, refund: Refund) -> None:
        held = self._refunds(col(RefundRow.payment_id) == refund.payment_id)
        others = sum(each.amount.minor for each in held if each.holds_reservation and each.id != refund.id)
        still = (col(PaymentRow.id) == refund.payment_id, col(PaymentRow.reserved) > others)
        self._hits(update(PaymentRow).where(*still).values(reserved=others))

    def _count_elsewhere(self, payment_id: int) -> None:
        """What went back by other hands. A refund from before the payment came in is in the figure it came with."""
        row = self._session.get(PaymentRow, payment_id, populate_existing=True)
        assert row
        made = self._refunds((col(RefundRow.payment_id) == payment_id) & (col(RefundRow.kind) == RefundKind.EXTERNAL))
        counted = [each for each in made if each.state in (RefundState.PENDING, RefundState.SUCCEEDED)]
        before = sum(each.amount.minor for each in counted if row.opening_at and each.created_at < row.opening_at)
        later = sum(each.amount.minor for each in counted) - before
        elsewhere = max(row.opening_returned, before) + later
        self._hits(update(PaymentRow).where(col(PaymentRow.id) == payment_id).values(returned_elsewhere=elsewhere))

    def _draft_credit_note(self, refund: Refund) -> None:
        assert refund.reason
        note = CreditNoteRow(
            id=new_id("cn_", self._audit.at),
            refund_id=refund.id,
            invoice_id=refund.invoice_id,
            status=CreditNoteStatus.DRAFT,
            amount=refund.amount.minor,
            currency=refund.amount.currency.code,
            reason=refund.reason,
            memo=refund.memo,
        )
        self._session.add(note)
        self._session.flush()

    # --- credit notes --------------------------------------------------------------------------------------

    def issue_credit_note(self, refund: Refund, *, at: datetime, on: date, number_format: str) -> None:
        """Give the draft the next number. Counted in this transaction, so that no number is ever lost (I9)."""
        note = self._note_of(refund)
        if note.status != CreditNoteStatus.DRAFT:
            return
        (note.number,) = next_numbers(self._session, on, number_format, 1)
        note.status, note.issued_on, note.issued_at = CreditNoteStatus.ISSUED, on, at
        self._session.add(note)
        self._session.flush()
        self._audit.write("credit note issued", refund.id, {}, {"number": note.number})

    def void_credit_note(self, refund: Refund, *, at: datetime) -> None:
        """The number stays with the void note: series have no holes and no second use."""
        note = self._note_of(refund)
        if note.status == CreditNoteStatus.VOID:
            return
        before, note.status, note.voided_at = note.status, CreditNoteStatus.VOID, at
        self._session.add(note)
        self._session.flush()
        self._audit.write("credit note void", refund.id, {"status": before}, {"number": note.number or ""})

    def _note_of(self, refund: Refund) -> CreditNoteRow:
        return self._session.exec(select(CreditNoteRow).where(CreditNoteRow.refund_id == refund.id)).one()

    # --- invoices ------------------------------------------------------------------------------------------

    def change_status(self, invoice: Invoice, status: InvoiceStatus, *, memo: str) -> None:
        statement = (
            update(InvoiceRow)
            .where(col(InvoiceRow.id) == invoice.id, col(InvoiceRow.status) == invoice.status)
            .values(status=status, updated_at=self._audit.at)
        )
        assert self._hits(statement), "the invoice was read in this transaction"
        after = {"status": status} | ({"memo": memo} if memo else {})
        self._audit.write(f"invoice {status}", invoice.number, {"status": invoice.status}, after)

    def import_invoices(self, invoices: Sequence[NewInvoice], *, source: str) -> ImportCounts:
        return self.import_blocks([block_of(invoices)] if invoices else [], source=source)

    def import_blocks(self, blocks: Iterable[InvoiceBlock], *, source: str, all_new: bool = False) -> ImportCounts:
        return Importer(self._session, self._audit, source=source).bring_in(blocks, all_new=all_new)

    def newest_entry(self) -> int:
        return self._audit.head[0] if self._audit.head else super().newest_entry()

    def _update_invoice(self, invoice_id: int) -> None:
        """Sums and status in one UPDATE, so that the CHECK on Refunded holds at every instant (R6)."""
        row = self._session.get(InvoiceRow, invoice_id, populate_existing=True)
        assert row
        payments = select(func.sum(PaymentRow.captured), func.sum(_returned())).where(
            PaymentRow.invoice_id == invoice_id
        )
        paid, returned = self._session.exec(payments).one()
        unit = currency(row.currency)
        status = status_after(
            InvoiceStatus(row.status), paid=Money(int(paid), unit), returned=Money(int(returned), unit)
        )
        before = row.status
        values = {"paid": paid, "returned": returned, "status": status, "updated_at": self._audit.at}
        self._hits(update(InvoiceRow).where(col(InvoiceRow.id) == invoice_id).values(**values))
        if status != before:
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

    def _hits(self, statement: Update) -> bool:
        """Run a guarded statement: true when it found its row as it expected it."""
        result = self._session.exec(statement, execution_options={"synchronize_session": False})
        assert isinstance(result, CursorResult)
        self._session.expire_all()
        return result.rowcount == 1


def given() -> Any:
    """What a payment gave back or promised, in SQL."""
    return col(PaymentRow.reserved) + col(PaymentRow.refunded) + col(PaymentRow.returned_elsewhere)


def _returned() -> Any:
    return col(PaymentRow.refunded) + col(PaymentRow.returned_elsewhere)


def _as_it_was(refund: Refund) -> tuple[Any, ...]:
    fence = refund.sending.fence if refund.sending else 0
    return col(RefundRow.id) == refund.id, col(RefundRow.state) == refund.state, col(RefundRow.fence) == fence


def _state(refund: Refund) -> dict[str, object]:
    return {"state": refund.state}
