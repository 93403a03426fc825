"""Every benchmark in turn, each figure a ratio against a named rival or limit; a full run writes docs/performance.md.

python -m benchmarks.run [--scale small] [--only lists startup]
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import (
    audit_chain,
    bulk_records,
    checking,
    completion,
    documents,
    find,
    importing,
    lists,
    provider_runs,
    reconcile,
    second_terminal,
    single_refund,
    startup,
)
from benchmarks.figures import Figure, Scale, table

from refundcli import __version__

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BENCHMARKS: dict[str, Callable[[Scale], Iterator[Figure]]] = {
    "startup": startup.figures,
    "completion": completion.figures,
    "single_refund": single_refund.figures,
    "lists": lists.figures,
    "find": find.figures,
    "importing": importing.figures,
    "bulk_records": bulk_records.figures,
    "second_terminal": second_terminal.figures,
    "checking": checking.figures,
    "audit_chain": audit_chain.figures,
    "documents": documents.figures,
    "provider_runs": provider_runs.figures,
    "reconcile": reconcile.figures,
}


def measure(names: Sequence[str], scale: Scale) -> list[Figure]:
    found: list[Figure] = []
    for name in names:
        began = time.perf_counter()
        found += BENCHMARKS[name](scale)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def page(found: Sequence[Figure]) -> str:
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"""# Performance

Written by `make bench` for refundcli {__version__} ({system}).

{table(found)}
Each figure is a median; behind it stand the quartiles of its rounds or, of fewer than four rounds, the least and the
most. What is measured once has no spread. A command and what it is held against run in turn, right after each other,
and the ratio is taken pair by pair: it may be compared between machines, seconds may not. A *limit* is what no program
of its kind can go below; a *rival* does the same job another way; *itself* is the same on less, which tells whether it
holds out on more.
"""


def main() -> None:
    options = argparse.ArgumentParser(description="Measure refundcli; a full run writes docs/performance.md.")
    options.add_argument("--scale", type=Scale, choices=list(Scale), default=Scale.FULL)
    options.add_argument("--only", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS))
    wanted = options.parse_args()
    found = measure(wanted.only, wanted.scale)
    print(table(found), end="")
    if wanted.scale is Scale.FULL and wanted.only == list(BENCHMARKS):
        PAGE.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
