"""Every Stripe status, by each way it is learnt, to the next refund: the sums before and after it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

import pytest

import oracle
from desk import Desk
from oracle import PAID, PART, Ending, Outcome, Sums, ending_of, outcome_of
from refundcli.store.checks.integrity import findings
from vendor_codes import stripe_words
from webhooks import STRIPE_SECRET, settle_secrets

Word = tuple[str, str]

# An unpaid payment: nothing captured, and the invoice may be voided.
UNPAID = Outcome(Sums(captured=0, refundable=0), "not-paid")
PROCESSING = Outcome(Sums(captured=0, refundable=0), "currently-processing")
# A status of a payment as a whole; "capture unchanged" of the lists adds nothing to what was captured before: nothing.
OF_PAYMENTS: dict[Word, Outcome] = {
    ("payment_intent_status", "requires_payment_method"): UNPAID,
    ("payment_intent_status", "requires_confirmation"): UNPAID,
    ("payment_intent_status", "requires_action"): UNPAID,
    ("payment_intent_status", "processing"): PROCESSING,
    ("payment_intent_status", "requires_capture"): UNPAID,
    ("payment_intent_status", "canceled"): UNPAID,
    ("payment_intent_status", "succeeded"): outcome_of("none"),
    ("charge_status", "succeeded"): outcome_of("none"),
    ("charge_status", "pending"): PROCESSING,
    ("charge_status", "failed"): UNPAID,
    ("refund_reason", "expired_uncaptured_charge"): UNPAID,
}


def outcomes() -> dict[Word, Outcome]:
    by_word = dict(OF_PAYMENTS)
    for kind in ("dispute_status", "refund_status", "failure_reason"):
        by_word |= {(kind, word): outcome_of(text) for word, text in stripe_words(kind).items()}
    for kind, text in (("pending_reason", "refund pending"), ("refund_reason", "refund succeeded")):
        by_word |= {(kind, word): outcome_of(text) for word in stripe_words(kind) if (kind, word) not in by_word}
    return by_word


WORDS = outcomes()


def test_every_listed_state_of_stripes_has_its_outcome() -> None:
    kinds = ("dispute_status", "refund_status", "pending_reason", "failure_reason", "refund_reason")
    listed = {
        (kind, word) for kind in (*kinds, "payment_intent_status", "charge_status") for word in stripe_words(kind)
    }
    assert set(WORDS) == listed


# --- how it comes to be at Stripe ----------------------------------------------------------------------------


def happens(desk: Desk, word: Word, payment: str) -> None:
    """Stripe's payment gets into this state."""
    kind, state = word
    if kind == "dispute_status":
        desk.sandbox.dispute(payment, state, PART)
    elif kind == "refund_status":
        desk.sandbox.dashboard_refund(payment, PART, status=state)
    elif kind == "pending_reason":
        desk.sandbox.dashboard_refund(payment, PART, status="pending", pending_reason=state)
    elif kind == "failure_reason":
        desk.sandbox.dashboard_refund(payment, PART, status="failed", failure_reason=state)
    elif state == "expired_uncaptured_charge":
        desk.sandbox.payment_becomes(payment, "expired")
    elif kind == "refund_reason":
        desk.sandbox.dashboard_refund(payment, PART, reason=state)
    elif state in ("requires_confirmation", "requires_action"):
        charge = desk.sandbox.stripe_object(payment)["latest_charge"]
        desk.sandbox.patch(payment, {"status": state, "amount_received": 0, "latest_charge": None})
        unpaid = {"status": "failed", "captured": False, "paid": False, "amount_captured": 0}
        desk.sandbox.patch(charge, unpaid, event="charge.failed")
    else:
        desk.sandbox.payment_becomes(payment, {"pending": "processing"}.get(state, state))


def by_reconcile(desk: Desk) -> None:
    assert desk("reconcile").exit_code == 3


def by_webhook(desk: Desk) -> None:
    path = desk.folder / "stripe.jsonl"
    deliveries = desk.sandbox.deliveries("stripe", drain=True)
    path.write_text("".join(f"{json.dumps(asdict(delivery))}\n" for delivery in deliveries))
    desk.ingest(path)


def expected(outcome: Outcome) -> Ending:
    """Stripe's refund is done at once."""
    after = outcome.before
    if not outcome.refused:
        after = replace(after, refunded=after.refundable, refundable=0)
    return Ending(outcome.before, outcome.refused, outcome.sent, after)


def check(desk: Desk, invoices: Mapping[Word, tuple[str, str]], outcomes: Mapping[Word, Outcome]) -> None:
    listed = oracle.status(desk)
    needs = {word: outcome.needs_a_person for word, outcome in outcomes.items()}
    oracle.same({word: listed.has(desk, invoices[word][0]) for word in outcomes}, needs)
    endings = {word: ending_of(desk, *invoices[word]) for word in outcomes}
    oracle.same(endings, {word: expected(outcome) for word, outcome in outcomes.items()})
    assert findings(desk.books) == []


def paid(desk: Desk, words: Mapping[Word, Outcome]) -> dict[Word, tuple[str, str]]:
    numbers = {word: f"INV-{place:03}" for place, word in enumerate(words)}
    return {word: (number, desk.paid_by_card(number)) for word, number in numbers.items()}


@pytest.mark.parametrize("learns", [by_reconcile, by_webhook])
def test_each_state_that_is_learnt_ends_in_the_right_sums(sqlite_desk: Desk, learns: Callable[[Desk], None]) -> None:
    desk = sqlite_desk
    settle_secrets(desk)
    desk.sandbox.webhooks("stripe", secret=STRIPE_SECRET)
    invoices = paid(desk, WORDS)
    for word, (_, payment) in invoices.items():
        happens(desk, word, payment)
    learns(desk)
    check(desk, invoices, WORDS)


def test_each_state_is_seen_just_before_a_refund(sqlite_desk: Desk) -> None:
    """Only the preflight shows it: Stripe's snapshot decides, and no excess is sent."""
    desk = sqlite_desk
    invoices = paid(desk, WORDS)
    for word, (_, payment) in invoices.items():
        happens(desk, word, payment)
    endings = {word: ending_of(desk, *invoices[word]) for word in WORDS}
    is_free = {word: outcome == outcome_of("none") for word, outcome in WORDS.items()}
    oracle.same(
        {word: ending.sent for word, ending in endings.items()}, {w: [PAID] if is_free[w] else [] for w in WORDS}
    )
    assert {endings[word].refused for word in WORDS if not is_free[word]} <= {
        "differs-from-provider",
        "unreviewed-event",
    }
    # After the preflight, the next attempt gets the rule's own refusal.
    desk("reconcile")
    rest = {word: outcome for word, outcome in WORDS.items() if not is_free[word]}
    check(desk, invoices, rest)


def test_each_state_of_a_pulled_invoice_ends_in_the_right_sums(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    outcomes = {word: outcome for word, outcome in WORDS.items() if word not in OF_PAYMENTS}
    invoices = {}
    for place, word in enumerate(outcomes):
        reference, number = f"pi_word{place}", f"SBX-{place:03}"
        desk.sandbox.invoice("100.00 EUR", number=number, payments=[{"amount": PAID, "reference": reference}])
        happens(desk, word, reference)
        invoices[word] = (number, reference)
    desk("invoice pull stripe")
    check(desk, invoices, outcomes)


SAMPLE: list[Word] = [
    ("dispute_status", "lost"), ("dispute_status", "prevented"), ("dispute_status", "won"),
    ("dispute_status", "warning_needs_response"), ("refund_status", "requires_action"), ("refund_status", "canceled"),
    ("payment_intent_status", "requires_capture"), ("charge_status", "failed"),
]  # fmt: skip


def test_a_sample_of_states_on_both_databases(desk: Desk) -> None:
    outcomes = {word: WORDS[word] for word in SAMPLE}
    invoices = paid(desk, outcomes)
    for word, (_, payment) in invoices.items():
        happens(desk, word, payment)
    by_reconcile(desk)
    check(desk, invoices, outcomes)


def test_two_disputes_at_stripe_add_up_and_an_open_one_is_not_forgotten(desk: Desk) -> None:
    payment, second = desk.paid_by_card(), desk.paid_by_card("INV-2")
    for minor in (3000, 2000):
        desk.sandbox.dispute(payment, "lost", minor, new=True)
    desk.sandbox.dispute(second, "won", 3000, new=True)
    desk.sandbox.dispute(second, "needs_response", 2000, new=True)
    by_reconcile(desk)
    assert ending_of(desk, "INV-1", payment) == expected(Outcome(Sums(lost=5000, refundable=5000)))
    assert ending_of(desk, "INV-2", second, "--dispute-decision won").refused == "disputed"


@pytest.mark.parametrize("status", ["warning_needs_response", "warning_under_review"])
def test_an_inquiry_at_stripe_is_refunded_by_decision(desk: Desk, status: str) -> None:
    payment = desk.paid_by_card()
    desk.sandbox.dispute(payment, status, PART)
    by_reconcile(desk)
    assert ending_of(desk, "INV-1", payment).refused == "disputed"
    assert ending_of(desk, "INV-1", payment, "--dispute-decision 'full refund, as Stripe advises'").sent == [PAID]
