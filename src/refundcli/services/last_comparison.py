"""How a comparison with a provider ended, and what is stored of the last one: agreement needs a complete one (R15)."""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from refundcli.domain.statuses import Provider
from refundcli.services.ports import Reading, Writing


class Agreement(StrEnum):
    """The result of a comparison; the first that applies, in this order."""

    INCOMPLETE = "incomplete"  # something could not be compared
    DIFFERS = "differs"
    AGREES = "agrees"
    NOTHING = "nothing-to-compare"  # the books hold no payment in scope


@dataclass(frozen=True, slots=True)
class LastComparison:
    """The last comparison of all payments, or of those in a report.

    `left`: differences that were not applied. `since`: only payments made from that day on, as `2026-10-01`. What an
    older version stored has neither a result nor counts.
    """

    at: datetime
    result: Agreement | None = None
    left: int | None = None
    not_compared: int | None = None
    since: str = ""


def record_comparison(
    tx: Writing, provider: Provider, result: Agreement, *, left: int, not_compared: int, since: str = ""
) -> None:
    value = {"result": result, "left": left, "not_compared": not_compared, "since": since}
    tx.set_sync_state(_name(provider), json.dumps(value))


def last_comparison(reading: Reading, provider: Provider) -> LastComparison | None:
    """None where the books were never compared with this provider."""
    known = reading.sync_state(_name(provider))
    if known is None:
        return None
    value, at = known
    if not value.startswith("{"):
        return LastComparison(at)
    stored = json.loads(value)
    return LastComparison(
        at, Agreement(stored["result"]), int(stored["left"]), int(stored["not_compared"]), str(stored["since"])
    )


def _name(provider: Provider) -> str:
    return f"reconcile:{provider.value}"
