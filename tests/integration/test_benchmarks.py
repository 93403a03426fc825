"""Every benchmark runs at a tiny size."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from benchmarks.figures import HEADS, Scale, figure, run, spread, table
from benchmarks.importing import SHELL
from benchmarks.run import BENCHMARKS, page

# `make test` runs two, which share their parts with the others.
IN_EVERY_RUN = ("lists", "importing")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in IN_EVERY_RUN else pytest.mark.thorough) for name in BENCHMARKS]
)
def test_every_benchmark_runs_at_a_tiny_size(name: str) -> None:
    if name == "importing" and shutil.which(SHELL[0]) is None:
        pytest.skip("its rival, the sqlite3 shell, is not on this machine")
    rows = list(BENCHMARKS[name](Scale.TINY))
    assert rows
    for row in rows:
        assert all(row.cells()[:5])
    assert page(rows).count("\n| ") == len(rows) + 2


def test_a_figure_is_held_by_the_median_of_its_rounds() -> None:
    row = figure("what", "3 s", "limit: one", "2 s", [0.9, 1.1, 3.0], at_most=1)
    assert row.cells() == ("what", "3 s", "limit: one", "2 s", "1.10 (0.90–3.00)", "≤ 1", "no")
    assert figure("what", "3 s", "limit: one", "2 s", [0.9], at_least=0.9).held
    assert figure("what", "3 s", "limit: one", "2 s", [0.9]).cells()[-2:] == ("", "")
    assert table([row]).startswith(f"| {' | '.join(HEADS)} |\n")


def test_a_spread_names_quartiles_and_of_few_rounds_the_ends() -> None:
    assert spread([1200], "ms") == "1,200 ms"
    assert spread([3, 1, 2], "s", digits=1) == "2.0 (1.0–3.0) s"
    assert spread([1, 2, 3, 4, 5]) == "3 (2–4)"


def test_the_memory_of_a_process_is_its_own_and_not_that_of_who_measures(tmp_path: Path) -> None:
    ours = bytearray(300 << 20)
    assert run([sys.executable, "-S", "-c", "pass"], os.environ, tmp_path).memory_mb < 100
    assert run([sys.executable, "-S", "-c", "bytearray(b'x') * (200 << 20)"], os.environ, tmp_path).memory_mb > 200
    assert len(ours) == 300 << 20


def test_a_process_that_ends_otherwise_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        run([sys.executable, "-S", "-c", "raise SystemExit(3)"], os.environ, tmp_path)
    assert run([sys.executable, "-S", "-c", "raise SystemExit(3)"], os.environ, tmp_path, ends_with=3).seconds > 0
    assert run(["sh", "-c", "echo said"], os.environ, tmp_path, out=tmp_path / "said").memory_mb > 0
    assert (tmp_path / "said").read_text() == "said\n"
