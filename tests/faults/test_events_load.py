"""A short load run of the listener, on SQLite and PostgreSQL."""

import os
import subprocess
import sys


def test_nothing_that_was_acknowledged_is_lost_when_the_listener_is_killed(store_url: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "faults.events_load", "--events", "800", "--kills", "2", "--store", store_url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode == 0, output
    assert "800 events acknowledged, 800 in the store, 0 lost; 2 kills" in output
