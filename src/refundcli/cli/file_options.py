"""Options of commands that read other programs' files."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import InvalidOption

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.files.formats.library import Formats

FileFormatName = Annotated[
    str, typer.Option("--format", metavar="NAME", help="The layout of the file; by default it is detected.")
]
DecimalMark = Annotated[
    str, typer.Option("--decimal", metavar="MARK", help="The decimal mark of the file: . or , if it cannot be told.")
]
DateOrder = Annotated[
    str,
    typer.Option("--date", metavar="ORDER", help="The order of its dates if it cannot be told: dmy, mdy or ymd."),
]
SheetName = Annotated[str, typer.Option("--sheet", metavar="NAME", help="Which sheet of a spreadsheet to read.")]


@dataclass(frozen=True, slots=True)
class ReadingWishes:
    """What the operator said about a file, as typed."""

    format: str = "auto"
    decimal: str = ""
    date: str = ""
    sheet: str = ""

    def check(self) -> None:
        """Raises InvalidOption."""
        from refundcli.files.formats.amounts import MARKS
        from refundcli.files.formats.days import ORDERS

        if self.decimal not in ("", *MARKS):
            raise InvalidOption("--decimal", self.decimal, "is not a decimal mark", "Write --decimal . or --decimal ,")
        if self.date and self.date not in ORDERS and "%" not in self.date:
            hint = "Write --date dmy, --date mdy, --date ymd, or a pattern such as --date %d.%m.%Y"
            raise InvalidOption("--date", self.date, "is not an order of day, month and year", hint)

    @property
    def options(self) -> str:
        """The options again, to repeat the command."""
        named = {"--format": "" if self.format == "auto" else self.format, "--decimal": self.decimal}
        named |= {"--date": self.date}
        return "".join(f" {option} {value}" for option, value in named.items() if value)


def formats_of(app: "App") -> "Formats":
    """The built-in formats, and those of the settings. Raises InvalidFormat."""
    from refundcli.files.formats.library import Formats

    return Formats(app.settings.formats, origin=str(app.loaded.path or "settings"))
