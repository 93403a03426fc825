"""The value of `status --max-age`: `reconcile=26h,events=2h,pending=5d`."""

import re
from datetime import timedelta

from refundcli.cli.options import InvalidOption
from refundcli.domain.errors import did_you_mean
from refundcli.services.queries.freshness import Limit, MaxAge

_AGE = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_MINUTES = {"m": 1, "h": 60, "d": 24 * 60}
_EXAMPLE = "Write it like this: --max-age reconcile=26h,events=2h,pending=5d"


def max_age_of(text: str) -> MaxAge:
    """Raises InvalidOption."""
    return dict(_limit_and_age(part.strip()) for part in text.split(","))


def _limit_and_age(part: str) -> tuple[Limit, timedelta]:
    name, _, age_text = part.partition("=")
    if name not in set(Limit):
        hint = did_you_mean(name, set(Limit)) or _EXAMPLE
        raise InvalidOption("--max-age", part, "limits nothing that is known", hint)
    match = _AGE.fullmatch(age_text)
    if not match:
        raise InvalidOption("--max-age", part, "is not a number of minutes (m), hours (h) or days (d)", _EXAMPLE)
    return Limit(name), timedelta(minutes=int(match[1]) * _MINUTES[match[2]])
