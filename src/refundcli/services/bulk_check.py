"""A bulk file against the books: every rule of every row is asked before anything is done, and again as it is done.

A row's key is its own, or made from what it says and which of the equal rows of its file it is: the same file
again does nothing twice, and editing one row changes no other's key (I4).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeAlias

from refundcli.domain.bulk_run import ItemState, RunItem, RunKind
from refundcli.domain.errors import RefundcliError, Refused
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money, zero
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundKind, RefundState
from refundcli.services.bad_rows import BadRow, Problem
from refundcli.services.bulk_rows import BulkRow, CheckedRow, Planned, Shelf
from refundcli.services.chunks import chunked
from refundcli.services.finding import InvoiceNotFound
from refundcli.services.keys import existing_among, row_key
from refundcli.services.mark_refunded import is_charged_back
from refundcli.services.ports import Books, Clock, Reading
from refundcli.services.row_outcomes import settled
from refundcli.services.shares import Share, total_of
from refundcli.services.verdicts import RefundDeclined

Rows: TypeAlias = Callable[[], Iterable[BulkRow | BadRow]]
Reject: TypeAlias = Callable[[BadRow], None]
Taken: TypeAlias = dict[int, tuple[int, int]]

CHUNK = 1000
_SHOWN = 50
# A refund of the same amount of the same payment that is younger is taken for a second press of the key.
_JUST_NOW = timedelta(minutes=10)


class Advance(Protocol):
    def __call__(self, rows: int, *, refused: int = 0) -> None: ...


class DoneBefore(Exception):
    """The row's wish was done by an earlier run, or by an earlier row of this file with the same key."""


class TakenBack(Refused):
    """What this very row asked for was done, and then taken back or returned: doing it again needs a word."""

    code = "taken-back"

    def __init__(self, refund: Refund) -> None:
        super().__init__(
            f"{refund.invoice_number}: this row was done before as {refund.id}, which was reversed since.",
            hint="If it is to be done again, give the row a key of its own.",
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class DuplicateKey(Refused):
    code = "duplicate-key"

    def __init__(self, key: str, line: int) -> None:
        super().__init__(
            f"Line {line} has the key {key!a} and asks for something else.",
            hint="Give each wish its own key, or leave the key empty.",
        )


class DoneByAnEarlierRun(Refused):
    """Equal in invoice, amount, reason and reference to a row of an earlier file: told twice, or meant twice?"""

    code = "possible-duplicate"

    def __init__(self, earlier: Refund) -> None:
        by = f"run {earlier.run_id}" if earlier.run_id else earlier.operator
        super().__init__(
            f"{earlier.amount} of {earlier.invoice_number} for the same reason and reference was done "
            f"on {earlier.created_at:%Y-%m-%d} by {by} ({earlier.id}, {earlier.state}).",
            hint="If a second one is meant, give the row a key of its own, or add --allow-duplicate.",
            context={"refund": earlier.id, "invoice": earlier.invoice_number},
        )


class ChangedSincePlan(Refused):
    code = "changed-meanwhile"

    def __init__(self, invoice: Invoice, planned: Planned) -> None:
        was = Money(planned.left, invoice.currency)
        super().__init__(
            f"{invoice.number} changed since the plan was made: {was} was left then, {invoice.refundable} is left now.",
            hint=f"refundcli invoice show {invoice.number}   and make a new plan",
            context={"invoice": invoice.number},
        )


class Wishes(Protocol):
    """What rows of one kind ask for."""

    @property
    def kind(self) -> RunKind: ...
    def content(self, row: BulkRow, key: str, invoice: Invoice) -> str:
        """What is wished, in one canonical text."""
        ...

    def shares(self, row: BulkRow, key: str, invoice: Invoice) -> list[Share]:
        """Which payments give how much. Raises the refusal that comes first."""
        ...


@dataclass(slots=True)
class BulkReport:
    """What the rows of a file come to; sums by currency and provider. `refused` holds the first ones.

    `done_by_run`: how many of the done ones are rows of the run that is resumed; `refused_by_run`: the lines of its
    refused rows, with their codes. `checked_at`: the audit trail's newest entry when the check began.
    """

    rows: int = 0
    wanted: int = 0
    done_before: int = 0
    sums: dict[tuple[str, str], Money] = field(default_factory=dict)
    rows_of: Counter[tuple[str, str]] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    refused: list[BadRow] = field(default_factory=list)
    done_by_run: int = 0
    refused_by_run: dict[int, str] = field(default_factory=dict)
    checked_at: int = 0

    @property
    def refused_count(self) -> int:
        return sum(self.codes.values())

    @property
    def done_outside(self) -> int:
        """Rows that were done before and are not in the run."""
        return self.done_before - self.done_by_run

    @property
    def refused_outside(self) -> int:
        return self.refused_count - len(self.refused_by_run)

    @property
    def codes_outside(self) -> Counter[str]:
        """Why rows that are not in the run were refused."""
        return self.codes - Counter(self.refused_by_run.values())

    def done(self, *, by_run: bool = False) -> None:
        self.rows += 1
        self.done_before += 1
        self.done_by_run += by_run

    def refuse(self, row: BadRow) -> None:
        self.rows += 1
        self.codes[row.problems[0].code] += 1
        if len(self.refused) < _SHOWN:
            self.refused.append(row)

    def take(self, parts: Sequence[tuple[str, Money]]) -> None:
        """One row more, with what it takes of whom."""
        self.rows += 1
        self.wanted += 1
        self.rows_of[_group(*parts[0])] += 1
        for part in parts:
            group = _group(*part)
            self.sums[group] = self.sums.get(group, zero(part[1].currency)) + part[1]


@dataclass(slots=True)
class RowRules:
    """The rules of one file's rows. `run_id` is the run that goes on: what it did itself is no duplicate."""

    wishes: Wishes
    clock: Clock
    run_id: str = ""
    allow_duplicate: bool = False

    def shares_of(
        self, row: BulkRow, key: str, invoice: Invoice | None, made: Sequence[Refund], earlier_keys: Sequence[str] = ()
    ) -> list[Share]:
        """What the row takes now. Raises the refusal that comes first, or DoneBefore.

        `made` are the refunds under its key, `earlier_keys` those of equal rows before it.
        """
        if invoice is None:
            raise InvoiceNotFound(row.invoice, "")
        existing = existing_among(made, key, self.wishes.content(row, key, invoice)) if made else []
        if any(refund.state is RefundState.REVERSED for refund in existing):
            raise TakenBack(existing[0])
        if existing and not any(refund.state.unfinished for refund in existing):
            for refund in existing:
                if refund.state is RefundState.FAILED:
                    raise RefundDeclined(refund)
            raise DoneBefore
        if existing:
            # Sent by a run that was killed: it is settled, not done again.
            return [Share(_payment_of(invoice, refund), refund.amount) for refund in existing]
        if row.planned and row.planned.left != invoice.refundable.minor:
            raise ChangedSincePlan(invoice, row.planned)
        shares = self.wishes.shares(row, key, invoice)
        if row.planned and row.planned.takes != total_of(shares).minor:
            raise ChangedSincePlan(invoice, row.planned)
        if not (row.key or self.allow_duplicate):
            self._refuse_duplicate(row, invoice, shares, earlier_keys)
        return shares

    def _refuse_duplicate(
        self, row: BulkRow, invoice: Invoice, shares: Sequence[Share], earlier_keys: Sequence[str]
    ) -> None:
        if not invoice.refunds:
            return
        wished = {(share.payment.id, share.amount.minor) for share in shares}
        now = self.clock.now()
        for refund in reversed(invoice.refunds):
            gone = refund.state in (RefundState.FAILED, RefundState.REVERSED)
            ours = bool(self.run_id) and refund.run_id == self.run_id
            if gone or ours or refund.request_key in earlier_keys:
                continue
            alike = (refund.payment_id, refund.amount.minor) in wished
            just_now = refund.kind is RefundKind.PROVIDER and now - refund.created_at < _JUST_NOW
            told = refund.reason is row.reason and _reference(refund) == row.reference
            if alike and (just_now or (refund.run_id and told)):
                raise DoneByAnEarlierRun(refund)


@dataclass(slots=True)
class BulkCheck:
    """Asks every rule of every row and changes nothing; what may be done is put on the shelf.

    `staged`: the run that is gone on with, where its rows are in the store. They were checked and confirmed, and the
    rules are asked again as each is done; only rows that it does not have yet are asked about here. `fingerprint`: of
    the run that this file would be, where another worker may begin it while the file is checked.
    """

    books: Books
    rules: RowRules
    shelf: Shelf
    staged: str = ""
    fingerprint: str = ""
    report: BulkReport = field(default_factory=BulkReport)

    def check(self, rows: Rows, *, advance: Advance, reject: Reject) -> BulkReport:
        self.report.checked_at = self.books.read(lambda tx: tx.newest_entry())
        for chunk in chunked(rows(), CHUNK):
            before = self.report.refused_count
            keyed = self._keyed(chunk)
            for row in self.books.read(partial(self._check_chunk, keyed)):
                self.report.refuse(row)
                reject(row)
            advance(len(chunk), refused=self.report.refused_count - before)
        return self.report

    def _keyed(self, chunk: Sequence[BulkRow | BadRow]) -> "list[_Keyed]":
        """Each row with its key, and the keys of equal rows before it."""
        fields = [_fields(self.rules.wishes.kind, row) for row in chunk]
        first = [row_key(of, 1) for of in fields]
        made = [at for at, row in enumerate(chunk) if not _own_key(row)]
        times = dict(zip(made, self.shelf.times_seen([first[at] for at in made]), strict=True))
        keyed = []
        for at, row in enumerate(chunk):
            if at in times:
                keys = (first[at], *(row_key(fields[at], nth) for nth in range(2, times[at] + 1)))
                keyed.append(_Keyed(row, keys[-1], keys[:-1], first[at]))
            else:
                keyed.append(_Keyed(row, _own_key(row), _earlier(row), first[at]))
        return keyed

    def _check_chunk(self, chunk: "Sequence[_Keyed]", tx: Reading) -> list[BadRow]:
        wanted = [each.row.invoice for each in chunk if isinstance(each.row, BulkRow)]
        numbers = list(dict.fromkeys(wanted))
        found = tx.invoices_with_facts(numbers)
        known = tx.refunds_by_keys([each.key for each in chunk])
        self._find_run(tx)
        staged = tx.items_on_lines(self.staged, [each.row.line for each in chunk]) if self.staged else {}
        ahead = Ahead(self.shelf.taken([p.id for invoice, _ in found.values() for p in invoice.payments]))
        refused, checked = [], []
        for each in chunk:
            if isinstance(each.row, BadRow):
                refused.append(replace(each.row, key=each.key))
                continue
            made, item = known.get(each.key, ()), staged.get(each.row.line)
            try:
                invoice, facts = found.get(each.row.invoice, (None, 0))
                invoice = ahead.of(invoice)
                self._check_own_key(each, each.row)
                if item:
                    item = settled(item, made) or item
                if item and item.state is ItemState.REFUSED:
                    self.report.refused_by_run[item.line] = item.code
                    refused.append(_as_told(item, each.row))
                    continue
                if item:
                    shares = self._left_of(item, each.row, invoice, made)
                else:
                    shares = self.rules.shares_of(each.row, each.key, invoice, made, each.earlier)
            except DoneBefore:
                self.report.done(by_run=item is not None)
            except RefundcliError as refusal:
                refused.append(rejected(each.row, each.key, refusal))
            else:
                assert invoice
                self.report.take(parts_of(shares))
                # What is reserved is taken already.
                held = any(refund.state.unfinished for refund in made)
                parts = () if held else ahead.take(shares, each.row.reason)
                if item:
                    continue
                checked.append(
                    CheckedRow(
                        row=each.row,
                        key=each.key,
                        takes=total_of(shares).minor,
                        left=invoice.refundable.minor,
                        currency=invoice.currency.code,
                        invoice_id=invoice.id,
                        facts=facts,
                        parts=parts,
                        earlier=each.earlier,
                    )
                )
        self.shelf.put(checked)
        self.shelf.take(ahead.changed)
        return refused

    def _find_run(self, tx: Reading) -> None:
        """Another worker may have begun this very file since the check began: then its rows are in the store."""
        if self.fingerprint and not self.staged and (begun := tx.unfinished_run(self.fingerprint)):
            self.staged = self.rules.run_id = begun.id

    def _left_of(self, item: RunItem, row: BulkRow, invoice: Invoice | None, made: Sequence[Refund]) -> list[Share]:
        """What a row of the run that is gone on with will take. Raises DoneBefore."""
        assert invoice, "it was there when the row was staged"
        if item.state is ItemState.DONE:
            raise DoneBefore
        begun = [refund for refund in made if refund.state.unfinished]
        if begun:
            return [Share(_payment_of(invoice, refund), refund.amount) for refund in begun]
        try:
            return self.rules.wishes.shares(row, item.request_key, invoice)
        except RefundcliError:
            # Whoever does it is told so: the world may have changed again by then.
            return [Share(invoice.payments[0], Money(item.expected, invoice.currency))]

    def _check_own_key(self, each: "_Keyed", row: BulkRow) -> None:
        """Two rows that share a key must say the same, and are one wish (I4)."""
        if not row.key:
            return
        line, same = self.shelf.first_with_key({row.key: (row.line, each.says)})[row.key]
        if line != row.line:
            if same != each.says:
                raise DuplicateKey(row.key, line)
            raise DoneBefore


@dataclass(frozen=True, slots=True)
class _Keyed:
    """A row, its key, the keys of equal rows before it, and what it says."""

    row: BulkRow | BadRow
    key: str
    earlier: tuple[str, ...]
    says: str


class Ahead:
    """Invoices as they will stand after the rows before this one."""

    def __init__(self, taken: Taken | None = None) -> None:
        self._taken: Taken = taken or {}
        self.changed: Taken = {}

    def of(self, invoice: Invoice | None) -> Invoice | None:
        if invoice is None or not any(payment.id in self._taken for payment in invoice.payments):
            return invoice
        return replace(invoice, payments=tuple(map(self._after, invoice.payments)))

    def take(self, shares: Sequence[Share], reason: RefundReason) -> tuple[tuple[int, int, int], ...]:
        """What a row takes: of which payment, how much, and how much of that a lost dispute took (R11)."""
        parts = []
        for share in shares:
            of, minor = share.payment.id, share.amount.minor
            taken, charged = self._taken.get(of, (0, 0))
            back = minor if is_charged_back(share, reason) else 0
            self._taken[of] = self.changed[of] = (taken + minor, charged + back)
            parts.append((of, minor, back))
        return tuple(parts)

    def _after(self, payment: Payment) -> Payment:
        if payment.id not in self._taken:
            return payment
        taken, charged = (Money(minor, payment.captured.currency) for minor in self._taken[payment.id])
        recorded = payment.dispute_recorded or zero(taken.currency)
        return replace(
            payment,
            refunded=payment.refunded + taken,
            dispute_recorded=recorded + charged,
            lost=payment.lost - charged,
        )


def rejected(row: BulkRow, key: str, refusal: RefundcliError) -> BadRow:
    """The row with why it was refused, fit to be corrected and fed back under the same key."""
    column, value = ("key", row.key) if isinstance(refusal, DuplicateKey) else ("invoice", row.invoice)
    problem = Problem(row.line, column, value, refusal.code, refusal.message, refusal.hint)
    return BadRow(row.line, (problem,), row.cells, key)


def _as_told(item: RunItem, row: BulkRow) -> BadRow:
    """A row as the run that is gone on with refused it when it came to it."""
    problem = Problem(item.line, "invoice", item.invoice, item.code, item.message, item.hint)
    return BadRow(item.line, (problem,), row.cells, item.request_key)


def parts_of(shares: Sequence[Share]) -> list[tuple[str, Money]]:
    return [(share.payment.provider or "", share.amount) for share in shares]


def _own_key(row: BulkRow | BadRow) -> str:
    """The key that the row came with: its own, or its plan's."""
    if isinstance(row, BadRow):
        return ""
    return row.planned.key if row.planned else row.key


def _earlier(row: BulkRow | BadRow) -> tuple[str, ...]:
    return row.planned.earlier if isinstance(row, BulkRow) and row.planned else ()


def _group(provider: str, amount: Money) -> tuple[str, str]:
    return amount.currency.code, provider


def _reference(refund: Refund) -> str:
    return refund.out_of_band.reference if refund.out_of_band else ""


def _payment_of(invoice: Invoice, refund: Refund) -> Payment:
    return next(payment for payment in invoice.payments if payment.id == refund.payment_id)


def _fields(kind: RunKind, row: BulkRow | BadRow) -> dict[str, object]:
    """What makes a row's key: all that it says."""
    if isinstance(row, BadRow):
        return {"cells": row.original}
    return {
        # Records were there first, and their keys stay as they were.
        "kind": "" if kind is RunKind.MARK_REFUNDED else kind,
        "invoice": row.invoice,
        "amount": row.amount_text or "full",
        "reason": row.reason,
        "method": row.method,
        "reference": row.reference,
        "refunded_on": row.refunded_on and row.refunded_on.isoformat(),
        "memo": row.memo,
        "payment": row.payment,
    }
