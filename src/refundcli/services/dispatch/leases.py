"""Who is sending a request now, and whether that process still lives.

A lease names its holder as `host|machine|pid|start time`. The machine is the boot id of the kernel with the pid
namespace: inside it, and nowhere else, a pid with its start time names one process. The host is there to be shown,
never to be compared: two machines may have the same name. A lease ends with its time, or at once when its process is
proved to be gone. Of a process on another machine, or of a lease in an older form, nothing can be proved.
"""

import os
import socket
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from refundcli.domain.refund import Sending

# Beyond the timeouts of a call: time to write what came of it.
_MARGIN_SECONDS = 10
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Kept for processes that cannot be named from outside, so that no two have the same name.
_UNPROVABLE: dict[int, str] = {}


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to send a request, until then, of one process."""

    owner: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that a lease names. `machine` is empty where it cannot be told apart from others."""

    host: str
    machine: str
    pid: str
    started: str

    def __str__(self) -> str:
        return f"{self.host}|{self.machine}|{self.pid}|{self.started}"

    @property
    def shown(self) -> str:
        """For a person: the host and the process id there."""
        return f"{self.host} (process {self.pid})"


def new_lease(now: datetime, seconds_to_send: float, *, owner: str = "") -> Lease:
    """For this process, for as long as sending may take (seconds) and its outcome to be written.

    `owner` is the name of this process, where it is known already.
    """
    return Lease(owner or this_process(), now + timedelta(seconds=seconds_to_send + _MARGIN_SECONDS))


def seconds_left(sending: Sending, now: datetime) -> float:
    """For how long it is still ours to send, with time kept to write what came of it."""
    return (sending.lease_until - now).total_seconds() - _MARGIN_SECONDS if sending.lease_until else 0.0


def this_process() -> str:
    """The name of this process among all machines that use the store."""
    host, pid, machine = socket.gethostname().replace("|", "_"), os.getpid(), _this_machine()
    started = _started(pid) if machine else _UNPROVABLE.setdefault(pid, uuid.uuid4().hex)
    return str(Holder(host, machine, str(pid), started))


def holder_of(owner: str) -> Holder:
    """The process that a lease names, also in the older form `host|pid|start time`."""
    parts = owner.rsplit("|", 3)
    if len(parts) == 4:
        return Holder(*parts)
    host, _, rest = owner.partition("|")
    pid, _, started = rest.partition("|")
    return Holder(host, "", pid, started)


def is_live(sending: Sending, now: datetime) -> bool:
    """Is someone else still at it? A lease lapses with its time, or at once when its process is gone."""
    return bool(sending.lease_until and sending.lease_until > now) and not is_gone(sending.lease_owner)


def is_gone(owner: str) -> bool:
    """Is it proved that the process with this name has ended? Only its own machine can prove it."""
    holder = holder_of(owner)
    if not holder.machine or holder.machine != _this_machine() or not holder.pid.isdecimal():
        return False
    started = _started(int(holder.pid))
    return started != holder.started if started else not _exists(int(holder.pid))


def _this_machine() -> str:
    """The kernel's boot id and this pid namespace; empty where /proc does not show this very namespace."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return ""
        namespace = os.readlink("/proc/self/ns/pid").partition("[")[2].rstrip("]")
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        return ""
    return f"{boot}/{namespace}" if boot and namespace else ""


def _started(pid: int) -> str:
    """The kernel's start time of a process; empty where it shows none. A dead one that is not yet reaped has none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return ""


def _exists(pid: int) -> bool:
    """Is there a process with this id that still runs? /proc may hide those of other users."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not Path(f"/proc/{pid}/stat").exists()
