"""Stored events that an older version ignored are read again once the provider's vocabulary has changed (R13).

A person may have decided the effect of an unlisted code, or the effect of a listed one has changed. This version's
table applies from now on, to stored events as well as to new ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.provider_updates import WORD_DECIDED, EventState, NewEvent, StoredEvent

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """One provider's vocabulary in this version. `version` changes whenever an effect changes."""

    provider: Provider
    version: str
    is_listed: Callable[[str], bool]
    concerns_refunds: Callable[[NewEvent], bool]


def reread_events(vocabulary: Vocabulary, *, books: Books) -> int:
    """Let ignored events that concern refunds wait to be applied. Returns how many.

    Decisions about codes that are listed now end. Nothing happens if the books have this version already.
    """
    if _known_version(vocabulary, books) == vocabulary.version:
        return 0
    books.write(partial(_end_decisions, vocabulary))
    decided = books.read(lambda tx: tx.decided_words(vocabulary.provider))
    count, after = 0, 0
    while page := books.read(partial(_page, vocabulary.provider, after)):
        after = page[-1].id
        # A decision about a code that is still unlisted stays valid.
        ignored = [event for event in page if event.event.kind not in decided and _is_ignored_by_its_word(event)]
        again = [event for event in ignored if _may_concern_refunds(vocabulary, event.event)]
        if again:
            books.write(partial(_wait, again))
            count += len(again)
    books.write(lambda tx: tx.set_sync_state(_name(vocabulary), vocabulary.version))
    return count


def _known_version(vocabulary: Vocabulary, books: Books) -> str:
    state = books.read(lambda tx: tx.sync_state(_name(vocabulary)))
    return state[0] if state else ""


def _page(provider: Provider, after: int, reading: Reading) -> list[StoredEvent]:
    return reading.ignored_events(provider, after=after, limit=_AT_ONCE)


def _is_ignored_by_its_word(stored: StoredEvent) -> bool:
    """An event that was acknowledged on its own stays acknowledged."""
    return stored.state is EventState.NOTED or f"({stored.event.kind} {WORD_DECIDED} " in stored.note


def _may_concern_refunds(vocabulary: Vocabulary, event: NewEvent) -> bool:
    try:
        return vocabulary.concerns_refunds(event)
    except Exception:
        # An unreadable event waits, and is reported when it is applied.
        return True


def _end_decisions(vocabulary: Vocabulary, tx: Writing) -> None:
    for word in tx.decided_words(vocabulary.provider):
        if vocabulary.is_listed(word):
            tx.end_decision(vocabulary.provider, word)


def _wait(events: Sequence[StoredEvent], tx: Writing) -> None:
    for event in events:
        tx.mark_event(event, EventState.WAITING, "is read again: the provider's vocabulary has changed")


def _name(vocabulary: Vocabulary) -> str:
    return f"vocabulary:{vocabulary.provider.value}"
