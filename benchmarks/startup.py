"""How long commands take from the start of the process to its end.

python -m benchmarks.startup [--scale small]
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bulk_records import make_store
from benchmarks.figures import REFUNDCLI, Figure, Scale, environ, figure, print_figures, run, spread

from refundcli.cli.main import COMMANDS

PYTHON = sys.executable
HEAVY = "import sqlmodel, typer, rich.table"
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
    times: list[tuple[float, float]] = field(default_factory=list)

    def run(self, environ: Mapping[str, str], folder: Path, *, other_first: bool) -> None:
        """Both, one right after the other: a slow minute of the machine slows both."""
        if other_first:
            theirs = run(self.other, environ, folder).seconds
            self.times.append((run(self.command, environ, folder).seconds, theirs))
        else:
            self.times.append((run(self.command, environ, folder).seconds, run(self.other, environ, folder).seconds))

    def figure(self) -> Figure:
        ours, theirs = ([1000 * pair[n] for pair in self.times] for n in (0, 1))
        ratios = [mine / other for mine, other in self.times]
        return figure(self.ours, spread(ours, "ms"), self.against, spread(theirs, "ms"), ratios, at_most=self.at_most)


def figures(scale: Scale) -> Iterator[Figure]:
    """In turn, the first of each pair changing; one round before is thrown away, so that all is compiled and cached."""
    rounds = scale.pick(full=15, small=5, tiny=1)
    invoices = scale.pick(full=1_000_000, small=100_000, tiny=100)
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        folder = Path(name)
        make_store(folder / "books.db", invoices)
        measured = pairs(invoices)
        for turn in range(rounds + 1):
            for pair in measured:
                pair.run(environ(folder), folder, other_first=bool(turn % 2))
    for pair in measured:
        del pair.times[0]
        yield pair.figure()


def pairs(invoices: int) -> list[Pair]:
    typer_app = SMALLEST_TYPER.format(names=list(COMMANDS))
    return [
        Pair("`refundcli --version`", [REFUNDCLI, "--version"], "limit: `python -c pass`", [PYTHON, "-c", "pass"], 2.5),
        Pair(
            "`refundcli --help`",
            [REFUNDCLI, "--help"],
            f"rival: `--help` of the smallest Typer app of {len(COMMANDS)} commands",
            [PYTHON, "-c", typer_app],
            1.3,
        ),
        Pair(
            f"`invoice show`, one of {invoices:,}",
            [REFUNDCLI, "invoice", "show", f"INV-{invoices // 2:07}"],
            f"limit: `python -c '{HEAVY}'`",
            [PYTHON, "-c", HEAVY],
            1.4,
        ),
    ]


if __name__ == "__main__":
    print_figures(figures)
