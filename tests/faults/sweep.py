"""The fault sweep: `python -m faults.sweep --cases 2000 --seed 1`, with PYTHONPATH=tests.

Every case is a store, a provider and some commands, each a process of its own, one of them struck at one place.
Afterwards every promise of DESIGN §4 is checked. What is broken is printed with the case's name, and
`--only NAME` plays that case alone.
"""

import argparse
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from engines import share_engines
from faults.cases import CLOSINGS, PROVIDERS, Case, all_cases, spread
from faults.mutants import MUTANTS, Mutant
from faults.stories import Played, play
from faults.verdict import summed
from faults.worlds import World, make_templates
from memory import use_memory_for_temporary_files

_MOST_SHOWN = 5
# From this many cases on, each fault must have occurred at least once.
_LARGE = 2000
# Further cases for a fault that did not occur.
_MOST_MORE = 20


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    # Ctrl-C must not leave processes running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    share_engines()
    with _folder() as folder:
        make_templates(folder)
        for number in range(options.workers):
            _rehearse(_place(folder, number), folder)
        gc.collect()
        gc.freeze()
        if options.mutants:
            return _run_mutants(folder, options.seed, options.workers)
        cases = _chosen(options)
        return _run_sweep(cases, folder, options)


def _place(folder: Path, number: int) -> Path:
    """Where a worker plays its cases."""
    return folder / f"worker-{number}"


def _rehearse(place: Path, templates: Path) -> None:
    """In this process, whose forks then have everything imported and this worker's statements compiled."""
    closings = [Case(story, "stripe", "-", None, "fine", "resume") for story in CLOSINGS]
    for case in [*(Case("refund", provider, "-", None, "fine", "resume") for provider in PROVIDERS), *closings]:
        place.mkdir()
        world = World(case, place, templates)
        try:
            world.rehearse()
        finally:
            world.close()
            shutil.rmtree(place)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults.sweep", description="Strike refundcli everywhere.")
    parser.add_argument("--cases", type=int, metavar="N", help="so many, spread evenly; without it, all")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="which cases, and in which order")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="W")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="of these cases, the Ith of N parts")
    parser.add_argument("--only", metavar="NAME", help="this case alone, or all that begin so, with what was said")
    parser.add_argument("--mutants", action="store_true", help="the mutants instead: each must be caught")
    return parser.parse_args(arguments)


def _chosen(options: argparse.Namespace) -> list[Case]:
    if options.only is None:
        part, _, parts = options.part.partition("/")
        return spread(options.seed, options.cases)[int(part) - 1 :: int(parts)]
    # A name, or a prefix of several.
    return [case for case in all_cases() if str(case).startswith(options.only)]


class _folder:
    """In memory where possible: a kill loses nothing that was written."""

    def __enter__(self) -> Path:
        use_memory_for_temporary_files()
        self._path = Path(tempfile.mkdtemp(prefix="refundcli-sweep-"))
        self._before = Path.cwd()
        os.chdir(self._path)
        return self._path

    def __exit__(self, *raised: object) -> None:
        os.chdir(self._before)
        shutil.rmtree(self._path, ignore_errors=True)


# --- the sweep -------------------------------------------------------------------------------------------------


def _run_sweep(cases: list[Case], folder: Path, options: argparse.Namespace) -> int:
    begun = time.monotonic()
    reports = list(_by_workers(cases, folder, options.workers, None))
    if missed := _never_interrupted(reports, cases):
        more = _that_want(missed, options.seed, apart_from=cases)
        reports += _by_workers(more, folder, options.workers, None)
        cases = cases + more
    broken = [report for report in reports if report["broken"]]
    for report in sorted(broken, key=lambda report: str(report["case"])):
        _show(report, options.seed)
    if options.only is not None:
        print("\n".join(line for report in reports for line in report["commands"]))
    _show_totals(reports, len(cases), options.seed, time.monotonic() - begun, len(broken))
    unseen = _never_interrupted(reports, cases)
    if unseen:
        print(f"    never struck: {', '.join(unseen)}")
    return 1 if broken or unseen or len(reports) != len(cases) or not cases else 0


def _show(report: dict[str, Any], seed: int) -> None:
    print(f"VIOLATION (seed {seed}) {report['case']}")
    for sentence in report["broken"][:_MOST_SHOWN]:
        print(f"    {sentence}")
    print(f"    again: PYTHONPATH=tests python -m faults.sweep --only '{report['case']}'")


def _show_totals(reports: list[dict[str, Any]], count: int, seed: int, seconds: float, broken: int) -> None:
    computing = sum(os.times()[2:4])
    commands = sum(len(report["commands"]) for report in reports)
    struck = [strike for report in reports for strike in report["struck"]]
    stories = Counter(report["case"].partition("/")[0] for report in reports)
    print(
        f"fault sweep: {len(reports)} of {count} cases, seed {seed}, {seconds:.0f} s ({computing:.0f} s of computing), "
        f"{commands} commands, {len(struck)} strikes at {len(set(struck))} different points, {broken} violations\n"
        f"    {summed(sentence for report in reports for sentence in report['broken'])}"
    )
    print("    " + ", ".join(f"{name} {times}" for name, times in sorted(stories.items())))


def _that_want(missed: list[str], seed: int, *, apart_from: list[Case]) -> list[Case]:
    """Further cases for the faults that the drawn cases did not reach."""
    by_fault: dict[str, list[Case]] = {name: [] for name in missed}
    for case in spread(seed, None):
        if (of := by_fault.get(str(case.fault))) is not None and len(of) < _MOST_MORE and case not in apart_from:
            of.append(case)
    return [case for of in by_fault.values() for case in of]


def _never_interrupted(reports: list[dict[str, Any]], cases: list[Case]) -> list[str]:
    """Faults that no case of a large sweep reached."""
    if len(cases) < _LARGE:
        return []
    struck = {strike for report in reports for strike in report["struck"]}
    return sorted({str(case.fault) for case in cases if case.fault} - struck)


def _by_workers(
    cases: list[Case], folder: Path, workers: int, mutate: Callable[[], None] | None
) -> Iterator[dict[str, Any]]:
    """Each worker is a process with one thread, so that it may fork; it answers in lines of JSON."""
    answers = [folder / f"answers-{number}" for number in range(workers)]
    pids = [
        os.fork() or _work_and_leave(cases[number::workers], _place(folder, number), folder, answer, mutate)
        for number, answer in enumerate(answers)
    ]
    try:
        for pid in pids:
            os.waitpid(pid, 0)
    except BaseException:
        for pid in pids:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGTERM)
                os.waitpid(pid, 0)
        raise
    for answer in answers:
        yield from map(json.loads, answer.read_text().splitlines())
        answer.unlink()


def _work_and_leave(
    cases: list[Case], folder: Path, templates: Path, answers: Path, mutate: Callable[[], None] | None
) -> int:
    code = 1
    try:
        with answers.open("w") as out:
            for case in cases:
                out.write(json.dumps(_report_of(_play(case, folder, templates, mutate))) + "\n")
                out.flush()
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__} in {case}: {error}", file=sys.stderr, flush=True)
        raise
    finally:
        os._exit(code)


def _play(case: Case, folder: Path, templates: Path, mutate: Callable[[], None] | None) -> Played:
    folder.mkdir()
    try:
        return play(case, folder, templates, mutate)
    finally:
        shutil.rmtree(folder)


def _report_of(played: Played) -> dict[str, Any]:
    return {
        "case": str(played.case),
        "broken": played.broken,
        "struck": played.struck,
        "commands": played.commands,
    }


# --- the mutants -----------------------------------------------------------------------------------------------


def _run_mutants(folder: Path, seed: int, workers: int) -> int:
    """Runs part of the sweep for each mutant until a case catches it."""
    escaped, cases = 0, spread(seed, None)
    for mutant in MUTANTS:
        concerned = [case for case in cases if mutant.concerns(case)]
        caught = _first_caught(mutant, concerned[: mutant.most_cases], folder, workers)
        if caught is None:
            escaped += 1
            print(f"mutant ESCAPED: {mutant.name}")
        else:
            print(f"mutant caught: {mutant.name}\n    by {caught['case']}")
            print("\n".join(f"    {sentence.splitlines()[0]}" for sentence in caught["broken"][:_MOST_SHOWN]))
    print(f"mutants: {len(MUTANTS) - escaped} of {len(MUTANTS)} caught, seed {seed}")
    return 1 if escaped else 0


def _first_caught(mutant: Mutant, cases: list[Case], folder: Path, workers: int) -> dict[str, Any] | None:
    for at in range(0, len(cases), workers):
        for outcome in _by_workers(cases[at : at + workers], folder, workers, mutant.apply):
            # A crash of the mutant proves nothing: an invariant must be violated.
            if any(sentence.startswith("I") for sentence in outcome["broken"]):
                return outcome
    return None


if __name__ == "__main__":
    sys.exit(main())
