"""Find invoices by words: each typed word is a set of invoices, and all sets have the invoice in common."""

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from refundcli.domain.search_words import (
    AFTER_ALL,
    TEXT_FIELDS,
    Range,
    amounts_between,
    days_between,
    may_be_mistyped,
    one_letter_away,
    typed_days,
    typed_month,
    words_in,
)
from refundcli.services.ports.reads import FoundInvoices
from refundcli.store.databases.rows import Reads, Row

if TYPE_CHECKING:
    from refundcli.services.ports.reads import InvoiceSearch

# The lower 16 bits of invoices' ids, by the rest of the ids.
Ids: TypeAlias = dict[int, set[int]]

_RANGE = "SELECT bucket, ids FROM search_word WHERE word >= :low AND word <= :high"
_MONTH = "SELECT bucket, ids FROM search_word WHERE word >= 'd' AND word <= 'd9' AND substr(word, 6, 2) = :month"
_EXACT = "SELECT word, bucket, ids FROM search_word WHERE word IN (SELECT key FROM json_each(:words))"
_BEGINNING = """
    SELECT word, bucket, ids FROM json_each(:words) typed
    JOIN search_word ON word >= typed.key AND word < typed.key || :after_all
"""
_NUMBERED = """
    SELECT id, number, customer FROM invoice
    WHERE number = :typed OR number >= :upper AND number <= :after OR customer = :typed LIMIT 1000
"""
_NEWEST = """
    SELECT id FROM invoice WHERE id IN (SELECT CAST(key AS BIGINT) FROM json_each(:ids))
    ORDER BY issued_on DESC, number LIMIT :limit
"""
_BEHIND = """
    SELECT id FROM invoice WHERE invoice_reference = :typed
    UNION SELECT invoice_id FROM payment WHERE payment_intent = :typed OR charge = :typed OR psp_reference = :typed
    UNION SELECT invoice_id FROM refund WHERE id = :typed OR provider_reference = :typed
    UNION SELECT invoice_id FROM credit_note WHERE number = :typed
"""
# Of so many equally good ones the newest are looked up.
_MOST_SORTED = 5_000


class SqlInvoiceSearch(Reads):
    """Searches one snapshot of the books."""

    def find(self, search: "InvoiceSearch", limit: int) -> FoundInvoices:
        """The best invoices first: those with more of the words as they were typed, then the newest."""
        corrected: dict[str, Sequence[str]] = {}
        parts = list(self._parts(search, corrected, widens=False))
        common = _in_all([found for _, found in parts])
        if not any(common.values()):
            widened: dict[str, Sequence[str]] = {}
            parts = list(self._parts(search, widened, widens=True))
            common = _in_all([found for _, found in parts])
            corrected = widened if any(common.values()) else corrected
        count = sum(map(len, common.values()))
        return FoundInvoices(self._best(common, [exact for exact, _ in parts], limit), count, corrected)

    def ids(self, search: "InvoiceSearch") -> FoundInvoices:
        """All that fit, in no order. For a list, so that no word is widened as long as something fits."""
        corrected: dict[str, Sequence[str]] = {}
        common = _in_all([found for _, found in self._parts(search, corrected, widens=False)])
        ids = [(bucket << 16) + low for bucket, lows in common.items() for low in lows]
        return FoundInvoices(ids, len(ids), corrected)

    def _best(self, common: Ids, exact: Sequence[Ids], limit: int) -> list[int]:
        ids_by_rank: dict[int, list[int]] = {}
        for bucket, lows in common.items():
            exact_lows = [found[bucket] for found in exact if bucket in found]
            for low in lows:
                rank = sum(low in other for other in exact_lows)
                ids_by_rank.setdefault(rank, []).append((bucket << 16) + low)
        best: list[int] = []
        for rank in sorted(ids_by_rank, reverse=True):
            if len(best) < limit:
                # The newest have the largest ids, or nearly so.
                ids = sorted(ids_by_rank[rank])[-_MOST_SORTED:]
                best += [row[0] for row in self._rows.all(_NEWEST, ids=ids, limit=limit - len(best))]
        return best

    def _parts(
        self, search: "InvoiceSearch", corrected: dict[str, Sequence[str]], *, widens: bool
    ) -> Iterator[tuple[Ids, Ids]]:
        """For each thing that was asked, the invoices that have it exactly, and all that fit."""
        for field, text in zip(TEXT_FIELDS, (search.name, search.email, search.product), strict=True):
            if text and not words_in(text):
                # Signs alone, as `--name '!!!'`: nothing has them.
                yield {}, {}
            for word in words_in(text):
                yield self._text(word, field, corrected, widens=widens)
        if search.last4:
            found = self._range(f"l{search.last4}", f"l{search.last4}")
            yield found, found
        amounts = amounts_between(search.amount) if search.amount else None
        if amounts:
            found = self._range(*amounts)
            yield found, found
        if search.since or search.until:
            found = self._range(*days_between(search.since, search.until))
            yield found, found
        for typed in search.words:
            yield self._word(typed, search, corrected, widens=widens)

    def _word(
        self, typed: str, search: "InvoiceSearch", corrected: dict[str, Sequence[str]], *, widens: bool
    ) -> tuple[Ids, Ids]:
        """A word that may be a name, an amount, a day, a card's last digits or an id."""
        found = self._meanings(typed, search)
        fields = "e" if "@" in typed else TEXT_FIELDS
        # A word that has a meaning of its own is no typing error.
        quiet: dict[str, Sequence[str]] = {}
        texts: list[tuple[Ids, Ids]] = []
        # An address's domain may have most invoices of the store: it is read last, within what the rest found.
        for word in sorted(words_in(typed), key=len, reverse=True):
            within = texts[-1][1] if texts else None
            texts.append(
                self._text(word, fields, quiet if any(found.values()) else corrected, widens=widens, within=within)
            )
        if not texts:
            return found, found
        exact, fitting = _in_all([text[0] for text in texts]), _in_all([text[1] for text in texts])
        return _in_any([found, exact]), _in_any([found, fitting])

    def _meanings(self, typed: str, search: "InvoiceSearch") -> Ids:
        ranges: list[Range] = []
        amounts = amounts_between(typed)
        if amounts:
            ranges.append(amounts)
        days = typed_days(typed, search.today)
        if days:
            ranges.append(days)
        if len(typed) == 4 and typed.isdigit():
            ranges.append((f"l{typed}", f"l{typed}"))
        parts = [self._range(*bounds) for bounds in ranges]
        month = typed_month(typed)
        if month:
            parts.append(_ids_of(self._rows.all(_MONTH, month=month)))
        if any(letter.isdigit() for letter in typed) or "_" in typed:
            parts.append(_split(self._numbered(typed)))
        return _in_any(parts)

    def _numbered(self, typed: str) -> Iterator[int]:
        upper = typed.upper()
        rows = self._rows.all(_NUMBERED, typed=typed, upper=upper, after=upper + AFTER_ALL)
        for invoice_id, number, customer in rows:
            if typed in (number, customer) or number.startswith(upper):
                yield invoice_id
        yield from (row[0] for row in self._rows.all(_BEHIND, typed=typed))

    def _text(
        self,
        word: str,
        fields: str,
        corrected: dict[str, Sequence[str]],
        *,
        widens: bool,
        within: Ids | None = None,
    ) -> tuple[Ids, Ids]:
        """The invoices with exactly this word in one of the fields, and those with a word that begins with it.

        `widens`: also those with a word that differs by one letter; without it, only if there is no other.
        `within`: only these invoices, and no other words.
        """
        exact_words = [field + word for field in fields]
        rows = self._rows.all(_EXACT, words=exact_words)
        exact = _ids_of((row[1:] for row in rows), within)
        fitting = exact
        if len(word) > 1:
            longer = [self._rows.all(_RANGE, low=word + "!", high=word + AFTER_ALL) for word in exact_words]
            fitting = _in_any([exact, *(_ids_of(found, within) for found in longer)])
        if within:
            return exact, fitting
        if may_be_mistyped(word) and (widens or not any(fitting.values())):
            near, near_words = self._near(word, fields)
            if near_words:
                corrected[word] = near_words
            return exact, _in_any([fitting, near])
        return exact, fitting

    def _near(self, word: str, fields: str) -> tuple[Ids, Sequence[str]]:
        """The invoices with a word of the index that is one letter away, or begins so, and these words."""
        neighbours = [field + neighbour for neighbour in one_letter_away(word) for field in fields]
        rows = self._rows.all(_EXACT, words=neighbours)
        if len(word) > 3:
            rows = [*rows, *self._rows.all(_BEGINNING, words=neighbours, after_all=AFTER_ALL)]
        return _ids_of(row[1:] for row in rows), sorted({row[0][1:] for row in rows})

    def _range(self, low: str, high: str) -> Ids:
        return _ids_of(self._rows.all(_RANGE, low=low, high=high))


def _ids_of(rows: Iterable[Row], within: Ids | None = None) -> Ids:
    found: Ids = {}
    for bucket, packed in rows:
        lows = array("H", bytes(packed))
        if sys.byteorder == "big":
            lows.byteswap()
        ids = set(lows) if within is None else within.get(bucket, set()).intersection(lows)
        if bucket in found:
            found[bucket] |= ids
        else:
            found[bucket] = ids
    return found


def _split(invoice_ids: Iterable[int]) -> Ids:
    found: Ids = {}
    for invoice_id in invoice_ids:
        found.setdefault(invoice_id >> 16, set()).add(invoice_id & 0xFFFF)
    return found


def _in_any(parts: Sequence[Ids]) -> Ids:
    filled = [part for part in parts if part]
    if len(filled) == 1:
        return filled[0]
    found: Ids = {}
    for part in filled:
        for bucket, lows in part.items():
            found[bucket] = found[bucket] | lows if bucket in found else lows
    return found


def _in_all(parts: Sequence[Ids]) -> Ids:
    if not parts:
        return {}
    first, *others = sorted(parts, key=lambda part: sum(map(len, part.values())))
    for other in others:
        first = {bucket: lows & other[bucket] for bucket, lows in first.items() if bucket in other}
    return {bucket: lows for bucket, lows in first.items() if lows}
