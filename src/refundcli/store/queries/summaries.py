"""Read short summaries of payments and refunds, for comparisons over a million of them."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from refundcli.domain.currencies import currency
from refundcli.domain.money import Money
from refundcli.domain.statuses import Provider, RefundKind, RefundState
from refundcli.services.ports.records import PaymentLine, RefundLine, SucceededRefund
from refundcli.store.conditions import CAPTURED
from refundcli.store.databases.rows import Row, Rows, day_or_none, moment_or_none

_PAYMENTS = f"""
    SELECT payment.id, invoice.number, {{reference}}, {CAPTURED}, invoice.currency, payment.paid_on
    FROM payment JOIN invoice ON invoice.id = payment.invoice_id WHERE payment.provider = :provider AND {{condition}}
"""
_REFUNDS = """
    SELECT payment_id, id, provider_reference, amount, currency, state, came_back_at, kind, reason, succeeded_at,
        failed_at
    FROM refund WHERE payment_id IN (SELECT CAST(key AS BIGINT) FROM json_each(:payments))
"""
# Of a payment that several invoices share, only the first share has the reference.
_SUCCEEDED = """
    SELECT refund.id, refund.provider_reference, refund.amount, refund.currency, invoice.number, {reference}
    FROM refund JOIN invoice ON invoice.id = refund.invoice_id JOIN payment ON payment.id = refund.payment_id
    WHERE refund.provider = :provider AND refund.state = 'succeeded' AND refund.id > :after
        AND refund.succeeded_at BETWEEN :since AND :until AND {reference} IS NOT NULL
    ORDER BY refund.id LIMIT :limit
"""
# A payment at Stripe is known by its intent, by its charge, or by both.
_REFERENCES = {
    Provider.ADYEN: "payment.psp_reference",
    Provider.STRIPE: "coalesce(payment.payment_intent, payment.charge)",
}
_IDS = {Provider.ADYEN: ("psp_reference",), Provider.STRIPE: ("payment_intent", "charge")}
_currency = lru_cache(currency)


def payment_lines(rows: Rows, provider: Provider, references: Sequence[str]) -> dict[str, PaymentLine]:
    """By the provider's reference, with their refunds there."""
    reference = _REFERENCES[provider]
    among = "IN (SELECT key FROM json_each(:references))"
    condition = f"({' OR '.join(f'payment.{column} {among}' for column in _IDS[provider])})"
    text = _PAYMENTS.format(reference=reference, condition=condition)
    payment_rows = rows.all(text, provider=provider, references=references)
    refunds_by_payment: dict[int, list[RefundLine]] = {}
    for payment_id, *refund_row in rows.all(_REFUNDS, payments=[payment_row[0] for payment_row in payment_rows]):
        refunds_by_payment.setdefault(payment_id, []).append(_refund_line(refund_row))
    return {
        payment_row[2]: _line(payment_row, refunds_by_payment.get(payment_row[0], ())) for payment_row in payment_rows
    }


def payment_lines_after(rows: Rows, provider: Provider, after: int, limit: int) -> list[PaymentLine]:
    reference = _REFERENCES[provider]
    condition = f"payment.id > :after AND {reference} IS NOT NULL ORDER BY payment.id LIMIT :limit"
    text = _PAYMENTS.format(reference=reference, condition=condition)
    return [_line(row, ()) for row in rows.all(text, provider=provider, after=after, limit=limit)]


def refunds_succeeded(
    rows: Rows, provider: Provider, period: tuple[datetime, datetime], after: str, limit: int
) -> list[SucceededRefund]:
    """Sorted by id; `after`: the id of the last one that was read."""
    text, (since, until) = _SUCCEEDED.format(reference=_REFERENCES[provider]), period
    refund_rows = rows.all(text, provider=provider, after=after, since=since, until=until, limit=limit)
    return [
        SucceededRefund(
            refund_id,
            provider_reference or "",
            Money(amount, _currency(currency_code)),
            invoice_number,
            payment_reference,
        )
        for refund_id, provider_reference, amount, currency_code, invoice_number, payment_reference in refund_rows
    ]


def _line(payment_row: Row, refunds: Sequence[RefundLine]) -> PaymentLine:
    payment_id, invoice_number, reference, captured_minor, currency_code, paid_on = payment_row
    captured = Money(captured_minor, _currency(currency_code))
    return PaymentLine(payment_id, invoice_number, reference, captured, day_or_none(paid_on), tuple(refunds))


def _refund_line(refund_row: Row) -> RefundLine:
    refund_id, reference, minor, currency_code, state_text, came_back_at, kind, reason, succeeded_at, failed_at = (
        refund_row
    )
    state = RefundState(state_text)
    return RefundLine(
        refund_id,
        reference or "",
        Money(minor, _currency(currency_code)),
        state,
        moment_or_none(came_back_at),
        is_unadopted=kind == RefundKind.EXTERNAL and not reason and state.is_accepted,
        is_record=kind == RefundKind.RECORD,
        succeeded_at=moment_or_none(succeeded_at),
        failed_at=moment_or_none(failed_at),
    )
