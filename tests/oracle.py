"""The expected outcome of a vendor's code, by tests/data: the sums of its payment, and the next `refund --full`.

Nothing here reads the tables in `src/refundcli/providers`. Amounts are in minor units.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from desk import Desk
from refundcli.store.checks.integrity import findings
from webhooks import Json, Post, adyen, signed

PAID = 10_000
# Smaller than the payment, so that a sum shows what was counted how often.
PART = 3_000


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of one payment."""

    allocated: int = PAID
    captured: int = PAID
    reserved: int = 0
    refunded: int = 0
    refunded_externally: int = 0
    lost: int = 0
    refundable: int = PAID


@dataclass(frozen=True, slots=True)
class Outcome:
    """The sums after the event, and whether `refund --full` is sent or its refusal code.

    `needs_a_person`: `status` lists it, with exit code 8.
    """

    before: Sums
    refused: str = ""
    needs_a_person: bool = False

    @property
    def sent(self) -> list[int]:
        return [] if self.refused else [self.before.refundable]

    @property
    def after(self) -> Sums:
        """Adyen only accepts a refund at first: its amount is reserved."""
        if self.refused:
            return self.before
        return replace(self.before, reserved=self.before.reserved + self.before.refundable, refundable=0)


def outcome_of(expectation: str, amount: int = PART, *, paid: int = PAID) -> Outcome:
    """The outcome of an event about `amount` of an otherwise untouched payment (R3, R11, R13, R14).

    `expectation` is as in tests/data.
    """
    whole = Sums(allocated=paid, captured=paid, refundable=paid)
    effect, *words = expectation.split()
    if effect in ("none", "note"):
        return Outcome(whole)
    if effect == "block":
        return Outcome(whole, "unreviewed-event", needs_a_person=True)
    return {"refund": _refund, "dispute": _dispute, "capture": _capture}[effect](words, whole, amount)


def _refund(words: Sequence[str], whole: Sums, amount: int) -> Outcome:
    """An external refund."""
    rest = whole.refundable - amount
    refused = "" if rest else "nothing-to-refund"
    if words in (["succeeded"], ["pending"]):
        return Outcome(replace(whole, refunded_externally=amount, refundable=rest), refused, needs_a_person=True)
    if words == ["failed", "retried"]:
        # Adyen may retry it: reserved until day ten or until it is acknowledged.
        return Outcome(replace(whole, reserved=amount, refundable=rest), refused, needs_a_person=True)
    if words == ["reversed"]:
        return Outcome(whole, needs_a_person=True)
    assert words == ["failed"]
    return Outcome(whole)


def _dispute(words: Sequence[str], whole: Sums, amount: int) -> Outcome:
    state, _stage = words
    rest = whole.refundable - amount
    if state == "lost":
        return Outcome(replace(whole, lost=amount, refundable=rest), "" if rest else "dispute-lost")
    if state == "same":
        # Of an unreported dispute: it counts as a new open one.
        return Outcome(whole, "disputed")
    return Outcome(whole, {"open": "disputed", "won": "dispute-closed", "closed": ""}[state])


def _capture(words: Sequence[str], whole: Sums, amount: int) -> Outcome:
    rest = whole.refundable - amount
    if words == ["failed"]:
        return Outcome(replace(whole, captured=rest, refundable=rest), "" if rest else "not-paid")
    if words == ["cancelled"] and rest:
        # Unclear whether the part was captured before, so it needs review.
        return Outcome(whole, "unreviewed-event", needs_a_person=True)
    if words == ["cancelled"]:
        return Outcome(replace(whole, captured=0, refundable=0), "not-paid")
    assert words in (["added"], ["unchanged"])
    return Outcome(whole)


# --- what the program does -----------------------------------------------------------------------------------


def sums(desk: Desk, number: str) -> Sums:
    """Of the invoice's only payment."""
    (payment,) = desk.invoice(number).payments
    names = ("allocated", "captured", "reserved", "refunded", "refunded_externally", "lost", "refundable")
    return Sums(*(getattr(payment, name).minor for name in names))


@dataclass(frozen=True, slots=True)
class Ending:
    """What the program did, for comparison with an `Outcome`."""

    before: Sums
    refused: str
    sent: list[int]
    after: Sums


def ending_of(desk: Desk, number: str, reference: str, *options: str) -> Ending:
    """Runs `refund --full`; what was sent, and the sums before and after."""
    before, already = sums(desk, number), len(desk.refunded_at_provider(reference))
    answer = desk(f"refund {number} --full --reason other --yes -o json {' '.join(options)}")
    refused = "" if answer.exit_code == 0 else answer.error["code"]
    assert answer.exit_code in (0, 3), (number, answer)
    return Ending(before, refused, desk.refunded_at_provider(reference)[already:], sums(desk, number))


def expected(outcome: Outcome) -> Ending:
    return Ending(outcome.before, outcome.refused, outcome.sent, outcome.after)


@dataclass(frozen=True, slots=True)
class Listed:
    """What `status` lists: its exit code, the invoices of refunds and losses, and the numbers of events."""

    exit_code: int
    invoices: frozenset[str]
    events: frozenset[int]

    def has(self, desk: Desk, number: str) -> bool:
        (payment,) = desk.invoice(number).payments
        return number in self.invoices or any(event.event_id in self.events for event in payment.unreviewed)


def status(desk: Desk) -> Listed:
    answer = desk("status -o json")
    report = answer.json
    refunds = [*report["unfinished"], *report["needs_acknowledgement"], *report["external"], *report["losses"]]
    return Listed(
        answer.exit_code,
        frozenset(refund["invoice"] for refund in refunds),
        frozenset(refund["id"] for refund in report["unreviewed"]),
    )


# --- deliveries ----------------------------------------------------------------------------------------------


def ingest(desk: Desk, *deliveries: Post) -> Json:
    """`events ingest` of them all."""
    path = Path(desk.folder) / "deliveries.jsonl"
    path.write_text("".join(f"{delivery.as_line}\n" for delivery in deliveries))
    summary: Json = desk.ingest(path)
    return summary


def delivered(*items: Mapping[str, Any]) -> list[Post]:
    """Each signed, in a separate delivery."""
    return [adyen(signed(dict(entry))) for entry in items]


def same(actual: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    """Raises AssertionError with only the differing keys."""
    wrong = [f"{key}: {actual.get(key)}, not {expected[key]}" for key in expected if actual.get(key) != expected[key]]
    assert not wrong, "\n" + "\n".join(wrong)


def invoice_file(desk: Desk, invoices: Iterable[tuple[str, str]], **more: str) -> Path:
    """Each number with its payment at Adyen, as finance exports them; `more` are further columns."""
    columns = {"customer": "cus_204", "currency": "EUR", "total": "100.00", "status": "paid"}
    columns |= {"issued_on": "2026-09-01", "paid_on": "2026-09-03", "provider": "adyen", **more}
    rows = [",".join([number, reference, *columns.values()]) for number, reference in invoices]
    path = Path(desk.folder) / "invoices.csv"
    path.write_text("\n".join([",".join(["number", "payment_reference", *columns]), *rows]) + "\n")
    return path


def event_counts(desk: Desk) -> dict[str, int]:
    """The number of events in each state."""
    return dict(desk.books.read(lambda tx: tx.events.counts()))


def check(desk: Desk, invoices: Mapping[Any, tuple[str, str]], outcomes: Mapping[Any, Outcome]) -> None:
    """Checks that `status` lists exactly what needs review, and that each invoice is refunded in full or refused."""
    listed = status(desk)
    needs = {word: outcome.needs_a_person for word, outcome in outcomes.items()}
    same({word: listed.has(desk, invoices[word][0]) for word in outcomes}, needs)
    assert listed.exit_code == (8 if any(needs.values()) else 0)
    endings = {word: ending_of(desk, *invoices[word]) for word in outcomes}
    same(endings, {word: expected(outcome) for word, outcome in outcomes.items()})
    unsound = findings(desk.books)
    assert not unsound, unsound
