"""All fault tests: `make test-faults`, or `python -m faults --cases 2200 --seed 1` with PYTHONPATH=tests.

Every part prints its cases, its seed and its violations. Here they are run, timed and summed: what two parts that need
one core each can do side by side, they do. Exit 0 only where every part ended with 0.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from faults.verdict import KINDS


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    part: Part
    code: int
    said: str
    seconds: float

    def count(self, kind: str) -> int:
        return sum(int(number) for number in re.findall(rf"(\d+) {kind}", self.said))


def parts(cases: int, seed: int, examples: int) -> list[list[Part]]:
    """Groups run one after another; the parts of a group run in parallel."""
    model = ("faults.model", "--examples", str(examples), "--seed", str(seed))
    return [
        [Part("fault sweep", ("faults.sweep", "--cases", str(cases), "--seed", str(seed)))],
        [Part("mutants", ("faults.sweep", "--mutants", "--seed", str(seed)))],
        [
            Part("suspended", ("faults.suspended",)),
            Part("short stories and wrong programs", ("faults.wrong_programs",)),
        ],
        [Part("suspended, without the last check", ("faults.suspended", "--mutant"))],
        [Part("contention", ("faults.contention", "--seed", str(seed)))],
        [Part("bulk kills", ("faults.bulk_kills", "--seed", str(seed)))],
        [Part("no-hook sweep", ("faults.no_hooks",)), Part("model", model)],
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m faults", description="Everything that tests what is promised.")
    parser.add_argument("--cases", type=int, default=2200, metavar="N", help="of the fault sweep")
    parser.add_argument("--examples", type=int, default=70, metavar="N", help="sequences of the model, each database")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    options = parser.parse_args(arguments)
    began, ended = time.monotonic(), []
    for group in parts(options.cases, options.seed, options.examples):
        with ThreadPoolExecutor(len(group)) as pool:
            ended += list(pool.map(partial(_run, alone=len(group) == 1), group))
    _show(ended, time.monotonic() - began)
    return 1 if any(part.code for part in ended) else 0


def _run(part: Part, alone: bool) -> Ended:
    """Its output is streamed, or printed at the end where parts run in parallel."""
    began, said = time.monotonic(), [f"--- {part.name}\n"]
    print(said[0], end="", flush=True)
    with subprocess.Popen(
        [sys.executable, "-m", *part.arguments],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as running:
        assert running.stdout
        for line in running.stdout:
            said.append(line)
            if alone:
                print(line, end="", flush=True)
    if not alone:
        print("".join(said), end="", flush=True)
    return Ended(part, running.returncode, "".join(said), time.monotonic() - began)


def _show(ended: Sequence[Ended], seconds: float) -> None:
    print("--- the whole")
    for proof in ended:
        print(f"{proof.part.name}: {'passed' if proof.code == 0 else 'FAILED'}, {proof.seconds:.0f} s")
    # A mutant's violations are expected.
    proofs = [proof for proof in ended if not {"--mutants", "--mutant"} & set(proof.part.arguments)]
    counts = Counter({kind: sum(proof.count(kind) for proof in proofs) for kind in KINDS})
    verdict = "NOT PROVEN, a part failed: " if any(proof.code for proof in ended) else ""
    print(verdict + ", ".join(f"{counts[kind]} {kind}" for kind in KINDS) + f"; {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    sys.exit(main())
