"""Processes suspended inside `connect()` until their lease has ended: `python -m faults.suspended`.

One process is stopped (SIGSTOP) once it has, or nearly has, a connection. Time passes for everybody, it too; another
process settles what it had begun, or nobody does; then it goes on (SIGCONT). It must send nothing any more, and end
with the truth. With `--mutant` the last check before the first byte is left out, and the stories must show it.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from unittest.mock import patch

from faults.cases import Case
from faults.points import Fault
from faults.processes import Ended
from faults.worlds import World, make_templates
from refundcli import bootstrap
from refundcli.services.dispatch import protocol

PAST_THE_LEASE = timedelta(minutes=5)
DONE, NOT_SENT = 0, 7
STORIES = [
    *product(("refund",), ("stripe", "adyen"), ("connect", "connected"), (True, False)),
    *product(("void", "uncollectible"), ("stripe",), ("connected",), (True, False)),
]


@dataclass(frozen=True, slots=True)
class SharedClock:
    """A clock shifted by a file, shared by all processes."""

    shift: Path

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=float(self.shift.read_text()))

    def today(self) -> date:
        return self.now().date()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m faults.suspended", description="Stop refundcli in connect().")
    parser.add_argument("--mutant", action="store_true", help="without the last check: every story must be broken")
    mutant = parser.parse_args(arguments).mutant
    with _folder() as folder:
        make_templates(folder)
        broken = {story: _play(*story, folder, mutant=mutant) for story in STORIES}
    for story, wrongs in broken.items():
        for wrong in wrongs:
            print(*story, wrong.splitlines()[0] if mutant else wrong, sep=" · ")
    caught = sum(map(bool, broken.values()))
    print(f"{len(STORIES)} stories, {caught} of them broken")
    return 0 if caught == (len(STORIES) if mutant else 0) else 1


@contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="refundcli-suspended-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _play(story: str, provider: str, place: str, taken_over: bool, templates: Path, *, mutant: bool) -> list[str]:
    """The violations."""
    folder = templates / f"{story}-{provider}-{place}-{taken_over}"
    folder.mkdir()
    shift = folder / "shift"
    shift.write_text("0")
    fault = Fault("send", place, "stop")
    case = Case(story, provider, "-", fault, "fine", "resume")
    world = World(case, folder, templates, mutate=_with_clock(shift, mutant=mutant))
    try:
        first = world.start_closing(fault=fault) if case.closes else world.start_refund(fault=fault)
        ended = first.stopped()
        if ended:
            return [f"it never stood still: {ended}"]
        shift.write_text(str(PAST_THE_LEASE.total_seconds()))
        if taken_over:
            world.resume()
        return list(_wrong(world, first.continue_to_end(), taken_over=taken_over))
    finally:
        world.close()


def _with_clock(shift: Path, *, mutant: bool) -> Callable[[], None]:
    def prepare() -> None:
        patch.object(bootstrap, "books_clock", lambda services: SharedClock(shift)).start()
        if mutant:
            patch.object(protocol, "last_check", lambda sending, clock: lambda: True).start()

    return prepare


def _wrong(world: World, first: Ended, *, taken_over: bool) -> Iterator[str]:
    provider_state = world.at_provider()
    posts = [*provider_state.refund_requests, *provider_state.closing_requests]
    if len(posts) != taken_over:
        yield f"{len(posts)} requests at the provider"
    if first.code != (DONE if taken_over else NOT_SENT):
        yield f"it ended so: {first}"
    if not taken_over and "safe to run the command again" not in first.said:
        yield f"it did not say so: {first}"
    yield from world.unsound()
    reserved = [payment["reserved"] for payment in world.books().payments]
    # Adyen reports the outcome later: an accepted amount stays reserved.
    if any(reserved) is not (taken_over and world.case.provider == "adyen"):
        yield f"reserved: {reserved}"


if __name__ == "__main__":
    sys.exit(main())
