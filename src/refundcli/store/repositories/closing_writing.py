"""Write closings that a provider must make: each change is guarded by its fence and has one audit entry (I10)."""

from datetime import datetime
from typing import Any

from sqlalchemy import insert, update

from refundcli.domain.closing import Closing
from refundcli.domain.statuses import ClosingState
from refundcli.store.queries.refunds import SqlClosingReads
from refundcli.store.repositories.rows import closing_values
from refundcli.store.repositories.writes import Writes
from refundcli.store.tables import CLOSING


class SqlClosings(Writes, SqlClosingReads):
    """Closings in a transaction that changes the books."""

    def add(self, closing: Closing) -> None:
        self._audit.check_clock()
        self._connection.execute(insert(CLOSING), closing_values(closing))
        self._audit.write(f"closing {closing.state}", closing.id, {}, _facts(closing))

    def claim(self, closing: Closing, *, owner: str, until: datetime, at: datetime) -> Closing | None:
        """`owner`: who holds the lease until `until`; `at`: when it is sent."""
        if owner:
            self._audit.check_clock()
        sending = closing.sending
        columns: dict[str, Any] = {
            "state": ClosingState.SUBMITTED,
            "fence": sending.fence + 1,
            "lease_owner": owner,
            "lease_until": until,
            "first_sent_at": sending.first_sent_at or at,
            "updated_at": at,
        }
        if not self._hits(update(CLOSING).where(*_as_it_was(closing)).values(**columns)):
            return None
        facts_after = {"state": ClosingState.SUBMITTED, "fence": sending.fence + 1, "lease_owner": owner}
        self._audit.write("closing submitted", closing.id, _state(closing), facts_after)
        return self.get(closing.id)

    def release_lease(self, closing: Closing) -> None:
        statement = update(CLOSING).where(*_as_it_was(closing)).values(lease_owner="", lease_until=None)
        if self._hits(statement):
            self._audit.write("closing outcome not known", closing.id, _state(closing), _state(closing))

    def settle(self, closing: Closing, state: ClosingState, *, failure: str, evidence: str) -> Closing | None:
        if not closing.state.unfinished:
            return None
        columns: dict[str, Any] = {
            "state": state,
            "failure": failure,
            "lease_owner": "",
            "lease_until": None,
            "updated_at": self._audit.at,
        }
        if not self._hits(update(CLOSING).where(*_as_it_was(closing)).values(**columns)):
            return None
        facts_after = {"state": state, "failure": failure, "evidence": evidence}
        self._audit.write(
            f"closing {state}", closing.id, _state(closing), {name: fact for name, fact in facts_after.items() if fact}
        )
        return self.get(closing.id)


def _as_it_was(closing: Closing) -> tuple[Any, ...]:
    return (
        CLOSING.c.id == closing.id,
        CLOSING.c.state == closing.state,
        CLOSING.c.fence == closing.sending.fence,
    )


def _state(closing: Closing) -> dict[str, object]:
    return {"state": closing.state}


def _facts(closing: Closing) -> dict[str, object]:
    facts: dict[str, object] = {
        "action": closing.target,
        "invoice": closing.invoice_number,
        "state": closing.state,
        "memo": closing.memo,
        "provider": closing.provider,
        "reference": closing.reference,
        "idempotency_key": closing.sending.idempotency_key,
    }
    return {name: fact for name, fact in facts.items() if fact}
