"""The result of a comparison with a provider, and the stored last one. Agreement needs a complete one (R15)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Reading, Writing

# Comparisons of a part that are stored; those with differences always are.
_STORED = 20


class Agreement(StrEnum):
    """The result of a comparison; the first that applies, in this order."""

    INCOMPLETE = "incomplete"  # something could not be compared
    DIFFERS = "differs"
    AGREES = "agrees"
    NOTHING = "nothing-to-compare"  # the books hold no payment in scope


@dataclass(frozen=True, slots=True)
class ComparisonScope:
    """The scope: `compared` of the `in_books` payments were compared with the provider or its report.

    `since`: only payments made from that day on, as `2026-10-01`. `report`: the file, empty for the provider itself.
    """

    account: str
    compared: int
    in_books: int
    report: str = ""
    since: str = ""

    @property
    def is_complete(self) -> bool:
        """Were all payments of the books compared? A comparison since a day leaves out what is only at the provider."""
        return not self.since and self.compared >= self.in_books

    @property
    def is_of_all(self) -> bool:
        """Was the whole account asked for, without a report or a day?"""
        return not self.report and not self.since

    def covers(self, earlier: "ComparisonScope") -> bool:
        """Does it compare everything that the other did?"""
        if self.account != earlier.account:
            return False
        if self.is_of_all or self.report:
            # Another report may have the same name: one of fewer payments covers nothing of this one.
            is_same_report = self.report == earlier.report and self.compared >= earlier.compared
            return self.is_of_all or is_same_report or (self.is_complete and not earlier.is_of_all)
        return not earlier.report and self.since <= earlier.since


@dataclass(frozen=True, slots=True)
class LastComparison:
    """The last comparison of all payments, or of those in a report.

    `remaining`: differences that were not applied. `narrower`: a later one of fewer payments. `unresolved`: those of
    fewer payments that still have differences. Stored by an older version, it has no result, counts or scope.
    """

    at: datetime
    result: Agreement | None = None
    remaining: int | None = None
    not_compared: int | None = None
    scope: ComparisonScope | None = None
    narrower: "LastComparison | None" = None
    unresolved: tuple["LastComparison", ...] = ()

    @property
    def differing(self) -> tuple["LastComparison", ...]:
        """Every stored comparison that still has differences, this one first."""
        return (self, *self.unresolved) if self.remaining else self.unresolved


def record_comparison(
    tx: Writing, provider: Provider, scope: ComparisonScope, result: Agreement, *, remaining: int, not_compared: int
) -> None:
    """Store it; it replaces those that it covers.

    `remaining`: how many differences were not applied; `not_compared`: how many objects could not be compared. A
    difference stays until a comparison that covers it was complete. Of the others the newest are stored.
    """
    earlier_comparisons = [
        comparison
        for comparison in _stored(tx, provider)
        if comparison.scope and not _replaces(scope, result, comparison)
    ]
    widest_comparison = _main(earlier_comparisons)
    # Without a time: that of the entry in the store.
    values = [_value(result, remaining, not_compared, scope)]
    values += [
        {"at": earlier.at.isoformat(), **_value(earlier.result, earlier.remaining, earlier.not_compared, earlier.scope)}
        for index, earlier in enumerate(earlier_comparisons)
        if index < _STORED or earlier.remaining or earlier is widest_comparison
    ]
    tx.store.set_sync_state(_name(provider), json.dumps(values))


def last_comparison(reading: Reading, provider: Provider) -> LastComparison | None:
    """The last of all payments, else the fullest; None if the books were never compared with this provider.

    `in_books` counts the payments that are in the books now, so that it is not complete after an import.
    """
    stored_comparisons = _stored(reading, provider)
    widest_comparison = _main(stored_comparisons)
    if widest_comparison is None or widest_comparison.scope is None:
        return widest_comparison
    payments_in_books = reading.payments.count(provider)
    other_comparisons = [
        _with_count(comparison, payments_in_books)
        for comparison in stored_comparisons
        if comparison is not widest_comparison
    ]
    later_comparison = next(
        (comparison for comparison in other_comparisons if comparison.at >= widest_comparison.at), None
    )
    unresolved = tuple(comparison for comparison in other_comparisons if comparison.remaining)
    return replace(_with_count(widest_comparison, payments_in_books), narrower=later_comparison, unresolved=unresolved)


def last_complete_comparison(reading: Reading, provider: Provider) -> datetime | None:
    """When everything in the scope of a comparison was last compared, whatever the scope (R15)."""
    complete = (stored.at for stored in _stored(reading, provider) if stored.result is not Agreement.INCOMPLETE)
    return max(complete, default=None)


def _replaces(scope: ComparisonScope, result: Agreement, comparison: LastComparison) -> bool:
    if comparison.scope is None or not scope.covers(comparison.scope):
        return False
    is_same_scope = (scope.report, scope.since) == (comparison.scope.report, comparison.scope.since)
    return is_same_scope or result is not Agreement.INCOMPLETE or not comparison.remaining


def _main(comparisons: Sequence[LastComparison]) -> LastComparison | None:
    """The last of all payments, else the fullest; the newest of equal ones, which come first."""
    return max(comparisons, key=_width, default=None)


def _width(comparison: LastComparison) -> tuple[bool, int]:
    if comparison.scope is None:
        return False, -1
    return comparison.scope.is_of_all, 0 if comparison.scope.is_of_all else comparison.scope.compared


def _with_count(comparison: LastComparison, payment_count: int) -> LastComparison:
    return (
        replace(comparison, scope=replace(comparison.scope, in_books=payment_count)) if comparison.scope else comparison
    )


def _stored(reading: Reading, provider: Provider) -> list[LastComparison]:
    """The newest first."""
    sync_state = reading.store.sync_state(_name(provider))
    if sync_state is None:
        return []
    comparisons_json, stored_at = sync_state
    if not comparisons_json.startswith(("{", "[")):
        return [LastComparison(stored_at)]
    decoded = json.loads(comparisons_json)
    return [_comparison(fields, stored_at) for fields in (decoded if isinstance(decoded, list) else [decoded])]


def _comparison(fields: dict[str, Any], stored_at: datetime) -> LastComparison:
    scope = ComparisonScope(**fields["scope"]) if "scope" in fields else None
    stored_at = datetime.fromisoformat(fields["at"]) if "at" in fields else stored_at
    return LastComparison(
        stored_at, Agreement(fields["result"]), int(fields["left"]), int(fields["not_compared"]), scope
    )


def _value(
    result: Agreement | None, remaining: int | None, not_compared: int | None, scope: ComparisonScope | None
) -> dict[str, Any]:
    assert scope, "one without a scope is not stored again"
    return {"result": result, "left": remaining, "not_compared": not_compared, "scope": asdict(scope)}


def _name(provider: Provider) -> str:
    return f"reconcile:{provider.value}"
