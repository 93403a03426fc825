"""When a refund is expected on the customer's statement (R8)."""

from datetime import date, timedelta

EARLIEST, LATEST = 5, 10
_SATURDAY = 5


def expected_arrival(accepted_on: date) -> tuple[date, date]:
    """The first and the last expected day: 5 to 10 business days after the provider accepted it.

    Weekends do not count. Bank holidays do, because they differ from country to country.
    """
    return _business_days_after(accepted_on, EARLIEST), _business_days_after(accepted_on, LATEST)


def _business_days_after(day: date, count: int) -> date:
    while count:
        day += timedelta(days=1)
        count -= day.weekday() < _SATURDAY
    return day
