"""Time zones by the names used in providers' reports: abbreviations, offsets such as +02:00, and IANA names."""

import re
from collections.abc import Mapping
from datetime import timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

# Hours ahead of UTC. An abbreviation names one offset, whatever the season: CET is never summer time. The American ones
# are those of RFC 5322; names shared by several zones, such as IST, are left out.
_HOURS: Mapping[str, float] = {
    **{"UTC": 0, "GMT": 0, "Z": 0, "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "CEST": 2, "MET": 1, "MEST": 2},
    **{"EET": 2, "EEST": 3, "SAST": 2, "MSK": 3, "TRT": 3},
    **{"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7},
    **{"AKST": -9, "AKDT": -8, "HST": -10, "BRT": -3, "BRST": -2, "ART": -3},
    **{"SGT": 8, "HKT": 8, "MYT": 8, "JST": 9, "KST": 9, "AWST": 8, "ACST": 9.5, "ACDT": 10.5},
    **{"AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13},
}
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])([01]?[0-9])(?::?([0-5][0-9]))?", re.ASCII)
_IANA = re.compile(r"(?!right/|posix/)[A-Za-z_]+(?:/[A-Za-z0-9_+-]+){1,2}", re.ASCII)


@lru_cache
def time_zone(zone_name: str) -> tzinfo | None:
    """None for an unknown or ambiguous name: a time without a known zone is never read as UTC."""
    utc_hours = _HOURS.get(zone_name.upper())
    if utc_hours is not None:
        return timezone(timedelta(hours=utc_hours))
    offset_match = _OFFSET.fullmatch(zone_name.upper())
    if offset_match:
        utc_offset = timedelta(hours=int(offset_match[2]), minutes=int(offset_match[3] or 0))
        return timezone(-utc_offset if offset_match[1] == "-" else utc_offset)
    if not _IANA.fullmatch(zone_name):
        return None
    try:
        return ZoneInfo(zone_name)
    except (KeyError, ValueError, OSError):
        return None
