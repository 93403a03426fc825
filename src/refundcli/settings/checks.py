"""Checks of values, whatever their source. A check returns the value to use."""

import re
import shlex
import string
from collections.abc import Callable
from zoneinfo import available_timezones

from refundcli.domain.errors import did_you_mean
from refundcli.secrets import is_reference
from refundcli.settings.system import is_zone

LONGEST_TIMEOUT = 600.0
HIGHEST_RATE = 1000.0
MOST_IN_FLIGHT = 64
LONGEST_PENDING_DAYS = 365
LONGEST_NAME = 200
LONGEST_NUMBER = 60
# Of documents.
LANGUAGES = ("en", "de", "sv")

_SAMPLE_YEAR = 2026
_SAMPLE_SEQ = 1

_LOOPBACK_URL = re.compile(
    r"https?://(?:127\.0\.0\.1|localhost|\[::1\])(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9_~.-]+)*)/?"
)
_POSTGRES_URL = re.compile(r"postgresql://\S+")
_NUMBER_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_NUMBER_WIDTH = re.compile(r"(?:0?[1-9]?[0-9])?d?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FORMAT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_RESERVED_FORMATS = ("auto", "refundcli")
_HOST_LABEL = re.compile(r"[A-Za-z0-9-]+")


class Unfit(Exception):
    """Why a value is invalid; `InvalidSetting` adds the key and the place."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


class Literal(Exception):
    """A secret itself where a reference is required."""


def storable_text(value: object) -> str:
    if not isinstance(value, str):
        raise Unfit("must be text in quotation marks")
    if _CONTROL.search(value):
        raise Unfit("contains a control character")
    return value


def optional(check: Callable[[object], str]) -> Callable[[object], str | None]:
    """An empty text means that the setting is absent."""
    return lambda value: None if value == "" else check(value)


def store_url(value: object) -> str:
    url = storable_text(value)
    if _POSTGRES_URL.fullmatch(url):
        if url.count("@") > 1:
            # The rest of a password after a plain @ would be read as the host.
            raise Unfit(
                "has more than one @", hint="Only the @ before the host may be written as @. Write any other as %40."
            )
        return url
    file_name = url.removeprefix("sqlite:///")
    if file_name == url:
        raise Unfit(
            "must begin with sqlite:/// or postgresql://", hint="Use for example sqlite:////home/me/refundcli.db"
        )
    if file_name.partition("?")[0] in {"", ":memory:"}:
        # A store in memory would lose its reservations, and refunds could be sent twice.
        raise Unfit("does not name a file for the store", hint="Use for example sqlite:////home/me/refundcli.db")
    return url


def operator_name(value: object) -> str:
    name = storable_text(value).strip()
    if not 0 < len(name) <= LONGEST_NAME:
        raise Unfit(f"must be a name of 1 to {LONGEST_NAME} characters")
    return name


def timezone(value: object) -> str:
    zone_name = storable_text(value)
    if not is_zone(zone_name):
        suggestion = did_you_mean(zone_name, available_timezones())
        raise Unfit(
            "is not a time zone this machine knows", hint=suggestion or "Use a time zone such as Europe/Stockholm."
        )
    return zone_name


def reference(value: object) -> str:
    if not isinstance(value, str) or not is_reference(value):
        raise Literal
    return value


def loopback_url(value: object) -> str:
    """Only this machine: otherwise a settings file could send the key to any address."""
    url = storable_text(value)
    match = _LOOPBACK_URL.fullmatch(url)
    if not match or int(match["port"] or 1) not in range(1, 65536) or {".", ".."} & set(match["path"].split("/")):
        raise Unfit("must be an address on this machine", hint="Use http://127.0.0.1:4242, or remove it.")
    return url.removesuffix("/")


def webhook_username(value: object) -> str:
    username = storable_text(value)
    if ":" in username:
        raise Unfit("must not contain a colon", hint="In basic auth the name ends at the first colon.")
    return username


def merchant_account(value: object) -> str:
    account_name = storable_text(value)
    if " " in account_name:
        raise Unfit("must be one word", hint="Copy it from the Adyen Customer Area.")
    return account_name


def environment(value: object) -> str:
    environment_name = storable_text(value)
    if environment_name not in {"test", "live"}:
        raise Unfit("must be test or live", hint=did_you_mean(environment_name, ["test", "live"]))
    return environment_name


def live_endpoint_prefix(value: object) -> str:
    """It becomes part of a host name, so a dot or a slash would send the key to another host."""
    prefix = storable_text(value)
    if not _HOST_LABEL.fullmatch(prefix):
        raise Unfit("may hold only letters, digits and -", hint="Write it like this: 1797a841fbb37ca7-AdyenDemo")
    return prefix


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unfit("must be true or false")
    return value


def flag_from_text(text: str) -> bool:
    word = text.lower()
    if word not in {"true", "yes", "1", "false", "no", "0"}:
        raise ValueError(text)
    return word in {"true", "yes", "1"}


def up_to(maximum: float) -> Callable[[object], float]:
    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= maximum:
            raise Unfit(f"must be a number above 0 and at most {maximum:g}")
        return float(value)

    return check


def rate(value: object) -> float:
    """Requests per second; 0 means that only the provider's own limit applies."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= HIGHEST_RATE:
        raise Unfit(f"must be a number of requests per second up to {HIGHEST_RATE:g}, or 0 for no limit")
    return float(value)


def in_flight(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_IN_FLIGHT:
        raise Unfit(f"must be a whole number from 1 to {MOST_IN_FLIGHT}")
    return value


def pending_days(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LONGEST_PENDING_DAYS:
        raise Unfit(f"must be a whole number of days from 1 to {LONGEST_PENDING_DAYS}")
    return value


def command(value: object) -> tuple[str, ...] | None:
    """A program and its arguments; no shell reads them. Nothing means that there is none."""
    if not isinstance(value, list | tuple):
        raise Unfit("must be a list of texts", hint='Write it like this: ["/usr/local/bin/notify-finance", "--urgent"]')
    words = tuple(map(storable_text, value))
    if words and not words[0]:
        raise Unfit("must begin with the program", hint='Write it like this: ["/usr/local/bin/notify-finance"]')
    return words or None


def command_from_text(text: str) -> list[str]:
    """Raises ValueError where a quotation mark is not closed."""
    return shlex.split(text)


def language(value: object) -> str:
    word = storable_text(value).lower()
    if word not in LANGUAGES:
        raise Unfit(f"must be one of {', '.join(LANGUAGES)}", hint=did_you_mean(word, LANGUAGES))
    return word


def number_format(value: object) -> str:
    """Every credit note needs its own number, so the sequence is required; numbers are also file names."""
    pattern = storable_text(value)
    try:
        format_parts = list(string.Formatter().parse(pattern))
    except ValueError:
        raise Unfit("has braces that do not match", hint="Write it like this: CN-{year}-{seq:06}") from None
    field_names = {name for _, name, _, _ in format_parts if name is not None}
    if "seq" not in field_names or field_names - {"seq", "year"}:
        raise Unfit("must have {seq} in it, and may have {year}", hint="Write it like this: CN-{year}-{seq:06}")
    if any(conversion or not _NUMBER_WIDTH.fullmatch(spec or "") for _, _, spec, conversion in format_parts):
        raise Unfit(
            "may set only a width for {seq} and {year}, such as {seq:06}", hint="Write it like this: CN-{year}-{seq:06}"
        )
    _check_number_text(pattern.format(seq=_SAMPLE_SEQ, year=_SAMPLE_YEAR))
    return pattern


def _check_number_text(number: str) -> None:
    if not _NUMBER_TEXT.fullmatch(number) or ".." in number or "//" in number or number.endswith("/"):
        raise Unfit("must produce numbers that use only A-Z a-z 0-9 . _ / - and begin with a letter or digit")
    if len(number) > LONGEST_NUMBER:
        raise Unfit(f"makes numbers longer than {LONGEST_NUMBER} characters")


def named_table(name: str, value: object) -> object:
    """A format of files under its name."""
    if not _FORMAT_NAME.fullmatch(name) or name in _RESERVED_FORMATS:
        raise Unfit(
            "is not a name for a format", "Use lower-case letters, digits and hyphens; auto and refundcli are reserved."
        )
    if not isinstance(value, dict):
        raise Unfit("must be a table", f"Write [formats.{name}] and its keys below it.")
    return value
