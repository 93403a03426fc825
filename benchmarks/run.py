"""How long commands take, told as ratios: each against a named rival or limit, run in turn in the same minutes.

python benchmarks/run.py [--runs 15]      prints a table and writes docs/performance.md
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from refundcli import __version__
from refundcli.cli.main import COMMANDS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
PYTHON = sys.executable
REFUNDCLI = str(Path(PYTHON).parent / "refundcli")

SMALLEST_TYPER = """
import typer
app = typer.Typer()
def command(): "Do a thing."
for name in {names!r}:
    app.command(name)(command)
app(["--help"])
"""
INVOICES = "number,customer,currency,total,status,issued_on\n" + "".join(
    f"INV-{n},cus_{n},EUR,{n}.00,open,2026-09-01\n" for n in range(1, 31)
)


@dataclass
class Pair:
    """Our command, and what it is measured against."""

    ours: str
    command: Sequence[str]
    against: str
    other: Sequence[str]
    times: list[tuple[float, float]] = field(default_factory=list)

    def run(self, environ: Mapping[str, str], folder: Path, *, other_first: bool) -> None:
        """Both, one right after the other: a slow minute of the machine slows both."""
        if other_first:
            theirs = seconds(self.other, environ, folder)
            self.times.append((seconds(self.command, environ, folder), theirs))
        else:
            self.times.append((seconds(self.command, environ, folder), seconds(self.other, environ, folder)))

    def row(self) -> tuple[str, ...]:
        ours, theirs = zip(*self.times, strict=True)
        ratios = [mine / other for mine, other in self.times]
        return (f"`{self.ours}`", spread(ours), self.against, spread(theirs), spread(ratios, unit=1, digits=2))


def seconds(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> float:
    """A fresh process, from its start to its end; one that fails is no measurement."""
    start = time.perf_counter()
    subprocess.run(command, env=environ, cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - start


def spread(values: Sequence[float], *, unit: float = 1000, digits: int = 0) -> str:
    """The median, and the quartiles around it."""
    low, middle, high = (f"{value * unit:.{digits}f}" for value in statistics.quantiles(values, n=4))
    return f"{middle} ({low}–{high})"


def pairs() -> list[Pair]:
    heavy = "import sqlmodel, typer, rich.table"
    typer_app = SMALLEST_TYPER.format(names=list(COMMANDS))
    return [
        Pair("refundcli --version", [REFUNDCLI, "--version"], "limit: `python -c pass`", [PYTHON, "-c", "pass"]),
        Pair(
            "refundcli --help",
            [REFUNDCLI, "--help"],
            f"rival: `--help` of the smallest Typer app of {len(COMMANDS)} commands",
            [PYTHON, "-c", typer_app],
        ),
        Pair(
            "refundcli invoice show INV-7",
            [REFUNDCLI, "invoice", "show", "INV-7"],
            f"limit: `python -c '{heavy}'`",
            [PYTHON, "-c", heavy],
        ),
    ]


def measure(runs: int) -> list[Pair]:
    """In turn, the first of each pair changing; one round before is thrown away, so that all is compiled and cached."""
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        folder = Path(name)
        (folder / "invoices.csv").write_text(INVOICES)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("REFUNDCLI_")}
        environ = kept | {"HOME": name, "XDG_CONFIG_HOME": name, "REFUNDCLI_STORE_URL": f"sqlite:///{folder}/books.db"}
        seconds([REFUNDCLI, "invoice", "import", "invoices.csv"], environ, folder)
        measured = pairs()
        for turn in range(runs + 1):
            for pair in measured:
                pair.run(environ, folder, other_first=bool(turn % 2))
    for pair in measured:
        del pair.times[0]
    return measured


def table(measured: Sequence[Pair]) -> str:
    heads = ("Command", "ms", "Against", "ms", "Ratio")
    rows = [heads, tuple("---" for _ in heads), *(pair.row() for pair in measured)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def page(shown: str, runs: int) -> str:
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"""# Performance

Written by `make bench` for refundcli {__version__} ({system}).

{shown}
Each figure is a median with its quartiles, of {runs} fresh processes. A command and what it is held against run in
turn, right after each other, and the ratio is taken pair by pair: it may be compared between machines, the
milliseconds may not. A *limit* is what no program of its kind can go below; a *rival* does the same job another way.
"""


def main() -> None:
    options = argparse.ArgumentParser(description="Measure refundcli and write docs/performance.md.")
    options.add_argument("--runs", type=int, default=15, help="rounds; at least 4")
    runs = max(4, options.parse_args().runs)
    shown = table(measure(runs))
    print(shown, end="")
    PAGE.write_text(page(shown, runs), encoding="utf-8")


if __name__ == "__main__":
    main()
