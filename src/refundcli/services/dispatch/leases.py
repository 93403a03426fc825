"""Leases: which process may send a request, and until when.

A lease ends when it expires, or at once when its process is proved to have ended (`system/processes.py`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from refundcli.domain.refund import Sending
from refundcli.system.processes import is_gone, this_process

# Beyond the timeouts of a call: time to store the outcome.
_MARGIN_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one process to send a request, until `until`."""

    owner: str
    until: datetime


def new_lease(now: datetime, seconds_to_send: float, *, owner: str = "") -> Lease:
    """A lease for this process, long enough to send the request (seconds) and to store its outcome.

    `owner`: the name of this process, if it is known already.
    """
    return Lease(owner or this_process(), now + timedelta(seconds=seconds_to_send + _MARGIN_SECONDS))


def seconds_left(sending: Sending, now: datetime) -> float:
    """Seconds in which this process may still send it, with time left to store the outcome."""
    return (sending.lease_until - now).total_seconds() - _MARGIN_SECONDS if sending.lease_until else 0.0


def is_live(sending: Sending, now: datetime) -> bool:
    """Is a process still sending it? A lease ends when it expires, or at once when its process has ended."""
    return bool(sending.lease_until and sending.lease_until > now) and not is_gone(sending.lease_owner)
