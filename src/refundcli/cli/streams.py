"""Standard streams whose failure never stops a command: the outcome does not depend on its reader (I11)."""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

from refundcli.domain.errors import SettingsProblem
from refundcli.output.sanitize import as_json_escapes

# How much of the unwritten output is repeated on stderr; a refund's answer is far shorter.
_MOST_UNSHOWN = 8 * 1024
_ESCAPE = "refundcli-escape"


class OutputFailed(SettingsProblem):
    """The command finished, but its output could not be written."""

    code = "output-failed"

    def __init__(self, why: str, unshown_text: str) -> None:
        super().__init__(
            f"The command finished, but its output could not be written to standard output: {why}.",
            hint=f"This was not shown:\n{unshown_text}",
        )


class _Sink(io.RawIOBase):
    """Passes bytes on; after the first failure it stores them instead of raising."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        self.unshown = bytearray()

    def write(self, chunk: Any) -> int:
        if self.failure is None:
            try:
                written = self._stream.write(chunk)
                if written is not None:
                    return int(written)
                # A full terminal or pipe that another program has made non-blocking.
                self.failure = BlockingIOError(0, "the program reading it is too slow")
            except OSError as failure:
                self.failure = failure
        unwritten = bytes(chunk)
        self.unshown += unwritten[: _MOST_UNSHOWN - len(self.unshown)]
        return len(unwritten)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        return int(self._stream.fileno())


class Output:
    """A stand-in for a stream that may fail, or that cannot encode a character."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self._sink = stream, None
        if isinstance(stream, io.TextIOWrapper):
            # Bypass its buffer, which would fail once more when the program ends.
            self._sink = _Sink(getattr(stream.buffer, "raw", stream.buffer))
            self.stream = io.TextIOWrapper(
                io.BufferedWriter(self._sink),
                encoding=stream.encoding,
                errors=_ESCAPE,
                # With PYTHONUNBUFFERED the text layer alone is unbuffered; a log must be up to date line by line.
                line_buffering=stream.line_buffering or stream.write_through,
                write_through=stream.write_through,
            )

    def failed(self) -> OutputFailed | None:
        """The output that could not be written, and why; None after a broken pipe (`| head`)."""
        self.stream.flush()
        if self._sink is None or self._sink.failure is None or isinstance(self._sink.failure, BrokenPipeError):
            return None
        why = self._sink.failure.strerror or str(self._sink.failure)
        return OutputFailed(why.lower(), self._sink.unshown.decode(self.stream.encoding, "replace"))


def is_read(stream: TextIO) -> bool:
    """Whether output still arrives: not after `| head` has ended, nor on a full disk."""
    raw_stream = getattr(getattr(stream, "buffer", None), "raw", None)
    return not isinstance(raw_stream, _Sink) or raw_stream.failure is None


@contextmanager
def standard_streams() -> Iterator[Output]:
    """Replace stdout and stderr by streams that never raise; yields stdout."""
    _reopen_closed_streams()
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Input in another encoding is a wrong answer, not a crash.
        sys.stdin.reconfigure(errors="backslashreplace")
    out, err = Output(sys.stdout), Output(sys.stderr)
    with redirect_stdout(out.stream), redirect_stderr(err.stream):
        try:
            yield out
        finally:
            out.stream.flush()
            err.stream.flush()


def _reopen_closed_streams() -> None:
    """After `>&-` the next open file, perhaps the store, would get the number of the closed stream."""
    sys.stdin = sys.stdin or _null_device("r")
    sys.stdout = sys.stdout or _null_device("w")
    sys.stderr = sys.stderr or _null_device("w")


def _null_device(mode: str) -> Any:
    """Stays open until the program ends."""
    return open(os.devnull, mode, encoding="utf-8")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Write a character that the terminal cannot encode as a JSON escape, so that JSON stays valid."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return as_json_escapes(error.object[error.start : error.end]), error.end


codecs.register_error(_ESCAPE, _escaped)
