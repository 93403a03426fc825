"""What each command receives: settings, services, streams, and whether questions are allowed."""

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from refundcli.cli.options import CsvDialect, Format
from refundcli.cli.streams import is_read
from refundcli.domain.errors import RefundcliError, SettingsProblem, StoreProblem, UsageProblem

if TYPE_CHECKING:
    from refundcli.bootstrap import Services
    from refundcli.domain.closing import Closing
    from refundcli.domain.refund import Refund
    from refundcli.output.delimited import Dialect
    from refundcli.output.terminal import Screen
    from refundcli.settings import Loaded, Settings
    from refundcli.store.migrate import Upgraded


T = TypeVar("T")


class NoCurrentFolder(SettingsProblem):
    code = "no-working-folder"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The current folder cannot be used: {why}.", hint="Change to another folder (cd) and try again."
        )


class FileNeeded(UsageProblem):
    code = "output-file-needed"

    def __init__(self, command: str) -> None:
        super().__init__("A workbook needs a file.", hint=f"refundcli {command} … -o xlsx --to FILE.xlsx")


class FileOnlyForReading(UsageProblem):
    """What moves money shows its outcome at once; a file that cannot be written would hide it (I11)."""

    code = "output-file-only-for-reading"

    def __init__(self, command: str, option: str) -> None:
        super().__init__(
            f"{option} works with commands that only list or show; {command} does more.",
            hint="Redirect its output instead: -o csv > FILE",
        )


class FileNotWritable(UsageProblem):
    code = "output-file-not-writable"

    def __init__(self, path: Path, error: OSError) -> None:
        why = "is there already" if isinstance(error, FileExistsError) else (error.strerror or str(error)).lower()
        super().__init__(f"{path}: {why}.", hint="Name another file with --to.", context={"file": str(path)})


def current_folder() -> Path:
    """Where relative paths start. Raises NoCurrentFolder, for instance when it was removed."""
    try:
        return Path.cwd()
    except OSError as error:
        raise NoCurrentFolder((error.strerror or str(error)).lower()) from error


_FORMAT_OF_ENDING = {
    ".csv": Format.CSV, ".tsv": Format.TSV, ".json": Format.JSON, ".ndjson": Format.NDJSON, ".jsonl": Format.NDJSON,
    ".xlsx": Format.XLSX,
}  # fmt: skip


@dataclass
class App:
    config: Path | None = None
    store: str | None = None
    format: Format = Format.TABLE
    to: Path | None = None
    dialect: CsvDialect = CsvDialect.STANDARD
    no_input: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    accessible: bool = False
    no_pager: bool = False
    # --read-only: refuse commands that write, and load no provider's key.
    only_reads: bool = False
    dry_run: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    # Known once the command is.
    command: str = ""
    read_only: bool = True
    _workbook: BinaryIO = field(init=False)

    @cached_property
    def loaded(self) -> "Loaded":
        from refundcli.settings import default_user_config, load

        return load(
            config=self.config,
            store_url=self.store,
            environ=self.environ,
            cwd=current_folder(),
            user_config=default_user_config(),
        )

    @property
    def settings(self) -> "Settings":
        return self.loaded.settings

    @cached_property
    def services(self) -> "Services":
        from refundcli.bootstrap import Services

        return Services(
            self.settings.without_keys() if self.only_reads else self.settings,
            self.environ,
            on_interrupt=self._note_wait_for_answer,
            on_waiting=self._tell_waiting,
            on_unwritten=self._note_unwritten,
            tell_skew=self._note_clock_skew,
            tell_upgraded=self._note_upgrade,
            upgrades=not (self.read_only or self.dry_run),
            dry_run=self.dry_run or self.only_reads,
            command=self.command,
            timezone=self.loaded.own_timezone,
        )

    def day_of_books(self) -> date:
        """Today in the store's time zone, also while it is not known yet which command is run."""
        from refundcli.bootstrap import Services

        services = Services(self.settings, self.environ, timezone=self.loaded.own_timezone)
        try:
            return services.clock.now().astimezone(services.reader.zone).date()
        except StoreProblem:
            # The command itself reports it, or upgrades an older store.
            return services.machine_clock.today()
        finally:
            services.close()

    def remember_numbers(self, numbers: Iterable[str]) -> None:
        """Let the shell complete these invoice numbers for this store."""
        from refundcli.cli.completion import remember_numbers

        remember_numbers(numbers, config=str(self.config or ""), store=self.store or "")

    def close(self) -> None:
        """Close the store's connections when the command ends."""
        if "services" not in self.__dict__:
            return
        try:
            self.services.anchor_after_change()
        except RefundcliError as error:
            # The books are changed and durable: only the proof outside of them is missing.
            self.err.say(f"The audit trail was not anchored: {error.message} {error.hint}")
        finally:
            self.services.close()

    @cached_property
    def out(self) -> "Screen":
        from refundcli.output.terminal import Screen

        return Screen(sys.stdout, accessible=self.accessible)

    @cached_property
    def err(self) -> "Screen":
        from refundcli.output.terminal import Screen
        from refundcli.secrets import redact

        return Screen(sys.stderr, mask=redact, accessible=self.accessible)

    @contextmanager
    def output_file(self, *, only_reads: bool) -> Iterator[None]:
        """While a command runs, stdout is the file of `--to`, which appears whole or not at all.

        Raises FileNeeded, FileOnlyForReading and FileNotWritable.
        """
        if self.to is not None and self.format is Format.TABLE:
            # Nobody asked for a form: the file's name says it.
            self.format = _FORMAT_OF_ENDING.get(self.to.suffix.lower(), self.format)
        is_workbook = self.format is Format.XLSX
        if self.to is None and not is_workbook:
            yield
            return
        if not only_reads:
            raise FileOnlyForReading(self.command, "-o xlsx" if is_workbook else "--to")
        if self.to is None:
            raise FileNeeded(self.command)
        from typer import Exit

        from refundcli.private_files import new_file

        ending: Exit | None = None
        try:
            with new_file(self.to, replace=True) as file:
                text = io.TextIOWrapper(file, encoding="utf-8", newline="")
                self._workbook = file
                try:
                    with redirect_stdout(text):
                        yield
                except Exit as exit_code:
                    # The file is whole all the same, such as that of `status` with exit code 8.
                    ending = exit_code
                text.flush()
                text.detach()
        except OSError as error:
            raise FileNotWritable(self.to, error) from error
        self.note(f"Written to {self.to}.")
        if ending:
            raise ending

    @contextmanager
    def paged(self, is_long: bool) -> Iterator[None]:
        """On a terminal, the output of a command that may be long goes through the operator's pager."""
        has_keys = self.may_ask and self.environ.get("TERM", "dumb") != "dumb"
        if not (is_long and self.for_people and has_keys) or self.no_pager or self.accessible:
            yield
            return
        from refundcli.cli.pager import pager

        # Notes, such as how to list more, would be written across the pager's screen.
        with pager(self.environ) as stdout, redirect_stdout(stdout), redirect_stderr(stdout):
            yield
        self.__dict__.pop("err", None)

    @property
    def may_ask(self) -> bool:
        return not self.no_input and sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def for_people(self) -> bool:
        """Whether to show a table on a terminal; everything else is for programs."""
        return self.format is Format.TABLE and sys.stdout.isatty()

    @property
    def wants_progress(self) -> bool:
        """Not with `--quiet`, and no progress lines with JSON, which a program reads."""
        return not self.quiet and (self.err.is_terminal or not self.wants_json)

    def note(self, *words: tuple[str, str] | str) -> None:
        """A note on stderr; not with `--quiet`, nor with JSON, which a program reads."""
        if not self.quiet and not self.wants_json:
            self.err.say(*words)

    def note_new_store(self) -> None:
        """After an import: name the store if this command created it."""
        from refundcli.secrets import shown_address

        if self.services.books.is_new:
            self.note(f"Created the store {shown_address(self.settings.store.url)}")

    def note_unmatched_events(self) -> None:
        """After an import: note events that are still about unknown payments."""
        from refundcli.services.ports.provider_updates import EventState

        count = self.services.books.read(lambda tx: tx.events.counts()).get(EventState.UNMATCHED)
        if count:
            event_words = "1 event is about a payment" if count == 1 else f"{count} events are about payments"
            self.note(f"{event_words} not in the books. To try again: refundcli events apply")

    def show_object(self, shape: Mapping[str, Any]) -> None:
        """One object for a program: JSON, or `name<TAB>value` lines."""
        from refundcli.output import json
        from refundcli.output.serializers import document

        if self.format is Format.JSON:
            json.dump(document(shape), sys.stdout)
        elif self.format is Format.NDJSON:
            json.dump_lines([document(shape)], sys.stdout)
        else:
            self.show_rows(("name", "value"), _flattened(shape), text_columns=("name",))

    def show_done(self, words: str, shape: Mapping[str, Any]) -> None:
        """What a command did: a sentence for people, an object for a program."""
        self.show(shape, lambda screen: screen.say(("✓ ", "green"), words))

    def show(self, shape: Mapping[str, Any], view: "Callable[[Screen], None]") -> None:
        """A view for people, an object for a program."""
        if self.for_people:
            view(self.out)
        else:
            self.show_object(shape)

    def show_list(self, shapes: Iterable[Mapping[str, Any]]) -> None:
        """A list for a program: `[]` when it is empty."""
        from refundcli.output import json

        if self.format is Format.NDJSON:
            json.dump_lines(shapes, sys.stdout)
        else:
            json.dump(list(shapes), sys.stdout)

    def show_long_list(self, shapes: Iterable[Mapping[str, Any]]) -> None:
        """Like `show_list`, but each object is written at once, for as long as the output is read."""
        from refundcli.output import json

        write = json.dump_lines if self.format is Format.NDJSON else json.dump_list
        write(while_read(shapes), sys.stdout)

    def show_rows(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, text_columns: Sequence[str]
    ) -> None:
        """Rows for a spreadsheet or a pipe; a plain pipe gets tabs and no heading."""
        if self.format is Format.XLSX:
            from refundcli.output.workbook import write_workbook

            write_workbook(self._workbook, columns, rows, text_columns=text_columns)
            return
        from refundcli.output.delimited import write_rows

        csv_dialect: Dialect = "excel" if self.dialect is CsvDialect.EXCEL else "csv"
        write_rows(
            sys.stdout,
            columns,
            rows,
            dialect=csv_dialect if self.format is Format.CSV else "tsv",
            header=self.format is not Format.TABLE,
            text_columns=text_columns,
        )

    @property
    def wants_json(self) -> bool:
        return self.format in (Format.JSON, Format.NDJSON)

    def note_stopping(self) -> None:
        self.err.say("Stopping as soon as requests in progress are recorded. Please wait.")

    def _note_wait_for_answer(self) -> None:
        refunds = self.settings.refunds
        longest_seconds = refunds.connect_timeout + refunds.read_timeout
        self.err.say(
            f"Waiting up to {longest_seconds:g} s for the provider's response. Once it is recorded, this "
            "command stops (up to 10 minutes later if the store is in use). Nothing is lost: refundcli "
            "resume settles whatever is still unknown."
        )

    def _note_unwritten(self, subject: "Refund | Closing", reference: str) -> None:
        response = f"{subject.id}: the provider responded{f' ({reference})' if reference else ''}"
        self.note(
            f"{response}. The store is in use or unreachable; waiting to record the response. Please do not stop "
            "this command."
        )

    def _note_clock_skew(self, skew: timedelta) -> None:
        seconds = round(abs(skew.total_seconds()))
        direction = "ahead of" if skew > timedelta(0) else "behind"
        self.note(f"This machine's clock is {seconds:,} s {direction} the database's. The database's time is used.")

    def _note_upgrade(self, upgraded: "Upgraded") -> None:
        self.note(f"Upgraded the store from schema {upgraded.before} to {upgraded.after}. Backup: {upgraded.backup}")
        if upgraded.timezone:
            self.note(
                f"Its books use the time zone {upgraded.timezone}. To change it: "
                "refundcli store upgrade --timezone ZONE --force"
            )

    def _tell_waiting(self, subject: "Refund | Closing") -> None:
        lease_until = subject.sending and subject.sending.lease_until
        self.note(
            f"{subject.id} is being sent by another process; waiting until {lease_until:%H:%M:%S} UTC at the latest."
        )


def while_read(entries: Iterable[T]) -> Iterator[T]:
    """Yields the entries for as long as stdout is read. Not for iterators with effects: those must run to their end."""
    for entry in entries:
        if not is_read(sys.stdout):
            return
        yield entry


def _flattened(shape: Mapping[str, Any]) -> list[tuple[str, str]]:
    from refundcli.output.delimited import cell_text

    return [(name, _short(value, cell_text)) for name, value in shape.items() if name != "actions"]


def _short(value: Any, text_of: Any) -> str:
    """A value on one line: money as `12.00 EUR`, an object as `name=value name=value`, a list joined by `; `.

    `text_of` gives the text of any other value.
    """
    if isinstance(value, Mapping):
        if "amount_minor" in value:
            return f"{value['amount']} {value['currency']}"
        parts = ((name, _short(part, text_of)) for name, part in value.items() if part not in (None, "", []))
        return " ".join(f"{name}={part}" for name, part in parts)
    if isinstance(value, list):
        return "; ".join(_short(part, text_of) for part in value)
    return str(text_of(value))
