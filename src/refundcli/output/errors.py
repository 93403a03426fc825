"""How a refusal, a doubt and a mistake look."""

from refundcli.domain.errors import Family, RefundcliError
from refundcli.output.terminal import BAD, DOUBT, QUIET, Screen


def show_error(problem: RefundcliError, screen: Screen) -> None:
    """What is wrong, its code, and what to do next."""
    mark, style = ("!", DOUBT) if problem.family is Family.UNKNOWN else ("✗", BAD)
    screen.say((f"{mark} ", style), problem.message, (f"   [{problem.code}]", QUIET))
    if problem.hint:
        for line in problem.hint.splitlines():
            # A command is there to be copied.
            screen.command(line) if "refundcli " in line else screen.say(line, indent=3)
