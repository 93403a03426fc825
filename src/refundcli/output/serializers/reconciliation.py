"""Differences between the books and a provider."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from refundcli.domain.money import Money
from refundcli.output.serializers.invoices import money, refund

if TYPE_CHECKING:
    from refundcli.services.preflight.comparison import Difference
    from refundcli.services.reconciliation.against_provider import ComparisonSummary


def difference(of: "Difference", applied: bool) -> dict[str, Any]:
    return {
        "kind": of.kind,
        "provider": of.provider,
        "invoice": of.invoice or None,
        "reference": of.reference,
        "refund": of.refund_id or None,
        "object": of.what,
        "in_books": of.here or None,
        "at_provider": of.there or None,
        "amount": money(of.amount) if of.amount else None,
        "applied": applied,
        "next": of.next_step(applied=applied) or None,
    }


def reconciliation(outcome: "ComparisonSummary", differences: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "compared": outcome.compared,
        "differences": list(differences),
        "difference_count": outcome.differences,
        "applied": outcome.repaired,
        "changed": outcome.changed,
        "settled": [refund(settled) for settled in outcome.settled],
        "result": outcome.result,
        "differences_left": outcome.remaining,
        "not_in_books": outcome.not_in_books,
        "being_sent": outcome.being_sent,
        "unread_lists": outcome.unread_lists,
        "unreadable": outcome.unreadable,
        "unreviewed": outcome.unreviewed,
        "unconfirmed": outcome.unconfirmed,
        "by_kind": dict(outcome.by_kind),
        "money": [kind_total(kind, amount) for (kind, _), amount in sorted(outcome.money.items())],
    }


def kind_total(kind: str, amount: Money) -> dict[str, Any]:
    return {"kind": kind, "amount": money(amount)}
