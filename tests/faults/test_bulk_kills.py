"""A few kills of bulk runs, on SQLite and PostgreSQL; `make test-faults` runs fifty of each."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("kind", "workers", "rows"), [("refund", 2, 30), ("mark-refunded", 1, 400)])
def test_each_row_of_a_run_that_is_killed_and_started_again_is_done_once(
    store_url: str, kind: str, workers: int, rows: int
) -> None:
    options = ["--kind", kind, "--workers", str(workers), "--rows", str(rows), "--kills", "2", "--store", store_url]
    # In a process with one thread, which may fork.
    ended = subprocess.run(
        [sys.executable, "-m", "faults.bulk_kills", *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode == 0, output
    assert "2 kills" in output
    assert "0 violations" in output
