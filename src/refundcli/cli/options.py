"""Options that several commands share."""

import re
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import date, datetime, timedelta
from enum import StrEnum
from errno import EADDRINUSE
from typing import Annotated, Any

import typer

from refundcli.domain.errors import SettingsProblem, UsageProblem


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    TSV = "tsv"
    XLSX = "xlsx"


class CsvDialect(StrEnum):
    """How `-o csv` is written: for programs, or for Excel in a country with a decimal comma."""

    STANDARD = "standard"
    EXCEL = "excel"


def _forbid_writing(ctx: typer.Context, dry_run: bool) -> bool:
    """With --dry-run, forbid writing before the command starts, so that no part of it can write."""
    if dry_run and ctx.obj is not None:
        ctx.obj.dry_run = True
    return dry_run


class InvalidOption(UsageProblem):
    """The value is not valid for this setting."""

    code = "invalid-option"

    def __init__(self, option: str, value: str, why: str, hint: str) -> None:
        super().__init__(f"{option} {value!a} {why}.", hint=hint, context={"option": option, "value": value})


class InvalidDate(UsageProblem):
    code = "invalid-date"

    def __init__(self, option: str, text: str) -> None:
        meant = "   or   ".join(f"{option} {day}" for day in _days_meant(text))
        super().__init__(
            f"{option}: {text[:40]!a} is not a date.",
            hint=f"Write it as year-month-day: {meant or f'{option} 2026-11-28'}",
        )


# `28.11.2026` has the day first; `03/04/2026` has it first or second.
_OTHER_WAYS = (
    r"(?P<day>[0-9]{1,2})[./-](?P<month>[0-9]{1,2})[./-](?P<year>[0-9]{4})",
    r"(?P<month>[0-9]{1,2})[/-](?P<day>[0-9]{1,2})[/-](?P<year>[0-9]{4})",
    r"(?P<year>[0-9]{4})[./]?(?P<month>[0-9]{1,2})[./]?(?P<day>[0-9]{1,2})",
)


def _days_meant(text: str) -> list[date]:
    """The days that may be meant by a date in another form."""
    days: dict[date, None] = {}
    for match in (re.fullmatch(pattern, text.strip().rstrip(".")) for pattern in _OTHER_WAYS):
        with suppress(ValueError):
            days |= {date(**{part: int(digits) for part, digits in match.groupdict().items()}): None} if match else {}
    return list(days)


class ServerMissing(SettingsProblem):
    code = "server-missing"

    def __init__(self, feature: str) -> None:
        super().__init__(
            f"{feature} needs a web server, which is not installed.",
            hint="Install the web server too: pip install 'refundcli[server]'",
        )


class PortTaken(UsageProblem):
    code = "port-taken"

    def __init__(self, port: int, error: OSError, *, hint: str = "Leave out --port to use any free port.") -> None:
        is_taken = error.errno == EADDRINUSE
        why = "is already in use" if is_taken else f"cannot be used: {(error.strerror or str(error)).lower()}"
        super().__init__(f"Port {port} {why}.", hint=hint)


# The day in the store's time zone; set once the store is known, because options are read before the command runs.
DAY_OF_BOOKS: ContextVar[Callable[[], date]] = ContextVar("DAY_OF_BOOKS")
_DAYS_AGO = {"today": 0, "yesterday": 1}


def day_of(option: str) -> Callable[[str], date]:
    """A parser of this option's value, `2026-11-28`, `today` or `yesterday`; it raises InvalidDate."""

    def read(text: str) -> date:
        days_ago = _DAYS_AGO.get(text.strip().lower())
        if days_ago is not None:
            return DAY_OF_BOOKS.get()() - timedelta(days=days_ago)
        try:
            return datetime.strptime(text.strip(), "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
        except ValueError:
            raise InvalidDate(option, text) from None

    return read


def day_option(name: str, *, help: str) -> Any:
    """An option whose value is a day."""
    return typer.Option(name, parser=day_of(name), metavar="DATE", help=help)


def checked(option: str, check: Callable[[object], str], value: str) -> str:
    """Check an option or argument by the rule of its setting. Raises InvalidOption."""
    from refundcli.settings.checks import Unfit

    try:
        return check(value)
    except Unfit as unfit:
        raise InvalidOption(option, value, unfit.why, unfit.hint) from None


NUMBER_HELP = "The invoice's number, a provider's ID, or a credit note's number."
Number = Annotated[str, typer.Argument(metavar="NUMBER", help=NUMBER_HELP)]
OptionalNumber = Annotated[str, typer.Argument(metavar="[NUMBER]", help=NUMBER_HELP)]
Memo = Annotated[str, typer.Option("--memo", metavar="TEXT", help="A note to store with this entry.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Amount = Annotated[str, typer.Option("--amount", metavar="AMOUNT", help="Part of what is left, such as 12.50.")]
Full = Annotated[bool, typer.Option("--full", help="Everything that is left.")]
Reason = Annotated[
    str,
    typer.Option(
        "--reason",
        metavar="REASON",
        help="other, chargeback, returned-goods, product-unsatisfactory, overcharged, duplicate, "
        "billing-error or fraudulent-charge.",
    ),
]
PaymentReference = Annotated[
    str, typer.Option("--payment", metavar="REF", help="Which payment, if the invoice has several.")
]
RequestKey = Annotated[
    str | None,
    typer.Option(
        "--request-key",
        metavar="KEY",
        help=(
            "Your own ID for this request. Using the same one again shows the first refund and does not make a "
            "second one."
        ),
    ),
]
DisputeDecision = Annotated[
    str,
    typer.Option(
        "--dispute-decision",
        metavar="TEXT",
        help="After a dispute you won, or for an inquiry: who decided in the customer's favour, and when.",
    ),
]
AllowDuplicate = Annotated[
    bool,
    typer.Option("--allow-duplicate", help="Allow a deliberate repeat."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check every rule; change nothing.", callback=_forbid_writing)]
Confirm = Annotated[
    str,
    typer.Option("--confirm", metavar="TEXT", help='Confirm the amount, "12.50 EUR"; with a file, the number of rows.'),
]
FromFile = Annotated[str, typer.Option("--from", metavar="FILE", help="A CSV file of refunds; - reads standard input.")]
Plan = Annotated[
    str,
    typer.Option(
        "--plan", metavar="PLAN", help="With --from: only write a plan, to be carried out later with --apply."
    ),
]
Apply = Annotated[str, typer.Option("--apply", metavar="PLAN", help="Carry out a plan.")]
ResumeRun = Annotated[str, typer.Option("--resume", metavar="RUN", help="Continue a run that was stopped.")]
MaxErrors = Annotated[
    int | None, typer.Option("--max-errors", metavar="N", min=1, help="Stop after N rows of the file are refused.")
]
