"""The user and the time zone of the system."""

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

_SYSTEM_ZONE = Path("/etc/localtime")


def system_user() -> str:
    try:
        # Undecodable bytes of a name are escaped.
        return getpass.getuser().encode("utf-8", "backslashreplace").decode() or "unknown"
    except (OSError, KeyError, ImportError):  # a user id that has no name, as in containers
        return "unknown"


def system_zone(environ: Mapping[str, str]) -> tuple[str, str]:
    """The zone's name and its source: TZ, else the link /etc/localtime, else UTC."""
    environment_zone = environ.get("TZ", "").removeprefix(":")
    if environment_zone:
        return (environment_zone, "environment TZ") if is_zone(environment_zone) else ("UTC", "default")
    try:
        linked_zone = os.readlink(_SYSTEM_ZONE).rpartition("zoneinfo/")[2]
    except OSError:
        return "UTC", "default"
    return (linked_zone, str(_SYSTEM_ZONE)) if is_zone(linked_zone) else ("UTC", "default")


def is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a name; a folder of zones
        return False
    return True
