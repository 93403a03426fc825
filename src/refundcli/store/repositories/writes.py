"""What every writing repository has: guarded statements, an audit trail, and the reads of the same transaction."""

from typing import Any

from sqlalchemy import Connection, Update

from refundcli.store.audit import AuditTrail
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.databases.rows import Reads


class Writes(Reads):
    """A repository in a transaction that changes the books."""

    def __init__(self, connection: Connection, audit: AuditTrail) -> None:
        super().__init__(ConnectionRows(connection))
        self._connection, self._audit = connection, audit

    def _hits(self, statement: Update, **parameters: Any) -> bool:
        """Run a guarded statement; true if it matched its row.

        `parameters` that it does not name are columns to set.
        """
        return self._connection.execute(statement, parameters).rowcount == 1
