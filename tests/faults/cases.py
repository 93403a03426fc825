"""The cases: where a command is interrupted, what the provider does, and what the operator does next."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product, zip_longest

from faults.points import Fault, faults_at

PROVIDERS = ("stripe", "adyen")

# The sandbox's fault plan; `fine` is none, `429x9` never ends, `declined` is a dispute that was never reported.
_ANYWHERE = (
    *("fine", "drop_before", "drop_after", "500_before", "500_after", "503", "401", "403", "409", "429", "429x9"),
    *("redirect", "malformed", "empty_object", "wrong_amount", "wrong_payment", "wrong_currency"),
    *("pending", "failed", "canceled", "declined", "slow"),
)
BEHAVIOURS = {
    "stripe": [*_ANYWHERE, "500_stuck", "requires_action"],
    "adyen": [*_ANYWHERE, "adyen_703", "adyen_704"],
}
# Of the call that closes an invoice; `dashboard`: it was closed in the dashboard just before.
CLOSING_BEHAVIOURS = (
    *("fine", "drop_before", "drop_after", "500_before", "500_after", "500_stuck", "503", "401", "403", "409", "429"),
    *("429x9", "redirect", "malformed", "empty_object", "slow", "dashboard"),
)
LOOKUPS = [f"lookup:{what}" for what in ("drop_before", "500_before", "403", "429", "malformed", "empty_object")]

# After these, or without a listener, a refund may end as refused.
REFUSING = frozenset({"401", "403", "429x9", "failed", "canceled", "declined"})
# Stripe stores this response as long as it knows the key, so an operator must resolve the refund.
UNSETTLED = frozenset({"500_stuck"})

# What the operator does next. `both`: the same command twice at once. `rivals`: a colleague wants too much at once.
_NEXT = {"refund": ("resume", "again", "both", "rest", "rivals"), "resume": ("resume", "again", "both", "rest")}

# What `resume` finds: reserved; claimed and not sent; request lost; refund made, response lost.
LEFT = ("ready", "claimed", "lost", "made")
# Cases of an invoice that is also at Stripe, named after the command.
CLOSINGS = ("void", "uncollectible")
# Reserved, then barred by a dispute: never sent (R11).
BARRED = "barred"


@dataclass(frozen=True, slots=True)
class Case:
    """One case; its name is enough to run it again."""

    story: str
    provider: str
    leftover: str
    fault: Fault | None
    behaviour: str
    then: str

    def __str__(self) -> str:
        return "/".join((self.story, self.provider, self.leftover, str(self.fault or "-"), self.behaviour, self.then))

    @property
    def group(self) -> str:
        """The kind of case; a spread takes from each kind."""
        if self.closes:
            return f"closing/{self.leftover == '-'}/{self.fault}"
        if self.story in ("resume", "several", "reported"):
            return f"{self.story}/{self.leftover}/{self.fault}"
        name = f"{self.story}/{self.provider}/{self.leftover}/{self.fault}"
        return name if self.story == "refund" else f"{name}/{self.then}"

    @property
    def closes(self) -> bool:
        """Whether the case voids or writes off an invoice."""
        return self.story in CLOSINGS

    @property
    def payments(self) -> int:
        if self.closes:
            return 0
        return 2 if self.story == "several" else 1

    @property
    def may_be_refused(self) -> bool:
        nobody_there = self.fault is not None and self.fault.manner == "unreachable"
        dropped = (
            self.story in ("several", *CLOSINGS)
            and self.fault is not None
            and (self.fault.manner in ("sigint", "sigterm") or self.fault.step == "drop")
        )
        # Nothing was executed, and after a signal no further attempt begins.
        is_waiting = self.behaviour == "429" and self.fault is not None and self.fault.manner in ("sigint", "sigterm")
        if self.behaviour in ("fails late", "reversed") or is_waiting:
            return True
        return self.behaviour in REFUSING or nobody_there or dropped or self.leftover == BARRED


def all_cases() -> list[Case]:
    """All cases in a fixed order."""
    return [
        *_refunds(),
        *_resumes(),
        *_several(),
        *_late(),
        *_external(),
        *_forgotten(),
        *_paused(),
        *_reported(),
        *_closings(),
    ]


def spread(seed: int, count: int | None) -> list[Case]:
    """`count` cases, from every group in turn; deterministic for a seed."""
    shuffle = random.Random(seed).shuffle
    groups: dict[str, list[Case]] = {}
    for case in all_cases():
        groups.setdefault(case.group, []).append(case)
    for group in groups.values():
        shuffle(group)
    heaps = list(groups.values())
    shuffle(heaps)
    dealt = [case for row in zip_longest(*heaps) for case in row if case]
    return dealt[:count]


def _refunds() -> Iterator[Case]:
    """A refund is interrupted."""
    for provider in PROVIDERS:
        looks = faults_at("snapshot") if provider == "stripe" else ()
        faults = [None, *looks, *faults_at("T1", "T2", "send", "T4")]
        for fault, behaviour, then in product(faults, BEHAVIOURS[provider], _NEXT["refund"]):
            yield Case("refund", provider, "-", fault, behaviour, then)


def _resumes() -> Iterator[Case]:
    """A refund was left unfinished, and `resume` is interrupted too."""
    for provider, leftover in product(PROVIDERS, (*LEFT, BARRED)):
        behaviours = [*BEHAVIOURS[provider], *(LOOKUPS if _looks_up(provider, leftover) else [])]
        for fault, behaviour, then in product(_faults_of_resume(provider, leftover), behaviours, _NEXT["resume"]):
            yield Case("resume", provider, leftover, fault, behaviour, then)


def _looks_up(provider: str, leftover: str) -> bool:
    return provider == "stripe" and leftover != BARRED


def _faults_of_resume(provider: str, leftover: str) -> list[Fault | None]:
    if leftover == BARRED:
        # Claimed or refused in one transaction.
        return [None, *faults_at("T2")]
    if leftover == "ready":
        looks = [*faults_at("snapshot")] if provider == "stripe" else []
        return [None, *looks, *faults_at("T2", "send", "T4")]
    looks = [*faults_at("lookup")] if provider == "stripe" else []
    # A refund found by the look-up is recorded and not sent again.
    is_looked_up = provider == "stripe" and leftover == "made"
    return [None, *looks, *faults_at("T4"), *([] if is_looked_up else faults_at("T2", "send"))]


def _several() -> Iterator[Case]:
    """One command refunds two payments: both are reserved at once, and sent one after the other."""
    faults = [*faults_at("T1", "T2", "send", "T4", "drop"), *faults_at("T2", "send", "T4", nth=2)]
    behaviours = ("fine", "drop_before", "drop_after", "403", "500_after", "malformed")
    for provider, fault, behaviour, then in product(PROVIDERS, faults, behaviours, ("resume", "again", "both")):
        yield Case("several", provider, "-", fault, behaviour, then)


def _late() -> Iterator[Case]:
    """`resume` runs when the provider may have forgotten the key, or with a wrong clock (I8)."""
    for provider, leftover, when in product(
        PROVIDERS, LEFT, ("past our window", "past theirs", "clock set back", "again and again")
    ):
        for behaviour in ("fine", "drop_after", "403"):
            yield Case("late", provider, leftover, None, behaviour, when)


def _external() -> Iterator[Case]:
    """A colleague's process is killed on another host; `resume` on this one takes over its leases."""
    places = [("T1", "after"), ("T2", "after"), ("send", "connected"), ("send", "sent"), ("send", "answered")]
    places += [("T4", "before"), ("T4", "committed")]
    behaviours = ("fine", "drop_before", "drop_after", "403", "500_after", "malformed")
    for provider, (step, place), behaviour in product(PROVIDERS, places, behaviours):
        yield Case("external", provider, "-", Fault(step, place, "kill"), behaviour, "resume")


def _forgotten() -> Iterator[Case]:
    """Stripe forgets a key too early: only the look-up prevents a second refund."""
    for leftover, behaviour in product(("claimed", "lost", "made"), ("fine", "drop_after", "malformed", *LOOKUPS)):
        yield Case("forgotten", "stripe", leftover, None, behaviour, "resume")


def _reported() -> Iterator[Case]:
    """The provider reports how a refund ended; storing or applying the events is interrupted (I7)."""
    faults = [None, *faults_at("keep", "apply")]
    for provider, leftover, fault, end, then in product(
        PROVIDERS, ("made", "answered"), faults, ("succeeds", "fails late", "reversed"), ("again", "both", "resume")
    ):
        # Stripe reports a reversal as failed.
        if provider == "adyen" or end != "reversed":
            yield Case("reported", provider, leftover, fault, end, then)


def _paused() -> Iterator[Case]:
    """The sender is suspended until its lease has ended; `resume` takes the refund over; then both continue."""
    places = [("T1", "after"), ("T2", "before"), ("T2", "inside"), ("T2", "after"), ("send", "connect")]
    places += [("send", "connected"), ("send", "sent"), ("send", "after"), ("T4", "before"), ("T4", "after")]
    taking_over = ("runs through", "T2.after", "send.after", "T4.before")
    for provider, (step, place), behaviour, second in product(
        PROVIDERS, places, ("fine", "drop_before", "drop_after", "403", "429x9", "500_after", "malformed"), taking_over
    ):
        # A writer suspended inside its transaction only blocks the others.
        if place != "inside":
            yield Case("paused", provider, "-", Fault(step, place, "stop"), behaviour, second)


def _closings() -> Iterator[Case]:
    """An invoice is voided or written off at Stripe and here: interrupted there or in `resume` (R9)."""
    behaviours, nexts = (*CLOSING_BEHAVIOURS, *LOOKUPS), ("resume", "again", "both", "other")
    for action, leftover in product(CLOSINGS, ("-", *LEFT)):
        for fault, behaviour, then in product(_faults_of_closing(leftover), behaviours, nexts):
            found_closed = leftover == "-" and behaviour == "dashboard"
            if (leftover, behaviour) == ("made", "dashboard"):
                continue
            if not fault or fault.step == "lookup" or found_closed == (fault.step == "here"):
                yield Case(action, "stripe", leftover, fault, behaviour, then)


def _faults_of_closing(leftover: str) -> list[Fault | None]:
    """The invoice's status at Stripe is read first."""
    if leftover == "-":
        return [None, *faults_at("lookup", "T1", "T2", "send", "T4", "drop", "here")]
    # An invoice already closed at Stripe is recorded and not closed again.
    sends = () if leftover == "made" else ("T2", "send")
    return [None, *faults_at("lookup", *sends, "T4")]
