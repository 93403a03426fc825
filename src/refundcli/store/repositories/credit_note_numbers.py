"""Number credit notes in the transaction that uses the number, so that none is skipped or used twice (I9).

The store pins the format with its first number, so another format in the settings does not change the series.
"""

from datetime import date

from sqlalchemy import bindparam, insert, select, update
from sqlmodel import Session, SQLModel

from refundcli.store.errors import NumberTaken
from refundcli.store.schema import CounterRow, StoreInfo


def next_numbers(session: Session, on: date, credit_note_format: str, count: int) -> list[str]:
    """The next `count` numbers of the series. `credit_note_format` applies if the store has no numbers yet."""
    pinned = pinned_format(session, credit_note_format)
    series = _series(pinned, on)
    after = session.connection().execute(_COUNT_ON, {"of_series": series, "count": count}).scalar()
    if after is None:
        session.connection().execute(insert(_COUNTER), {"name": series, "value": count})
        after = count
    before = int(after) - count
    return [pinned.format(year=on.year, seq=before + place) for place in range(1, count + 1)]


def pinned_format(session: Session, credit_note_format: str) -> str:
    """The stored format; without one, stores `credit_note_format` and returns it."""
    stored = session.connection().execute(select(_INFO.c.number_format)).scalar_one()
    if stored:
        return str(stored)
    session.connection().execute(update(_INFO).values(number_format=credit_note_format))
    return credit_note_format


def check_next_number(session: Session, on: date) -> None:
    """Check that the next number is free, so that the provider's answer can be recorded later. Raises NumberTaken."""
    pinned = session.connection().execute(select(_INFO.c.number_format)).scalar_one()
    if not pinned:
        return
    counted = session.connection().execute(_COUNTED, {"of_series": _series(pinned, on)}).scalar()
    number = str(pinned).format(year=on.year, seq=int(counted or 0) + 1)
    if session.connection().execute(_WITH_NUMBER, {"of_number": number}).first():
        raise NumberTaken(number)


def _series(credit_note_format: str, on: date) -> str:
    """The counter's name. A format with the year starts a new series each year."""
    return f"credit_note:{on.year}" if "{year" in credit_note_format else "credit_note"


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
