"""The result of a comparison with a provider, and the stored last one. Agreement needs a complete one (R15)."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum

from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Reading, Writing


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
        """Were all payments of the books compared?"""
        return self.compared >= self.in_books


@dataclass(frozen=True, slots=True)
class LastComparison:
    """The last comparison of all payments, or of those in a report.

    `remaining`: differences that were not applied. `narrower`: a later one of fewer payments. Stored by an older
    version, it has no result, counts or scope.
    """

    at: datetime
    result: Agreement | None = None
    remaining: int | None = None
    not_compared: int | None = None
    scope: ComparisonScope | None = None
    narrower: "LastComparison | None" = None


def record_comparison(
    tx: Writing, provider: Provider, scope: ComparisonScope, result: Agreement, *, remaining: int, not_compared: int
) -> None:
    """Store it; one of fewer payments than the last is stored separately, because it does not replace that result."""
    previous = last_comparison(tx, provider)
    is_narrower = previous is not None and previous.scope is not None and scope.compared < previous.scope.compared
    value = {"result": result, "left": remaining, "not_compared": not_compared, "scope": asdict(scope)}
    tx.set_sync_state(_narrower(provider) if is_narrower else _name(provider), json.dumps(value))


def last_comparison(reading: Reading, provider: Provider) -> LastComparison | None:
    """The last one, or a fuller one before it; None if the books were never compared with this provider."""
    last, narrower = (_stored(reading, name) for name in (_name(provider), _narrower(provider)))
    if last is None or narrower is None or narrower.at < last.at:
        return last
    return replace(last, narrower=narrower)


def _stored(reading: Reading, name: str) -> LastComparison | None:
    state = reading.sync_state(name)
    if state is None:
        return None
    value, at = state
    if not value.startswith("{"):
        return LastComparison(at)
    stored = json.loads(value)
    scope = ComparisonScope(**stored["scope"]) if "scope" in stored else None
    return LastComparison(at, Agreement(stored["result"]), int(stored["left"]), int(stored["not_compared"]), scope)


def _name(provider: Provider) -> str:
    return f"reconcile:{provider.value}"


def _narrower(provider: Provider) -> str:
    return f"{_name(provider)}:narrower"
