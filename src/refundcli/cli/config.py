"""config: the settings in force, and where each comes from."""

from typing import TYPE_CHECKING

import typer

from refundcli.cli.options import Output

if TYPE_CHECKING:
    from refundcli.cli.context import App

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog="Examples:  refundcli config   ·   refundcli config -o json")
def config(ctx: typer.Context, output: Output = None) -> None:
    """Show each setting and where it comes from. Secrets appear as references."""
    me: App = ctx.obj
    rows = [(name, "" if value is None else _said(value), place) for name, value, place in me.loaded.rows()]
    if me.wants_json:
        me.show_list({"key": name, "value": value, "from": place} for name, value, place in me.loaded.rows())
    elif me.for_people:
        me.out.table(("Setting", "Value", "From"), rows, whole=("Setting",))
    else:
        me.show_rows(("setting", "value", "from"), rows, text_columns=("setting", "value", "from"))


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
