"""`events acknowledge`: acknowledge one unreviewed event, or decide what a code means for the whole store."""

from functools import partial

from refundcli.cli.context import App
from refundcli.domain.errors import UsageProblem, did_you_mean
from refundcli.output.serializers.events import acknowledged_code
from refundcli.output.serializers.events import event as event_shape
from refundcli.output.views.events import show_event
from refundcli.services.ports.vocabulary import Effect
from refundcli.services.webhooks.review_events import DISPUTE_DECISIONS, WORD_EFFECTS


class IdOrCodeNeeded(UsageProblem):
    code = "id-or-code"

    def __init__(self) -> None:
        super().__init__(
            "Give one event's ID, or --code for all events with one code.",
            hint="refundcli events list --state unreviewed   shows the IDs and the codes",
        )


class UnknownDecision(UsageProblem):
    code = "unknown-decision"

    def __init__(self, decision: str, choices: list[str]) -> None:
        suggestion = did_you_mean(decision, choices)
        message = f"{decision[:40]!a} is not a valid decision." if decision else "--code needs a decision."
        super().__init__(message, hint=suggestion or f"Add --as {'|'.join(choices)}")


def acknowledge_and_show(app: App, event_id: int | None, *, code: str, decision: str, memo: str) -> None:
    """Raises IdOrCodeNeeded, UnknownDecision, and what `ReviewEvents` raises."""
    if (event_id is None) == (not code):
        raise IdOrCodeNeeded
    services = app.services
    # What this version understands is applied, not acknowledged.
    services.read_events_again()
    choices = [effect.value for effect in WORD_EFFECTS] if code else list(DISPUTE_DECISIONS)
    if decision not in choices and (decision or code):
        raise UnknownDecision(decision, choices)
    if event_id is None:
        event_count = services.updates.review_events.decide_word(code, Effect(decision))
        event_words = "1 event" if event_count == 1 else f"{event_count} events"
        words = f'{code} is now treated as "{decision}" in this store. {event_words} acknowledged.'
        app.show_done(words, acknowledged_code(code, decision, event_count))
        return
    stored_event = services.updates.review_events.acknowledge(event_id, memo=memo, decision=decision)
    app.show(event_shape(stored_event), partial(show_event, stored_event, zone=app.settings.operator.zone))
