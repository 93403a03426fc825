"""Run the queries' texts in SQLAlchemy's session, after what it has not written yet."""

from collections.abc import Sequence

from sqlmodel import Session

from refundcli.store.rows import Row, Rows, as_postgres, as_sqlite, for_psycopg


class SessionRows(Rows):
    """The rows of queries in the transaction of a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self, text: str, **parameters: object) -> Sequence[Row]:
        self._session.flush()
        connection = self._session.connection()
        if connection.dialect.name == "sqlite":
            return connection.exec_driver_sql(text, as_sqlite(parameters)).all()
        return connection.exec_driver_sql(for_psycopg(text), as_postgres(parameters)).all()
