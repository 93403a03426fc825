"""Runs a command of the operator's settings, without a shell."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress


class HookFailed(Exception):
    """Why, in a few words. `may_continue`: the command itself can be run again now."""

    def __init__(self, why: str, *, may_continue: bool = True) -> None:
        super().__init__(why)
        self.may_continue = may_continue


def run_hook(command: Sequence[str], text: str, *, seconds: float, environ: Mapping[str, str]) -> None:
    """Run it with `text` on standard input. Raises HookFailed. After `seconds` it is killed with its children."""
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own command, from settings that are trusted
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=dict(environ),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise HookFailed(f"it cannot be started: {why.lower()}", may_continue=False) from error
    try:
        error_output = process.communicate(text.encode(), timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        raise HookFailed(f"it did not end within {seconds:g} s", may_continue=False) from None
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        first_line = error_output.decode(errors="replace").strip().partition("\n")[0][:200]
        raise HookFailed(f"it ended with {process.returncode}{f': {first_line}' if first_line else ''}")
