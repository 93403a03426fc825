"""Write disputes."""

from typing import Any

import sqlalchemy as sql
from sqlalchemy import insert, update

from refundcli.domain.dispute import DisputeRecord
from refundcli.domain.invoice import Invoice, Payment
from refundcli.store.queries.disputes import SqlDisputeReads
from refundcli.store.repositories.sums import SummingWrites
from refundcli.store.tables import DISPUTE, EVENT_PAYMENT, PROVIDER_EVENT


class SqlDisputes(SummingWrites, SqlDisputeReads):
    """Disputes in a transaction that changes the books."""

    def record(self, invoice: Invoice, payment: Payment, record: DisputeRecord, *, update_source: str) -> None:
        columns: dict[str, Any] = {
            "payment_id": payment.home_id,
            "provider": record.provider or "",
            "account": record.account,
            "reference": record.reference or None,
            "stage": record.stage.value,
            "state": record.state.value,
            "status": record.status,
            "amount": record.amount.minor if record.amount else None,
            "reported_at": record.reported_at,
        }
        if record.id:
            stored_dispute = next(dispute for dispute in payment.disputes if dispute.id == record.id)
            self._hits(update(DISPUTE).where(DISPUTE.c.id == record.id).values(**columns))
            facts_before: dict[str, object] = {
                "dispute": stored_dispute.state,
                "amount": str(stored_dispute.amount or ""),
            }
        else:
            self._connection.execute(insert(DISPUTE).values(**columns))
            facts_before = {}
        facts_after = {"dispute": record.state, "amount": str(record.amount or ""), "status": record.status}
        facts_after |= {"reference": record.reference, "evidence": update_source}
        self._audit.write(
            f"dispute {record.state}",
            invoice.number,
            facts_before,
            {name: fact for name, fact in facts_after.items() if fact},
        )
        self._sums.count_disputes(payment.home_id)
        if record.reference and all(dispute.reference != record.reference for dispute in payment.disputes):
            self._link_events(payment, record)

    def _link_events(self, payment: Payment, record: DisputeRecord) -> None:
        """Link earlier events that name only this dispute to its payment, so that they block it (R13)."""
        existing_link = EVENT_PAYMENT.alias()
        links_query = (
            sql.select(EVENT_PAYMENT.c.event_id, sql.literal(payment.reference))
            .select_from(EVENT_PAYMENT)
            .join(PROVIDER_EVENT, PROVIDER_EVENT.c.id == EVENT_PAYMENT.c.event_id)
            .where(PROVIDER_EVENT.c.provider == record.provider, EVENT_PAYMENT.c.reference == record.reference)
            .where(
                ~sql.exists().where(
                    existing_link.c.event_id == EVENT_PAYMENT.c.event_id,
                    existing_link.c.reference == payment.reference,
                )
            )
        )
        self._connection.execute(insert(EVENT_PAYMENT).from_select(["event_id", "reference"], links_query))
