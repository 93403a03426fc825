"""A process suspended in `connect()` beyond its lease sends nothing."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("options", "broken"),
    [((), "0 of them broken"), pytest.param(("--mutant",), "12 of them broken", marks=pytest.mark.thorough)],
)
def test_a_process_whose_lease_ended_while_it_connected_sends_nothing(options: tuple[str, ...], broken: str) -> None:
    # In a process with one thread, which may fork.
    ended = subprocess.run(
        [sys.executable, "-m", "faults.suspended", *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    output = ended.stdout + ended.stderr
    assert (ended.returncode, broken in output) == (0, True), output
