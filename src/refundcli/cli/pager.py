"""Long views on a terminal, a page at a time: the program in REFUNDCLI_PAGER or PAGER, or `less`."""

import io
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from refundcli.cli.streams import Output


class _PipeToTerminal(io.FileIO):
    """The pager's input; what is written to it is seen on a terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def pager(environ: Mapping[str, str]) -> Iterator[TextIO]:
    """A stream that the pager shows. Without a pager it is stdout itself. Ctrl-C is the pager's until it ends."""
    command = _command(environ)
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=_environ(environ)) if command else None  # noqa: S603 - the operator's own
    except OSError:
        process = None
    if process is None or process.stdin is None:
        yield sys.stdout
        return
    sys.stdout.flush()
    pipe = _PipeToTerminal(process.stdin.fileno(), "w", closefd=False)
    # Closed when nothing refers to it any more, so it has a name.
    text_pipe = io.TextIOWrapper(io.BufferedWriter(pipe), encoding=sys.stdout.encoding)
    output = Output(text_pipe)
    ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield output.stream
    finally:
        output.stream.flush()
        process.stdin.close()
        process.wait()
        signal.signal(signal.SIGINT, ctrl_c)


def _command(environ: Mapping[str, str]) -> list[str]:
    """Empty for none: an empty variable, `cat`, or no `less` on this system."""
    words = shlex.split(environ.get("REFUNDCLI_PAGER", environ.get("PAGER", "less")))
    return words if words and words != ["cat"] and shutil.which(words[0]) else []


def _environ(environ: Mapping[str, str]) -> dict[str, str]:
    """`less` shows colours and ends by itself where everything fits on the screen."""
    return {"LESS": "FRX", "LESSCHARSET": "utf-8", **environ}
