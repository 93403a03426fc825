"""Confirmations before what cannot be undone. Without a terminal or an answer nothing is started (R5)."""

import sys
from collections.abc import Callable
from typing import TypeVar

from refundcli.cli.context import App
from refundcli.domain.errors import NotFound, Refused, UsageProblem
from refundcli.output.sanitize import safe
from refundcli.system.interrupts import Interrupted

T = TypeVar("T")

_CORRECTIONS = 3


class ConfirmationRequired(UsageProblem):
    """No answer was given, and there is no terminal to ask at (R5)."""

    code = "confirmation-required"

    def __init__(self, how_to_answer: str) -> None:
        super().__init__("This needs confirmation, but there is no terminal to ask on.", hint=how_to_answer)


class NotConfirmed(Refused):
    """The answer was not the expected one; nothing was done (R5)."""

    code = "not-confirmed"

    def __init__(self, message: str, *, hint: str = "To try again, rerun the command.") -> None:
        super().__init__(message, hint=hint)


def require_a_way_to_ask(app: App, *, is_answered: bool, how_to_answer: str) -> None:
    """Before any work, make sure that there is an answer or a terminal. Raises ConfirmationRequired."""
    if not is_answered and not app.may_ask:
        raise ConfirmationRequired(how_to_answer)


def ask_to_type(app: App, expected_text: str, *, undone_action: str = "") -> None:
    """Ask for the amount (or the count) to be typed. Raises NotConfirmed for no answer, `n` and too many wrong ones.

    `undone_action`: what was certainly not done yet, such as "sent" or "recorded"; empty where it may have been.
    """

    def read(answer: str) -> None:
        if not answer or answer.lower() in ("n", "no"):
            raise _Cancelled
        if _normal(answer) != _normal(expected_text):
            raise UsageProblem(f"{answer[:40]!a} is not {expected_text}.")

    ask(app, f"Type {expected_text} to confirm:", read, undone_action=undone_action)


def ask_yes_no(app: App, question: str, *, undone_action: str = "") -> None:
    """Ask for y or yes. Raises NotConfirmed for anything else. `undone_action` as in `ask_to_type`."""
    if _ask(f" {safe(question)} [y/N] ", undone_action).strip().lower() not in ("y", "yes"):
        raise NotConfirmed(_ending("Cancelled.", undone_action))


def ask(app: App, question: str, read: Callable[[str], T], *, undone_action: str = "") -> T:
    """The answer to a question, as `read` returns it. An answer for which it raises may be corrected three times.

    Raises NotConfirmed at Ctrl-D or without a correct answer, Interrupted at Ctrl-C. `undone_action` as in
    `ask_to_type`.
    """
    for _ in range(1 + _CORRECTIONS):
        typed_line = _ask(f" {safe(question)} ", undone_action)
        try:
            if not typed_line:
                raise _Cancelled
            return read(typed_line.strip())
        except _Cancelled:
            raise NotConfirmed(_ending("Cancelled.", undone_action)) from None
        except (UsageProblem, Refused, NotFound) as problem:
            # The hint may be a command, which is no answer.
            hint = "" if "refundcli " in problem.hint else f" {problem.hint}"
            app.err.say(("✗ ", "red"), f"{problem.message}{hint}")
    raise NotConfirmed(_ending("No valid answer.", undone_action))


def ask_for(app: App, question: str, *, missing: str, undone_action: str = "") -> str:
    """A text. `missing`: what to say when nothing was typed; if it is empty, the text may be empty too."""

    def read(answer: str) -> str:
        if missing and not answer:
            raise UsageProblem(missing)
        return answer

    return ask(app, question, read, undone_action=undone_action)


def check_confirm(answer: str, expected_text: str) -> None:
    """The value of --confirm must be exactly what would be typed. Raises NotConfirmed."""
    if _normal(answer) != _normal(expected_text):
        message = f"--confirm {answer[:40]!a} does not match {expected_text}. Nothing was done."
        raise NotConfirmed(
            message, hint=f'If {expected_text} is right, run the command again with --confirm "{expected_text}".'
        )


class _Cancelled(Exception):
    """The operator does not want to go on."""


def _ask(question: str, undone_action: str) -> str:
    """The typed line; empty at Ctrl-D. Raises Interrupted, with what was not done (`undone_action`), at Ctrl-C."""
    try:
        sys.stderr.write(question)
        sys.stderr.flush()
        typed_line = sys.stdin.readline()
    except KeyboardInterrupt:
        raise Interrupted(_ending("Interrupted.", undone_action)) from None
    if not typed_line:
        sys.stderr.write("\n")
    return typed_line


def _ending(ending: str, undone_action: str) -> str:
    return f"{ending} Nothing was {undone_action}." if undone_action else ending


def _normal(text: str) -> str:
    return " ".join(text.split()).upper()
