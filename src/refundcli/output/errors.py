"""Errors on a terminal."""

from refundcli.domain.errors import Family, RefundcliError
from refundcli.output.terminal import BAD, DOUBT, QUIET, Screen


def show_error(problem: RefundcliError, screen: Screen) -> None:
    """The message, its code, and the next step."""
    mark, style = ("!", DOUBT) if problem.family is Family.UNKNOWN else ("✗", BAD)
    if screen.accessible and mark == "✗":
        mark = "Error:"
    screen.say((f"{mark} ", style), problem.message, (f"   [{problem.code}]", QUIET))
    if problem.hint:
        for line in problem.hint.splitlines():
            # A command is never wrapped, so that it can be copied.
            screen.command(line) if "refundcli " in line else screen.say(line, indent=3)
