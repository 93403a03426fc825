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
            hint="refundcli events list --state unreviewed   shows both",
        )


class UnknownDecision(UsageProblem):
    code = "unknown-decision"

    def __init__(self, word: str, choices: list[str]) -> None:
        near = did_you_mean(word, choices)
        typed = f"{word[:40]!a} is not a valid decision." if word else "--code needs a decision."
        super().__init__(typed, hint=near or f"Add --as {'|'.join(choices)}")


def acknowledge_and_show(app: App, number: int | None, *, code: str, decision: str, memo: str) -> None:
    """Raises IdOrCodeNeeded, UnknownDecision, and what `acknowledge_event` and `decide_word` raise."""
    if (number is None) == (not code):
        raise IdOrCodeNeeded
    services = app.services
    # What this version understands is applied, not acknowledged.
    services.read_events_again()
    if code:
        from refundcli.providers.registry import is_listed

        effects = [effect.value for effect in WORD_EFFECTS]
        if decision not in effects:
            raise UnknownDecision(decision, effects)
        count = decide_word(code, Effect(decision), books=services.books, is_listed=is_listed)
        if app.for_people:
            events = "1 event" if count == 1 else f"{count} events"
            app.out.say(("✓ ", GOOD), f"{code} has the effect {decision} in this store. {events} acknowledged.")
        else:
            app.show_object(acknowledged_code(code, decision, count))
        return
    if decision and decision not in DISPUTE_DECISIONS:
        raise UnknownDecision(decision, list(DISPUTE_DECISIONS))
    assert number is not None
    event = acknowledge_event(
        number, memo=memo, books=services.books, readers=services.event_readers(), decision=decision
    )
    if app.for_people:
        show_event(event, app.out, zone=app.settings.operator.zone)
    else:
        app.show_object(event_shape(event))
