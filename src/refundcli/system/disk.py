"""Space on disks."""

import os
from pathlib import Path


def free_bytes(folder: Path) -> int:
    """What this user may still write to the folder's disk."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
