"""What is asked of the books, and what they answer: filters of lists, and short results."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from refundcli.domain.bulk_run import RunKind, RunState
from refundcli.domain.currencies import Currency
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import CreditNote, Refund
from refundcli.domain.statuses import InvoiceStatus, Provider, RefundState

if TYPE_CHECKING:
    from refundcli.services.ports.provider_updates import EventState

# Both ends of a list's period are always stated, so that the index on the time is used.
_EVER, _NEVER = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


def period(since: date | None, until: date | None, zone: tzinfo) -> tuple[datetime, datetime]:
    """From the beginning of the first day to the end of the last; without a day, without an end."""
    first = datetime.combine(since, time(), zone) if since else _EVER
    return first, datetime.combine(until + timedelta(days=1), time(), zone) if until else _NEVER


# More invoices than this are not counted for the note under a list.
MOST_COUNTED = 10_000
InvoiceSort = Literal["number", "issued", "due", "total", "customer"]


@dataclass(frozen=True, slots=True)
class InvoiceFilter:
    """A page of the invoices: at most `limit`, in the order of `sort`, after the one with the number `after`.

    `overdue_on`: open on this day although due before; `ids`: only these, None for any.
    """

    status: InvoiceStatus | None = None
    provider: Provider | None = None
    customer: str = ""
    refundable: bool = False
    disputed: bool = False
    processing: bool = False
    overdue_on: date | None = None
    ids: tuple[int, ...] | None = None
    sort: InvoiceSort = "number"
    descending: bool = False
    after: str = ""
    limit: int = 50


@dataclass(frozen=True, slots=True)
class CreditNoteFilter:
    """A page of the credit notes, in the order of issue: at most `limit`, after the note `after`.

    `run`: of this run's refunds; `numbers`: only these, if any are given.
    """

    invoice: str = ""
    run: str = ""
    numbers: tuple[str, ...] = ()
    reason: RefundReason | None = None
    since: date | None = None
    until: date | None = None
    after: CreditNote | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class RefundFilter:
    """A page of the refunds and records, newest first: at most `limit`, after the refund with the id `after`.

    `amounts`: the lowest and the highest amount, in major units.
    """

    state: RefundState | None = None
    operator: str = ""
    reason: RefundReason | None = None
    provider: Provider | None = None
    run: str = ""
    invoice: str = ""
    currency: Currency | None = None
    amounts: tuple[Decimal, Decimal] | None = None
    since: datetime = _EVER
    until: datetime = _NEVER
    after: str = ""
    limit: int = 50


@dataclass(frozen=True, slots=True)
class RefundTotal:
    """Refunds of one currency: their sum, and separately of those that failed or were reversed.

    `older`: how many come after the last one of the page.
    """

    count: int
    amount: Money
    failed_count: int
    failed: Money
    older: int


@dataclass(frozen=True, slots=True)
class RunFilter:
    """A page of the bulk runs, newest first: at most `limit`, after the run with the id `after`."""

    state: RunState | None = None
    kind: RunKind | None = None
    operator: str = ""
    since: datetime = _EVER
    until: datetime = _NEVER
    after: str = ""
    limit: int = 50


@dataclass(frozen=True, slots=True)
class RunSums:
    """Refunds and records of one currency, of one run or of several, by how far they are.

    `final`: returned or recorded; `accepted`: by the provider, not final; `unfinished`: without an outcome; `failed`:
    also reversed, or undone.
    """

    refunds: int
    final: Money
    accepted: Money
    unfinished: Money
    failed: Money


@dataclass(frozen=True, slots=True)
class EventFilter:
    """The newest events, at most `limit`."""

    state: "EventState | None" = None
    provider: Provider | None = None
    about: str = ""
    limit: int = 50


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change of the books: `before` and `after` are the facts that changed."""

    seq: int
    at: datetime
    operator: str
    host: str
    action: str
    subject: str
    before: dict[str, object]
    after: dict[str, object]
    # Who the database or the system says it was; empty in entries of older releases.
    login: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """`operator`: also a login; `action`: the beginning of it; `subjects`: None for all. Times: from, and before."""

    operator: str = ""
    action: str = ""
    subjects: Sequence[str] | None = None
    # The entry of an invoice's import, whose subject is the file.
    import_entry: int = 0
    since: datetime = _EVER
    until: datetime = _NEVER
    after: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """A provider account that the store was used with."""

    provider: Provider
    account: str
    livemode: bool


@dataclass(frozen=True, slots=True)
class FailedCapture:
    """A capture that failed and was not repeated: less was paid than the invoice says."""

    provider: Provider
    invoice: str
    reference: str
    amount: Money
    at: datetime


@dataclass(frozen=True, slots=True)
class PendingRefunds:
    """The first of `count` pending refunds, those that need attention first; `attention`: how many of all do.

    `recent`: how many were accepted in the last day; `overdue`: how many longer ago than allowed.
    """

    first: Sequence[Refund]
    count: int
    attention: int
    recent: int = 0
    overdue: int = 0


@dataclass(frozen=True, slots=True)
class InvoiceSearch:
    """What an invoice is found by: all of it must fit. `words` may mean anything; `today` is the day of the books."""

    today: date
    words: tuple[str, ...] = ()
    name: str = ""
    email: str = ""
    last4: str = ""
    amount: str = ""
    product: str = ""
    since: date | None = None
    until: date | None = None

    @property
    def is_empty(self) -> bool:
        fields = (self.words, self.name, self.email, self.last4, self.amount, self.product, self.since, self.until)
        return not any(fields)


@dataclass(frozen=True, slots=True)
class FoundInvoices:
    """The best ids first, of `count` in all. `corrected`: typed words that nothing fits, and what was searched."""

    ids: Sequence[int]
    count: int
    corrected: dict[str, Sequence[str]]
