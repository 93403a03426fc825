"""A real terminal: a pty that a command runs in, and the screen that an operator would see."""

import os
import pty
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import pexpect
import pyte
from pexpect.fdpexpect import fdspawn

from preloaded import exit_code, new_python_script_of, script_of, start_in_terminal


class Terminal:
    """`refundcli …` in a terminal of `columns` columns, forked from a loaded program or in a new Python."""

    def __init__(
        self,
        command: Sequence[str],
        environ: dict[str, str],
        *,
        columns: int = 100,
        lines: int = 60,
        new_python: bool = False,
    ) -> None:
        # The size is the terminal's own.
        every = {**os.environ, "PAGER": "cat", **environ, "TERM": "xterm-256color"}
        settings = {name: value for name, value in every.items() if name not in ("COLUMNS", "LINES")}
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.Stream(self._screen)
        keyboard_and_screen, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (lines, columns))
        script = new_python_script_of(*command) if new_python else script_of(*command)
        self._process = start_in_terminal(script, settings, os.ttyname(terminal))
        # Without a process that has it open, a terminal is at its end.
        self._wait_until_opened(os.ttyname(terminal))
        os.close(terminal)
        self._line = fdspawn(keyboard_and_screen, encoding="utf-8", timeout=60)
        self.raw = ""

    def wait_for(self, words: str) -> None:
        self._line.expect_exact(words)
        self._feed(str(self._line.before) + words)

    def wait_for_any(self, *words: str) -> None:
        index = self._line.expect_exact(list(words))
        self._feed(str(self._line.before) + words[index])

    def type(self, words: str) -> None:
        self._line.sendline(words)

    def press_ctrl_c(self) -> None:
        """Sends Ctrl-C once the program sleeps; Python may miss one just before."""
        for _ in range(500):
            if self._is_asleep():
                break
            time.sleep(0.02)
        self._line.send("\x03")

    def press_ctrl_d(self) -> None:
        self._line.send("\x04")

    def _wait_until_opened(self, terminal: str) -> None:
        stdin = Path(f"/proc/{self._process.pid}/fd/0")
        while self._process.is_alive() and os.readlink(stdin) != terminal:
            time.sleep(0.002)

    def _is_asleep(self) -> bool:
        stat = Path(f"/proc/{self._process.pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "S"

    def ends(self) -> int:
        """The exit code; all output is then on the screen."""
        self._line.expect(pexpect.EOF)
        self._feed(str(self._line.before))
        self._line.close()
        return exit_code(self._process)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def _feed(self, output: str) -> None:
        self.raw += output
        self._stream.feed(output)
