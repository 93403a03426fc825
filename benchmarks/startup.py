"""How long commands take from the start of the process to its end, and how much CPU time reading commands take.

python -m benchmarks.startup [--scale small]
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bulk_records import make_store
from benchmarks.figures import REFUNDCLI, Figure, Scale, environ, figure, print_figures, run, spread
from benchmarks.lists import listed_store

from refundcli.cli.main import COMMANDS

PYTHON = sys.executable
PASS = [PYTHON, "-c", "pass"]
# The store of `credit-notes list`, which shows all of them.
FEW = 1_000
SMALLEST_TYPER = """
import typer
app = typer.Typer()
def command(): "Do a thing."
for name in {names!r}:
    app.command(name)(command)
app(["--help"])
"""


@dataclass
class Pair:
    """Our command, and what it is measured against."""

    ours: str
    command: Sequence[str]
    against: str
    other: Sequence[str]
    at_most: float
    is_of_cpu: bool = False
    times: list[tuple[float, float]] = field(default_factory=list)

    def run(self, environ: Mapping[str, str], folder: Path, *, other_first: bool) -> None:
        """Both, one right after the other: a slow minute of the machine slows both."""
        ends = {}
        for command in (self.other, self.command) if other_first else (self.command, self.other):
            ran = run(command, environ, folder)
            ends[tuple(command)] = ran.cpu_seconds if self.is_of_cpu else ran.seconds
        self.times.append((ends[tuple(self.command)], ends[tuple(self.other)]))

    def figure(self) -> Figure:
        ours, theirs = ([1000 * pair[n] for pair in self.times] for n in (0, 1))
        ratios = [mine / other for mine, other in self.times]
        return figure(self.ours, spread(ours, "ms"), self.against, spread(theirs, "ms"), ratios, at_most=self.at_most)


def figures(scale: Scale) -> Iterator[Figure]:
    """In turn, the first of each pair changing; one round before is thrown away, so that all is compiled and cached."""
    rounds = scale.pick(full=21, small=7, tiny=1)
    invoices = scale.pick(full=1_000_000, small=100_000, tiny=100)
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        folder = Path(name)
        make_store(folder / "books.db", invoices)
        listed_store(folder / "few.db", FEW, notes=True)
        measured = [*pairs(), *reads(invoices, folder)]
        for turn in range(rounds + 1):
            for pair in measured:
                pair.run(environ(folder), folder, other_first=bool(turn % 2))
    for pair in measured:
        del pair.times[0]
        yield pair.figure()


def pairs() -> list[Pair]:
    typer_app = SMALLEST_TYPER.format(names=list(COMMANDS))
    return [
        Pair("`refundcli --version`", [REFUNDCLI, "--version"], "limit: `python -c pass`", PASS, 2.5),
        Pair(
            "`refundcli --help`",
            [REFUNDCLI, "--help"],
            f"rival: `--help` of the smallest Typer app of {len(COMMANDS)} commands",
            [PYTHON, "-c", typer_app],
            1.3,
        ),
    ]


def reads(invoices: int, folder: Path) -> list[Pair]:
    """Commands that only read, by their CPU time: on SQLite they load no ORM."""
    few = ["--store", f"sqlite:///{folder / 'few.db'}"]
    measured: list[tuple[str, list[str], float]] = [
        (f"`invoice show`, one of {invoices:,}", ["invoice", "show", f"INV-{invoices // 2:07}"], 18),
        (f"`invoice list`, the first 50 of {invoices:,}", ["invoice", "list"], 18),
        (f"`credit-notes list` of {FEW:,}", [*few, "credit-notes", "list"], 18),
        (f"`status` of {invoices:,} invoices", ["status"], 22),
    ]
    limit = "limit: `python -c pass`"
    return [
        Pair(f"{name}: CPU time", [REFUNDCLI, *words], limit, PASS, at_most, is_of_cpu=True)
        for name, words, at_most in measured
    ]


if __name__ == "__main__":
    print_figures(figures)
