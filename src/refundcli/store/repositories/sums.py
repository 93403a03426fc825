"""The bound of what a payment can refund (I1), and the sums of payments and invoices that follow from their refunds."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, or_, select, update

from refundcli.domain.currencies import currency
from refundcli.domain.dispute import DisputeState, most_severe
from refundcli.domain.invoice import status_after
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import InvoiceStatus, RefundKind
from refundcli.services.ports.store_problems import WouldContradict
from refundcli.store.audit import AuditTrail
from refundcli.store.conditions import CAPTURED
from refundcli.store.databases.rows import Rows
from refundcli.store.queries.payments import disputes_by_payment
from refundcli.store.queries.refunds import refunds_of_payments, refunds_where
from refundcli.store.repositories.writes import Writes
from refundcli.store.share_counting import share_rows, sums_of, taken_by_disputes
from refundcli.store.tables import CAPTURED_SHARE, INVOICE, PAYMENT, REFUND


class Sums(Writes):
    """The sums that follow from what a transaction writes."""

    def update_invoice(self, invoice_id: int) -> None:
        """Update sums and status in one UPDATE, so that the CHECK on Refunded always holds (R6)."""
        for paid, returned, status, _ in sums_of_invoices(self._rows, self._audit, [invoice_id]):
            columns = {"paid": paid, "returned": returned, "status": status, "updated_at": self._audit.at}
            self._hits(_INVOICE_OF, of_id=invoice_id, **columns)

    def move(self, refund_before: Refund, refund_after: Refund) -> None:
        """Move an amount between reserved, refunded and free: it counts in one place only (DESIGN: table of states)."""
        if refund_after.is_external:
            self.count_external(refund_after.payment_id)
            self.reserve_external(refund_after.payment_id)
            return
        reserved_minor = (refund_after.holds_reservation - refund_before.holds_reservation) * refund_after.counted.minor
        refunded_minor = _refunded(refund_after) - _refunded(refund_before)
        if not (reserved_minor or refunded_minor):
            return
        parameters = {"of_id": refund_after.payment_id, "to_reserved": reserved_minor, "to_refunded": refunded_minor}
        first_share_id = self._connection.execute(_MOVE_SUMS, parameters).scalar_one()
        if first_share_id is not None:
            self.count_shares(first_share_id)
        elif reserved_minor + refunded_minor < 0:
            self.reserve_external(refund_after.payment_id)

    def hold(self, refund: Refund) -> bool:
        """Reserve the amount of a failed refund; false if not enough is left."""
        return self._hits(RESERVE, of_id=refund.payment_id, amount=refund.counted.minor)

    def reserve_external(self, payment_id: int) -> None:
        """Reserve the amounts of external refunds that failed late or are undecided, as far as money is left (R14)."""
        condition = REFUND.c.payment_id == payment_id
        external_query = select(REFUND.c.id).where(condition, REFUND.c.kind == RefundKind.EXTERNAL).limit(1)
        payment_row = self._payment(payment_id)
        if payment_row.share_of is not None:
            self.count_shares(payment_row.share_of)
            return
        if self._connection.execute(external_query).first() is None:
            return
        holding_refunds = [
            refund
            for refund in refunds_where(self._rows, "refund.payment_id = :payment", payment=payment_id)
            if refund.holds_reservation
        ]
        our_minor = sum(refund.amount.minor for refund in holding_refunds if not refund.is_external)
        external_minor = sum(refund.amount.minor for refund in holding_refunds if refund.is_external)
        free_minor = max(payment_row.allocated - payment_row.refunded - payment_row.returned_elsewhere - our_minor, 0)
        statement = update(PAYMENT).where(PAYMENT.c.id == payment_id)
        self._hits(statement.values(reserved=our_minor + min(external_minor, free_minor)))

    def count_external(self, payment_id: int) -> None:
        """Count external refunds. One from before the payment's import is in the imported figure already."""
        payment_row = self._payment(payment_id)
        if payment_row.share_of is not None:
            self.count_shares(payment_row.share_of)
            return
        condition = "refund.payment_id = :payment AND refund.kind = :external"
        external_refunds = refunds_where(self._rows, condition, payment=payment_id, external=RefundKind.EXTERNAL)
        accepted_refunds = [refund for refund in external_refunds if refund.state.is_accepted]
        counted_refunds = [refund for refund in accepted_refunds if not refund.undecided]
        earlier_minor = sum(
            refund.counted.minor
            for refund in counted_refunds
            if payment_row.opening_at and refund.created_at < payment_row.opening_at
        )
        later_minor = sum(refund.counted.minor for refund in counted_refunds) - earlier_minor
        returned_elsewhere = max(payment_row.opening_returned, earlier_minor) + later_minor
        self._hits(update(PAYMENT).where(PAYMENT.c.id == payment_id).values(returned_elsewhere=returned_elsewhere))

    def count_shares_of(self, payment_ids: Sequence[int], *, is_recorded: bool = False) -> None:
        """Recount the shares of those of these payments that pay several invoices.

        `is_recorded`: after `mark-refunded`. Raises WouldContradict if two rows of one file record the same loss.
        """
        for (first_share_id,) in self._rows.all(_SHARED, payments=payment_ids):
            self.count_shares(first_share_id, is_recorded=is_recorded)

    def count_shares(self, first_share_id: int, *, is_recorded: bool = False) -> None:
        """Recount reserved, returned and lost of every share of a payment, and the sums of their invoices."""
        shares = share_rows(self._connection, first_share_id)
        refunds = refunds_of_payments(self._rows, [share.id for share in shares])
        disputes = disputes_by_payment(self._rows, [first_share_id]).get(first_share_id, [])
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
            self._hits(update(PAYMENT).where(PAYMENT.c.id == payment_id).values(**columns_after))
            self.update_invoice(invoice_id)
            invoice_number = self._connection.execute(
                select(INVOICE.c.number).where(INVOICE.c.id == invoice_id)
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

    def count_disputes(self, payment_id: int) -> None:
        """Update the payment's dispute state, and the loss that is not recorded yet (R11)."""
        payment_row = self._payment(payment_id)
        if payment_row.share_of is not None:
            self.count_shares(payment_row.share_of)
            return
        disputes = disputes_by_payment(self._rows, [payment_id]).get(payment_id, [])
        lost_amounts = [dispute.amount for dispute in disputes if dispute.state is DisputeState.LOST]
        lost_minor = sum(payment_row.allocated if amount is None else amount.minor for amount in lost_amounts)
        columns = {"dispute": most_severe(disputes).value, "lost": max(0, lost_minor - payment_row.dispute_recorded)}
        self._hits(update(PAYMENT).where(PAYMENT.c.id == payment_id).values(**columns))

    def _payment(self, payment_id: int) -> Row[Any]:
        return self._connection.execute(select(PAYMENT).where(PAYMENT.c.id == payment_id)).one()


class SummingWrites(Writes):
    """A repository whose changes move sums."""

    def __init__(self, connection: Connection, audit: AuditTrail) -> None:
        super().__init__(connection, audit)
        self._sums = Sums(connection, audit)


def sums_of_invoices(rows: Rows, audit: AuditTrail, invoice_ids: Iterable[int]) -> Iterator[tuple[int, int, str, int]]:
    """What to write as paid, returned and status of each invoice, and its id. A new status is audited."""
    sums_rows = rows.all(_SUMS_OF_INVOICES, invoices=list(invoice_ids))
    for invoice_id, number, stored_status, currency_code, paid, returned in sums_rows:
        unit, status_before = currency(currency_code), InvoiceStatus(stored_status)
        status = status_after(status_before, paid=Money(int(paid), unit), returned=Money(int(returned), unit))
        yield int(paid), int(returned), status.value, invoice_id
        if status is not status_before:
            audit.write(f"invoice {status}", number, {"status": status_before}, {"status": status})


def number_of_payment(connection: Connection, payment_id: int) -> str:
    query = select(INVOICE.c.number).join(PAYMENT, PAYMENT.c.invoice_id == INVOICE.c.id)
    return str(connection.execute(query.where(PAYMENT.c.id == payment_id)).scalar_one())


def _refunded(refund: Refund) -> int:
    """The part of it that counts as refunded, in minor units."""
    return refund.counted.minor if refund.state.counts_as_refunded else 0


_SHARED = """
    SELECT DISTINCT share_of FROM payment
    WHERE id IN (SELECT CAST(key AS BIGINT) FROM json_each(:payments)) AND share_of IS NOT NULL
"""
_USED: Any = PAYMENT.c.reserved + PAYMENT.c.refunded + PAYMENT.c.returned_elsewhere


# Matches no row if the amount is more than is left of the payment (I1).
RESERVE = (
    update(PAYMENT)
    .where(
        PAYMENT.c.id == bindparam("of_id"),
        _USED + PAYMENT.c.lost + PAYMENT.c.credited + bindparam("amount") <= CAPTURED_SHARE,
    )
    .values(reserved=PAYMENT.c.reserved + bindparam("amount"))
)


_SHARES = PAYMENT.alias("shares")


_USED_IN_ALL = (
    select(func.sum(_SHARES.c.reserved + _SHARES.c.refunded + _SHARES.c.returned_elsewhere))
    .where(_SHARES.c.share_of == bindparam("of_first"))
    .scalar_subquery()
)


# All shares together never refund more than the provider captured.
RESERVE_SHARE = RESERVE.where(
    or_(PAYMENT.c.captured.is_(None), _USED_IN_ALL + bindparam("amount") <= PAYMENT.c.captured)
)


_MOVE_SUMS = (
    update(PAYMENT)
    .where(PAYMENT.c.id == bindparam("of_id"))
    .values(
        reserved=PAYMENT.c.reserved + bindparam("to_reserved"),
        refunded=PAYMENT.c.refunded + bindparam("to_refunded"),
    )
    .returning(PAYMENT.c.share_of)
)


_INVOICE_OF = update(INVOICE).where(INVOICE.c.id == bindparam("of_id"))


# What was paid and returned of each invoice, from its payments.
_SUMS_OF_INVOICES = f"""
    SELECT invoice.id, invoice.number, invoice.status, invoice.currency, sum({CAPTURED}),
        sum(refunded + returned_elsewhere)
    FROM invoice JOIN payment ON payment.invoice_id = invoice.id
    WHERE invoice.id IN (SELECT CAST(key AS BIGINT) FROM json_each(:invoices))
    GROUP BY invoice.id, invoice.number, invoice.status, invoice.currency
"""  # noqa: S608
