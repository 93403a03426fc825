"""Propose records of refunds: transfers of a bank statement that name an invoice. Nothing is recorded."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial

from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.services.chunks import chunked
from refundcli.services.ports.books import BooksToRead, Reading

COLUMNS = ("invoice", "amount", "reason", "method", "reference", "refunded_on", "memo")
BANK_TRANSFER = "bank transfer"
_AT_ONCE = 500
# What may be an invoice's number in a text: at least one digit, and the characters of numbers.
_WORDS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/#:+-]*[A-Za-z0-9]|[0-9]")


@dataclass(frozen=True, slots=True)
class Transfer:
    """A debit of the account. `text` may name the invoice; `pattern` finds its number, if the format has one."""

    line: int
    text: str
    amount: Money
    booked_on: date | None
    reference: str = ""
    method: str = ""
    pattern: re.Pattern[str] | None = None

    def names(self) -> list[list[str]]:
        """For each word of the text, what may be the number of an invoice, the most likely first."""
        if self.pattern:
            return [_spellings([match[1]]) for match in self.pattern.finditer(self.text) if match[1]]
        words = (word for word in _WORDS.findall(self.text) if any(map(str.isdigit, word)))
        return [_spellings([*_parts(word)]) for word in dict.fromkeys(words)]


@dataclass(frozen=True, slots=True)
class UnreadTransfer:
    """A line of a statement that cannot be proposed, and why."""

    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A row for `mark-refunded --from`."""

    invoice: str
    transfer: Transfer

    def cells(self, reason: str) -> list[str]:
        transfer = self.transfer
        booked_on = transfer.booked_on.isoformat() if transfer.booked_on else ""
        method = transfer.method or BANK_TRANSFER
        return [self.invoice, transfer.amount.number, reason, method, transfer.reference, booked_on, ""]


@dataclass(slots=True)
class Proposals:
    rows: list[Proposal] = field(default_factory=list)
    unmatched: list[UnreadTransfer] = field(default_factory=list)


class ProposeRecords:
    """Matches transfers with the invoices of the books, and only reads."""

    def __init__(self, books: BooksToRead) -> None:
        self._books = books

    def __call__(self, transfers: Iterable[Transfer]) -> Proposals:
        proposals = Proposals()
        for batch in chunked(transfers, _AT_ONCE):
            candidates = sorted({name for transfer in batch for names in transfer.names() for name in names})
            invoices = self._books.read(partial(_invoices_named, numbers=candidates))
            for transfer in batch:
                found = [next((name for name in names if name in invoices), "") for names in transfer.names()]
                self._judge(transfer, [invoices[name] for name in dict.fromkeys(found) if name], proposals)
        return proposals

    def _judge(self, transfer: Transfer, named: Sequence[Invoice], proposals: Proposals) -> None:
        if why := _why_not(transfer, named):
            proposals.unmatched.append(UnreadTransfer(transfer.line, why))
        else:
            proposals.rows.append(Proposal(named[0].number, transfer))


def _why_not(transfer: Transfer, named: Sequence[Invoice]) -> str:
    if not named:
        return f"{transfer.amount}: “{transfer.text[:80]}” names no invoice in the books."
    if len(named) > 1:
        numbers = ", ".join(invoice.number for invoice in named)
        return f"{transfer.amount}: “{transfer.text[:80]}” names several invoices: {numbers}."
    (invoice,) = named
    if invoice.currency != transfer.amount.currency:
        return f"{transfer.amount}: {invoice.number} is in {invoice.currency}."
    if any(_reference_of(refund) == transfer.reference != "" for refund in invoice.refunds):
        return f"{transfer.amount}: {invoice.number} has a record with the reference {transfer.reference} already."
    if transfer.amount.minor > invoice.refundable.minor:
        return f"{transfer.amount}: {invoice.number} has {invoice.refundable} left to refund."
    return ""


def _invoices_named(reading: Reading, *, numbers: Sequence[str]) -> dict[str, Invoice]:
    return reading.invoices.by_number(numbers)


def _reference_of(refund: Refund) -> str:
    return refund.out_of_band.reference if refund.out_of_band else ""


def _parts(word: str) -> Iterator[str]:
    """The word, and it without what stands before its marks: RF-INV-1009 names INV-1009."""
    yield word
    for mark in re.finditer(r"[-_/:#+.]", word):
        part = word[mark.end() :]
        if any(map(str.isdigit, part)) and any(map(str.isalpha, part)):
            yield part


def _spellings(numbers: Sequence[str]) -> list[str]:
    """Banks write capitals."""
    return list(dict.fromkeys(spelling for number in numbers for spelling in (number, number.upper())))
