"""The names of processes, and which of them are still alive.

A name is `host|machine|pid|start time`. The machine is the boot id of the kernel with the pid namespace: only inside it
does a pid with its start time identify one process. The host is shown to people and never compared, since two machines
may have the same name. That a process has ended cannot be proved of one on another machine, nor of a name in an older
form.
"""

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Random names for processes that other processes cannot identify, so that no two share a name.
_UNPROVABLE: dict[int, str] = {}


@dataclass(frozen=True, slots=True)
class ProcessName:
    """A process, as a lease names it. `machine` is empty where it cannot be identified."""

    host: str
    machine: str
    pid: str
    started: str

    def __str__(self) -> str:
        return f"{self.host}|{self.machine}|{self.pid}|{self.started}"

    @property
    def shown(self) -> str:
        """The host and its process id, for people."""
        return f"{self.host} (process {self.pid})"


def this_process() -> str:
    """The name of this process, unique among all machines that use the store."""
    host, pid, machine = socket.gethostname().replace("|", "_"), os.getpid(), _this_machine()
    start_time = _started(pid) if machine else _UNPROVABLE.setdefault(pid, uuid.uuid4().hex)
    return str(ProcessName(host, machine, str(pid), start_time))


def process_named(owner: str) -> ProcessName:
    """The process with this name, also in the older form `host|pid|start time`."""
    fields = owner.rsplit("|", 3)
    if len(fields) == 4:
        return ProcessName(*fields)
    host, _, pid_and_start = owner.partition("|")
    pid, _, start_time = pid_and_start.partition("|")
    return ProcessName(host, "", pid, start_time)


def is_gone(owner: str) -> bool:
    """Has the process with this name provably ended? Only its own machine can prove it."""
    holder = process_named(owner)
    if not holder.machine or holder.machine != _this_machine() or not holder.pid.isdecimal():
        return False
    start_time = _started(int(holder.pid))
    return start_time != holder.started if start_time else not _exists(int(holder.pid))


def _this_machine() -> str:
    """The kernel's boot id and this pid namespace; empty where /proc shows another namespace."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return ""
        namespace = os.readlink("/proc/self/ns/pid").partition("[")[2].rstrip("]")
        boot_id = _BOOT_ID.read_text().strip()
    except OSError:
        return ""
    return f"{boot_id}/{namespace}" if boot_id and namespace else ""


def _started(pid: int) -> str:
    """The kernel's start time of a process; empty without one. A dead process that is not yet reaped has none."""
    try:
        stat_fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if stat_fields[0] in "ZX" else stat_fields[19]
    except (OSError, IndexError):
        return ""


def _exists(pid: int) -> bool:
    """Is a process with this id running? /proc may hide those of other users."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not Path(f"/proc/{pid}/stat").exists()
