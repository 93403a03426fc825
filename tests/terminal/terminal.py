"""A real terminal: a pseudo-terminal that a command runs in, and a screen that shows what a person would see."""

import os
import sys
from collections.abc import Sequence

import pexpect
import pyte


class Terminal:
    """`refundcli …` in a terminal of so many columns."""

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
        )
        self.raw = ""

    def wait_for(self, words: str) -> None:
        self._child.expect_exact(words)
        self._feed(str(self._child.before) + words)

    def type(self, words: str) -> None:
        self._child.sendline(words)

    def press_ctrl_c(self) -> None:
        self._child.sendintr()

    def ends_by_ctrl_c(self) -> int:
        """The exit code. As a person does, it presses again where nothing happens:

        just between a question and the wait for its answer no Python program sees it.
        """
        for _ in range(10):
            self.press_ctrl_c()
            if self._child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=5) == 0:
                break
        return self._ended()

    def ends(self) -> int:
        """The exit code; everything that was shown is then on the screen."""
        self._child.expect(pexpect.EOF)
        return self._ended()

    def _ended(self) -> int:
        self._feed(str(self._child.before))
        self._child.close()
        assert self._child.exitstatus is not None, self.text
        return self._child.exitstatus

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def _feed(self, shown: str) -> None:
        self.raw += shown
        self._stream.feed(shown)
