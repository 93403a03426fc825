"""A real terminal: a pty that a command runs in, and the screen that an operator would see."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pexpect
import pyte


def _heed_ctrl_c() -> None:
    """Restores Ctrl-C, which processes started in the background ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """`refundcli …` in a terminal of `columns` columns."""

    def __init__(self, command: Sequence[str], environ: dict[str, str], *, columns: int = 100, lines: int = 60) -> None:
        # The size is the terminal's own.
        every = {**os.environ, **environ}
        settings = {name: value for name, value in every.items() if name not in ("COLUMNS", "LINES")}
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.Stream(self._screen)
        self._child: pexpect.spawn[str] = pexpect.spawn(
            sys.executable,
            ["-m", "refundcli", *command],
            env={**settings, "TERM": "xterm-256color"},
            dimensions=(lines, columns),
            encoding="utf-8",
            timeout=60,
            preexec_fn=_heed_ctrl_c,
        )
        self.raw = ""

    def wait_for(self, words: str) -> None:
        self._child.expect_exact(words)
        self._feed(str(self._child.before) + words)

    def wait_for_any(self, *words: str) -> None:
        index = self._child.expect_exact(list(words))
        self._feed(str(self._child.before) + words[index])

    def type(self, words: str) -> None:
        self._child.sendline(words)

    def press_ctrl_c(self) -> None:
        """Sends Ctrl-C once the program sleeps; Python may miss one just before."""
        for _ in range(500):
            if self._is_asleep():
                break
            time.sleep(0.02)
        self._child.sendintr()

    def press_ctrl_d(self) -> None:
        self._child.sendeof()

    def _is_asleep(self) -> bool:
        stat = Path(f"/proc/{self._child.pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "S"

    def ends(self) -> int:
        """The exit code; all output is then on the screen."""
        self._child.expect(pexpect.EOF)
        self._feed(str(self._child.before))
        self._child.close()
        assert self._child.exitstatus is not None, self.text
        return self._child.exitstatus

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def _feed(self, output: str) -> None:
        self.raw += output
        self._stream.feed(output)
