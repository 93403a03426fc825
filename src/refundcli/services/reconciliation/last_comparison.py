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
            is_same = self.report == earlier.report and self.compared >= earlier.compared
            return self.is_of_all or is_same or (self.is_complete and not earlier.is_of_all)
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

    A difference stays until a comparison that covers it was complete. Of the others the newest are stored.
    """
    earlier = [old for old in _stored(tx, provider) if old.scope and not _replaces(scope, result, old)]
    main = _main(earlier)
    earlier = [old for at, old in enumerate(earlier) if at < _STORED or old.remaining or old is main]
    # Without a time: that of the entry in the store.
    newest: dict[str, Any] = {
        "result": result,
        "left": remaining,
        "not_compared": not_compared,
        "scope": asdict(scope),
    }
    tx.set_sync_state(_name(provider), json.dumps([newest, *map(_value, earlier)]))


def last_comparison(reading: Reading, provider: Provider) -> LastComparison | None:
    """The last of all payments, else the fullest; None if the books were never compared with this provider.

    `in_books` counts the payments that are in the books now, so that it is not complete after an import.
    """
    stored = _stored(reading, provider)
    main = _main(stored)
    if main is None or main.scope is None:
        return main
    count = reading.payment_count(provider)
    partial = [_with_count(old, count) for old in stored if old is not main]
    later = next((old for old in partial if old.at >= main.at), None)
    unresolved = tuple(old for old in partial if old.remaining)
    return replace(_with_count(main, count), narrower=later, unresolved=unresolved)


def _replaces(scope: ComparisonScope, result: Agreement, old: LastComparison) -> bool:
    if old.scope is None or not scope.covers(old.scope):
        return False
    is_same = (scope.report, scope.since) == (old.scope.report, old.scope.since)
    return is_same or result is not Agreement.INCOMPLETE or not old.remaining


def _main(stored: Sequence[LastComparison]) -> LastComparison | None:
    """The last of all payments, else the fullest; the newest of equal ones, which come first."""
    return max(stored, key=_width, default=None)


def _width(stored: LastComparison) -> tuple[bool, int]:
    if stored.scope is None:
        return False, -1
    return stored.scope.is_of_all, 0 if stored.scope.is_of_all else stored.scope.compared


def _with_count(stored: LastComparison, in_books: int) -> LastComparison:
    return replace(stored, scope=replace(stored.scope, in_books=in_books)) if stored.scope else stored


def _stored(reading: Reading, provider: Provider) -> list[LastComparison]:
    """The newest first."""
    state = reading.sync_state(_name(provider))
    if state is None:
        return []
    text, at = state
    if not text.startswith(("{", "[")):
        return [LastComparison(at)]
    values = json.loads(text)
    return [_comparison(value, at) for value in (values if isinstance(values, list) else [values])]


def _comparison(value: dict[str, Any], at: datetime) -> LastComparison:
    scope = ComparisonScope(**value["scope"]) if "scope" in value else None
    at = datetime.fromisoformat(value["at"]) if "at" in value else at
    return LastComparison(at, Agreement(value["result"]), int(value["left"]), int(value["not_compared"]), scope)


def _value(stored: LastComparison) -> dict[str, Any]:
    assert stored.scope, "one without a scope is not stored again"
    return {
        "at": stored.at.isoformat(),
        "result": stored.result,
        "left": stored.remaining,
        "not_compared": stored.not_compared,
        "scope": asdict(stored.scope),
    }


def _name(provider: Provider) -> str:
    return f"reconcile:{provider.value}"
