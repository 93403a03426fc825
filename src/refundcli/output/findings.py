"""Everything in `status` that needs attention, as one list: for alerts, metrics, JSON and the exit code alike."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from refundcli.domain.dispute import review_command
from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import RefundState
from refundcli.output.next_steps import APPLY_EVENTS, compare_again, next_command, reconcile_command
from refundcli.services.ports.rejection_reasons import DeliveryCount
from refundcli.services.queries.freshness import Exceeded, Limit, StoreHealth
from refundcli.services.queries.status import Listed, Next, OpenRefund, Status

# What a reason is called on the screen; one that is not here is shown by its code.
_REJECTION_WORDS = {
    "unreadable": "unreadable",
    "unsigned": "unsigned",
    "forged": "wrong signature",
    "unauthorized": "wrong user name or password",
    "out-of-time": "timestamp too old or in the future",
    "too-large": "too large",
    "other-account": "wrong account",
    "other-mode": "wrong mode",
}
STATE_WORDS = {
    RefundState.READY: "not sent yet",
    RefundState.SUBMITTED: "not confirmed",
    RefundState.AWAITING_APPROVAL: "awaits approval at the provider",
}
# The subject of the finding for the rest of a list.
REST = "more"
_LISTEN = "refundcli events listen"
_REJECTED_EVENTS = "refundcli events list"
_ACCEPT_CLOCK = "refundcli store clock --accept"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that needs attention; `kind` and `subject` identify it. `count`: how many it stands for.

    `command` is None where nothing in refundcli helps.
    """

    kind: str
    subject: str
    summary: str
    command: str | None
    count: int = 1

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.subject}"


def findings(status: Status) -> list[Finding]:
    """In the order of the screen. Beyond the first fifty of a list there is one for the rest."""
    return [*_of_lists(status), *_of_updates(status), *checks(status)]


def checks(status: Status) -> list[Finding]:
    """What is too old, recently rejected webhooks, and the store's disk and clock."""
    return [
        *map(_exceeded, status.exceeded),
        *map(_rejected, status.deliveries.recent),
        *_health(status.health),
    ]


def rejection_words(reason: str) -> str:
    return _REJECTION_WORDS.get(reason, reason)


def dispute_command(invoice: Invoice) -> str:
    return f"refundcli invoice show {shlex.quote(invoice.number)}"


def _of_lists(status: Status) -> Iterator[Finding]:
    for list_name, finding_of in _FINDING_OF.items():
        listed = status.lists[list_name]
        found = [finding_of(entry) for entry in listed.first if getattr(entry, "next", None) is not Next.WAIT]
        yield from found[: listed.attention]
        yield from _rest(listed, found)


def _rest(listed: Listed[Any], found: list[Finding]) -> Iterator[Finding]:
    rest_count = listed.attention - len(found)
    if rest_count > 0:
        yield Finding(found[0].kind, REST, f"{rest_count:,} more", "refundcli status", rest_count)


def _refund(kind: str) -> Callable[[OpenRefund], Finding]:
    def finding_of(entry: OpenRefund) -> Finding:
        refund = entry.refund
        provider_words = f" through {refund.provider.label}" if refund.provider else ""
        state_words = STATE_WORDS.get(refund.state, refund.state.value)
        words = f"{refund.amount} of {refund.invoice_number}{provider_words}: {state_words} for {age_words(entry.age)}"
        return Finding(kind, refund.id, words, next_command(entry))

    return finding_of


_FINDING_OF: dict[str, Callable[[Any], Finding]] = {
    "unreviewed": lambda stored: Finding(
        "unreviewed",
        str(stored.id),
        f"event {stored.id} from {stored.event.provider.label}, {stored.event.kind}: {stored.note}",
        review_command(stored.id, stored.event.kind),
    ),
    "losses": lambda invoice: Finding(
        "loss", invoice.number, f"{invoice.loss} lost on {invoice.number}", f"refundcli acknowledge {invoice.number}"
    ),
    "unfinished": _refund("unfinished"),
    "runs": lambda entry: Finding(
        "run",
        entry.run.run.id,
        f"run {entry.run.run.id} of {entry.run.rows:,} rows: {entry.run.run.state} for {age_words(entry.age)}",
        next_command(entry),
    ),
    "closings": lambda entry: Finding(
        "closing",
        entry.closing.id,
        f"{entry.closing.target} of {entry.closing.invoice_number}: not finished for {age_words(entry.age)}",
        next_command(entry),
    ),
    "came_back": _refund("needs-acknowledgement"),
    "elsewhere": _refund("external"),
    "pending": _refund("pending"),
    "failed": _refund("failed"),
    "disputed": lambda invoice: Finding(
        "disputed",
        invoice.number,
        f"{invoice.number} is in dispute",
        dispute_command(invoice),
    ),
}


def _of_updates(status: Status) -> Iterator[Finding]:
    unapplied = status.unapplied
    if unapplied.attention:
        words = f"{unapplied.attention:,} provider updates are not applied"
        yield Finding("not-applied", "", words, APPLY_EVENTS, unapplied.attention)
    for provider, comparisons in status.differing.items():
        for comparison in comparisons:
            command = compare_again(provider, comparison)
            words = f"{comparison.remaining} differences from {provider.label} left"
            yield Finding("difference", command.removeprefix("refundcli reconcile "), words, command)


def _exceeded(exceeded: Exceeded) -> Finding:
    label, allowed_words = exceeded.provider.label, f"{_limit_words(exceeded.allowed)} allowed"
    if exceeded.limit is Limit.RECONCILE:
        happened, never = f"last complete comparison with {label} on", f"never completely compared with {label}"
        command = reconcile_command(exceeded.provider)
    else:
        happened, never = f"no listener and no webhook of {label} since", f"no listener and no webhook of {label} ever"
        command = _LISTEN
    words = f"{happened} {exceeded.last:%Y-%m-%d %H:%M} UTC" if exceeded.last else never
    return Finding(exceeded.limit, exceeded.provider, f"{words}; {allowed_words}", command)


def _rejected(counted: DeliveryCount) -> Finding:
    label = counted.provider.label if counted.provider else "unknown sender"
    when_words = f"{counted.count:,} in all, last {counted.last_at:%Y-%m-%d %H:%M} UTC"
    words = f"webhooks of {label} rejected: {rejection_words(counted.reason)} ({when_words})"
    return Finding("rejected-webhooks", f"{counted.provider or ''} {counted.reason}".strip(), words, _REJECTED_EVENTS)


def _health(health: StoreHealth) -> Iterator[Finding]:
    if health.disk:
        disk = health.disk
        words = f"only {disk.free // 2**20:,} MB free in {disk.folder}; the store needs {disk.needed // 2**20:,} MB"
        yield Finding("disk", disk.folder, words, None)
    if health.newest_entry:
        words = (
            f"the clock cannot be right: the newest entry of the books is from {health.newest_entry:%Y-%m-%d %H:%M} UTC"
        )
        yield Finding("clock", "books", words, _ACCEPT_CLOCK)
    if health.not_in_store:
        words = f"the store does not have audit entry {health.not_in_store} as it was anchored: a backup was restored"
        yield Finding("anchor", "books", words, "refundcli audit verify --anchor FILE")
    if health.skew:
        seconds = round(health.skew.total_seconds())
        direction = "ahead of" if seconds > 0 else "behind"
        yield Finding(
            "clock", "database", f"this machine's clock is {abs(seconds):,} s {direction} the database's", None
        )


def age_words(age: timedelta) -> str:
    """The largest unit that fits: `3 days`, `2 h`, `5 min`, `12 s`."""
    seconds = int(age.total_seconds())
    for unit, unit_seconds in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * unit_seconds:
            return f"{seconds // unit_seconds} {unit}"
    return f"{max(seconds, 0)} s"


def _limit_words(allowed: timedelta) -> str:
    """As it is typed: `26h`, `5d`, `90m`."""
    minutes = int(allowed.total_seconds()) // 60
    for unit, unit_minutes in (("d", 1440), ("h", 60)):
        if minutes % unit_minutes == 0:
            return f"{minutes // unit_minutes}{unit}"
    return f"{minutes}m"
