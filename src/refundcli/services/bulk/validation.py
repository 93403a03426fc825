"""A bulk file against the books: every rule of every row is asked before anything is done, and again as it is done.

A row's key is its own, or made from what it content and which of the equal rows of its file it is: the same file
again does nothing twice, and editing one row changes no other's key (I4). Of equal rows only the first is done, unless
the others have keys of their own or a repeat is allowed (R5); one that was done before that rule stays done.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeAlias

from refundcli.domain.bulk_run import ItemState, RunItem, RunKind
from refundcli.domain.duplicates import Candidate, facts_of_refund
from refundcli.domain.errors import RefundcliError, Refused
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money, zero
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundKind, RefundState
from refundcli.services.bulk.row_outcomes import settled
from refundcli.services.bulk.rows import BulkRow, CheckedRow, Planned, RowSpool
from refundcli.services.chunks import chunked
from refundcli.services.dispatch.outcome_errors import PartlyRefunded, RefundDeclined
from refundcli.services.dispatch.request_keys import existing_among, is_derived, row_key
from refundcli.services.invoices.allocation import Share, candidate_of, total_of
from refundcli.services.invoices.lookup import InvoiceNotFound
from refundcli.services.ports.bad_rows import BadRow, Problem
from refundcli.services.ports.books import Books, Reading
from refundcli.services.ports.clock import Clock
from refundcli.services.refunds.record import is_charged_back

Rows: TypeAlias = Callable[[], Iterable[BulkRow | BadRow]]
Reject: TypeAlias = Callable[[BadRow], None]
Taken: TypeAlias = dict[int, tuple[int, int]]

CHUNK = 1000
_SHOWN = 50


class Advance(Protocol):
    def __call__(self, rows: int, *, refused: int = 0) -> None: ...


class AlreadyDone(Exception):
    """The row's wish was done by an earlier run, or by an earlier row of this file with the same key."""


class NeedsOwnKey(Refused):
    """The row may be meant: it is done once it has a key of its own, and handed back without one."""


class UndoneSince(NeedsOwnKey):
    """What this very row asked for was done, and then undone or returned: doing it again needs a word."""

    code = "taken-back"

    def __init__(self, refund: Refund) -> None:
        is_record = refund.kind is RefundKind.RECORD
        verb, then = ("recorded", "undone") if is_record else ("refunded", "returned")
        super().__init__(
            f"{refund.invoice_number}: this row was already {verb} as {refund.id}, {then} since.",
            hint="If it is to be done again, give the row a key of its own.",
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class DuplicateKey(Refused):
    code = "duplicate-key"

    def __init__(self, key: str, line: int) -> None:
        super().__init__(
            f"Line {line} has the key {key!a} and asks for something else.",
            hint="Give each row its own key, or leave the key empty.",
        )


_IF_MEANT = "If a second one is meant, give the row a key of its own, or add --allow-duplicate."


class RepeatsEarlierRefund(NeedsOwnKey):
    """Equal to a row of an earlier file, or to a refund made minutes ago: told twice, or meant twice?"""

    code = "possible-duplicate"

    def __init__(self, earlier: Refund) -> None:
        by = earlier.run_id or earlier.operator
        verb = "recorded" if earlier.kind is RefundKind.RECORD else "refunded"
        super().__init__(
            f"{earlier.amount} of the same payment of {earlier.invoice_number} was already {verb} on "
            f"{earlier.created_at:%Y-%m-%d at %H:%M} UTC by {by} ({earlier.id}, {earlier.state}).",
            hint=_IF_MEANT,
            context={"refund": earlier.id, "invoice": earlier.invoice_number},
        )


class EqualRow(NeedsOwnKey):
    """Equal in payment, amount, reason and reference to a row before it in the same file: pasted twice?"""

    code = "possible-duplicate"

    def __init__(self, number: str, amount: Money, line: int) -> None:
        super().__init__(
            f"Line {line} content the same already: {amount} of {number}, with the same payment, reason and reference.",
            hint=_IF_MEANT,
            context={"invoice": number, "line": line},
        )


class ChangedSincePlan(Refused):
    code = "changed-meanwhile"

    def __init__(self, invoice: Invoice, planned: Planned) -> None:
        was = Money(planned.remaining, invoice.currency)
        super().__init__(
            f"{invoice.number} changed since the plan was made: {was} was left then, {invoice.refundable} is left now.",
            hint=f"refundcli invoice show {invoice.number}   and make a new plan",
            context={"invoice": invoice.number},
        )


class RowRequests(Protocol):
    """What rows of one kind ask for."""

    @property
    def kind(self) -> RunKind: ...
    def content(self, row: BulkRow, key: str, invoice: Invoice) -> str:
        """What is wished, in one canonical text."""
        ...

    def shares(self, row: BulkRow, key: str, invoice: Invoice, *, allow_duplicate: bool) -> list[Share]:
        """Which payments give how much. Raises the refusal that comes first.

        `allow_duplicate`: also what may be a known external refund (R12).
        """
        ...


@dataclass(slots=True)
class BulkReport:
    """What the rows of a file come to; sums by currency and provider. `refused` holds the first ones.

    `done_by_run`: how many of the done ones are rows of the run that is resumed; `refused_by_run`: the lines of its
    refused rows, with their codes. `checked_at`: the audit trail's newest entry when the check began.
    """

    rows: int = 0
    requested: int = 0
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
        self.requested += 1
        self.rows_of[group_key(*parts[0])] += 1
        for part in parts:
            group = group_key(*part)
            self.sums[group] = self.sums.get(group, zero(part[1].currency)) + part[1]


@dataclass(slots=True)
class RowRules:
    """The rules of one file's rows. `run_id` is the run that goes on: what it did itself is no duplicate."""

    requests: RowRequests
    clock: Clock
    run_id: str = ""
    allow_duplicate: bool = False

    def shares_of(
        self,
        row: BulkRow,
        key: str,
        invoice: Invoice | None,
        refunds: Sequence[Refund],
        file_rows: "FileRows",
    ) -> list[Share]:
        """What the row takes now. Raises the refusal that comes first, or AlreadyDone.

        `made` are the refunds under its key.
        """
        if invoice is None:
            raise InvoiceNotFound(row.invoice, "")
        existing = existing_among(refunds, key, self.requests.content(row, key, invoice)) if refunds else []
        if any(refund.state is RefundState.REVERSED for refund in existing):
            raise UndoneSince(existing[0])
        if existing and not any(refund.state.unfinished for refund in existing):
            failed = [refund for refund in existing if refund.state is RefundState.FAILED]
            if failed and any(refund.state.is_given for refund in existing):
                raise PartlyRefunded(existing)
            if failed:
                raise RefundDeclined(failed[0])
            raise AlreadyDone
        if existing:
            # Sent by a run that was killed: it is settled, not done again.
            return [Share(_payment_of(invoice, refund), refund.amount) for refund in existing]
        if row.planned and row.planned.remaining != invoice.refundable.minor:
            raise ChangedSincePlan(invoice, row.planned)
        shares = self.requests.shares(row, key, invoice, allow_duplicate=self.allow_duplicate)
        if row.planned and row.planned.takes != total_of(shares).minor:
            raise ChangedSincePlan(invoice, row.planned)
        # A rejected row comes back with the key that was made for it: nobody said by it that a repeat is meant.
        has_own_key = row.key and not is_derived(row.key)
        if not (has_own_key or self.allow_duplicate):
            self._refuse_duplicate(row, invoice, shares, file_rows)
        return shares

    def _refuse_duplicate(self, row: BulkRow, invoice: Invoice, shares: Sequence[Share], file_rows: "FileRows") -> None:
        if not (invoice.refunds or file_rows.take_of(shares)):
            return
        candidate = candidate_of(shares, row.reason, row.reference, is_row=True, run_id=self.run_id)
        line = file_rows.line_of_equal(candidate, row.line)
        if line:
            raise EqualRow(invoice.number, total_of(shares), line)
        for earlier in candidate.earlier(invoice.refunds, self.clock.now()):
            if not file_rows.made(earlier):
                raise RepeatsEarlierRefund(earlier)


@dataclass(slots=True)
class FileRows:
    """What the rows of a file say that are done, or may be; outside of memory, for there may be millions.

    `earlier_rows`: what the rows before take. `new` are those of the chunk in hand, which `save` puts beside the others.
    """

    spool: RowSpool
    earlier_rows: "EarlierRows"
    new: dict[str, int] = field(default_factory=dict)

    def take_of(self, shares: Sequence[Share]) -> bool:
        """Do rows before take of these payments?"""
        return any(self.earlier_rows.takes_of(share.payment.id) for share in shares)

    def line_of_equal(self, candidate: Candidate, line: int) -> int:
        """The line of the first row that is equal to the one on `line`; 0 where that is the first."""
        return next((match for match in map(self._line_of, candidate.facts) if match not in (0, line)), 0)

    def made(self, refund: Refund) -> bool:
        """Did one of these rows make the refund? Then it is no duplicate of another row."""
        return bool(self._line_of(refund.id))

    def add(self, row: BulkRow, shares: Sequence[Share], refunds: Sequence[Refund]) -> None:
        """`made`: the refunds under its key. `shares` are empty where it was done before."""
        facts = candidate_of(shares, row.reason, row.reference).facts or map(facts_of_refund, refunds)
        for fact in (*facts, *(refund.id for refund in refunds)):
            self.new.setdefault(fact, row.line)

    def save(self) -> None:
        self.spool.add_lines(self.new)

    def _line_of(self, fact: str) -> int:
        # What was seen before is on an earlier line.
        return self.spool.line_of(fact) or self.new.get(fact, 0)


@dataclass(slots=True)
class BulkCheck:
    """Asks every rule of every row and changes nothing; what may be done is put on the spool.

    `staged`: the run that is gone on with, where its rows are in the store. They were checked and confirmed, and the
    rules are asked again as each is done; only rows that it does not have yet are asked about here. `fingerprint`: of
    the run that this file would be, where another worker may begin it while the file is checked.
    """

    books: Books
    rules: RowRules
    spool: RowSpool
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
        """Each row with its key. How it is made never changes: a file of last month must find its rows done."""
        fields = [_fields(self.rules.requests.kind, row) for row in chunk]
        first = [row_key(of, 1) for of in fields]
        keyless = [at for at, row in enumerate(chunk) if not _own_key(row)]
        times = dict(zip(keyless, self.spool.occurrences([first[at] for at in keyless]), strict=True))
        keyed = []
        for at, row in enumerate(chunk):
            key = _own_key(row)
            if at in times:
                key = first[at] if times[at] == 1 else row_key(fields[at], times[at])
            keyed.append(_Keyed(row, key, first[at]))
        return keyed

    def _check_chunk(self, chunk: "Sequence[_Keyed]", tx: Reading) -> list[BadRow]:
        numbers_in_file = [keyed.row.invoice for keyed in chunk if isinstance(keyed.row, BulkRow)]
        numbers = list(dict.fromkeys(numbers_in_file))
        invoices = tx.invoices_with_facts(numbers)
        refunds_by_key = tx.refunds_by_keys([keyed.key for keyed in chunk])
        self._find_run(tx)
        staged = tx.items_on_lines(self.staged, [keyed.row.line for keyed in chunk]) if self.staged else {}
        earlier_rows = EarlierRows(
            self.spool.taken([p.id for invoice, _ in invoices.values() for p in invoice.payments])
        )
        file_rows = FileRows(self.spool, earlier_rows)
        refused, checked = [], []
        for keyed in chunk:
            if isinstance(keyed.row, BadRow):
                refused.append(replace(keyed.row, key=keyed.key))
                continue
            refunds, item = refunds_by_key.get(keyed.key, ()), staged.get(keyed.row.line)
            try:
                invoice, facts = invoices.get(keyed.row.invoice, (None, 0))
                invoice = earlier_rows.of(invoice)
                self._check_own_key(keyed, keyed.row)
                if item:
                    item = settled(item, refunds) or item
                if item and item.state is ItemState.REFUSED:
                    self.report.refused_by_run[item.line] = item.code
                    refused.append(_as_refused(item, keyed.row))
                    continue
                if item:
                    shares = self._remaining_shares(item, keyed.row, invoice, refunds)
                else:
                    shares = self.rules.shares_of(keyed.row, keyed.key, invoice, refunds, file_rows)
            except AlreadyDone:
                file_rows.add(keyed.row, (), refunds)
                self.report.done(by_run=item is not None)
            except RefundcliError as refusal:
                if isinstance(refusal, UndoneSince | RefundDeclined | PartlyRefunded):
                    # An equal row after this one does not do again what was undone or declined.
                    file_rows.add(keyed.row, (), refunds)
                refused.append(rejected(keyed.row, keyed.key, refusal))
            else:
                assert invoice
                file_rows.add(keyed.row, shares, refunds)
                self.report.take(parts_of(shares))
                # What is reserved is taken already.
                is_reserved = any(refund.state.unfinished for refund in refunds)
                parts = () if is_reserved else earlier_rows.take(shares, keyed.row.reason)
                if item:
                    continue
                checked.append(
                    CheckedRow(
                        row=keyed.row,
                        key=keyed.key,
                        takes=total_of(shares).minor,
                        remaining=invoice.refundable.minor,
                        currency=invoice.currency.code,
                        invoice_id=invoice.id,
                        facts=facts,
                        parts=parts,
                    )
                )
        self.spool.put(checked)
        self.spool.take(earlier_rows.changed)
        file_rows.save()
        return refused

    def _find_run(self, tx: Reading) -> None:
        """Another worker may have begun this very file since the check began: then its rows are in the store."""
        if self.fingerprint and not self.staged and (begun := tx.unfinished_run(self.fingerprint)):
            self.staged = self.rules.run_id = begun.id

    def _remaining_shares(
        self, item: RunItem, row: BulkRow, invoice: Invoice | None, refunds: Sequence[Refund]
    ) -> list[Share]:
        """What a row of the run that is gone on with will take. Raises AlreadyDone."""
        assert invoice, "it was there when the row was staged"
        if item.state is ItemState.DONE:
            raise AlreadyDone
        begun = [refund for refund in refunds if refund.state.unfinished]
        if begun:
            return [Share(_payment_of(invoice, refund), refund.amount) for refund in begun]
        try:
            return self.rules.requests.shares(
                row, item.request_key, invoice, allow_duplicate=self.rules.allow_duplicate
            )
        except RefundcliError:
            # Whoever does it is told so: the world may have changed again by then.
            return [Share(invoice.payments[0], Money(item.expected, invoice.currency))]

    def _check_own_key(self, keyed: "_Keyed", row: BulkRow) -> None:
        """Two rows that share a key must say the same, and are one wish (I4)."""
        if not row.key:
            return
        line, same = self.spool.first_with_key({row.key: (row.line, keyed.content)})[row.key]
        if line != row.line:
            if same != keyed.content:
                raise DuplicateKey(row.key, line)
            raise AlreadyDone


# Which cell is wrong, where it is not the invoice.
_COLUMNS = {"duplicate-key": "key", "invalid-amount": "amount", "refunded-too-early": "refunded_on"}
# What to do where a file has no column for it.
_HINTS = {"dispute-closed": 'Do it alone, without the file, with --dispute-decision "who decided what, and when".'}


@dataclass(frozen=True, slots=True)
class _Keyed:
    """A row, its key, and what it content."""

    row: BulkRow | BadRow
    key: str
    content: str


class EarlierRows:
    """Invoices as they will stand after the rows before this one."""

    def __init__(self, sums: Taken | None = None) -> None:
        self._taken: Taken = sums or {}
        self.changed: Taken = {}

    def takes_of(self, payment_id: int) -> bool:
        return payment_id in self._taken

    def of(self, invoice: Invoice | None) -> Invoice | None:
        if invoice is None or not any(payment.id in self._taken for payment in invoice.payments):
            return invoice
        return replace(invoice, payments=tuple(map(self._after, invoice.payments)))

    def take(self, shares: Sequence[Share], reason: RefundReason) -> tuple[tuple[int, int, int], ...]:
        """What a row takes: of which payment, how much, and how much of that a lost dispute took (R11)."""
        parts = []
        for share in shares:
            of, minor = share.payment.id, share.amount.minor
            total, charged = self._taken.get(of, (0, 0))
            back = minor if is_charged_back(share, reason) else 0
            self._taken[of] = self.changed[of] = (total + minor, charged + back)
            parts.append((of, minor, back))
        return tuple(parts)

    def _after(self, payment: Payment) -> Payment:
        if payment.id not in self._taken:
            return payment
        total, charged = (Money(minor, payment.captured.currency) for minor in self._taken[payment.id])
        recorded = payment.dispute_recorded or zero(total.currency)
        return replace(
            payment,
            refunded=payment.refunded + total,
            dispute_recorded=recorded + charged,
            lost=payment.lost - charged,
        )


def rejected(row: BulkRow, key: str, refusal: RefundcliError) -> BadRow:
    """The row with why it was refused, fit to be corrected and fed back under the same key.

    Where only a key of its own lets it pass, it comes back without one: fed back as it is, it is not done.
    """
    column = _COLUMNS.get(refusal.code, "invoice")
    value = {"key": row.key, "amount": row.amount_text, "refunded_on": str(row.refunded_on)}.get(column, row.invoice)
    hint = _HINTS.get(refusal.code, refusal.hint)
    problem = Problem(row.line, column, value, refusal.code, refusal.message, hint)
    return BadRow(row.line, (problem,), row.cells, "" if isinstance(refusal, NeedsOwnKey) else key)


def _as_refused(item: RunItem, row: BulkRow) -> BadRow:
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


def group_key(provider: str, amount: Money) -> tuple[str, str]:
    return amount.currency.code, provider


def _payment_of(invoice: Invoice, refund: Refund) -> Payment:
    return next(payment for payment in invoice.payments if payment.id == refund.payment_id)


def _fields(kind: RunKind, row: BulkRow | BadRow) -> dict[str, object]:
    """What makes a row's key: all that it content."""
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
