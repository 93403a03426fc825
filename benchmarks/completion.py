"""How much CPU time a Tab in the shell takes: the first after the shell's script was loaded, and later ones.

python -m benchmarks.completion [--scale small]
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bulk_records import make_store
from benchmarks.figures import REFUNDCLI, Figure, Scale, environ, print_figures, run
from benchmarks.startup import PASS, Pair

INVOICES = 500
LIMIT = 9.0


def figures(scale: Scale) -> Iterator[Figure]:
    """Each round has a cache of its own; the first is thrown away, so that all is compiled."""
    tab = [REFUNDCLI, "__complete", "refund", "INV-"]
    against = "limit: `python -c pass`"
    measured = [
        Pair(f"{which}: CPU time", tab, against, PASS, LIMIT, is_of_cpu=True)
        for which in ("the first Tab after `completion bash`", f"Tab after `refund`, {INVOICES} invoices known")
    ]
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        folder = Path(name)
        make_store(folder / "books.db", INVOICES)
        for turn in range(scale.pick(full=21, small=11, tiny=1) + 1):
            variables = environ(folder, XDG_CACHE_HOME=str(folder / f"cache-{turn}"))
            run([REFUNDCLI, "completion", "bash"], variables, folder)
            measured[0].run(variables, folder, other_first=bool(turn % 2))
            run([REFUNDCLI, "invoice", "list", "--limit", str(INVOICES)], variables, folder)
            measured[1].run(variables, folder, other_first=bool(turn % 2))
    for pair in measured:
        del pair.times[0]
        yield pair.figure()


if __name__ == "__main__":
    print_figures(figures)
