"""One difference between the books and a provider, with its next step."""

import shlex
from dataclasses import dataclass
from enum import StrEnum

from refundcli.domain.money import Money
from refundcli.domain.statuses import Provider

# The state here of an external refund that may be the same as a manual record.
MAYBE_RECORDED = "may already have been recorded by hand"


class DifferenceKind(StrEnum):
    MISSING_HERE = "missing-here"
    MISSING_THERE = "missing-there"
    AMOUNT = "amount"
    STATUS = "status"
    CURRENCY = "currency"
    DISPUTE = "dispute"
    UNALLOCATED = "unallocated"  # the provider captured more than is allocated to invoices in the books
    UNADOPTED = "unadopted"  # an external refund that has no reason and no credit note yet


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: the state `here` and `there`, and the amount concerned.

    `reference` is the provider's id; `invoice` is empty if the books have no invoice for it.
    """

    kind: DifferenceKind
    provider: Provider
    invoice: str
    reference: str
    what: str
    here: str
    there: str
    amount: Money | None = None
    refund_id: str = ""

    @property
    def blocks_refund(self) -> bool:
        """Does it block a refund? Not if the books and the provider agree on the amounts."""
        return self.kind not in (DifferenceKind.UNALLOCATED, DifferenceKind.UNADOPTED)

    def next_step(self, *, applied: bool) -> str:
        """The next command; empty if the difference was applied and nothing is left to do."""
        quoted_id, quoted_number = shlex.quote(self.refund_id or self.reference), shlex.quote(self.invoice)
        if self.kind is DifferenceKind.UNADOPTED and self.here == MAYBE_RECORDED:
            return f"refundcli reconcile --match {quoted_id} --record REFUND"
        if self.kind is DifferenceKind.UNADOPTED or (applied and self.what == "refund" and not self.here):
            return f"refundcli reconcile --adopt {quoted_id} --reason REASON"
        if applied:
            return ""
        if self.what == "report":
            return "refundcli config"
        if self.kind is DifferenceKind.UNALLOCATED or not self.invoice:
            pull_command = "refundcli invoice pull stripe   or   " if self.provider is Provider.STRIPE else ""
            return f"{pull_command}refundcli invoice import FILE"
        if self.kind is DifferenceKind.MISSING_THERE:
            return f"refundcli invoice history {quoted_number}"
        if self.what in ("refund", "dispute", "report line"):
            # An update that could not be applied waits for a person (R13).
            return f"refundcli events list --state unreviewed --about {shlex.quote(self.reference)}"
        return f"refundcli invoice show {quoted_number}"

    def __str__(self) -> str:
        return f"{self.what}: {self.here or 'nothing'} here, {self.there or 'nothing'} there"


def apart(in_books: Money, at_provider: Money) -> Money:
    """The difference between two amounts; the provider's amount if the currencies differ."""
    if in_books.currency != at_provider.currency:
        return at_provider
    return max(in_books, at_provider) - min(in_books, at_provider)
