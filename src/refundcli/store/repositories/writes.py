"""What every writing repository has: guarded statements, an audit trail, and the reads of the same transaction."""

from typing import Any

from sqlalchemy import CursorResult, Executable, Update
from sqlmodel import Session

from refundcli.store.audit import AuditTrail
from refundcli.store.databases.rows import Reads
from refundcli.store.databases.session_rows import SessionRows


class Writes(Reads):
    """A repository in a transaction that changes the books."""

    def __init__(self, session: Session, audit: AuditTrail) -> None:
        super().__init__(SessionRows(session))
        self._session, self._audit = session, audit

    def _hits(self, statement: Update) -> bool:
        """Run a guarded statement; true if it matched its row."""
        cursor = self._session.exec(statement, execution_options={"synchronize_session": False})
        assert isinstance(cursor, CursorResult)
        self._session.expire_all()
        return cursor.rowcount == 1

    def _changes(self, statement: Update, **parameters: Any) -> bool:
        """The same with a statement that is built once. `parameters` that it does not name are columns to set."""
        is_row_changed = self._run(statement, parameters).rowcount == 1
        self._session.expire_all()
        return is_row_changed

    def _run(self, statement: Executable, parameters: dict[str, Any]) -> CursorResult[Any]:
        self._session.flush()
        return self._session.connection().execute(statement, parameters)
