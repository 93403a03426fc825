"""Processes of their own that start in milliseconds: forked from one that has loaded the program and has one thread.

A process that may be killed, stopped or given a terminal, without the 0.8 s that Python needs to load the program.
What a new Python does with its streams, arguments and environment is proved where one is started.
"""

import fcntl
import multiprocessing
import os
import signal
import sys
import termios
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_SECONDS = 150


@dataclass(frozen=True, slots=True)
class Ended:
    """`returncode` is minus the signal that killed it."""

    returncode: int
    out: str
    err: str


def script_of(*command: str) -> str:
    """What `refundcli …` does."""
    return f"import sys; from refundcli.__main__ import main\nsys.argv[1:] = {list(command)!r}\nmain()"


def new_python_script_of(*command: str) -> str:
    """`refundcli …` as a shell starts it: a new Python takes the place of the process."""
    return f"import os, sys\nos.execv(sys.executable, [sys.executable, '-m', 'refundcli', *{list(command)!r}])"


def run_script(script: str, environ: Mapping[str, str]) -> Ended:
    """As `python -c SCRIPT`, in this environment and nothing else, without a standard input."""
    return run_scripts([script], environ)[0]


def run_scripts(scripts: Sequence[str], environ: Mapping[str, str]) -> list[Ended]:
    """All at the same time."""
    with TemporaryDirectory() as directory:
        folders = [Path(directory) / str(number) for number in range(len(scripts))]
        processes = [start(script, environ, folder) for script, folder in zip(scripts, folders, strict=True)]
        return [
            Ended(exit_code(process), *_printed(folder)) for process, folder in zip(processes, folders, strict=True)
        ]


def start(script: str, environ: Mapping[str, str], output: Path) -> BaseProcess:
    """A process that writes to `out` and `err` in the folder `output`."""
    output.mkdir(exist_ok=True)
    return _start(script, environ, os.devnull, str(output / "out"), str(output / "err"))


def start_in_terminal(script: str, environ: Mapping[str, str], terminal: str) -> BaseProcess:
    """A process whose streams and whose controlling terminal are `terminal`."""
    return _start(script, environ, terminal, terminal, terminal)


def exit_code(process: BaseProcess) -> int:
    process.join(_SECONDS)
    assert process.exitcode is not None, "it did not end"
    return process.exitcode


def _printed(folder: Path) -> tuple[str, str]:
    """Nothing where it was killed before it had opened them."""
    paths = (folder / "out", folder / "err")
    out, err = (path.read_text() if path.exists() else "" for path in paths)
    return out, err


def _start(script: str, environ: Mapping[str, str], *streams: str) -> BaseProcess:
    process = _server().Process(target=_work, args=(script, dict(environ), os.getcwd(), streams), daemon=True)
    process.start()
    return process


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["preloaded_program"])
    return context


# --- in the new process ---


def _work(script: str, environ: dict[str, str], folder: str, streams: tuple[str, str, str]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    _open(streams)
    # A process that was started in the background ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code: object = 1
    try:
        exec(script, {"__name__": "__main__"})
        code = 0
    except SystemExit as ending:
        code = ending.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else bool(code))


def _open(streams: tuple[str, str, str]) -> None:
    flags = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, (path, flag) in enumerate(zip(streams, flags, strict=True)):
        os.dup2(os.open(path, flag, 0o600), number)
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    sys.stdin, sys.stdout, sys.stderr = _text(0, "r"), _text(1, "w"), _text(2, "w", errors="backslashreplace")


def _text(number: int, mode: str, errors: str = "strict") -> Any:
    by_line = number == 2 or os.isatty(number)
    return os.fdopen(number, mode, 1 if by_line else -1, encoding="utf-8", errors=errors, closefd=False)
