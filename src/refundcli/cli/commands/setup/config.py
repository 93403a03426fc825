"""config: the settings in force, where each comes from, and which settings files are trusted."""

import os
from contextlib import suppress
from itertools import starmap
from typing import TYPE_CHECKING

import typer

from refundcli.domain.errors import RefundcliError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refundcli.cli.context import App

group = typer.Typer(rich_markup_mode=None, add_completion=False)


@group.callback(invoke_without_command=True, epilog="Examples:  refundcli config   ·   refundcli config -o json")
def config(ctx: typer.Context) -> None:
    """Show each setting and where it comes from. Secrets appear as references."""
    if ctx.invoked_subcommand:
        return
    from refundcli.output.serializers.setup import setting

    app: App = ctx.obj
    settings = [*app.loaded.rows(), *_of_the_store(app)]
    rows = [(name, "" if value is None else _text_of(value), origin) for name, value, origin in settings]
    if app.wants_json:
        app.show_list(starmap(setting, settings))
    elif app.for_people:
        app.out.table(("Setting", "Value", "From"), rows, whole=("Setting",))
    else:
        app.show_rows(("setting", "value", "from"), rows, text_columns=("setting", "value", "from"))


@group.command(epilog="Example:  refundcli config trust")
def trust(ctx: typer.Context) -> None:
    """Trust the refundcli.toml of the folder you are in, as it is now. If it changes, it must be trusted again.

    A settings file decides which store, which key and which address are used. Read it first.
    """
    from refundcli.cli.context import current_folder
    from refundcli.output.serializers.setup import trusted_file
    from refundcli.settings import default_user_config
    from refundcli.settings import trust as trust_file

    app: App = ctx.obj
    path, settings = trust_file(current_folder(), default_user_config())
    if not app.for_people:
        app.show_object(trusted_file(str(path), [f"{name} = {_text_of(value)}" for name, value in settings.items()]))
        return
    from refundcli.output.terminal import GOOD

    app.out.say(("✓ ", GOOD), f"{path} is trusted as it is now. It sets:")
    for name, value in settings.items():
        app.out.say(f"{name} = {_text_of(value)}", indent=3)


def _of_the_store(app: "App") -> "Iterator[tuple[str, object, str]]":
    """The settings pinned in the store, if it is an existing file. Nothing is connected to."""
    path = (app.settings.store.url or "").removeprefix("sqlite:///").partition("?")[0]
    if os.path.isfile(path):
        # `status` explains a store that cannot be read.
        with suppress(RefundcliError):
            books = app.services.reader
            books.read(lambda tx: None)
            yield "books.timezone", str(books.zone), "the store"


def _text_of(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
