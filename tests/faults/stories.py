"""How each case runs, from the first command until everything is settled."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

from faults.cases import BARRED, UNSETTLED, Case
from faults.invariants import broken_in_the_end, broken_now
from faults.points import Fault
from faults.worlds import REST, TOO_MUCH, World

HOUR = timedelta(hours=1)
_PAST_OURS = {"stripe": 21 * HOUR, "adyen": 145 * HOUR}
_MOST_OF_OURS = {"stripe": 15 * HOUR, "adyen": 100 * HOUR}
_PAST_THEIRS = {"stripe": 25 * HOUR, "adyen": 200 * HOUR}
# A lease is the timeouts and ten seconds.
_PAST_THE_LEASE = timedelta(minutes=2)
_MOST_RESUMES = 4


def play(case: Case, folder: Path, templates: Path, mutate: Callable[[], None] | None = None) -> "Played":
    """Runs the case; the first violation ends it."""
    world = World(case, folder, templates, mutate)
    try:
        for _ in _STORIES[case.story](world):
            broken = list(broken_now(world))
            if broken:
                return Played(world, broken)
        _settle(world)
        return Played(world, list(broken_in_the_end(world)))
    finally:
        world.close()


class Played:
    """The outcome of a case with its violations."""

    def __init__(self, world: World, broken: list[str]) -> None:
        self.case, self.broken = world.case, broken
        self.commands = [str(ended) for ended in world.ended]
        self.struck = [n.removeprefix("struck ") for e in world.ended for n in e.notes if n.startswith("struck")]


# --- stories; each yields after every command ------------------------------------------------------------------


def _refund(world: World) -> Iterator[None]:
    case = world.case
    world.provider_does(case.behaviour)
    first = world.start_refund(fault=case.fault)
    if case.then == "both":
        world.end(first, world.start_refund())
    elif case.then == "rivals":
        world.end(first, world.start_refund(amount=TOO_MUCH, key="rival"))
    else:
        world.end(first)
    yield
    yield from _next(world)


def _resume(world: World) -> Iterator[None]:
    case = world.case
    _leave(world)
    yield
    world.provider_does(case.behaviour)
    first = world.start("resume", "--yes", fault=case.fault)
    if case.then == "both":
        world.end(first, world.start("resume", "--yes"))
    else:
        world.end(first)
    yield
    yield from _next(world)


def _next(world: World) -> Iterator[None]:
    if world.case.then == "again":
        world.refund()
        yield
    elif world.case.then == "rest":
        world.refund(amount=REST, key="rest")
        yield


def _leave(world: World) -> None:
    """Leaves a refund or a closing with an unknown outcome."""
    leftover = world.case.leftover
    if leftover in ("ready", BARRED):
        world.do(fault=Fault("T1", "after", "kill"))
        if leftover == BARRED:
            world.customer_disputes()
    elif leftover == "claimed":
        world.do(fault=Fault("T2", "after", "kill"))
    else:
        world.provider_does("drop_before" if leftover == "lost" else "drop_after")
        world.do()


def _late(world: World) -> Iterator[None]:
    case = world.case
    _leave(world)
    yield
    sent = len(world.at_provider().refund_requests)
    match case.then:
        case "again and again":
            # Lost each time. The key window starts when the provider first saw the key.
            world.time_passes(_MOST_OF_OURS[case.provider])
            world.provider_does("500_before")
            world.resume()
            yield
            sent = len(world.at_provider().refund_requests)
            world.time_passes(_MOST_OF_OURS[case.provider])
        case "past our window":
            world.time_passes(_PAST_OURS[case.provider])
        case "past theirs":
            world.time_passes(_PAST_THEIRS[case.provider])
        case _:
            world.ahead = -HOUR
    world.provider_does(case.behaviour)
    world.resume()
    if case.leftover != "ready" and len(world.at_provider().refund_requests) > sent:
        world.broken.append(f"I8: it was sent again, {case.then}")
    yield
    world.ahead = max(world.ahead, timedelta(0))


def _external(world: World) -> Iterator[None]:
    """The sender was killed on another host; its lease ends and `resume` takes over."""
    world.provider_does(world.case.behaviour)
    world.end(world.start_refund(fault=world.case.fault, host="another-host"))
    yield
    world.ahead = _PAST_THE_LEASE
    world.resume()
    yield


def _forgotten(world: World) -> Iterator[None]:
    _leave(world)
    yield
    world.sandbox.advance(_PAST_THEIRS["stripe"])
    world.provider_does(world.case.behaviour)
    world.resume()
    yield


def _paused(world: World) -> Iterator[None]:
    """The first sender is suspended, its lease ends, a second takes over; the first continues first."""
    case = world.case
    world.provider_does(case.behaviour)
    first = world.start_refund(fault=case.fault)
    ended = first.stopped()
    if ended:
        world.ended_with(ended)
        yield
        return
    step, _, place = case.then.partition(".")
    stop = Fault(step, place, "stop") if place else None
    # From here on time has passed for all but the first, which does not read the clock again.
    world.ahead = _PAST_THE_LEASE
    second = world.start("resume", "--yes", fault=stop)
    also_ended = second.stopped()
    world.ended_with(first.continue_to_end())
    world.ended_with(also_ended or second.continue_to_end())
    yield


def _reported(world: World) -> Iterator[None]:
    """A refund's events are ingested; the delivery is sent until it is acknowledged, or by two at once."""
    case = world.case
    if case.leftover == "made":
        world.provider_does("drop_after")
    world.refund()
    yield
    world.provider_changes_its_mind(case.behaviour)
    file = world.save_deliveries()
    first = world.start("events", "ingest", str(file), fault=case.fault)
    if case.then == "both":
        world.end(first, world.start("events", "ingest", str(file)))
    else:
        world.end(first)
    yield
    if case.then == "resume":
        world.resume()
        yield
    world.end(world.start("events", "ingest", str(file)))
    yield
    world.acknowledge()
    yield


def _closing(world: World) -> Iterator[None]:
    """An invoice at Stripe is voided or written off, or `resume` finishes an earlier attempt."""
    case = world.case
    start = world.start_closing
    if case.leftover != "-":
        start = partial(world.start, "resume", "--yes")
        _leave(world)
        yield
    world.provider_does(case.behaviour)
    first = start(fault=case.fault)
    world.end(first, *([start()] if case.then == "both" else []))
    yield
    if case.then in ("again", "other"):
        world.end(world.start_closing(_OTHER[case.story] if case.then == "other" else case.story))
        yield
    if case.behaviour == "dashboard" and not world.books().unfinished:
        # A dashboard change is only seen by another look-up.
        world.do()
        yield


_OTHER = {"void": "uncollectible", "uncollectible": "void"}
_STORIES = {
    "refund": _refund,
    "several": _refund,
    "resume": _resume,
    "late": _late,
    "external": _external,
    "forgotten": _forgotten,
    "paused": _paused,
    "reported": _reported,
    "void": _closing,
    "uncollectible": _closing,
}


# --- the end ---------------------------------------------------------------------------------------------------


def _settle(world: World) -> None:
    """Faults stop; `resume` runs until nothing is left, and an operator resolves the rest from the dashboard."""
    world.sandbox.clear_faults()
    for _ in range(_MOST_RESUMES):
        if not world.books().unfinished:
            return
        world.resume()
    if world.case.behaviour in UNSETTLED or world.case.story == "late":
        _resolve(world)


def _resolve(world: World) -> None:
    world.resolved = True
    if world.case.story != "late":
        world.time_passes(_PAST_THEIRS[world.case.provider])
    provider_state = world.at_provider()
    for refund in world.books().unfinished:
        references = [invoice["id"] for invoice in provider_state.of(refund["id"])]
        if world.case.closes:
            references = [invoice["id"] for invoice in provider_state.invoices if invoice["status"] == refund["action"]]
        end = ["--provider-reference", references[0]] if references else ["--not-executed"]
        world.end(world.start("resolve", refund["id"], *end, "--evidence", "seen in the dashboard", "--yes"))
