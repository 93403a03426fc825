"""Puts the tests' temporary files in memory where there is room."""

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
_ROOMY_BYTES = 2 * 1024**3


def is_roomy() -> bool:
    return MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > _ROOMY_BYTES


def use_memory_for_temporary_files() -> None:
    """For this process and its children, unless TMPDIR is set."""
    if "TMPDIR" not in os.environ and is_roomy():
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
