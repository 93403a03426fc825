"""The progress of a long job: a bar on a terminal, and elsewhere a plain line every ten seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from refundcli.output.terminal import Screen

_SECONDS_BETWEEN_LINES = 10


class Advance(Protocol):
    """Call it with each further number of rows, and how many of them were refused."""

    def __call__(self, rows: int, *, refused: int = 0) -> None: ...


@contextmanager
def progress(screen: Screen, label: str, *, total: int | None = None, enabled: bool = True) -> Iterator[Advance]:
    """Progress in rows, of `total` rows; without a total it shows only the number of rows and the speed."""
    if not enabled:
        yield _no_progress
    elif screen.is_terminal and not screen.accessible and not screen.console.is_dumb_terminal:
        with _bar(screen, label, total) as advance:
            yield advance
    else:
        yield _Lines(screen, label, total)


def _no_progress(rows: int, *, refused: int = 0) -> None:
    """Progress is not shown."""


@contextmanager
def _bar(screen: Screen, label: str, total: int | None) -> Iterator[Advance]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    count_column = MofNCompleteColumn() if total is not None else TextColumn("{task.completed:,.0f}")
    rows_column = TextColumn("rows{task.fields[refused]}{task.fields[speed]}")
    end_columns = (TimeRemainingColumn(),) if total is not None else ()
    columns = (TextColumn(" {task.description}"), BarColumn(bar_width=24), count_column, rows_column)
    with Progress(*columns, *end_columns, console=screen.console, transient=True) as progress_bar:
        task_id = progress_bar.add_task(label, total=total, refused="", speed="")
        row_count = _Count()

        def advance(rows: int, *, refused: int = 0) -> None:
            row_count.add(rows, refused)
            speed = f" · {row_count.per_second:,.0f}/s"
            progress_bar.update(task_id, advance=rows, refused=row_count.refused_words, speed=speed)

        yield advance


@dataclass(slots=True)
class _Count:
    rows: int = 0
    refused: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, rows: int, refused: int) -> None:
        self.rows += rows
        self.refused += refused

    @property
    def per_second(self) -> float:
        return self.rows / max(time.monotonic() - self.began, 0.001)

    @property
    def refused_words(self) -> str:
        return f" · {self.rows - self.refused:,} ok · {self.refused:,} refused" if self.refused else ""


class _Lines:
    """For a log: a line every ten seconds, and none for a short job."""

    def __init__(
        self, screen: Screen, label: str, total: int | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._screen, self._label, self._total, self._clock = screen, label, total, clock
        self._count, self._reported_at = _Count(began=clock()), clock()

    def __call__(self, rows: int, *, refused: int = 0) -> None:
        self._count.add(rows, refused)
        if self._clock() - self._reported_at >= _SECONDS_BETWEEN_LINES:
            self._reported_at = self._clock()
            self._screen.say(self._line())

    def _line(self) -> str:
        row_count, total = self._count, self._total
        rows_per_second = row_count.rows / max(self._clock() - row_count.began, 0.001)
        of_total = f" of {total:,}" if total is not None else ""
        time_left_words = (
            f" · {_duration((total - row_count.rows) / rows_per_second)} left"
            if total is not None and rows_per_second
            else ""
        )
        rows_words = f"{row_count.rows:,}{of_total} rows{row_count.refused_words}"
        return f"{self._label}: {rows_words} · {rows_per_second:,.0f} rows/s{time_left_words}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
