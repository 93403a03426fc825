"""Commands that start at the same moment, each in a process of its own."""

import os
from collections.abc import Sequence

from desk import Desk
from preloaded import run_scripts, script_of


def all_at_once(desk: Desk, commands: Sequence[Sequence[str]]) -> list[tuple[int, str, str]]:
    """The exit code, stdout and stderr of each."""
    environ = os.environ | desk.environ | {"REFUNDCLI_REFUNDS_READ_TIMEOUT": "60"}
    processes = run_scripts([script_of(*command, "-o", "json") for command in commands], environ)
    return [(ended.returncode, ended.out, ended.err) for ended in processes]
