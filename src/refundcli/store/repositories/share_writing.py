"""Write the shares of a provider payment that pays several invoices.

The first share has the provider's ids, the disputes and the captures. They are unique there, so no id can be the id of
two payments; the other shares refer to it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select, update

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.services.ports.records import NewPayment
from refundcli.store.imports.payment_matching import ID_COLUMNS, identity_of, match_payments
from refundcli.store.imports.payment_updates import payment_values
from refundcli.store.imports.search_index import reindexed
from refundcli.store.imports.upsert import stored_invoices_by_number
from refundcli.store.repositories.sums import SummingWrites, number_of_payment
from refundcli.store.share_counting import share_rows
from refundcli.store.tables import CAPTURE, DISPUTE, PAYMENT


class SqlShares(SummingWrites):
    """Shares in a transaction that changes the books."""

    def add(
        self,
        invoice: Invoice,
        first_share: Payment,
        new_share: NewPayment,
        *,
        reported: Sequence[NewPayment],
        update_source: str,
    ) -> None:
        with reindexed(self._connection, invoice.id):
            stored_payment = self._known_without_its_id(invoice, new_share, reported)
            if stored_payment:
                # A file listed it without an id. It is the same payment, and its refunds count.
                columns = {
                    "provider": new_share.provider,
                    "allocated": max(stored_payment.allocated.minor, new_share.captured),
                }
                self._hits(update(PAYMENT).where(PAYMENT.c.id == stored_payment.id).values(**columns))
                self._add_missing_ids(first_share.home_id, identity_of(new_share))
                self.join(first_share, stored_payment, update_source=update_source)
                return
            home_id = first_share.home_id
            self._begin_sharing(first_share)
            self._add_missing_ids(home_id, identity_of(new_share))
            captured_amount = first_share.provider_captured
            share_columns: dict[str, Any] = {
                **payment_values(new_share),
                **dict.fromkeys(ID_COLUMNS),
                "invoice_id": invoice.id,
                "position": len(invoice.payments),
                "opening_at": self._audit.at,
                "share_of": home_id,
                "captured": captured_amount.minor if captured_amount is not None else None,
                "processing": first_share.processing,
            }
            self._connection.execute(insert(PAYMENT).values(**share_columns))
            facts_after = {
                "payment": first_share.reference,
                "allocated": str(Money(new_share.captured, invoice.currency)),
            }
            self._audit.write("payment shared", invoice.number, {}, facts_after)
            self._sums.count_shares(home_id)
            self._sums.update_invoice(invoice.id)

    def _known_without_its_id(
        self, invoice: Invoice, new_share: NewPayment, reported_payments: Sequence[NewPayment]
    ) -> Payment | None:
        """The stored payment that an import would match with it, given all reported payments of the invoice."""
        _, payment_rows = stored_invoices_by_number(self._connection, [invoice.number])[invoice.number]
        payment_pairs = match_payments(reported_payments, payment_rows).pairs
        payment_ids = {
            pair.row.id for pair in payment_pairs if pair.imported is new_share and pair.row.share_of is None
        }
        return next((payment for payment in invoice.payments if payment.id in payment_ids), None)

    def join(self, home_payment: Payment, joined_payment: Payment, *, update_source: str) -> None:
        home_id, joined_id = home_payment.home_id, joined_payment.home_id
        self._begin_sharing(home_payment)
        joined_row = self._connection.execute(select(PAYMENT).where(PAYMENT.c.id == joined_id)).one()
        provider_ids = {column: getattr(joined_row, column) for column in ID_COLUMNS}
        condition = (PAYMENT.c.id == joined_id) | (PAYMENT.c.share_of == joined_id)
        self._hits(update(PAYMENT).where(condition).values(**dict.fromkeys(ID_COLUMNS), share_of=home_id))
        self._add_missing_ids(home_id, provider_ids)
        self._hits(update(DISPUTE).where(DISPUTE.c.payment_id == joined_id).values(payment_id=home_id))
        self._hits(update(CAPTURE).where(CAPTURE.c.payment_id == joined_id).values(payment_id=home_id))
        # Both have the captured amount of the whole payment, so it is not added up.
        captured_amount = (
            home_payment.provider_captured
            if home_payment.provider_captured is not None
            else joined_payment.provider_captured
        )
        columns = {
            "captured": captured_amount.minor if captured_amount is not None else None,
            "processing": home_payment.processing,
        }
        self._hits(update(PAYMENT).where(PAYMENT.c.share_of == home_id).values(**columns))
        facts_after = {"payment": home_payment.reference, "also": joined_payment.reference, "evidence": update_source}
        for invoice_number in {
            number_of_payment(self._connection, payment.id) for payment in (home_payment, joined_payment)
        }:
            self._audit.write("payments joined", invoice_number, {}, facts_after)
        self._sums.count_shares(home_id)
        for share in share_rows(self._connection, home_id):
            self._sums.update_invoice(share.invoice_id)

    def note(self, invoice: Invoice, payment: Payment, allocated: Money) -> None:
        with reindexed(self._connection, invoice.id):
            self._hits(update(PAYMENT).where(PAYMENT.c.id == payment.id).values(allocated=allocated.minor))
        facts_before = {"allocated": str(payment.allocated)}
        facts_after = {"allocated": str(allocated), "payment": payment.reference}
        self._audit.write("payment corrected", invoice.number, facts_before, facts_after)
        # A dispute without an amount is about the whole share.
        self._sums.count_disputes(payment.home_id)
        self._sums.update_invoice(invoice.id)

    def _begin_sharing(self, first_share: Payment) -> None:
        conditions = (PAYMENT.c.id == first_share.id, PAYMENT.c.share_of.is_(None))
        self._hits(update(PAYMENT).where(*conditions).values(share_of=first_share.id))

    def _add_missing_ids(self, payment_id: int, provider_ids: Mapping[str, str | None]) -> None:
        """Store the provider's ids that are missing; a stored id stays."""
        for column_name in ID_COLUMNS:
            column = PAYMENT.c[column_name]
            if provider_ids[column_name]:
                statement = update(PAYMENT).where(PAYMENT.c.id == payment_id, column.is_(None))
                self._hits(statement.values(**{column_name: provider_ids[column_name]}))
