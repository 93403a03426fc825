"""Stored events are read again with a new version's vocabulary (R13)."""

from dataclasses import replace

import pytest

import oracle
from desk import Desk
from left_behind import leave_it_ready
from oracle import delivered
from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.statuses import Provider, RefundState
from refundcli.providers.adyen import vocabulary
from refundcli.providers.registry import vocabulary_of
from refundcli.services.ports.provider_updates import EventState, NewEvent
from refundcli.services.ports.vocabulary import Effect, Meaning
from refundcli.services.webhooks.event_lookup import event_numbered
from refundcli.services.webhooks.reread import RereadEvents, Vocabulary
from webhooks import item, settle_secrets

_REFUNDED = Meaning(Effect.REFUND, "test", refund=RefundState.SUCCEEDED)
_DISPUTED = Meaning(Effect.DISPUTE, "test", dispute=DisputeState.OPEN, stage=DisputeStage.CHARGEBACK)
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


def test_an_import_finds_the_payment_of_an_event_that_is_read_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.paid_by_card()
    paid = desk.sandbox.charge("100.00 EUR", provider="adyen").reference
    oracle.ingest(desk, *delivered(item("OFFER_CLOSED", originalReference=paid, pspReference="DISPUTE1")))
    lists(monkeypatch, "OFFER_CLOSED", _DISPUTED)
    assert desk.json("events apply")["by_state"]["unmatched"] == 1
    desk.json(f"invoice import {oracle.invoice_file(desk, [('INV-2', paid)])}")
    desk.refused("refund INV-2 --full --reason other --yes", "disputed")
    assert desk.json("status")["disputed"] == ["INV-2"]


def test_an_event_that_waited_for_the_new_version_is_found_by_its_payment(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.paid_by_card()
    paid = desk.sandbox.charge("100.00 EUR", provider="adyen").reference
    oracle.ingest(desk, *delivered(item("OFFER_CLOSED", originalReference=paid, pspReference="DISPUTE1")))
    desk.books.write(lambda tx: tx.events.mark(event_numbered(tx, 1), EventState.WAITING, ""))
    lists(monkeypatch, "OFFER_CLOSED", _DISPUTED)
    desk.json("events apply")
    desk.json(f"invoice import {oracle.invoice_file(desk, [('INV-2', paid)])}")
    desk.refused("refund INV-2 --full --reason other --yes", "disputed")


def test_an_event_for_another_account_blocks_the_payment_that_it_names_now(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = desk.paid_by_card(provider="adyen")
    foreign = item("OFFER_CLOSED", originalReference=payment, merchantAccountCode="Other")
    oracle.ingest(desk, *delivered(foreign))
    lists(monkeypatch, "OFFER_CLOSED", _DISPUTED)
    desk.json("events apply", exit_code=8)
    desk.refused("refund INV-1 --full --reason other --yes", "unreviewed-event")


def test_an_unreviewed_event_is_counted_once_its_word_is_listed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = desk.paid_by_card(provider="adyen")
    amount = {"currency": "EUR", "value": 2000}
    oracle.ingest(desk, *delivered(item("REFUND_FOO", originalReference=payment, amount=amount)))
    before = desk.json("events show 1")
    assert before["state"] == "unreviewed"
    lists(monkeypatch, "BAR", _BLOCKED)
    assert desk.json("events apply", exit_code=8)["processed"] == 0
    lists(monkeypatch, "REFUND_FOO", _REFUNDED)
    assert desk.json("events apply")["changed"] == 1
    after = desk.json("events show 1")
    assert after["state"] == "applied"
    for name in ("occurred_at", "received_at"):
        assert after[name] == before[name]
    assert str(desk.invoice("INV-1").refundable) == "80.00 EUR"
    assert desk.json("events apply")["processed"] == 0


def test_an_unreviewed_event_of_a_listed_word_is_not_read_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = desk.paid_by_card(provider="adyen")
    oracle.ingest(desk, *delivered(item("MANUAL_REVIEW_REJECT", originalReference=payment)))
    lists(monkeypatch, "BAR", _BLOCKED)
    assert desk.json("events apply", exit_code=8)["processed"] == 0
    assert oracle.event_counts(desk) == {"unreviewed": 1}


def reread(desk: Desk, vocabulary: Vocabulary) -> int:
    services = RereadEvents(desk.books, lambda provider: vocabulary, lambda provider: vocabulary.version)
    return services.of(vocabulary.provider)


def test_an_acknowledgement_during_the_reading_is_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = desk.paid_by_card(provider="adyen")
    oracle.ingest(desk, *delivered(item("REFUND_FOO", originalReference=payment)))
    lists(monkeypatch, "REFUND_FOO", _REFUNDED)
    now = vocabulary_of(Provider.ADYEN)

    def acknowledged_meanwhile(word: str) -> bool:
        desk.books.write(lambda tx: tx.events.acknowledge(event_numbered(tx, 1), memo="seen"))
        return now.is_listed(word)

    assert reread(desk, replace(now, is_listed=acknowledged_meanwhile)) == 0
    assert oracle.event_counts(desk) == {"applied": 1}


@pytest.fixture
def upgraded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A payment with an event that said nothing until this version, which knows it as a dispute."""
    payment = desk.paid_by_card(provider="adyen")
    desk.paid_by_card("INV-2")
    oracle.ingest(desk, *delivered(item("OFFER_CLOSED", originalReference=payment, pspReference="DISPUTE1")))
    assert desk.json("refund INV-1 --full --reason other --dry-run")["dry_run"]
    assert desk.json("status")["not_applied"]["read_again"] == []
    lists(monkeypatch, "OFFER_CLOSED", _DISPUTED)


@pytest.mark.usefixtures("upgraded")
def test_what_only_looks_says_that_stored_events_must_be_read_again(desk: Desk) -> None:
    file = desk.folder / "refunds.csv"
    file.write_text("invoice,amount,reason\nINV-1,10.00,other\n")
    for dry in ("INV-1 --full --reason other", f"--from {file}"):
        status = desk.refused(f"refund {dry} --dry-run", "events-not-read")
        assert (status["hint"], status["context"]["providers"]) == ("refundcli events apply", ["adyen"])
    status = desk.json("status", exit_code=8)
    assert (status["attention"], status["not_applied"]["read_again"]) == (1, ["adyen"])
    assert status["not_applied"]["command"] == "refundcli events apply"
    assert oracle.event_counts(desk) == {"noted": 1}
    desk.json("events apply")
    desk.refused("refund INV-1 --full --reason other --dry-run", "disputed")
    assert desk.json("status")["not_applied"]["read_again"] == []


@pytest.mark.usefixtures("upgraded")
def test_stored_events_are_read_again_before_a_refund(desk: Desk) -> None:
    desk.refused("refund INV-1 --full --reason other --yes", "disputed")
    assert oracle.event_counts(desk) == {"applied": 1}


@pytest.mark.usefixtures("upgraded")
def test_stored_events_are_read_again_before_the_refunds_of_a_file(desk: Desk) -> None:
    file = desk.folder / "refunds.csv"
    file.write_text("invoice,amount,reason\nINV-1,10.00,other\n")
    desk.json(f"refund --from {file} --yes", exit_code=9)
    assert not desk.invoice("INV-1").refunds


@pytest.mark.usefixtures("upgraded")
def test_stored_events_are_read_again_before_a_first_send_of_resume(desk: Desk) -> None:
    # The other process is of the version before.
    leave_it_ready(desk)
    desk.json("resume --yes", exit_code=3)
    (refund,) = desk.invoice("INV-1").refunds
    assert (refund.state, refund.provider_reference) == (RefundState.FAILED, "")


def test_an_event_that_this_version_understands_is_applied_and_not_acknowledged(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = desk.paid_by_card(provider="adyen")
    oracle.ingest(desk, *delivered(item("REFUND_FOO", originalReference=payment)))
    lists(monkeypatch, "REFUND_FOO", _REFUNDED)
    answer = desk.refused("events acknowledge 1 --memo seen", "nothing-to-review")
    assert answer["hint"] == "refundcli events apply"
    assert desk.json("events apply")["changed"] == 1


def test_a_store_without_events_has_nothing_to_read_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.paid_by_card(provider="adyen")
    desk.json("events apply")
    lists(monkeypatch, "FOO", _BLOCKED)
    assert desk.json("refund INV-1 --amount 5.00 --reason other --dry-run")["dry_run"]
    assert desk.json("status")["not_applied"]["read_again"] == []


def test_an_event_that_another_process_applied_meanwhile_is_not_applied_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = desk.paid_by_card(provider="adyen")
    amount = {"currency": "EUR", "value": 4000}
    oracle.ingest(desk, *delivered(item("OFFER_CLOSED", originalReference=payment, amount=amount)))
    lists(monkeypatch, "OFFER_CLOSED", _REFUNDED)
    now = vocabulary_of(Provider.ADYEN)

    def applied_meanwhile(event: NewEvent) -> bool:
        assert desk.json("events apply")["changed"] == 1
        return now.concerns_refunds(event)

    with monkeypatch.context() as patched:
        patched.setattr(vocabulary, "EVENTS", {**vocabulary.EVENTS, ("NEWER", True): _BLOCKED})
        assert reread(desk, replace(vocabulary_of(Provider.ADYEN), concerns_refunds=applied_meanwhile)) == 0
    assert oracle.event_counts(desk) == {"applied": 1}
    assert str(desk.invoice("INV-1").refundable) == "60.00 EUR"


def test_another_note_or_source_is_no_other_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    before = vocabulary_of(Provider.ADYEN).version
    changed = {word: replace(meaning, source="another", note="another") for word, meaning in vocabulary.EVENTS.items()}
    monkeypatch.setattr(vocabulary, "EVENTS", changed)
    assert vocabulary_of(Provider.ADYEN).version == before
    lists(monkeypatch, "FOO", _BLOCKED)
    assert vocabulary_of(Provider.ADYEN).version != before
