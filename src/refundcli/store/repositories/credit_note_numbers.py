"""Number credit notes in the transaction that uses the number, so that none is skipped or used twice (I9).

The store pins the format with its first number, so another format in the settings does not change the series.
"""

from datetime import date

from sqlalchemy import Connection, bindparam, insert, select, update

from refundcli.store.errors import NumberTaken
from refundcli.store.tables import COUNTER, CREDIT_NOTE, STORE_INFO


def next_numbers(connection: Connection, issue_date: date, credit_note_format: str, count: int) -> list[str]:
    """The next `count` numbers of the series. `credit_note_format` applies if the store has no numbers yet."""
    number_format = pinned_format(connection, credit_note_format)
    series_name = _series(number_format, issue_date)
    counter_after = connection.execute(_COUNT_ON, {"of_series": series_name, "count": count}).scalar()
    if counter_after is None:
        connection.execute(insert(COUNTER), {"name": series_name, "value": count})
        counter_after = count
    counter_before = int(counter_after) - count
    return [number_format.format(year=issue_date.year, seq=counter_before + offset) for offset in range(1, count + 1)]


def pinned_format(connection: Connection, credit_note_format: str) -> str:
    """The stored format; without one, stores `credit_note_format` and returns it."""
    stored_format = connection.execute(select(STORE_INFO.c.number_format)).scalar_one()
    if stored_format:
        return str(stored_format)
    connection.execute(update(STORE_INFO).values(number_format=credit_note_format))
    return credit_note_format


def check_next_number(connection: Connection, issue_date: date) -> None:
    """Check that the next number is free, so that the provider's answer can be recorded later. Raises NumberTaken."""
    number_format = connection.execute(select(STORE_INFO.c.number_format)).scalar_one()
    if not number_format:
        return
    last_number = connection.execute(_COUNTED, {"of_series": _series(number_format, issue_date)}).scalar()
    next_number = str(number_format).format(year=issue_date.year, seq=int(last_number or 0) + 1)
    if connection.execute(_WITH_NUMBER, {"of_number": next_number}).first():
        raise NumberTaken(next_number)


def _series(credit_note_format: str, issue_date: date) -> str:
    """The counter's name. A format with the year starts a new series each year."""
    return f"credit_note:{issue_date.year}" if "{year" in credit_note_format else "credit_note"


_COUNTED = select(COUNTER.c.value).where(COUNTER.c.name == bindparam("of_series"))
_WITH_NUMBER = select(CREDIT_NOTE.c.id).where(CREDIT_NOTE.c.number == bindparam("of_number")).limit(1)
_COUNT_ON = (
    update(COUNTER)
    .where(COUNTER.c.name == bindparam("of_series"))
    .values(value=COUNTER.c.value + bindparam("count"))
    .returning(COUNTER.c.value)
)
