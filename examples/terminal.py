"""Run one command on a terminal of its own, 100 columns wide, and pass on what it shows and how it ends.

    python examples/terminal.py [--answer TEXT] COMMAND…

So that a demo whose output goes to a file still shows what an operator sees. `--answer` is typed when a question is
asked: several answers are separated by `|`, and a question without one is left unanswered. Where no terminal is to be
had, the command is run plainly.
"""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

COLUMNS, LINES = 100, 40
QUESTION_ENDS = (b"to confirm: ", b"[y/N] ", b"number: ", b"is left]: ", b"[1-8]: ")
END_OF_INPUT = b"\x04"


def main(args: list[str]) -> int:
    answer = ""
    if args[:1] == ["--answer"]:
        answer, args = args[1], args[2:]
    shown = sys.stdout.isatty()
    try:
        child, terminal = pty.fork()
    except OSError:  # None is to be had, as in some containers.
        return subprocess.run(args, check=False, input=f"{answer}\n", text=True).returncode
    if child == 0:
        _become(args, shown=shown)
    _pass_on(terminal, answer.encode().split(b"|"))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _become(args: list[str], *, shown: bool) -> None:
    """In the child. A file gets no colours and no moving bars: to the command, its terminal is a dumb one."""
    try:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        mode = termios.tcgetattr(0)
        mode[1] &= ~termios.ONLCR  # Lines end as in a file.
        termios.tcsetattr(0, termios.TCSANOW, mode)
        os.environ |= {"COLUMNS": str(COLUMNS), "LINES": str(LINES)}
        if not shown:
            os.environ |= {"TERM": "dumb", "NO_COLOR": "1"}
        os.execvp(args[0], args)
    except OSError as error:
        os.write(2, f"{args[0]}: {error.strerror}\n".encode())
        os._exit(127)


def _pass_on(terminal: int, answers: list[bytes]) -> None:
    """Everything that is shown, until the command and its children have let go of their terminal."""
    seen = b""
    while piece := _read(terminal):
        seen = (seen + piece)[-64:]
        if seen.endswith(QUESTION_ENDS):
            answer = answers.pop(0) if answers else b""
            os.write(terminal, answer + b"\n" if answer else END_OF_INPUT)
            seen = b""
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # How Linux says that the other end was closed.
        return b""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
