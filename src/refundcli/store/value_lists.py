"""Pass long lists of values to a query as parameters.

A query that contains its values is part of a reference cycle, so they stay in memory until the garbage collector looks
for cycles. In a run over a million rows they would pile up.
"""

from typing import Any

from sqlalchemy import ColumnElement, bindparam

# The name of the parameter.
AMONG = "among"
# SQLite takes 32,766 parameters in one statement; this leaves room.
AT_ONCE = 5_000


def among(column: ColumnElement[Any] | Any) -> ColumnElement[bool]:
    """The condition that the column has one of the values of the parameter AMONG."""
    condition: ColumnElement[bool] = column.in_(bindparam(AMONG, expanding=True))
    return condition
