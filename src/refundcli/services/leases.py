"""Who is sending a request now, and whether that process still lives."""

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from refundcli.domain.refund import Sending

# Beyond the timeouts of a call: time to write what came of it.
_MARGIN_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to send a request, until then, of one process."""

    owner: str
    until: datetime


def new_lease(now: datetime, seconds_to_send: float, *, owner: str = "") -> Lease:
    """For this process, for as long as sending may take (seconds) and its outcome to be written.

    `owner` is the name of this process, where it is known already.
    """
    return Lease(owner or this_process(), now + timedelta(seconds=seconds_to_send + _MARGIN_SECONDS))


def seconds_left(sending: Sending, now: datetime) -> float:
    """For how long it is still ours to send, with time kept to write what came of it."""
    return (sending.lease_until - now).total_seconds() - _MARGIN_SECONDS if sending.lease_until else 0.0


def this_process() -> str:
    """Host, process id and start time: a process id alone is used again."""
    return f"{socket.gethostname()}|{os.getpid()}|{_started(os.getpid())}"


def is_live(sending: Sending, now: datetime) -> bool:
    """Is someone else still at it? A lease lapses with its time, or at once when its process is gone."""
    return bool(sending.lease_until and sending.lease_until > now) and not is_gone(sending.lease_owner)


def is_gone(owner: str) -> bool:
    """Has the process with this name ended? Of one on another host nobody can tell."""
    host, _, rest = owner.partition("|")
    pid, _, started = rest.partition("|")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    return _started(int(pid)) != started


def _started(pid: int) -> str:
    """The kernel's start time of a process; empty when there is none, or no way to tell apart."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return _alive_without_proc(pid)


def _alive_without_proc(pid: int) -> str:
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"
