"""Confirmations before what cannot be undone. Without a terminal or an answer nothing is started (R5)."""

import sys

from refundcli.cli.context import App
from refundcli.domain.errors import Refused, UsageProblem
from refundcli.output.sanitize import safe
from refundcli.services.dispatch.interrupts import Interrupted


class ConfirmationRequired(UsageProblem):
    """No answer was given, and there is no terminal to ask at (R5)."""

    code = "confirmation-required"

    def __init__(self, how: str) -> None:
        super().__init__("This needs a confirmation, and there is no terminal to ask at.", hint=how)


class NotConfirmed(Refused):
    """The answer was not the expected one; nothing was done (R5)."""

    code = "not-confirmed"

    def __init__(self, message: str, *, hint: str = "Run the command again to try again.") -> None:
        super().__init__(message, hint=hint)


def require_a_way_to_ask(app: App, *, answered: bool, how: str) -> None:
    """Before any work, make sure that there is an answer or a terminal. Raises ConfirmationRequired."""
    if not answered and not app.may_ask:
        raise ConfirmationRequired(how)


# `nothing` names what the command has certainly not done yet: "sent", "recorded". Empty where it may have.


def ask_to_type(app: App, expected: str, *, nothing: str = "") -> None:
    """Ask for the amount (or the count) to be typed. Raises NotConfirmed for anything else."""
    answer = _ask(f" Type {safe(expected)} to confirm: ", nothing).strip()
    if _normal(answer) == _normal(expected):
        return
    if not answer or answer.lower() in ("n", "no"):
        raise NotConfirmed(_ending("Cancelled.", nothing))
    raise NotConfirmed(_ending(f"{answer[:40]!a} is not {expected}.", nothing))


def ask_yes_no(app: App, question: str, *, nothing: str = "") -> None:
    """Ask for y or yes. Raises NotConfirmed for anything else."""
    if _ask(f" {safe(question)} [y/N] ", nothing).strip().lower() not in ("y", "yes"):
        raise NotConfirmed(_ending("Cancelled.", nothing))


def ask_for(question: str, *, nothing: str = "") -> str:
    """The value of an option that was left out; empty when nothing was typed."""
    return _ask(f" {safe(question)} ", nothing).strip()


def check_confirm(answer: str, expected: str) -> None:
    """The value of --confirm must be exactly what would be typed. Raises NotConfirmed."""
    if _normal(answer) != _normal(expected):
        message = f"--confirm {answer[:40]!a} does not match {expected}. Nothing was done."
        raise NotConfirmed(message, hint=f'If {expected} is right, run it again with --confirm "{expected}".')


def _ask(question: str, nothing: str) -> str:
    """The typed line; empty at Ctrl-D. Raises Interrupted at Ctrl-C."""
    try:
        sys.stderr.write(question)
        sys.stderr.flush()
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        raise Interrupted(_ending("Interrupted.", nothing)) from None
    if not line:
        sys.stderr.write("\n")
    return line


def _ending(what: str, nothing: str) -> str:
    return f"{what} Nothing was {nothing}." if nothing else what


def _normal(text: str) -> str:
    return " ".join(text.split()).upper()
