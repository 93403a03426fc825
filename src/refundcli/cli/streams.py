"""Standard streams that never stop a command: what came of it outlives whoever was to read of it (I11)."""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

from refundcli.domain.errors import SettingsProblem
from refundcli.output.sanitize import as_json_escapes

# Of what could not be shown, so much is told on stderr: a refund's answer is far shorter.
_MOST_UNSHOWN = 8 * 1024
_ESCAPE = "refundcli-escape"


class OutputFailed(SettingsProblem):
    """The command ran to its end, and its answer could not be written."""

    code = "output-failed"

    def __init__(self, why: str, unshown: str) -> None:
        super().__init__(
            f"The command ran to its end, but its answer could not be written to standard output: {why}.",
            hint=f"This was not shown:\n{unshown}",
        )


class _Sink(io.RawIOBase):
    """Bytes go where they belong. From the first that cannot, they are kept here, and nobody is stopped."""

    def __init__(self, to: Any) -> None:
        self._to = to
        self.failure: OSError | None = None
        self.unshown = bytearray()

    def write(self, data: Any) -> int:
        if self.failure is None:
            try:
                written = self._to.write(data)
                if written is not None:
                    return int(written)
                # A terminal or a pipe that another program made non-blocking, and that is full.
                self.failure = BlockingIOError(0, "its reader is too slow")
            except OSError as failure:
                self.failure = failure
        piece = bytes(data)
        self.unshown += piece[: _MOST_UNSHOWN - len(self.unshown)]
        return len(piece)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self._to.isatty())

    def fileno(self) -> int:
        return int(self._to.fileno())


class Output:
    """A stream to write to, in place of one that may fail, or lack a letter."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self._sink = stream, None
        if isinstance(stream, io.TextIOWrapper):
            # Not through its buffer: that would try again, and fail again, when the program ends.
            self._sink = _Sink(getattr(stream.buffer, "raw", stream.buffer))
            self.stream = io.TextIOWrapper(
                io.BufferedWriter(self._sink),
                encoding=stream.encoding,
                errors=_ESCAPE,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )

    def failed(self) -> OutputFailed | None:
        """What could not be shown, and why. A reader that went away (`| head`) has seen enough."""
        self.stream.flush()
        if self._sink is None or self._sink.failure is None or isinstance(self._sink.failure, BrokenPipeError):
            return None
        why = self._sink.failure.strerror or str(self._sink.failure)
        return OutputFailed(why.lower(), self._sink.unshown.decode(self.stream.encoding, "replace"))


def is_read(stream: TextIO) -> bool:
    """Whether what is written still arrives: not after `| head` has seen enough, nor on a full disk."""
    sink = getattr(getattr(stream, "buffer", None), "raw", None)
    return not isinstance(sink, _Sink) or sink.failure is None


@contextmanager
def standard_streams() -> Iterator[Output]:
    """stdout and stderr that take whatever is written, inside; gives the first of them."""
    _open_what_is_closed()
    if isinstance(sys.stdin, io.TextIOWrapper):
        # What is typed in another encoding is a wrong answer, and no crash.
        sys.stdin.reconfigure(errors="backslashreplace")
    out, err = Output(sys.stdout), Output(sys.stderr)
    with redirect_stdout(out.stream), redirect_stderr(err.stream):
        try:
            yield out
        finally:
            out.stream.flush()
            err.stream.flush()


def _open_what_is_closed() -> None:
    """After `>&-` the next file that is opened, the store say, would have the stream's number."""
    sys.stdin = sys.stdin or _nothing("r")
    sys.stdout = sys.stdout or _nothing("w")
    sys.stderr = sys.stderr or _nothing("w")


def _nothing(mode: str) -> Any:
    """Open for as long as the program runs."""
    return open(os.devnull, mode, encoding="utf-8")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """A letter that the terminal lacks, as JSON writes it: an answer in JSON stays one."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return as_json_escapes(error.object[error.start : error.end]), error.end


codecs.register_error(_ESCAPE, _escaped)
