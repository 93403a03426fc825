"""One invoice, or a file of them: a refunding command takes either."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from refundcli.domain.errors import UsageProblem

if TYPE_CHECKING:
    from refundcli.services.bulk.ports import BulkRequest

_UNSET = ("", None, False)


class OneOrMany(UsageProblem):
    code = "one-or-many"

    def __init__(self, command: str) -> None:
        super().__init__(
            "Give the NUMBER of one invoice, or --from with a file of refunds.",
            hint=f"refundcli {command} INV-7 --full --reason duplicate   or   refundcli {command} --from FILE.csv",
        )


class OnlyForOne(UsageProblem):
    code = "only-for-one"

    def __init__(self, command: str, options: list[str]) -> None:
        super().__init__(
            f"{', '.join(options)} cannot be combined with a file.",
            hint=(
                f"Put it in the matching column of the file, if there is one (refundcli {command} --help   lists "
                "them), or process that invoice separately, without the file."
            ),
        )


class OnlyForMany(UsageProblem):
    code = "only-for-many"

    def __init__(self, command: str, options: list[str]) -> None:
        super().__init__(
            f"Only with a file of refunds: {', '.join(options)}.", hint=f"refundcli {command} --from FILE.csv …"
        )


class OneFile(UsageProblem):
    code = "one-file"

    def __init__(self) -> None:
        super().__init__(
            "Give exactly one of --from FILE, --apply PLAN and --resume RUN.",
            hint="refundcli refund --from FILE --plan PLAN.json   and then   refundcli refund --apply PLAN.json",
        )


class NotWithPlan(UsageProblem):
    code = "not-with-plan"

    def __init__(self, option: str) -> None:
        super().__init__(
            f"{option} cannot be combined with --apply: the plan already contains it.",
            hint="Make a new plan, with --from FILE --plan PLAN.json.",
        )


def is_for_many(
    command: str,
    number: str,
    file_options: Mapping[str, object],
    *,
    only_for_one: Mapping[str, object],
    only_for_many: Mapping[str, object],
    may_ask: bool,
) -> bool:
    """Raises OneOrMany, OnlyForOne, OnlyForMany where options conflict. `may_ask`: a missing number is asked for."""
    has_file = bool(options_set(file_options))
    if bool(number) == has_file and (has_file or not may_ask):
        raise OneOrMany(command)
    if has_file and (conflicts := options_set(only_for_one)):
        raise OnlyForOne(command, conflicts)
    if not has_file and (conflicts := options_set(only_for_many)):
        raise OnlyForMany(command, conflicts)
    return has_file


def check_request(request: "BulkRequest") -> None:
    """Raises OneFile, NotWithPlan."""
    if sum(map(bool, (request.from_, request.apply, request.resume))) != 1 or (request.plan and not request.from_):
        raise OneFile
    if request.apply and (request.reason or request.allow_duplicate):
        raise NotWithPlan("--reason" if request.reason else "--allow-duplicate")


def options_set(options: Mapping[str, object]) -> list[str]:
    return [option for option, value in options.items() if value not in _UNSET]
