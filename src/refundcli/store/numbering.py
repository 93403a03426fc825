"""Numbers of credit notes: counted in the transaction that uses them, so that none is lost or given twice (I9)."""

from datetime import date

from sqlalchemy import bindparam, insert, update
from sqlmodel import Session, SQLModel

from refundcli.store.tables import CounterRow


def next_numbers(session: Session, on: date, number_format: str, count: int) -> list[str]:
    """The next `count` numbers of the series."""
    # A series starts again each year where its numbers tell the year.
    series = f"credit_note:{on.year}" if "{year" in number_format else "credit_note"
    after = session.connection().execute(_COUNT_ON, {"of_series": series, "count": count}).scalar()
    if after is None:
        session.connection().execute(insert(_COUNTER), {"name": series, "value": count})
        after = count
    before = int(after) - count
    return [number_format.format(year=on.year, seq=before + place) for place in range(1, count + 1)]


_COUNTER = SQLModel.metadata.tables[CounterRow.__tablename__]
_COUNT_ON = (
    update(_COUNTER)
    .where(_COUNTER.c.name == bindparam("of_series"))
    .values(value=_COUNTER.c.value + bindparam("count"))
    .returning(_COUNTER.c.value)
)
