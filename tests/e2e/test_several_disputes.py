"""Several disputes of one payment, import placeholders and histories in any order: one state, the right sums."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

import oracle
from desk import Desk
from oracle import PAID, PART, Ending, Outcome, Sums, delivered, ending_of, expected, sums
from refundcli.store.checks.integrity import findings
from vendor_codes import adyen_events
from webhooks import Json, item, settle_secrets

DISPUTE_WORDS = sorted(code for (code, success), text in adyen_events().items() if success and text[:7] == "dispute")
LOST_PART = Sums(lost=PART, refundable=PAID - PART)


@pytest.fixture(autouse=True)
def _webhooks(request: pytest.FixtureRequest) -> None:
    name = "sqlite_desk" if "sqlite_desk" in request.fixturenames else "desk"
    settle_secrets(request.getfixturevalue(name))


def at(day: int) -> str:
    return (datetime.now(UTC) - timedelta(days=9 - day)).isoformat(timespec="seconds")


def event(code: str, payment: str, about: str, minor: int = PART, *, day: int = 1, **changes: Any) -> Json:
    """About part of the payment unless `changes` has an amount, with the reference `about`."""
    of = {"amount": {"currency": "EUR", "value": minor}, "eventDate": at(day), "pspReference": about}
    return item(code, **({"originalReference": payment} | of | changes))


def paid(desk: Desk, number: str = "INV-1") -> str:
    return desk.paid_by_card(number, provider="adyen")


# --- several at once -----------------------------------------------------------------------------------------


def test_what_two_disputes_took_adds_up_and_only_the_rest_is_refunded(desk: Desk) -> None:
    payment = paid(desk)
    reported = [
        event("SECOND_CHARGEBACK", payment, "FIRST", 3000),
        event("PREARBITRATION_LOST", payment, "SECOND", 2000),
    ]
    oracle.ingest(desk, *delivered(*reported, *reported))
    assert ending_of(desk, "INV-1", payment) == expected(Outcome(Sums(lost=5000, refundable=5000)))
    assert findings(desk.books) == []


@pytest.mark.parametrize("turned", [False, True])
def test_an_open_dispute_is_not_forgotten_beside_one_that_was_won(desk: Desk, turned: bool) -> None:
    payment = paid(desk)
    reported = [event("CHARGEBACK_REVERSED", payment, "FIRST"), event("CHARGEBACK", payment, "SECOND")]
    oracle.ingest(desk, *delivered(*(reported[::-1] if turned else reported)))
    assert ending_of(desk, "INV-1", payment) == expected(Outcome(Sums(), "disputed"))
    assert ending_of(desk, "INV-1", payment, "--dispute-decision won").refused == "disputed"


def test_a_won_dispute_beside_a_lost_one_needs_a_decision(desk: Desk) -> None:
    payment = paid(desk)
    reported = [event("CHARGEBACK_REVERSED", payment, "FIRST"), event("SECOND_CHARGEBACK", payment, "SECOND")]
    oracle.ingest(desk, *delivered(*reported))
    assert ending_of(desk, "INV-1", payment) == expected(Outcome(LOST_PART, "dispute-closed"))
    assert ending_of(desk, "INV-1", payment, "--dispute-decision won") == expected(Outcome(LOST_PART))


def test_a_dispute_that_names_no_payment_is_found_by_its_own_reference(desk: Desk) -> None:
    payment, second = paid(desk), paid(desk, "INV-2")
    opened = event("CHARGEBACK", payment, "FIRST")
    lost = event("SECOND_CHARGEBACK", payment, "FIRST", day=2, originalReference=None)
    by_payment = event("PREARBITRATION_LOST", payment, second, day=2, originalReference=None)
    oracle.ingest(desk, *delivered(lost, opened, by_payment))
    oracle.ingest(desk, *delivered(lost, opened, by_payment))
    for number, reference in {"INV-1": payment, "INV-2": second}.items():
        assert ending_of(desk, number, reference) == expected(Outcome(LOST_PART))
    assert oracle.status(desk).exit_code == 0


def test_an_unnamed_event_beside_two_disputes_is_for_a_person(desk: Desk) -> None:
    payment = paid(desk)
    named = [event("CHARGEBACK_REVERSED", payment, "FIRST"), event("SECOND_CHARGEBACK", payment, "SECOND")]
    unnamed = event("SECOND_CHARGEBACK", payment, payment, day=2, originalReference=None)
    oracle.ingest(desk, *delivered(*named, unnamed))
    assert oracle.status(desk).exit_code == 8
    assert ending_of(desk, "INV-1", payment, "--dispute-decision won").refused == "unreviewed-event"


# --- documents close nothing ---------------------------------------------------------------------------------


def test_documents_after_a_dispute_event_change_nothing(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    plain = {code: paid(desk, f"INV-{place}-plain") for place, code in enumerate(DISPUTE_WORDS)}
    answered = {code: paid(desk, f"INV-{place}-answered") for place, code in enumerate(DISPUTE_WORDS)}
    reported = [event(code, payment, f"P{payment}"[:16]) for code, payment in plain.items()]
    for code, payment in answered.items():
        documents = event("INFORMATION_SUPPLIED", payment, f"A{payment}"[:16], day=3)
        reported += [event(code, payment, f"A{payment}"[:16]), documents]
    oracle.ingest(desk, *delivered(*reported))
    ends = {}
    for place, code in enumerate(DISPUTE_WORDS):
        ends[code] = [
            (ending.before, ending.refused, ending.sent)
            for kind, payment in (("plain", plain[code]), ("answered", answered[code]))
            for ending in [ending_of(desk, f"INV-{place}-{kind}", payment)]
        ]
    oracle.same({code: answered_end for code, (_, answered_end) in ends.items()}, {c: e[0] for c, e in ends.items()})
    assert {refused for (_, refused, _), _ in ends.values()} == {"disputed", "dispute-closed", ""}


def test_an_answered_inquiry_is_refunded_by_decision_and_a_chargeback_is_not(desk: Desk) -> None:
    inquiry, chargeback, unknown = paid(desk), paid(desk, "INV-2"), paid(desk, "INV-3")
    documents = "INFORMATION_SUPPLIED"
    oracle.ingest(
        desk,
        *delivered(
            event("REQUEST_FOR_INFORMATION", inquiry, "FIRST"),
            event(documents, inquiry, "FIRST", day=2),
            event("NOTIFICATION_OF_CHARGEBACK", chargeback, "SECOND"),
            event(documents, chargeback, "SECOND", day=2),
            # The chargeback that it answers may arrive later.
            event(documents, unknown, "THIRD"),
        ),
    )
    assert ending_of(desk, "INV-1", inquiry).refused == "disputed"
    assert ending_of(desk, "INV-1", inquiry, "--dispute-decision answered").sent == [PAID]
    assert ending_of(desk, "INV-2", chargeback, "--dispute-decision answered").refused == "disputed"
    assert ending_of(desk, "INV-3", unknown, "--dispute-decision answered").refused == "disputed"


# --- placeholders of imports ---------------------------------------------------------------------------------


def imported(desk: Desk, amount: str = "30.00", dispute: str = "lost") -> str:
    payment = desk.sandbox.charge("100.00 EUR", provider="adyen").reference
    file = oracle.invoice_file(desk, [("INV-1", payment)], dispute=dispute, dispute_amount=amount)
    desk.json(f"invoice import {file}")
    return str(payment)


@pytest.mark.parametrize(
    "word", ["SECOND_CHARGEBACK", "CHARGEBACK", "NOTIFICATION_OF_CHARGEBACK", "INFORMATION_SUPPLIED"]
)
def test_a_lost_dispute_of_an_import_and_its_event_are_one(desk: Desk, word: str) -> None:
    payment = imported(desk)
    assert sums(desk, "INV-1") == LOST_PART
    oracle.ingest(desk, *delivered(event(word, payment, "FIRST")))
    assert ending_of(desk, "INV-1", payment) == expected(Outcome(LOST_PART))
    assert findings(desk.books) == []


def test_an_event_of_another_amount_than_the_imported_dispute_blocks(desk: Desk) -> None:
    payment = imported(desk)
    oracle.ingest(desk, *delivered(event("SECOND_CHARGEBACK", payment, "FIRST", 2000)))
    assert oracle.status(desk).exit_code == 8
    assert ending_of(desk, "INV-1", payment) == expected(Outcome(LOST_PART, "unreviewed-event"))


def test_a_dispute_that_came_before_the_import_of_it_counts_once(desk: Desk) -> None:
    payment = desk.sandbox.charge("100.00 EUR", provider="adyen").reference
    oracle.ingest(desk, *delivered(event("SECOND_CHARGEBACK", payment, "FIRST")))
    file = oracle.invoice_file(desk, [("INV-1", payment)], dispute="lost", dispute_amount="30.00")
    desk.json(f"invoice import {file}")
    desk.json(f"invoice import {file}")
    assert ending_of(desk, "INV-1", payment) == expected(Outcome(LOST_PART))


# --- histories in any order ----------------------------------------------------------------------------------


def end(desk: Desk, number: str, payment: str) -> tuple[Any, ...]:
    invoice = desk.invoice(number)
    refunds = sorted((r.state, r.holding, r.needs_acknowledgement, r.amount.minor) for r in invoice.refunds)
    disputes = sorted(
        (d.state, d.stage, d.status, d.amount and d.amount.minor) for p in invoice.payments for d in p.disputes
    )
    ending: Ending = ending_of(desk, number, payment)
    return invoice.status, tuple(refunds), tuple(disputes), ending.before, ending.refused, tuple(ending.sent)


def ends_of(desk: Desk, history: Sequence[tuple[str, int, dict[str, Any]]], *, ours: bool = False) -> dict[Any, Any]:
    """The end state of each order, each event delivered twice; `ours`: about our refund of 30.00."""
    by_end: dict[Any, Any] = {}
    for place, order in enumerate(permutations(range(len(history)))):
        number = f"INV-{place}"
        payment, about = paid(desk, number), f"ABOUT{place}"
        if ours:
            about = desk.json(f"refund {number} --amount 30 --reason other --yes")["refunds"][0]["provider_reference"]
        events = [event(code, payment, about, day=day, **more) for code, day, more in (history[n] for n in order)]
        oracle.ingest(desk, *delivered(*events, *events))
        by_end.setdefault(end(desk, number, payment), []).append(order)
    assert findings(desk.books) == []
    return by_end


def test_a_chargeback_that_is_defended_and_lost_ends_the_same_in_every_order(sqlite_desk: Desk) -> None:
    words = ("CHARGEBACK", "INFORMATION_SUPPLIED", "CHARGEBACK_REVERSED", "SECOND_CHARGEBACK")
    endings = ends_of(sqlite_desk, [(word, day, {}) for day, word in enumerate(words, start=1)])
    assert len(endings) == 1, endings
    ((_, _, disputes, before, refused, sent),) = endings
    assert [dispute[0] for dispute in disputes] == ["lost"]
    assert (before, refused, sent) == (LOST_PART, "", (PAID - PART,))


def test_a_chargeback_that_is_defended_ends_as_won_in_every_order(desk: Desk) -> None:
    words = ("CHARGEBACK", "CHARGEBACK_REVERSED", "INFORMATION_SUPPLIED")
    endings = ends_of(desk, [(word, day, {}) for day, word in enumerate(words, start=1)])
    assert [(key[3], key[4]) for key in endings] == [(Sums(), "dispute-closed")]


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "external"])
def test_a_refund_that_fails_and_is_made_again_is_never_free_in_any_order(desk: Desk, ours: bool) -> None:
    history: list[tuple[str, int, dict[str, Any]]] = [("REFUND", 1, {}), ("REFUND_FAILED", 3, {}), ("REFUND", 5, {})]
    endings = ends_of(desk, history, ours=ours)
    assert len(endings) == 1, endings
    ((_, refunds, _, before, refused, sent),) = endings
    # Failed, then succeeded by the last event: the money is out and needs acknowledgement (R14).
    assert [(state, holding, waits) for state, holding, waits, _ in refunds[:1]] == [("failed", True, True)]
    assert (before.refundable, refused, sent) == (PAID - PART, "", (PAID - PART,))


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "external"])
def test_a_refund_paid_twice_around_a_failure_is_not_released_in_any_order(desk: Desk, ours: bool) -> None:
    history = [("REFUND", 1), ("REFUND", 5), ("REFUND_FAILED", 3)]
    ends = set()
    for place, order in enumerate(permutations(history)):
        number, about = f"INV-{place}", f"ABOUT{place}"
        payment = paid(desk, number)
        if ours:
            refund = desk.json(f"refund {number} --amount 30 --reason other --yes")["refunds"][0]
            about = refund["provider_reference"]
        for code, day in order:
            oracle.ingest(desk, *delivered(event(code, payment, about, day=day)))
        (refund,) = desk.invoice(number).refunds
        answer = desk(f"acknowledge {refund.id} --yes -o json")
        desk.refused(f"refund {number} --amount 100 --reason other --yes", "over-refund")
        assert refund.succeeded_at
        assert refund.failed_at
        held = refund.succeeded_at > refund.failed_at, refund.holding, refund.hold_until
        ends.add((refund.state, *held, refund.needs_acknowledgement, answer.exit_code, answer.error["code"]))
        assert desk.refunded_at_provider(payment) == ([PART] if ours else [])
        assert desk.invoice(number).refundable.minor == PAID - PART
    assert ends == {("failed", True, True, None, True, 3, "succeeded-after-failure")}
    assert findings(desk.books) == []


def test_a_capture_that_fails_and_is_made_again_ends_the_same_in_every_order(desk: Desk) -> None:
    whole = {"amount": {"currency": "EUR", "value": PAID}}
    again = whole | {"reason": "Transaction Recaptured"}
    endings = ends_of(desk, [("CAPTURE", 1, whole), ("CAPTURE_FAILED", 3, whole), ("CAPTURE", 5, again)])
    assert [key[3:] for key in endings] == [(Sums(), "", (PAID,))]


def test_a_capture_that_failed_ends_the_same_in_every_order(desk: Desk) -> None:
    whole = {"amount": {"currency": "EUR", "value": PAID}}
    endings = ends_of(desk, [("CAPTURE", 1, whole), ("CAPTURE_FAILED", 3, whole)])
    assert [key[3:] for key in endings] == [(Sums(captured=0, refundable=0), "not-paid", ())]
    # Never paid in any way: it can be voided (R9).
    assert desk("void INV-0 --yes").exit_code == 0


# --- contradictions ------------------------------------------------------------------------------------------

CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "another currency": {"amount": {"currency": "USD", "value": PART}},
    "12.50 ISK": {"amount": {"currency": "ISK", "value": 1250}},
    "zero": {"amount": {"currency": "EUR", "value": 0}},
    "less than zero": {"amount": {"currency": "EUR", "value": -PART}},
    "an unknown currency": {"amount": {"currency": "XXX", "value": PART}},
    "no amount": {"amount": None},
}


@pytest.mark.parametrize("code", ["REFUND", "REFUND_WITH_DATA", "REFUND_FAILED", "CAPTURE_FAILED", "CAPTURE"])
def test_a_contradiction_blocks_its_payment_and_changes_no_sum(sqlite_desk: Desk, code: str) -> None:
    desk = sqlite_desk
    payments = {what: paid(desk, f"INV-{place}") for place, what in enumerate(CONTRADICTIONS)}
    events = [event(code, payments[what], f"ABOUT{n}", **of) for n, (what, of) in enumerate(CONTRADICTIONS.items())]
    oracle.ingest(desk, *delivered(*events))
    invoices = {what: (f"INV-{place}", payments[what]) for place, what in enumerate(CONTRADICTIONS)}
    oracle.check(desk, invoices, {what: oracle.outcome_of("block") for what in CONTRADICTIONS})


def test_an_unreadable_amount_of_a_payment_in_kronur_blocks(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1", "100 ISK", provider="adyen")
    oracle.ingest(desk, *delivered(event("REFUND", payment, "ABOUT", amount={"currency": "ISK", "value": 1250})))
    assert ending_of(desk, "INV-1", payment).refused == "unreviewed-event"
    assert oracle.status(desk).exit_code == 8


def test_a_report_of_our_refund_with_another_payment_or_amount_blocks(desk: Desk) -> None:
    payment, second = paid(desk), paid(desk, "INV-2")
    ours = desk.json("refund INV-1 --amount 30 --reason other --yes")["refunds"][0]["provider_reference"]
    sums = Sums(reserved=PART, refundable=PAID - PART)
    oracle.ingest(desk, *delivered(event("REFUND", payment, ours, 2000)))
    assert ending_of(desk, "INV-1", payment) == expected(Outcome(sums, "unreviewed-event"))
    oracle.ingest(desk, *delivered(event("REFUND", second, ours)))
    assert ending_of(desk, "INV-2", second).refused == "unreviewed-event"
    assert findings(desk.books) == []
