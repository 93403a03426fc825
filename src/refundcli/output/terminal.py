"""Text on a terminal: every word from outside is made safe first, and none of it is ever markup."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TextIO, TypeAlias
from zoneinfo import ZoneInfo

from refundcli.output.sanitize import safe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

# Words with their style, put side by side: `[("INV-1", "bold"), ("  Paid", "green")]`.
Line: TypeAlias = Sequence[tuple[str, str]]

# A row's cells with their style, and what more there is to say of it.
Entry: TypeAlias = tuple[Line, str]

_INDENT, _GAP = 3, 2
# Below so many columns a table keeps to what is needed most.
_NARROW = 100

# What a screen reader says for a mark, and what stands between two facts of one line.
_MARK_WORDS = {"✓": "Yes:", "✗": "No:", "!": "Attention:", "·": "Note:"}
_GAP_OF_FACTS = "   "
_BETWEEN_FACTS = re.compile(r" {2,}| · ")

GOOD, BAD, DOUBT, QUIET, STRONG = "green", "red", "yellow", "dim", "bold"


class Screen:
    """A terminal, or a pipe that gets plain words. Rich is loaded only when something is shown.

    `mask`: what every line and command goes through first; errors may repeat a secret. `accessible`: for a screen
    reader, which reads line by line: one fact a line, words instead of marks, nothing aligned and nothing that moves.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        width: int | None = None,
        mask: Callable[[str], str] = lambda text: text,
        accessible: bool = False,
    ) -> None:
        self._stream, self._width, self._mask, self.accessible = stream, width, mask, accessible
        self._console: Console | None = None

    @property
    def is_terminal(self) -> bool:
        return self._stream.isatty()

    @property
    def is_narrow(self) -> bool:
        return self.console.width < _NARROW

    @property
    def console(self) -> "Console":
        if self._console is None:
            from rich.console import Console

            self._console = Console(
                file=self._stream,
                markup=False,
                emoji=False,
                highlight=False,
                soft_wrap=not self.is_terminal,
                width=self._width,
            )
        return self._console

    def say(self, *words: tuple[str, str] | str, indent: int = 1) -> None:
        """One line; on a narrow terminal it wraps at words and stays indented."""
        safe_words = [(safe(self._mask(word)), style) for word, style in map(_styled, words)]
        if self.accessible:
            self._say_facts("".join(word for word, _ in safe_words))
            return
        if not self.is_terminal:
            self._stream.write(" " * indent + "".join(word for word, _ in safe_words) + "\n")
            return
        from rich.padding import Padding
        from rich.text import Text

        text = Text.assemble(*safe_words)
        # A mark such as ✗ stands out to the left; further lines begin under the words.
        hanging = _GAP if text.plain[1:2] == " " else 0
        lines = text.wrap(self.console, max(self.console.width - indent - hanging, 20))
        for line_number, line in enumerate(lines):
            self.console.print(Padding(line, (0, 0, 0, indent + (hanging if line_number else 0))))

    def _say_facts(self, line: str) -> None:
        mark, _, words = line.lstrip().partition(" ")
        if mark in _MARK_WORDS:
            line = f"{_MARK_WORDS[mark]} {words.lstrip()}"
        facts = (fact.strip(" ·") for fact in _BETWEEN_FACTS.split(line))
        self._stream.writelines(f"{fact}\n" for fact in facts if fact)

    def command(self, words: str, indent: int = 3) -> None:
        """A line to be copied: never wrapped inside."""
        if self.accessible:
            self._stream.write(f"{safe(self._mask(words.strip()))}\n")
            return
        from rich.text import Text

        self.console.print(Text(" " * indent + safe(self._mask(words))), soft_wrap=True)

    def blank(self) -> None:
        self._stream.write("\n")

    def bullet(self, words: str) -> None:
        """A remark under a result, its further lines aligned with its first."""
        if self.accessible or not self.is_terminal:
            self.say(f"· {words}", indent=3)
            return
        table = grid()
        table.add_row(cell("  ·"), cell(words))
        self.console.print(table)

    def entries(self, rows: Sequence[Entry], *, right: Sequence[int] = ()) -> None:
        """Aligned cells, each row with its detail: beside it where all fit, else on a line of its own below.

        `right`: the numbers of the columns that are aligned to the right.
        """
        if self.accessible:
            for cells, detail in rows:
                self.say(_GAP_OF_FACTS.join([*(word for word, _ in cells), detail]))
                self.blank()
            return
        from rich.cells import cell_len
        from rich.padding import Padding
        from rich.text import Text

        column_widths = [
            max(cell_len(safe(word)) for word, _ in column)
            for column in zip(*(cells for cells, _ in rows), strict=True)
        ]
        longest_detail = max(cell_len(safe(detail)) for _, detail in rows)
        fits_beside = _INDENT + sum(column_widths) + _GAP * len(column_widths) + longest_detail <= self.console.width
        for cells, detail in rows:
            line = Text()
            for column_number, (column_width, (word, style)) in enumerate(zip(column_widths, cells, strict=True)):
                text = Text(safe(word), style)
                text.align("right" if column_number in right else "left", column_width)
                line.append_text(text).append(" " * _GAP)
            if fits_beside:
                line.append(safe(detail))
            line.rstrip()
            self.console.print(Padding(line, (0, 0, 0, _INDENT), expand=False))
            if detail and not fits_beside:
                self.console.print(Padding(Text(safe(detail), QUIET), (0, 0, 0, 2 * _INDENT), expand=False))

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[tuple[str, str] | str]],
        *,
        right: Sequence[str] = (),
        whole: Sequence[str] = (),
        lines: Sequence[str] = (),
    ) -> None:
        """Columns under quiet headings. What is too long for the terminal folds, and `whole` columns never do.

        `right`, `whole` and `lines` name columns: those aligned to the right, those that are never folded, and those
        of our own text with several lines.
        """
        if self.accessible:
            for row in rows:
                named_words = zip(columns, (" ".join(_styled(value)[0].splitlines()) for value in row), strict=True)
                self.say(
                    _GAP_OF_FACTS.join(f"{name}: {words}" if name else words for name, words in named_words if words)
                )
                self.blank()
            return
        table = grid(header=True)
        for column in columns:
            table.add_column(
                column,
                justify="right" if column in right else "left",
                no_wrap=column in right or column in whole,
                overflow="fold",
            )
        for row in rows:
            table.add_row(
                *(
                    _lines(*_styled(value)) if column in lines else cell(*_styled(value))
                    for column, value in zip(columns, row, strict=True)
                )
            )
        self.console.print(table)


def grid(*, header: bool = False) -> "Table":
    from rich.table import Table

    return Table(
        box=None, show_header=header, header_style=QUIET, padding=(0, 1), pad_edge=True, collapse_padding=False
    )


def cell(value: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text(safe(value), style=style)


def _lines(text: str, style: str) -> "Text":
    """Each line of the text on its own line of the cell."""
    from rich.text import Text

    return Text("\n").join(cell(line, style) for line in text.splitlines())


def local_time(moment: datetime, zone: ZoneInfo) -> str:
    """As a person reads it: `2026-10-02 14:03 CEST`."""
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M %Z")


def _styled(word: tuple[str, str] | str) -> tuple[str, str]:
    return (word, "") if isinstance(word, str) else word
