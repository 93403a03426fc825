"""What a command is handed: settings, services, streams and the policy on questions."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from refundcli.cli.options import Format
from refundcli.cli.streams import is_read
from refundcli.domain.errors import SettingsProblem

if TYPE_CHECKING:
    from refundcli.bootstrap import Services
    from refundcli.domain.closing import Closing
    from refundcli.domain.refund import Refund
    from refundcli.output.terminal import Screen
    from refundcli.settings import Loaded, Settings
    from refundcli.store.migrate import Upgraded


T = TypeVar("T")


class NoWorkingFolder(SettingsProblem):
    code = "no-working-folder"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The folder you are in cannot be used: {why}.", hint="Go to another one, with cd, and try again."
        )


def working_folder() -> Path:
    """Where relative paths are meant from. Raises NoWorkingFolder where it was removed, say."""
    try:
        return Path.cwd()
    except OSError as error:
        raise NoWorkingFolder((error.strerror or str(error)).lower()) from error


@dataclass
class App:
    config: Path | None = None
    store: str | None = None
    format: Format = Format.TABLE
    no_input: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    dry_run: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    # Known once the command is.
    command: str = ""
    only_looks: bool = True

    @cached_property
    def loaded(self) -> "Loaded":
        from refundcli.settings import default_user_config, load

        return load(
            config=self.config,
            store_url=self.store,
            environ=self.environ,
            cwd=working_folder(),
            user_config=default_user_config(),
        )

    @property
    def settings(self) -> "Settings":
        return self.loaded.settings

    @cached_property
    def services(self) -> "Services":
        from refundcli.bootstrap import Services

        return Services(
            self.settings,
            self.environ,
            tell_held=self._tell_held,
            tell_waiting=self._tell_waiting,
            tell_unwritten=self._tell_unwritten,
            tell_skew=self._tell_skew,
            tell_upgraded=self._tell_upgraded,
            upgrades=not (self.only_looks or self.dry_run),
            dry_run=self.dry_run,
            command=self.command,
            timezone=self.loaded.own_timezone,
        )

    def close(self) -> None:
        """At the end of the command: connections to the store do not wait for the garbage collector."""
        if "services" in self.__dict__:
            self.services.close()

    @cached_property
    def out(self) -> "Screen":
        from refundcli.output.terminal import Screen

        return Screen(sys.stdout)

    @cached_property
    def err(self) -> "Screen":
        from refundcli.output.terminal import Screen
        from refundcli.secrets import redact

        return Screen(sys.stderr, mask=redact)

    @property
    def may_ask(self) -> bool:
        return not self.no_input and sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def for_people(self) -> bool:
        """A table on a terminal; everything else is for programs."""
        return self.format is Format.TABLE and sys.stdout.isatty()

    @property
    def wants_progress(self) -> bool:
        """Not with `--quiet`, and not as lines beside JSON, which a program reads."""
        return not self.quiet and (self.err.is_terminal or not self.wants_json)

    def note(self, *words: tuple[str, str] | str) -> None:
        """Something good to know, on stderr; not with `--quiet`, nor beside JSON, which a program reads."""
        if not self.quiet and not self.wants_json:
            self.err.say(*words)

    def note_early_events(self) -> None:
        """After invoices came in: what was told of payments that were not here yet may fit now."""
        from refundcli.services.ports.provider_updates import EventState

        count = self.services.books.read(lambda tx: tx.event_counts()).get(EventState.UNMATCHED)
        if count:
            told = "1 event was about a payment" if count == 1 else f"{count} events were about payments"
            self.note(f"{told} that {'was' if count == 1 else 'were'} not here: refundcli events apply   tries again")

    def show_object(self, shape: Mapping[str, Any]) -> None:
        """One thing for a program: JSON, or `name<TAB>value` lines."""
        from refundcli.output import json
        from refundcli.output.serializers import document

        if self.format is Format.JSON:
            json.dump(document(shape), sys.stdout)
        elif self.format is Format.NDJSON:
            json.dump_lines([document(shape)], sys.stdout)
        else:
            self.show_rows(("name", "value"), _flattened(shape), text_columns=("name",))

    def show_list(self, shapes: Iterable[Mapping[str, Any]]) -> None:
        """Several things for a program: `[]` when there are none."""
        from refundcli.output import json

        if self.format is Format.NDJSON:
            json.dump_lines(shapes, sys.stdout)
        else:
            json.dump(list(shapes), sys.stdout)

    def show_long_list(self, shapes: Iterable[Mapping[str, Any]]) -> None:
        """As `show_list`, each written as it comes, as long as somebody reads."""
        from refundcli.output import json

        write = json.dump_lines if self.format is Format.NDJSON else json.dump_list
        write(while_read(shapes), sys.stdout)

    def show_rows(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, text_columns: Sequence[str]
    ) -> None:
        """Rows for a spreadsheet or a pipe; a plain pipe gets no heading, whole values and tabs."""
        from refundcli.output.delimited import write_rows

        write_rows(
            sys.stdout,
            columns,
            rows,
            dialect="csv" if self.format is Format.CSV else "tsv",
            header=self.format is not Format.TABLE,
            text_columns=text_columns,
        )

    @property
    def wants_json(self) -> bool:
        return self.format in (Format.JSON, Format.NDJSON)

    def tell_stopping(self) -> None:
        self.err.say("Stopping as soon as what is under way is written. Please wait.")

    def _tell_held(self) -> None:
        refunds = self.settings.refunds
        most = refunds.connect_timeout + refunds.read_timeout
        self.err.say(
            f"Waiting for the provider's answer, {most:g} s at most; then it is written and this stops "
            "(after up to 10 minutes more, where the store is in use). "
            "Nothing is lost: whatever is not known by then is found by refundcli resume."
        )

    def _tell_unwritten(self, asked: "Refund | Closing", reference: str) -> None:
        answered = f"{asked.id}: the provider answered{f' ({reference})' if reference else ''}"
        self.note(f"{answered}. The store is in use or away; waiting to write it down. Please do not stop this.")

    def _tell_skew(self, skew: timedelta) -> None:
        seconds = round(abs(skew.total_seconds()))
        way = "ahead of" if skew > timedelta(0) else "behind"
        self.note(f"This machine's clock is {seconds:,} s {way} the database's. The database's time is used.")

    def _tell_upgraded(self, upgraded: "Upgraded") -> None:
        self.note(f"Upgraded the store from schema {upgraded.before} to {upgraded.after}. Copy: {upgraded.backup}")
        if upgraded.timezone:
            self.note(
                f"Its books are kept in the time zone {upgraded.timezone}. Another one: "
                "refundcli store upgrade --timezone ZONE --force"
            )

    def _tell_waiting(self, asked: "Refund | Closing") -> None:
        until = asked.sending and asked.sending.lease_until
        self.note(f"{asked.id} is being sent by another process; waiting for it, until {until:%H:%M:%S} UTC at most.")


def while_read(values: Iterable[T]) -> Iterator[T]:
    """Not for what a command does as it tells of it: that is done to its end, whoever reads."""
    for value in values:
        if not is_read(sys.stdout):
            return
        yield value


def _flattened(shape: Mapping[str, Any]) -> list[tuple[str, str]]:
    from refundcli.output.delimited import cell_text

    return [(name, _short(value, cell_text)) for name, value in shape.items() if name != "actions"]


def _short(value: Any, text: Any) -> str:
    """A value on one line: money as `12.00 EUR`, a thing as `name=value name=value`, a list joined by `; `."""
    if isinstance(value, Mapping):
        if "amount_minor" in value:
            return f"{value['amount']} {value['currency']}"
        parts = ((name, _short(part, text)) for name, part in value.items() if part not in (None, "", []))
        return " ".join(f"{name}={part}" for name, part in parts)
    if isinstance(value, list):
        return "; ".join(_short(part, text) for part in value)
    return str(text(value))
