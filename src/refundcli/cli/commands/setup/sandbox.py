"""sandbox: stand-ins for Stripe and Adyen on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import PortTaken, ServerMissing
from refundcli.domain.errors import UsageProblem

if TYPE_CHECKING:
    from refundcli.cli.context import App

group = typer.Typer(rich_markup_mode=None, add_completion=False)


class UnreadableSeed(UsageProblem):
    code = "seed-unreadable"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} cannot be used to fill the sandbox: {why}.", hint="Use a file in the format of `invoice import`."
        )


@group.command(epilog="Examples:  refundcli sandbox --seed examples/invoices.csv   ·   refundcli sandbox --port 4242")
def sandbox(
    ctx: typer.Context,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 picks a free port.")] = 0,
    seed: Annotated[
        Path | None,
        typer.Option(
            "--seed",
            metavar="FILE",
            help="An invoice file; the sandbox starts with the provider payments listed in it.",
        ),
    ] = None,
) -> None:
    """Serve stand-ins for Stripe and Adyen on 127.0.0.1 until Ctrl-C. The address is the first line on stdout.

    The state is in memory; GET /_sandbox/state shows it. docs/sandbox.md describes external refunds, disputes, late
    failures, the clock, signed webhooks and Adyen's reports.
    """
    try:
        from refundcli.sandbox.core import seed as seeding
        from refundcli.sandbox.server import serve
    except ModuleNotFoundError as missing:
        raise ServerMissing("The sandbox") from missing
    app: App = ctx.obj
    try:
        seed_rows = seeding.read_rows(seed) if seed else []
    except (OSError, ValueError) as error:
        why = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
        raise UnreadableSeed(seed or Path(), why) from error

    def announce(url: str) -> None:
        typer.echo(url)
        app.note("Practice only: no money moves. To use it: refundcli init --sandbox " + url)

    try:
        serve(port, seed_rows=seed_rows, announce=announce)
    except OSError as error:
        raise PortTaken(port, error) from error
