"""Numbers of credit notes: counted in the transaction that uses them, so that none is lost or given twice (I9)."""

from datetime import date

from sqlmodel import Session

from refundcli.store.tables import CounterRow


def next_numbers(session: Session, on: date, number_format: str, count: int) -> list[str]:
    """The next `count` numbers of the series."""
    # A series starts again each year where its numbers tell the year.
    series = f"credit_note:{on.year}" if "{year" in number_format else "credit_note"
    counter = session.get(CounterRow, series) or CounterRow(name=series, value=0)
    before, counter.value = counter.value, counter.value + count
    session.add(counter)
    session.flush()
    return [number_format.format(year=on.year, seq=before + place) for place in range(1, count + 1)]
