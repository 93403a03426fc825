"""Acknowledge unreviewed events and decide the effect of unlisted codes (R13)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from refundcli.domain.dispute import DisputeState, is_about_a_dispute
from refundcli.domain.errors import NotFound, Refused, UsageProblem
from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.provider_updates import (
    ACKNOWLEDGED,
    EventState,
    StoredEvent,
)
from refundcli.services.ports.rejection_reasons import UNREADABLE_KIND
from refundcli.services.ports.vocabulary import Effect
from refundcli.services.provider_updates.apply_dispute import decide_dispute
from refundcli.services.webhooks.apply_events import Readers, outcome_of_not_applied
from refundcli.services.webhooks.event_lookup import LARGEST_NUMBER, event_numbered


class NothingToReview(Refused):
    code = "nothing-to-review"

    def __init__(self, stored_event: StoredEvent) -> None:
        super().__init__(
            f"Event {stored_event.id} is {stored_event.state}: only unreviewed events can be acknowledged.",
            hint=(
                "refundcli events apply"
                if stored_event.state is EventState.WAITING
                else "refundcli events list --state unreviewed   lists them"
            ),
            context={"event": stored_event.id, "state": stored_event.state},
        )


class DecisionNeeded(UsageProblem):
    """An unreviewed update about a dispute needs a decision about that one dispute (R13)."""

    code = "dispute-decision-needed"

    def __init__(self, event_kind: str, event_number: int | None = None) -> None:
        id_text = str(event_number) if event_number else "ID"
        super().__init__(
            f"{event_kind} is about a dispute: say whether that dispute is open, won or lost.",
            hint=f"refundcli events acknowledge {id_text} --as open|won|lost",
        )


class NotOfADispute(UsageProblem):
    code = "not-a-dispute"

    def __init__(self, stored_event: StoredEvent, decision: str) -> None:
        super().__init__(
            f"Event {stored_event.id}, {stored_event.event.kind}, is not about a dispute: "
            f"it cannot be acknowledged as {decision}.",
            hint=f"refundcli events acknowledge {stored_event.id} --memo TEXT",
        )


class UnknownWord(NotFound):
    code = "word-not-found"

    def __init__(self, word: str) -> None:
        super().__init__(
            f"There is no unreviewed event with the code {ascii(word[:80])[1:-1]}.",
            hint="refundcli events list --state unreviewed   lists them",
        )


class WordNotToDecide(Refused):
    """A person decides the effect of unlisted codes only: a decision applies to all later events."""

    code = "word-not-to-decide"

    def __init__(self, stored_event: StoredEvent) -> None:
        word = stored_event.event.kind
        why_not = "means that the event could not be read" if word == UNREADABLE_KIND else "already has an effect"
        super().__init__(
            f"{ascii(word[:80])[1:-1]} {why_not}: each event with this code must be reviewed individually.",
            hint=f"refundcli events acknowledge {stored_event.id} --memo TEXT",
            context={"event": stored_event.id, "code": word},
        )


# The states that a person can give to a dispute with an unlisted status.
DISPUTE_DECISIONS = {"open": DisputeState.OPEN, "won": DisputeState.WON, "lost": DisputeState.LOST}
# The effects that a person can give to an unlisted code, once for the store.
WORD_EFFECTS = (Effect.NONE, Effect.NOTE)


@dataclass(frozen=True, slots=True)
class ReviewEvents:
    """Records what a person decided about unreviewed events. `is_listed`: does the provider's vocabulary have this
    code?
    """

    books: Books
    readers: Readers
    is_listed: Callable[[Provider, str], bool]

    def acknowledge(self, event_number: int, *, memo: str, decision: str = "") -> StoredEvent:
        """Acknowledge an unreviewed event: it no longer blocks refunds. `decision`: the state of its dispute.

        Raises NoSuchEvent, NothingToReview, DecisionNeeded, NotOfADispute.
        """

        def write(tx: Writing) -> StoredEvent:
            stored_event = event_numbered(tx, event_number)
            if stored_event.state is EventState.NOTED and stored_event.event.not_applied:
                # Its payment may have been imported since.
                stored_event = replace(stored_event, state=outcome_of_not_applied(tx, stored_event).state)
            event_kind = stored_event.event.kind
            is_of_dispute = is_about_a_dispute(event_kind)
            # The state of a dispute may be decided again: the provider may never report another one.
            is_decided_again = bool(decision) and is_of_dispute and stored_event.note.startswith(ACKNOWLEDGED)
            if stored_event.state is not EventState.UNREVIEWED and not is_decided_again:
                raise NothingToReview(stored_event)
            if decision and not is_of_dispute:
                raise NotOfADispute(stored_event, decision)
            if is_of_dispute and not decision:
                raise DecisionNeeded(event_kind, event_number)
            if decision:
                reader = self.readers(stored_event.event.provider)
                decide_dispute(tx, stored_event, DISPUTE_DECISIONS[decision], reader)
            tx.events.acknowledge(stored_event, memo=f"as {decision}; {memo}".strip("; ") if decision else memo)
            return event_numbered(tx, event_number)

        return self.books.write(write)

    def decide_word(self, word: str, effect: Effect) -> int:
        """Decide the effect of an unlisted code in this store; returns how many events that acknowledged (R13).

        Raises UnknownWord, DecisionNeeded, WordNotToDecide.
        """
        if is_about_a_dispute(word):
            raise DecisionNeeded(word)

        def write(tx: Writing) -> int:
            events = [event for event in tx.events.unreviewed(limit=LARGEST_NUMBER) if event.event.kind == word]
            if not events:
                raise UnknownWord(word)
            for stored_event in events:
                if word == UNREADABLE_KIND or self.is_listed(stored_event.event.provider, word):
                    raise WordNotToDecide(stored_event)
            providers = {stored_event.event.provider for stored_event in events}
            return sum(tx.words.decide(provider, word, effect) for provider in providers)

        return self.books.write(write)
