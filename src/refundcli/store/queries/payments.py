"""Read the disputes, other shares, captures and blocking provider updates of payments."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from refundcli.domain.currencies import currency
from refundcli.domain.dispute import DisputeRecord
from refundcli.domain.invoice import OtherShare, Payment, Unreviewed
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.store.conditions import THROUGH_PROVIDER
from refundcli.store.databases.rows import Reads, Row, Rows, moment, moment_or_none
from refundcli.store.queries.invoice_rows import DISPUTE_COLUMNS, PAYMENT_COLUMNS, PAYMENT_NAMES, dispute_of

if TYPE_CHECKING:
    from refundcli.services.ports.reads import FailedCapture
    from refundcli.services.ports.records import Capture, PaymentLine

_DISPUTES = f"""
    SELECT invoice.currency, {DISPUTE_COLUMNS} FROM dispute
    JOIN payment ON payment.id = dispute.payment_id JOIN invoice ON invoice.id = payment.invoice_id
    WHERE dispute.payment_id IN (SELECT CAST(key AS BIGINT) FROM json_each(:payments)) ORDER BY dispute.id
"""
# A noted event with a reason was set aside, because no payment that it names was in the books.
_UNREVIEWED = """
    SELECT event_payment.reference, event.id, event.provider, event.kind, event.state, event.note, event.source
    FROM event_payment JOIN provider_event event ON event.id = event_payment.event_id
    WHERE event_payment.reference IN (SELECT key FROM json_each(:references)) AND (
        event.state IN ('waiting', 'unmatched', 'unreviewed') OR event.state = 'noted' AND event.not_applied <> ''
    )
    ORDER BY event.id
"""
_SHARES = f"""
    SELECT {PAYMENT_COLUMNS}, invoice.number FROM payment JOIN invoice ON invoice.id = payment.invoice_id
    WHERE payment.share_of IN (SELECT CAST(key AS BIGINT) FROM json_each(:first_shares)) ORDER BY payment.id
"""
_CAPTURES = "SELECT reference, state, amount, reported_at FROM capture WHERE payment_id = :payment"
# Without those captured again since, and those of invoices closed since.
_FAILED_CAPTURES = """
    SELECT capture.provider, invoice.number, capture.reference, capture.amount, invoice.currency, capture.reported_at
    FROM capture JOIN payment ON payment.id = capture.payment_id JOIN invoice ON invoice.id = payment.invoice_id
    WHERE capture.state = 'failed' AND payment.captured < payment.allocated
        AND invoice.status NOT IN (SELECT key FROM json_each(:closed))
    ORDER BY capture.reported_at DESC, capture.id
"""
_KNOWN_AS = """
    SELECT invoice.number, payment.id FROM payment JOIN invoice ON invoice.id = payment.invoice_id WHERE {} = :reference
"""
# The positions of these columns in PAYMENT_COLUMNS.
_IDS = [PAYMENT_NAMES.index(name) for name in ("payment_intent", "charge", "psp_reference")]
_PROVIDER, _ID, _DISPUTE, _SHARE_OF = map(PAYMENT_NAMES.index, ("provider", "id", "dispute", "share_of"))
_USED = [PAYMENT_NAMES.index(name) for name in ("reserved", "refunded", "returned_elsewhere")]
_ALLOCATED, _OPENING_RETURNED, _OPENING_AT, _RECORDED = map(
    PAYMENT_NAMES.index, ("allocated", "opening_returned", "opening_at", "dispute_recorded")
)


class SqlPaymentReads(Reads):
    """Reads payments and their captures."""

    def captures(self, payment: Payment) -> "dict[str, Capture]":
        from refundcli.services.ports.records import Capture
        from refundcli.services.ports.vocabulary import CaptureChange

        unit = payment.allocated.currency
        return {
            reference: Capture(CaptureChange(state), Money(amount, unit), moment(reported_at))
            for reference, state, amount, reported_at in self._rows.all(_CAPTURES, payment=payment.home_id)
        }

    def failed_captures(self) -> "list[FailedCapture]":
        from refundcli.services.ports.reads import FailedCapture

        rows = self._rows.all(_FAILED_CAPTURES, closed=(InvoiceStatus.VOID, InvoiceStatus.UNCOLLECTIBLE))
        return [
            FailedCapture(Provider(provider), number, reference, Money(amount, currency(code)), moment(reported_at))
            for provider, number, reference, amount, code, reported_at in rows
        ]

    def known_as(self, provider: Provider, references: Sequence[str]) -> dict[str, tuple[str, int]]:
        payment_of_reference: dict[str, tuple[str, int]] = {}
        for reference in references:
            text = _KNOWN_AS.format(f"payment.{id_column(provider, reference)}")
            number_and_id = self._rows.first(text, reference=reference)
            if number_and_id:
                payment_of_reference[reference] = (number_and_id[0], number_and_id[1])
        return payment_of_reference

    def lines(self, provider: Provider, references: Sequence[str]) -> "dict[str, PaymentLine]":
        from refundcli.store.queries import summaries

        return summaries.payment_lines(self._rows, provider, references)

    def count(self, provider: Provider) -> int:
        """How many payments have an id at the provider. Of a shared payment, only the first share has it."""
        text = (
            "SELECT count(*) FROM payment WHERE provider = :provider"
            " AND (psp_reference IS NOT NULL OR payment_intent IS NOT NULL OR charge IS NOT NULL)"
        )
        return int(self._rows.value(text, provider=provider))

    def any_since(self, provider: Provider, since: date) -> bool:
        text = (
            f"SELECT 1 FROM payment WHERE {THROUGH_PROVIDER} AND provider = :provider"
            " AND (paid_on IS NULL OR paid_on >= :since) LIMIT 1"
        )
        return self._rows.first(text, provider=provider, since=since) is not None

    def lines_after(self, provider: Provider, after: int, *, limit: int) -> "list[PaymentLine]":
        from refundcli.store.queries import summaries

        return summaries.payment_lines_after(self._rows, provider, after, limit)


def id_column(provider: str | None, reference: str) -> str:
    """The column of an id of this kind."""
    if provider == Provider.ADYEN:
        return "psp_reference"
    return "payment_intent" if reference.startswith("pi_") else "charge"


def has_provider(payment: Row) -> bool:
    """Was the payment taken through a provider? `payment` is a row of PAYMENT_COLUMNS."""
    return bool(payment[_PROVIDER])


def may_be_disputed(payment: Row) -> bool:
    """May it have disputes? Yes if a provider or an import could have reported one."""
    return bool(payment[_PROVIDER] or payment[_DISPUTE])


def disputes_of(rows: Rows, payment_rows: Sequence[Row]) -> dict[int, list[DisputeRecord]]:
    """By payment, from PAYMENT_COLUMNS, in the order in which they were stored; all shares have the same."""
    home_of_payment = {payment_row[_ID]: payment_row[_SHARE_OF] or payment_row[_ID] for payment_row in payment_rows}
    disputes_by_home = disputes_by_payment(rows, set(home_of_payment.values()))
    return {
        payment_id: disputes_by_home[home_id]
        for payment_id, home_id in home_of_payment.items()
        if home_id in disputes_by_home
    }


def disputes_by_payment(rows: Rows, payment_ids: Sequence[int] | set[int]) -> dict[int, list[DisputeRecord]]:
    """The disputes of the payments with these ids, in the order in which they were stored."""
    disputes: dict[int, list[DisputeRecord]] = {}
    if not payment_ids:
        return disputes
    for currency_code, *dispute_row in rows.all(_DISPUTES, payments=payment_ids):
        record = dispute_of(dispute_row, currency(currency_code))
        disputes.setdefault(record.payment_id, []).append(record)
    return disputes


def unreviewed_of(rows: Rows, payment_rows: Sequence[Row]) -> dict[int, list[Unreviewed]]:
    """By payment, from PAYMENT_COLUMNS: the updates that are stored and not applied, oldest first (R13)."""
    payments_of_reference: dict[tuple[str, str], list[int]] = {}
    for payment_row in payment_rows:
        for column_index in _IDS:
            if payment_row[column_index]:
                name_there = (payment_row[_PROVIDER], payment_row[column_index])
                payments_of_reference.setdefault(name_there, []).append(payment_row[_ID])
    updates_by_payment: dict[int, dict[int, Unreviewed]] = {}
    references = {reference for _, reference in payments_of_reference}
    for reference, *event_row in rows.all(_UNREVIEWED, references=references) if references else ():
        for payment_id in payments_of_reference.get((event_row[1], reference), ()):
            updates_by_payment.setdefault(payment_id, {})[event_row[0]] = _unreviewed(event_row)
    return {payment_id: list(updates.values()) for payment_id, updates in updates_by_payment.items()}


def shared_payments(payment_rows: Sequence[Row]) -> set[int]:
    """The first shares, by their ids, of those that pay several invoices; from PAYMENT_COLUMNS."""
    return {row[_SHARE_OF] for row in payment_rows if row[_SHARE_OF] is not None}


def shares_by_payment(rows: Rows, first_share_ids: set[int]) -> dict[int, list[Row]]:
    """All shares by their first share: PAYMENT_COLUMNS and the invoice's number, each with the provider's ids."""
    shares: dict[int, list[Row]] = {}
    for share_row in rows.all(_SHARES, first_shares=first_share_ids) if first_share_ids else ():
        shares.setdefault(share_row[_SHARE_OF], []).append(share_row)
    for first_share_id, share_rows in shares.items():
        first_share_row = next(share_row for share_row in share_rows if share_row[_ID] == first_share_id)
        shares[first_share_id] = [_named_like(first_share_row, share_row) for share_row in share_rows]
    return shares


def named_by_first_share(payment_row: Row, shares_by_first: Mapping[int, Sequence[Row]]) -> Row:
    """From PAYMENT_COLUMNS: the row with the provider's ids, which only the first share has."""
    if payment_row[_SHARE_OF] not in shares_by_first:
        return payment_row
    return _named_like(shares_by_first[payment_row[_SHARE_OF]][0], payment_row)


def _named_like(first_share_row: Row, share_row: Row) -> tuple[Any, ...]:
    cells = list(share_row)
    for column_index in _IDS:
        cells[column_index] = first_share_row[column_index]
    return tuple(cells)


def other_shares_of(
    payment_row: Row,
    shares_by_first: Mapping[int, Sequence[Row]],
    currency_code: str,
    refunds_by_payment: Mapping[int, Sequence[Refund]],
) -> list[OtherShare]:
    """The shares of the other invoices; `refunds_by_payment` by payment."""
    unit = currency(currency_code)
    return [
        OtherShare(
            payment_id=share_row[_ID],
            invoice_number=share_row[-1],
            allocated=Money(share_row[_ALLOCATED], unit),
            used=Money(sum(share_row[column_index] for column_index in _USED), unit),
            refunds=tuple(refunds_by_payment.get(share_row[_ID], ())),
            opening_returned=Money(share_row[_OPENING_RETURNED], unit),
            opening_at=moment_or_none(share_row[_OPENING_AT]),
            dispute_recorded=Money(share_row[_RECORDED], unit),
        )
        for share_row in shares_by_first.get(payment_row[_SHARE_OF], ())
        if share_row[_ID] != payment_row[_ID]
    ]


def _unreviewed(event_row: Row) -> Unreviewed:
    event_id, provider, word, state, note, source = event_row
    is_waiting = state == "waiting"
    return Unreviewed(
        event_id=event_id,
        provider=Provider(provider),
        word=word,
        why=note or ("not applied yet" if is_waiting else state),
        is_waiting=is_waiting,
        needs_a_person=state in ("unreviewed", "noted"),
        is_from_webhook=source == "webhook",
    )
