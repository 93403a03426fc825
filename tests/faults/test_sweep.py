"""A sample of the fault sweep; `make test-faults` runs many times as many cases."""

import os
import subprocess
import sys

import pytest

CASES, PARTS = 40, 2


def sweep(*options: str) -> str:
    """In a process with one thread, which may fork; what it printed."""
    ended = subprocess.run(
        [sys.executable, "-m", "faults.sweep", "--workers", "1", *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode == 0, output
    return output


@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_every_promise_holds_wherever_a_command_is_struck(part: int) -> None:
    output = sweep("--cases", str(CASES), "--seed", "1", "--part", f"{part}/{PARTS}")
    assert f"{CASES // PARTS} of {CASES // PARTS} cases" in output
    assert "0 violations" in output


def test_six_wrong_programs_are_caught() -> None:
    assert "6 of 6 caught" in sweep("--mutants")
