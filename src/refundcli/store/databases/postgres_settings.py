"""Settings of a connection to PostgreSQL, suitable for PgBouncer in transaction mode: nothing lasts for a session."""

import os
import socket
from collections.abc import Container
from typing import Any

from refundcli.store.databases.sqlite_file import BUSY_TIMEOUT_SECONDS

# For each of its hosts; `connect_timeout` in the URL takes precedence.
CONNECT_TIMEOUT_SECONDS = 10
# PostgreSQL cuts an application's name there.
LONGEST_NAME = 63
# At the start of each transaction. A reported commit must survive a power cut, whatever the server's default.
BEGIN_SETTINGS = (
    f"SET LOCAL synchronous_commit = on;SET LOCAL TIME ZONE 'UTC';SET LOCAL lock_timeout = '{BUSY_TIMEOUT_SECONDS}s'"
)


def program_name(command: str = "") -> str:
    """This process in PostgreSQL's list of connections: `refundcli 4711@shop-1 events listen`."""
    return (
        f"refundcli {os.getpid()}@{socket.gethostname()} {command}".strip()
        .encode()[:LONGEST_NAME]
        .decode("utf-8", "ignore")
    )


def connection_settings(options: Container[str], command: str) -> dict[str, Any]:
    """The driver's arguments beside `options`, those of the URL. `command`: what the list of connections calls it."""
    arguments: dict[str, Any] = {"prepare_threshold": None, "application_name": program_name(command)}
    # Without a timeout, a host that does not answer would hang the command.
    return arguments if "connect_timeout" in options else arguments | {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
