"""What can keep a command from serving."""

from refundcli.domain.errors import SettingsProblem, UsageProblem


class ServerMissing(SettingsProblem):
    code = "server-missing"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} needs a web server, which is not installed.",
            hint="Install refundcli with the extra: refundcli[server]",
        )


class PortTaken(UsageProblem):
    code = "port-taken"

    def __init__(self, port: int, why: str, *, hint: str = "Without --port a free one is taken.") -> None:
        super().__init__(f"Port {port} cannot be had: {why}.", hint=hint)
