"""Many values handed over beside a query.

A query that holds its values refers to itself, so they stay until cycles are looked for: in a run over a million rows
they would pile up.
"""

from typing import Any

from sqlalchemy import ColumnElement, bindparam

# Its name among the parameters of the query.
AMONG = "among"
# SQLite takes 32,766 parameters in one statement; this leaves room.
AT_ONCE = 5_000


def among(column: ColumnElement[Any] | Any) -> ColumnElement[bool]:
    """Where the column has one of the values that are given as AMONG."""
    condition: ColumnElement[bool] = column.in_(bindparam(AMONG, expanding=True))
    return condition
