"""What a benchmark gives: rows of the table in docs/performance.md, all of one shape.

A benchmark is a file with `figures(scale) -> Iterator[Figure]`, and it stands in the list of run.py. Ours and what it
is held against run in turn, so that a slow minute of the machine slows both, and the ratio is taken pair by pair.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

REFUNDCLI = str(Path(sys.executable).parent / "refundcli")
# Starts and times the process. What the system tells of a process's most memory counts its parent's too, from before
# it began: a benchmark with a store in its own memory would measure itself.
LAUNCHER = """
import json, os, sys, time
out, command = sys.argv[1], sys.argv[2:]
write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
files = [(os.POSIX_SPAWN_OPEN, 1, out, write, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
began = time.perf_counter()
process = os.posix_spawnp(command[0], command, os.environ, file_actions=files)
_, status, used = os.wait4(process, 0)
seconds = time.perf_counter() - began
used_seconds = used.ru_utime + used.ru_stime
print(json.dumps([seconds, os.waitstatus_to_exitcode(status), used.ru_maxrss, used_seconds]))
"""
HEADS = ("What", "Ours", "Against", "Theirs", "Ratio", "Target", "Held")


class Scale(StrEnum):
    """How much is measured: `full` is what the page tells, `small` takes minutes, `tiny` only proves that it runs."""

    FULL = "full"
    SMALL = "small"
    TINY = "tiny"

    def pick(self, *, full: int, small: int, tiny: int) -> int:
        return {Scale.FULL: full, Scale.SMALL: small, Scale.TINY: tiny}[self]

    @property
    def rounds(self) -> int:
        """Of what takes long; what takes a second is run more often."""
        return self.pick(full=3, small=2, tiny=1)


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. `held` is None where there is no target."""

    what: str
    ours: str
    against: str
    theirs: str
    ratio: str
    limit: str = ""
    held: bool | None = None

    def cells(self) -> tuple[str, ...]:
        held = {None: "", True: "yes", False: "no"}[self.held]
        return (self.what, self.ours, self.against, self.theirs, self.ratio, self.limit, held)


def figure(
    what: str,
    ours: str,
    against: str,
    theirs: str,
    ratios: Sequence[float],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Figure:
    """`ratios` are those of the rounds; it is their median that must keep to the target."""
    found = statistics.median(ratios)
    held = (at_most is None or found <= at_most) and (at_least is None or found >= at_least)
    words = [f"≤ {at_most:g}"] if at_most is not None else []
    words += [f"≥ {at_least:g}"] if at_least is not None else []
    return Figure(what, ours, against, theirs, spread(ratios, digits=2), ", ".join(words), held if words else None)


def spread(values: Sequence[float], unit: str = "", *, digits: int = 0) -> str:
    """`median (low–high)`: the quartiles, or of fewer than four rounds the least and the most."""
    middle = f"{statistics.median(values):,.{digits}f}"
    tail = f" {unit}" if unit else ""
    if len(values) == 1:
        return middle + tail
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 3 else (min(values), 0, max(values))
    return f"{middle} ({low:,.{digits}f}–{high:,.{digits}f}){tail}"


@dataclass(frozen=True, slots=True)
class Ran:
    """A process from its start to its end, the most memory that it had, and the processor time that it used."""

    seconds: float
    memory_mb: float
    cpu_seconds: float


def run(
    command: Sequence[str], environ: Mapping[str, str], folder: Path, *, ends_with: int = 0, out: Path | None = None
) -> Ran:
    """A fresh process, what it says kept in `out` or by nobody; one that ends otherwise is no measurement."""
    launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(out or os.devnull), *command]
    said = subprocess.run(launcher, env=environ, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    seconds, status, peak, cpu_seconds = json.loads(said.stdout)
    if status != ends_with:
        raise RuntimeError(f"{' '.join(command)} ended with {status}")
    return Ran(seconds, peak / (2**20 if sys.platform == "darwin" else 2**10), cpu_seconds)


@dataclass(frozen=True, slots=True)
class Measured:
    """Ours and the rival's in one unit, as seconds, of so many rows; and the most memory of ours."""

    rows: int
    ours: float
    rival: float
    memory_mb: float

    @property
    def ratio(self) -> float:
        return self.ours / self.rival


def environ(folder: Path, **more: str) -> dict[str, str]:
    """Of a desk whose store is books.db in this folder, and whose settings are nobody's own.

    Modules are compiled once, as pip does for an installed program, whatever the caller's environment says.
    """
    dropped = ("REFUNDCLI_", "PYTHONDONTWRITEBYTECODE")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    ours = {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "REFUNDCLI_STORE_URL": f"sqlite:///{folder / 'books.db'}",
        "REFUNDCLI_OPERATOR_NAME": "Ada Lovelace",
        "REFUNDCLI_OPERATOR_TIMEZONE": "UTC",
    }
    return kept | ours | more


def table(rows: Iterable[Figure]) -> str:
    lines = [HEADS, tuple("---" for _ in HEADS), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def print_figures(figures: Callable[[Scale], Iterable[Figure]]) -> None:
    """One benchmark by itself, from the command line."""
    options = argparse.ArgumentParser()
    options.add_argument("--scale", type=Scale, choices=list(Scale), default=Scale.FULL)
    print(table(figures(options.parse_args().scale)), end="")
