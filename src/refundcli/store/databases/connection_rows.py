"""Run the queries' texts on SQLAlchemy's connection."""

from collections.abc import Sequence

from sqlalchemy import Connection

from refundcli.store.databases.rows import Row, Rows, as_postgres, as_sqlite, for_psycopg


class ConnectionRows(Rows):
    """The rows of queries in the transaction of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.is_sqlite = connection.dialect.name == "sqlite"

    def all(self, text: str, **parameters: object) -> Sequence[Row]:
        if self.is_sqlite:
            return self._connection.exec_driver_sql(text, as_sqlite(parameters)).all()
        return self._connection.exec_driver_sql(for_psycopg(text), as_postgres(parameters)).all()
