"""Stored events that an older version ignored are read again once the provider's vocabulary has changed (R13).

A person may have decided the effect of an unlisted code, or the effect of a listed one has changed. This version's
table applies from now on, to stored events as well as to new ones.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from refundcli.domain.errors import Refused
from refundcli.domain.statuses import Provider
from refundcli.services.chunks import paged
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.provider_updates import NOT_LISTED, WORD_DECIDED, EventState, NewEvent, StoredEvent

_AT_ONCE = 1000
# These are applied anyway.
_OPEN = (EventState.WAITING, EventState.UNMATCHED)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """One provider's vocabulary in this version. `version`: another one wherever any effect in it is another."""

    provider: Provider
    version: str
    is_listed: Callable[[str], bool]
    concerns_refunds: Callable[[NewEvent], bool]
    payments_of: Callable[[NewEvent], tuple[str, ...]]


class EventsNotRead(Refused):
    """A dry run writes nothing, so it cannot tell what the stored events mean in this version."""

    code = "events-not-read"

    def __init__(self, providers: Sequence[Provider]) -> None:
        labels = " and ".join(provider.label for provider in providers)
        super().__init__(
            f"Stored events of {labels} must be read again first: this version of refundcli reads some differently.",
            hint="refundcli events apply",
            context={"providers": [provider.value for provider in providers]},
        )


def unread_providers(version_of: Callable[[Provider], str], reading: Reading) -> list[Provider]:
    """Providers with stored events that were last read with another vocabulary than this version's."""
    return [
        provider
        for provider in Provider
        if not _knows(reading, provider, version_of(provider)) and reading.events.to_reread(provider, after=0, limit=1)
    ]


@dataclass(frozen=True, slots=True)
class RereadEvents:
    """Reads stored events again that were last read with another vocabulary than this version's.

    In a dry run nothing is read again.
    """

    books: Books
    vocabulary_of: Callable[[Provider], Vocabulary]
    version_of: Callable[[Provider], str]
    dry_run: bool = False

    def unread_first(self) -> None:
        """Before a refund, so that none is decided while a stored event is ignored. Raises EventsNotRead if dry."""
        self.each(self.books.read(partial(unread_providers, self.version_of)))

    def each(self, providers: Sequence[Provider]) -> None:
        """Read those of these providers again. Raises EventsNotRead if dry."""
        if providers and self.dry_run:
            raise EventsNotRead(providers)
        for provider in providers:
            self.of(provider)

    def all(self) -> None:
        """Before stored events are applied."""
        for provider in Provider:
            self.of(provider)

    def of(self, provider: Provider) -> int:
        """Events that were ignored and concern refunds now wait to be applied, as do unreviewed ones whose word is
        listed now; returns how many.

        A decision about a word that is listed now ends. Nothing happens where the books know this version already.
        """
        vocabulary = self.vocabulary_of(provider)
        if self.books.read(lambda tx: _knows(tx, provider, vocabulary.version)):
            return 0
        self.books.write(partial(_end_decisions, vocabulary))
        decided_words = self.books.read(lambda tx: tx.words.decided(provider))
        reread_count = 0
        for page in self._pages(provider):
            # What a person decided of a word that is still not listed holds.
            ignored_events = [
                stored for stored in page if stored.event.kind not in decided_words and _is_ignored_by_its_word(stored)
            ]
            events_to_apply = [stored for stored in ignored_events if _may_concern_refunds(vocabulary, stored.event)]
            events_to_apply += [stored for stored in page if _is_listed_now(vocabulary, stored)]
            # Those that were set aside block by the payments that they name; the word may have had none before.
            events_to_link = [stored for stored in page if stored.state in _OPEN or stored.event.not_applied]
            if events_to_apply or events_to_link:
                reread_count += self.books.write(partial(_wait, vocabulary, events_to_apply, events_to_link))
        self.books.write(lambda tx: tx.store.set_sync_state(_name(provider), vocabulary.version))
        return reread_count

    def _pages(self, provider: Provider) -> Iterator[list[StoredEvent]]:
        return paged(
            lambda after: self.books.read(lambda tx: tx.events.to_reread(provider, after=after, limit=_AT_ONCE)),
            0,
            lambda stored_event: stored_event.id,
        )


def _knows(reading: Reading, provider: Provider, version: str) -> bool:
    """Do the books know this version of the provider's vocabulary?"""
    stored_state = reading.store.sync_state(_name(provider))
    return stored_state is not None and stored_state[0] == version


def _is_ignored_by_its_word(stored_event: StoredEvent) -> bool:
    """What a person acknowledged by itself stays acknowledged."""
    if stored_event.event.not_applied:
        return False
    return stored_event.state is EventState.NOTED or f"({stored_event.event.kind} {WORD_DECIDED} " in stored_event.note


def _is_listed_now(vocabulary: Vocabulary, stored_event: StoredEvent) -> bool:
    """Is it unreviewed because of its word alone, which this version knows?"""
    word = stored_event.event.kind
    was_unlisted = stored_event.state is EventState.UNREVIEWED and stored_event.note.startswith(f"{word} {NOT_LISTED} ")
    return was_unlisted and not stored_event.event.not_applied and vocabulary.is_listed(word)


def _may_concern_refunds(vocabulary: Vocabulary, event: NewEvent) -> bool:
    try:
        return vocabulary.concerns_refunds(event)
    except Exception:
        # What cannot be read waits, and says so once it is applied.
        return True


def _end_decisions(vocabulary: Vocabulary, tx: Writing) -> None:
    for word in tx.words.decided(vocabulary.provider):
        if vocabulary.is_listed(word):
            tx.words.end_decision(vocabulary.provider, word)


def _payments_of(vocabulary: Vocabulary, event: NewEvent) -> tuple[str, ...]:
    try:
        return tuple(filter(None, vocabulary.payments_of(event)))
    except Exception:
        # What cannot be read keeps the references that were stored with it.
        return ()


def _wait(
    vocabulary: Vocabulary, events_to_apply: Sequence[StoredEvent], events_to_link: Sequence[StoredEvent], tx: Writing
) -> int:
    """Only those that are still as they were read: one may be acknowledged, or read again, by another process.

    An import and the check before a refund find them, and `events_to_link`, by the payments that they name now.
    """
    note = "will be read again: refundcli now reads this provider's events differently"
    all_events = (*events_to_apply, *events_to_link)
    tx.events.link_payments(
        {
            stored_event.id: replace(stored_event.event, payments=_payments_of(vocabulary, stored_event.event))
            for stored_event in all_events
        }
    )
    return sum(tx.events.mark_unchanged(stored_event, EventState.WAITING, note) for stored_event in events_to_apply)


def _name(provider: Provider) -> str:
    return f"vocabulary:{provider.value}"
