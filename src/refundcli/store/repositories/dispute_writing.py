"""Write disputes."""

from typing import Any

import sqlalchemy as sql
from sqlalchemy import insert, update
from sqlalchemy.orm import aliased
from sqlmodel import col

from refundcli.domain.dispute import DisputeRecord
from refundcli.domain.invoice import Invoice, Payment
from refundcli.store.queries.disputes import SqlDisputeReads
from refundcli.store.repositories.sums import SummingWrites
from refundcli.store.schema import DisputeRow, EventPaymentRow, ProviderEventRow


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
            self._hits(update(DisputeRow).where(col(DisputeRow.id) == record.id).values(**columns))
            facts_before: dict[str, object] = {
                "dispute": stored_dispute.state,
                "amount": str(stored_dispute.amount or ""),
            }
        else:
            self._session.execute(insert(DisputeRow).values(**columns))
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
        link_table, existing_link = EventPaymentRow, aliased(EventPaymentRow)
        links_query = (
            sql.select(col(link_table.event_id), sql.literal(payment.reference))
            .join(ProviderEventRow, col(ProviderEventRow.id) == col(link_table.event_id))
            .where(col(ProviderEventRow.provider) == record.provider, col(link_table.reference) == record.reference)
            .where(
                ~sql.exists().where(
                    col(existing_link.event_id) == col(link_table.event_id),
                    col(existing_link.reference) == payment.reference,
                )
            )
        )
        self._session.execute(insert(EventPaymentRow).from_select(["event_id", "reference"], links_query))
