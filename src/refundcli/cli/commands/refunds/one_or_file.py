"""One invoice, or a file of them: a refunding command takes either."""

from collections.abc import Mapping

from refundcli.domain.errors import UsageProblem

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


def is_for_many(
    command: str,
    number: str,
    file_options: Mapping[str, object],
    *,
    only_for_one: Mapping[str, object],
    only_for_many: Mapping[str, object],
) -> bool:
    """Raises OneOrMany, OnlyForOne, OnlyForMany where options conflict."""
    has_file = bool(options_set(file_options))
    if bool(number) == has_file:
        raise OneOrMany(command)
    if has_file and (conflicts := options_set(only_for_one)):
        raise OnlyForOne(command, conflicts)
    if not has_file and (conflicts := options_set(only_for_many)):
        raise OnlyForMany(command, conflicts)
    return has_file


def options_set(options: Mapping[str, object]) -> list[str]:
    return [option for option, value in options.items() if value not in _UNSET]
