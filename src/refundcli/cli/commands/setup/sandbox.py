"""sandbox: stand-ins for Stripe and Adyen on this machine."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import PortTaken, ServerMissing
from refundcli.domain.errors import UsageProblem

if TYPE_CHECKING:
    from socket import socket

    from refundcli.cli.context import App

group = typer.Typer(rich_markup_mode=None, add_completion=False)


class UnreadableSeed(UsageProblem):
    code = "seed-unreadable"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} cannot be used to fill the sandbox: {why}.", hint="Use a file in the format of `invoice import`."
        )


class UnreadableState(UsageProblem):
    code = "sandbox-state-unreadable"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} cannot be used as the sandbox's state: {why}.",
            hint="Name a new file with --state; it is written when the sandbox ends.",
        )


USUAL_PORT = 4242


@group.command(
    epilog="Examples:  refundcli sandbox --seed examples/invoices.csv   ·   refundcli sandbox --state sandbox.state"
)
def sandbox(
    ctx: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help="Default: 4242, or a free one if that is in use. 0 picks a free one."
        ),
    ] = None,
    seed: Annotated[
        Path | None,
        typer.Option(
            "--seed",
            metavar="FILE",
            help="An invoice file; a new sandbox starts with the provider payments listed in it.",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state", metavar="FILE", help="Keep the state in this file: read at the start, written at the end."
        ),
    ] = None,
) -> None:
    """Serve stand-ins for Stripe and Adyen on 127.0.0.1 until Ctrl-C. The address is the first line on stdout.

    Without --state its state is lost at the end; GET /_sandbox/state shows it. docs/sandbox.md describes external
    refunds, disputes, late failures, the clock, signed webhooks and Adyen's reports.
    """
    try:
        from refundcli.sandbox.core import seed as seeding
        from refundcli.sandbox.core import state_file
        from refundcli.sandbox.core.state import SandboxState
        from refundcli.sandbox.server import serve
    except ModuleNotFoundError as missing:
        raise ServerMissing("The sandbox") from missing
    app: App = ctx.obj
    is_new = state is None or not os.path.lexists(state)
    try:
        seed_rows = seeding.read_rows(seed) if seed and is_new else []
    except (OSError, ValueError) as error:
        raise UnreadableSeed(seed or Path(), _why(error)) from error
    try:
        sandbox_state = SandboxState() if state is None or is_new else state_file.load(state)
        if state is not None:
            state_file.save(sandbox_state, state)
    except (OSError, ValueError) as error:
        raise UnreadableState(state or Path(), _why(error)) from error
    listener = _bound(app, port)

    def announce(url: str) -> None:
        typer.echo(url)
        app.note("Practice only: no money moves. To use it: refundcli init --sandbox " + url)
        app.note(
            f"Its state is kept in {state}." if state else "Its state is lost when it ends. To keep it: --state FILE"
        )

    try:
        serve(listener, seed_rows=seed_rows, announce=announce, state=sandbox_state)
    finally:
        if state is not None:
            state_file.save(sandbox_state, state)


def _why(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)


def _bound(app: "App", port: int | None) -> "socket":
    """The socket to serve on: at `port`, or where none was named at the usual one if it is free."""
    from refundcli.sandbox.server import bind

    try:
        return bind(USUAL_PORT if port is None else port)
    except OSError as error:
        if port is not None:
            raise PortTaken(port, error) from error
    app.note(f"Port {USUAL_PORT} is in use; another one is used.")
    return bind(0)
