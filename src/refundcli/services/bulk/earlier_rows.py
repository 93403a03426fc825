"""What the earlier rows of a bulk file take of each payment, and what they ask for."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from refundcli.domain.duplicates import Candidate, facts_of_refund
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.services.bulk.rows import BulkRow, RowSpool
from refundcli.services.invoices.allocation import Share, candidate_of
from refundcli.services.refunds.record import is_charged_back

Taken: TypeAlias = dict[int, tuple[int, int]]


class EarlierRows:
    """Sums what earlier rows take, and applies it to invoices before the next row is checked.

    `sums`: by payment, the amount taken and how much of it lost disputes took (minor units).
    """

    def __init__(self, sums: Taken | None = None) -> None:
        self._taken: Taken = sums or {}
        self.changed: Taken = {}

    def takes_of(self, payment_id: int) -> bool:
        return payment_id in self._taken

    def of(self, invoice: Invoice | None) -> Invoice | None:
        if invoice is None or self._taken.keys().isdisjoint(
            payment_id for payment in invoice.payments for payment_id in payment.ids_of_shares
        ):
            return invoice
        return replace(invoice, payments=tuple(map(self._after, invoice.payments)))

    def take(self, shares: Sequence[Share], reason: RefundReason) -> tuple[tuple[int, int, int], ...]:
        """Add a row; returns for each payment its id, the amount, and how much of that a lost dispute took (R11)."""
        payment_parts = []
        for share in shares:
            payment_id, minor_units = share.payment.id, share.amount.minor
            taken_minor, charged_back_minor = self._taken.get(payment_id, (0, 0))
            charged_back_here = minor_units if is_charged_back(share, reason) else 0
            self._taken[payment_id] = self.changed[payment_id] = (
                taken_minor + minor_units,
                charged_back_minor + charged_back_here,
            )
            payment_parts.append((payment_id, minor_units, charged_back_here))
        return tuple(payment_parts)

    def _after(self, payment: Payment) -> Payment:
        """The payment after these rows. What they recorded of its disputes on other shares is recorded for it too."""
        if self._taken.keys().isdisjoint(payment.ids_of_shares):
            return payment
        payment_currency = payment.captured.currency
        taken_amount, charged_back_amount = (
            Money(minor_units, payment_currency) for minor_units in self._taken.get(payment.id, (0, 0))
        )
        charged_back_in_all = sum(self._taken.get(payment_id, (0, 0))[1] for payment_id in payment.ids_of_shares)
        lost_amount = payment.lost - charged_back_amount
        if payment.other_shares:
            lost_amount = min(
                lost_amount, Money(max(payment.lost_in_all.minor - charged_back_in_all, 0), payment_currency)
            )
        other_shares = tuple(
            replace(share, used=share.used + Money(self._taken.get(share.payment_id, (0, 0))[0], payment_currency))
            for share in payment.other_shares
        )
        return replace(payment, refunded=payment.refunded + taken_amount, lost=lost_amount, other_shares=other_shares)


@dataclass(slots=True)
class FileRows:
    """The duplicate index of a file's rows, kept in the spool because there may be millions.

    `new`: the facts of the current chunk, which `save` adds to the spool.
    """

    spool: RowSpool
    earlier_rows: EarlierRows
    new: dict[str, int] = field(default_factory=dict)

    def take_of(self, shares: Sequence[Share]) -> bool:
        """Do earlier rows take from these payments?"""
        return any(self.earlier_rows.takes_of(share.payment.id) for share in shares)

    def line_of_equal(self, candidate: Candidate, line: int) -> int:
        """The line of the first row equal to the one on `line`; 0 if that is the first."""
        return next(
            (earlier_line for earlier_line in map(self._line_of, candidate.facts) if earlier_line not in (0, line)), 0
        )

    def made(self, refund: Refund) -> bool:
        """Did one of these rows make the refund? Then it is not a duplicate of another row."""
        return bool(self._line_of(refund.id))

    def add(self, row: BulkRow, shares: Sequence[Share], refunds: Sequence[Refund]) -> None:
        """Index a row by its facts: texts that rows share only if they are equal, and the ids of its refunds.

        `refunds`: those under its key. `shares` is empty if the row was done before.
        """
        facts = candidate_of(shares, row.reason, row.reference).facts or map(facts_of_refund, refunds)
        for fact in (*facts, *(refund.id for refund in refunds)):
            self.new.setdefault(fact, row.line)

    def save(self) -> None:
        self.spool.add_lines(self.new)

    def _line_of(self, fact: str) -> int:
        # Facts in the spool are from earlier lines.
        return self.spool.line_of(fact) or self.new.get(fact, 0)
