"""Stored events are read again with a new version's vocabulary (R13)."""

from dataclasses import replace

import pytest

import oracle
from desk import Desk
from oracle import delivered
from refundcli.domain.statuses import Provider, RefundState
from refundcli.providers.adyen import vocabulary
from refundcli.providers.registry import vocabulary_of
from refundcli.services.ports.vocabulary import Effect, Meaning
from webhooks import item, settle_secrets

_REFUNDED = Meaning(Effect.REFUND, "test", refund=RefundState.SUCCEEDED)
_BLOCKED = Meaning(Effect.BLOCK, "test", note="it needs review")


@pytest.fixture
def desk(sqlite_desk: Desk) -> Desk:
    settle_secrets(sqlite_desk)
    return sqlite_desk


@pytest.fixture
def decided(desk: Desk) -> str:
    """A payment with an event whose code was decided for the store, and one received after the decision."""
    payment = desk.paid_by_card(provider="adyen")
    oracle.ingest(desk, *delivered(item("FOO", originalReference=payment, pspReference="FOO1")))
    desk.json("events acknowledge --code FOO --as none")
    oracle.ingest(desk, *delivered(item("FOO", originalReference=payment, pspReference="FOO2")))
    assert oracle.event_counts(desk) == {"applied": 1, "noted": 1}
    return payment


def lists(monkeypatch: pytest.MonkeyPatch, word: str, meaning: Meaning) -> None:
    """Another version of the program with this meaning of the code."""
    both = {(word, success): meaning for success in (True, False)}
    monkeypatch.setattr(vocabulary, "EVENTS", {**vocabulary.EVENTS, **both})


def test_a_decision_about_a_code_ends_once_the_code_is_listed(
    desk: Desk, decided: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists(monkeypatch, "FOO", _BLOCKED)
    summary = desk.json("events apply", exit_code=8)
    assert (summary["by_state"]["unreviewed"], oracle.event_counts(desk)) == (2, {"unreviewed": 2})
    desk.refused("refund INV-1 --full --reason other --yes", "unreviewed-event")
    later = item("FOO", originalReference=decided, pspReference="FOO3")
    assert oracle.ingest(desk, *delivered(later))["by_state"]["unreviewed"] == 1


def test_an_event_that_a_person_acknowledged_by_itself_is_not_read_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = desk.paid_by_card(provider="adyen")
    oracle.ingest(desk, *delivered(item("FOO", originalReference=payment)))
    desk.json("events acknowledge 1 --memo 'it has the effect of a fee'")
    lists(monkeypatch, "FOO", _BLOCKED)
    assert desk.json("events apply")["processed"] == 0
    assert oracle.event_counts(desk) == {"applied": 1}


def test_an_ignored_refund_is_counted_once_its_code_is_listed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = desk.paid_by_card(provider="adyen")
    amount = {"currency": "EUR", "value": 4000}
    oracle.ingest(desk, *delivered(item("OFFER_CLOSED", originalReference=payment, amount=amount)))
    assert oracle.event_counts(desk) == {"noted": 1}
    assert desk.json("events apply")["processed"] == 0
    lists(monkeypatch, "OFFER_CLOSED", _REFUNDED)
    summary = desk.json("events apply")
    assert (summary["changed"], str(desk.invoice("INV-1").refundable)) == (1, "60.00 EUR")
    assert desk.json("events apply")["processed"] == 0


@pytest.mark.usefixtures("decided")
def test_a_decision_holds_while_its_code_is_unlisted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    lists(monkeypatch, "BAR", _BLOCKED)
    assert desk.json("events apply")["processed"] == 0
    assert oracle.event_counts(desk) == {"applied": 1, "noted": 1}


def test_another_note_or_source_is_no_other_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    before = vocabulary_of(Provider.ADYEN).version
    changed = {word: replace(meaning, source="another", note="another") for word, meaning in vocabulary.EVENTS.items()}
    monkeypatch.setattr(vocabulary, "EVENTS", changed)
    assert vocabulary_of(Provider.ADYEN).version == before
    lists(monkeypatch, "FOO", _BLOCKED)
    assert vocabulary_of(Provider.ADYEN).version != before
