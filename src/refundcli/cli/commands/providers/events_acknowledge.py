"""`events acknowledge`: acknowledge one unreviewed event, or decide what a code means for the whole store."""

from refundcli.cli.context import App
from refundcli.domain.errors import UsageProblem, did_you_mean
from refundcli.output.serializers.events import acknowledged_code
from refundcli.output.serializers.events import event as event_shape
from refundcli.output.terminal import GOOD
from refundcli.output.views.events import show_event
from refundcli.services.ports.vocabulary import Effect
from refundcli.services.webhooks.review_events import DISPUTE_DECISIONS, WORD_EFFECTS, acknowledge_event, decide_word


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
    """Raises IdOrCodeNeeded, UnknownDecision, and what `acknowledge_event` and `decide_word` raise."""
    if (event_id is None) == (not code):
        raise IdOrCodeNeeded
    services = app.services
    # What this version understands is applied, not acknowledged.
    services.read_events_again()
    if code:
        from refundcli.providers.registry import is_listed

        effects = [effect.value for effect in WORD_EFFECTS]
        if decision not in effects:
            raise UnknownDecision(decision, effects)
        event_count = decide_word(code, Effect(decision), books=services.books, is_listed=is_listed)
        if app.for_people:
            event_words = "1 event" if event_count == 1 else f"{event_count} events"
            app.out.say(
                ("✓ ", GOOD), f'{code} is now treated as "{decision}" in this store. {event_words} acknowledged.'
            )
        else:
            app.show_object(acknowledged_code(code, decision, event_count))
        return
    if decision and decision not in DISPUTE_DECISIONS:
        raise UnknownDecision(decision, list(DISPUTE_DECISIONS))
    assert event_id is not None
    stored_event = acknowledge_event(
        event_id, memo=memo, books=services.books, readers=services.event_readers(), decision=decision
    )
    if app.for_people:
        show_event(stored_event, app.out, zone=app.settings.operator.zone)
    else:
        app.show_object(event_shape(stored_event))
