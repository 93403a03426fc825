"""Questions before what cannot be undone. Without a terminal or an answer, nothing is begun (R5)."""

import sys

from refundcli.cli.context import App
from refundcli.domain.errors import Refused, UsageProblem
from refundcli.output.sanitize import safe


class ConfirmationRequired(UsageProblem):
    """There is nobody to ask, and no answer was given (R5)."""

    code = "confirmation-required"

    def __init__(self, how: str) -> None:
        super().__init__("This needs a confirmation, and there is no terminal to ask at.", hint=how)


class NotConfirmed(Refused):
    """The answer was not the one that was asked for; nothing was done (R5)."""

    code = "not-confirmed"

    def __init__(self, wanted: str) -> None:
        super().__init__(f"That is not {wanted}. Nothing was done.", hint="Run the command again to be asked again.")


def require_a_way_to_ask(app: App, *, answered: bool, how: str) -> None:
    """Before any work: is there an answer, or someone to give it?"""
    if not answered and not app.may_ask:
        raise ConfirmationRequired(how)


def typed(app: App, wanted: str) -> None:
    """Ask the person to type the amount (or the count). Anything else does nothing."""
    if _normal(_ask(f" Type {safe(wanted)} to go on: ")) != _normal(wanted):
        raise NotConfirmed(wanted)


def agreed(app: App, question: str) -> None:
    """Ask for a plain yes."""
    if _ask(f" {safe(question)} [y/N] ").strip().lower() not in ("y", "yes"):
        raise NotConfirmed("a yes")


def asked_for(question: str) -> str:
    """A word that was not given; empty when nothing was typed."""
    return _ask(f" {safe(question)} ").strip()


def check_confirm(answer: str, wanted: str) -> None:
    """An answer given beforehand with --confirm must be exactly what would have been asked for."""
    if _normal(answer) != _normal(wanted):
        raise NotConfirmed(wanted)


def _ask(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        sys.stderr.write("\n")
    return line


def _normal(text: str) -> str:
    return " ".join(text.split()).upper()
