"""How far a long job has come: a bar on a terminal, and nothing anywhere else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from refundcli.output.terminal import Screen


@contextmanager
def progress(
    screen: Screen, label: str, *, total: int | None = None, wanted: bool = True
) -> Iterator[Callable[[int], None]]:
    """Call what is given with each further number of rows. Without a total the bar only shows that it lives."""
    if not (wanted and screen.is_terminal) or screen.console.is_dumb_terminal:
        yield lambda rows: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    count = MofNCompleteColumn() if total is not None else TextColumn("{task.completed:,.0f}")
    columns = (TextColumn(" {task.description}"), BarColumn(bar_width=30), count, TextColumn("rows"))
    ends = (TimeRemainingColumn(),) if total is not None else ()
    with Progress(*columns, *ends, console=screen.console, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda rows: bar.advance(task, rows)
