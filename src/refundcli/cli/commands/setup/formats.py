"""formats: the layouts of other programs' files that can be read."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from refundcli.output.serializers.setup import file_format, file_format_details

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.files.formats.mapping import FileFormat

group = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="List and show the layouts of files that can be read.",
)
_COLUMNS = ("name", "reads", "from", "recognised_by")
_READS = {"invoices": "invoices", "bank": "bank transfers"}


@group.command("list", epilog="Examples:  refundcli formats list   ·   refundcli formats list -o json")
def list_(ctx: typer.Context) -> None:
    """List the formats: built in, and your own from [formats.NAME] in the settings."""
    from refundcli.cli.file_options import formats_of

    app: App = ctx.obj
    formats = list(formats_of(app))
    if app.wants_json:
        app.show_list(map(_summary, formats))
        return
    rows = [tuple(map(str, _summary(known).values())) for known in formats]
    if app.for_people:
        app.out.table(("Format", "Reads", "From", "Recognised by"), rows, whole=("Format",))
    else:
        app.show_rows(_COLUMNS, rows, text_columns=_COLUMNS)


@group.command(
    epilog="Examples:  refundcli formats show stripe-payments   ·   refundcli formats show stripe-payments -o json"
)
def show(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="A format's name.")]) -> None:
    """Show a format as TOML: a pattern for your own, to be written to refundcli.toml under [formats.NAME]."""
    import tomli_w

    from refundcli.cli.file_options import formats_of

    app: App = ctx.obj
    known = formats_of(app).named(name)
    if app.wants_json:
        app.show_object(file_format_details(_summary(known), dict(known.text)))
        return
    for line in tomli_w.dumps({"formats": {known.name: dict(known.text)}}).splitlines():
        app.out.say(line)


def _summary(known: "FileFormat") -> dict[str, Any]:
    recognised_by = ", ".join(" or ".join(names[:2]) for names in known.signature)
    return file_format(known.name, _READS[known.kind], known.origin, recognised_by)
