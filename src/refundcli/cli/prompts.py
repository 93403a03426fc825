"""Questions before what cannot be undone. Without a terminal or an answer, nothing is begun (R5)."""

import sys

from refundcli.cli.context import App
from refundcli.domain.errors import Refused, UsageProblem
from refundcli.output.sanitize import safe
from refundcli.services.dispatch.interrupts import Interrupted


class ConfirmationRequired(UsageProblem):
    """There is nobody to ask, and no answer was given (R5)."""

    code = "confirmation-required"

    def __init__(self, how: str) -> None:
        super().__init__("This needs a confirmation, and there is no terminal to ask at.", hint=how)


class NotConfirmed(Refused):
    """The answer was not the one that was asked for; nothing was done (R5)."""

    code = "not-confirmed"

    def __init__(self, message: str, *, hint: str = "Run the command again to be asked again.") -> None:
        super().__init__(message, hint=hint)


def require_a_way_to_ask(app: App, *, answered: bool, how: str) -> None:
    """Before any work: is there an answer, or someone to give it?"""
    if not answered and not app.may_ask:
        raise ConfirmationRequired(how)


# In all of these, `nothing` says what the command has certainly not done yet: sent, recorded. Empty where it may have.


def typed(app: App, expected: str, *, nothing: str = "") -> None:
    """Ask the person to type the amount (or the count). Anything else does nothing."""
    answer = _ask(f" Type {safe(expected)} to go on: ", nothing).strip()
    if _normal(answer) == _normal(expected):
        return
    if not answer or answer.lower() in ("n", "no"):
        raise NotConfirmed(_ending("Cancelled.", nothing))
    raise NotConfirmed(_ending(f"{answer[:40]!a} is not {expected}.", nothing))


def agreed(app: App, question: str, *, nothing: str = "") -> None:
    """Ask for a plain yes."""
    if _ask(f" {safe(question)} [y/N] ", nothing).strip().lower() not in ("y", "yes"):
        raise NotConfirmed(_ending("Cancelled.", nothing))


def asked_for(question: str, *, nothing: str = "") -> str:
    """A word that was not given; empty when nothing was typed."""
    return _ask(f" {safe(question)} ", nothing).strip()


def check_confirm(answer: str, expected: str) -> None:
    """An answer given beforehand with --confirm must be exactly what would have been asked for."""
    if _normal(answer) != _normal(expected):
        message = f"--confirm {answer[:40]!a} does not fit: it is {expected}. Nothing was done."
        raise NotConfirmed(message, hint=f'If that is what you want, run it again with --confirm "{expected}".')


def _ask(question: str, nothing: str) -> str:
    """The line that was typed; empty at Ctrl-D. Raises Interrupted at Ctrl-C."""
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
