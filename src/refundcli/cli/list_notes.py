"""What a list tells people besides its rows: that nothing fits, or how to see more."""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refundcli.cli.context import App


class ListNotes:
    """`command`: of the list, as `refunds list`; `options`: its filters by name, with those that were not given."""

    def __init__(self, app: "App", command: str, options: Mapping[str, object]) -> None:
        self._app, self._command = app, command
        self._chosen = {name: str(value) for name, value in options.items() if value}

    def nothing(self, one: str) -> None:
        """`one`: what is listed, as `refund`."""
        words = ", ".join(f"{name} {value}" for name, value in self._chosen.items())
        self._app.note(f"No {one} matches. Filters: {words}." if words else f"No {one}s.")

    def older(self, count: int, last_id: str) -> None:
        """How to see the rest, after the last one that was shown."""
        if count:
            options = "".join(f" --{name} {shlex.quote(value)}" for name, value in self._chosen.items())
            self._app.note(f"{count:,} more: refundcli {self._command}{options} --after {last_id}")
