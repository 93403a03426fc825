"""Number credit notes in the transaction that uses the number, so that none is skipped or used twice (I9).

The store pins the format with its first number, so another format in the settings does not change the series.
"""

from datetime import date

from sqlalchemy import bindparam, insert, select, update
from sqlmodel import Session, SQLModel

from refundcli.store.errors import NumberTaken
from refundcli.store.schema import CounterRow, StoreInfo


def next_numbers(session: Session, issue_date: date, credit_note_format: str, count: int) -> list[str]:
    """The next `count` numbers of the series. `credit_note_format` applies if the store has no numbers yet."""
    number_format = pinned_format(session, credit_note_format)
    series_name = _series(number_format, issue_date)
    counter_after = session.connection().execute(_COUNT_ON, {"of_series": series_name, "count": count}).scalar()
    if counter_after is None:
        session.connection().execute(insert(_COUNTER), {"name": series_name, "value": count})
        counter_after = count
    counter_before = int(counter_after) - count
    return [number_format.format(year=issue_date.year, seq=counter_before + offset) for offset in range(1, count + 1)]


def pinned_format(session: Session, credit_note_format: str) -> str:
    """The stored format; without one, stores `credit_note_format` and returns it."""
    stored_format = session.connection().execute(select(_INFO.c.number_format)).scalar_one()
    if stored_format:
        return str(stored_format)
    session.connection().execute(update(_INFO).values(number_format=credit_note_format))
    return credit_note_format


def check_next_number(session: Session, issue_date: date) -> None:
    """Check that the next number is free, so that the provider's answer can be recorded later. Raises NumberTaken."""
    number_format = session.connection().execute(select(_INFO.c.number_format)).scalar_one()
    if not number_format:
        return
    last_number = session.connection().execute(_COUNTED, {"of_series": _series(number_format, issue_date)}).scalar()
    next_number = str(number_format).format(year=issue_date.year, seq=int(last_number or 0) + 1)
    if session.connection().execute(_WITH_NUMBER, {"of_number": next_number}).first():
        raise NumberTaken(next_number)


def _series(credit_note_format: str, issue_date: date) -> str:
    """The counter's name. A format with the year starts a new series each year."""
    return f"credit_note:{issue_date.year}" if "{year" in credit_note_format else "credit_note"


_COUNTER = SQLModel.metadata.tables[CounterRow.__tablename__]
_INFO = SQLModel.metadata.tables[StoreInfo.__tablename__]
_NOTE = SQLModel.metadata.tables["credit_note"]
_COUNTED = select(_COUNTER.c.value).where(_COUNTER.c.name == bindparam("of_series"))
_WITH_NUMBER = select(_NOTE.c.id).where(_NOTE.c.number == bindparam("of_number")).limit(1)
_COUNT_ON = (
    update(_COUNTER)
    .where(_COUNTER.c.name == bindparam("of_series"))
    .values(value=_COUNTER.c.value + bindparam("count"))
    .returning(_COUNTER.c.value)
)
