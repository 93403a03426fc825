"""Differences between the books and a provider."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from refundcli.domain.money import Money
from refundcli.output.serializers.invoices import money, refund

if TYPE_CHECKING:
    from refundcli.services.preflight.difference import Difference
    from refundcli.services.reconciliation.against_provider import ComparisonSummary


def difference(found_difference: "Difference", is_applied: bool) -> dict[str, Any]:
    return {
        "kind": found_difference.kind,
        "provider": found_difference.provider,
        "invoice": found_difference.invoice or None,
        "reference": found_difference.reference,
        "refund": found_difference.refund_id or None,
        "object": found_difference.what,
        "in_books": found_difference.here or None,
        "at_provider": found_difference.there or None,
        "amount": money(found_difference.amount) if found_difference.amount else None,
        "applied": is_applied,
        "next": found_difference.next_step(applied=is_applied) or None,
    }


def reconciliation(summary: "ComparisonSummary", difference_objects: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "compared": summary.compared,
        "differences": list(difference_objects),
        "difference_count": summary.differences,
        "applied": summary.repaired,
        "changed": summary.changed,
        "settled": [refund(settled_refund) for settled_refund in summary.settled],
        "result": summary.result,
        "differences_left": summary.remaining,
        "not_in_books": summary.not_in_books,
        "being_sent": summary.being_sent,
        "not_asked": list(summary.not_asked),
        "unread_lists": summary.unread_lists,
        "unreadable": summary.unreadable,
        "unreviewed": summary.unreviewed,
        "unconfirmed": summary.unconfirmed,
        "by_kind": dict(summary.by_kind),
        "money": [kind_total(kind, amount) for (kind, _), amount in sorted(summary.money.items())],
    }


def kind_total(kind: str, amount: Money) -> dict[str, Any]:
    return {"kind": kind, "amount": money(amount)}
