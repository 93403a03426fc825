"""Lists of refunds, newest first, with totals of all that match."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from refundcli.domain.currencies import CODES, currency
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.store.databases.rows import Rows
from refundcli.store.queries.refunds import SqlRefundReads, refunds_where

if TYPE_CHECKING:
    from refundcli.services.ports.reads import RefundFilter, RefundTotal

_IS_AFTER = "(created_at, id) < (SELECT created_at, id FROM refund WHERE id = :after)"
_HAS_FAILED = "state IN ('failed', 'reversed')"


_NAMED = """refund.id IN (
    SELECT id FROM refund WHERE id = :name OR provider_reference = :name
    UNION ALL SELECT id FROM refund WHERE trace_number = :name AND trace_number <> ''
    UNION ALL SELECT refund_id FROM credit_note WHERE number = :name
)"""


class SqlRefundSearch:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def matching(self, filters: "RefundFilter") -> list[Refund]:
        conditions, parameters = _matching(filters)
        after = f" AND {_IS_AFTER}" if filters.after else ""
        text = f"SELECT id FROM refund WHERE {conditions}{after} ORDER BY created_at DESC, id DESC LIMIT :limit"
        rows = self._rows.all(text, **parameters, after=filters.after, limit=filters.limit)
        refund_by_id = SqlRefundReads(self._rows).by_id([row[0] for row in rows])
        return [refund_by_id[refund_id] for (refund_id,) in rows]

    def totals(self, filters: "RefundFilter") -> "list[RefundTotal]":
        from refundcli.services.ports.reads import RefundTotal

        conditions, parameters = _matching(filters)
        # With the id of the page's last refund, `older` counts what is not shown.
        text = f"""
            SELECT currency, count(*), sum(amount), sum(CASE WHEN {_HAS_FAILED} THEN 1 ELSE 0 END),
                sum(CASE WHEN {_HAS_FAILED} THEN amount ELSE 0 END), sum(CASE WHEN {_IS_AFTER} THEN 1 ELSE 0 END)
            FROM refund WHERE {conditions} GROUP BY currency ORDER BY currency
        """
        rows = self._rows.all(text, **parameters, after=filters.after)
        return [
            RefundTotal(
                int(count) - int(failed_count),
                Money(int(amount) - int(failed), currency(code)),
                int(failed_count),
                Money(int(failed), currency(code)),
                int(older),
            )
            for code, count, amount, failed_count, failed, older in rows
        ]

    def named(self, name: str) -> list[Refund]:
        return refunds_where(self._rows, _NAMED, name=name)


def _matching(filters: "RefundFilter") -> tuple[str, dict[str, Any]]:
    """Conditions and their parameters; no filter's text is part of the SQL."""
    parameters: dict[str, Any] = {"since": filters.since, "until": filters.until}
    conditions = ["created_at >= :since", "created_at < :until"]
    if filters.invoice:
        conditions.append("invoice_id = (SELECT invoice.id FROM invoice WHERE number = :invoice)")
        parameters["invoice"] = filters.invoice
    by_column = {
        "state": filters.state,
        "operator": filters.operator,
        "reason": filters.reason,
        "provider": filters.provider,
        "run_id": filters.run,
        "currency": filters.currency and filters.currency.code,
    }
    for column, value in by_column.items():
        if value:
            conditions.append(f"{column} = :{column}")
            parameters[column] = value
    if filters.amounts:
        conditions.append(f"({' OR '.join(_amounts(filters, parameters))})")
    return " AND ".join(conditions), parameters


def _amounts(filters: "RefundFilter", parameters: dict[str, Any]) -> Iterator[str]:
    """The same amount in major units is another number of minor units for each number of decimals."""
    assert filters.amounts
    low, high = filters.amounts
    currencies = [filters.currency] if filters.currency else [currency(code) for code in CODES]
    for exponent in sorted({each.exponent for each in currencies}):
        suffix = "abcde"[exponent]
        parameters[f"codes_{suffix}"] = [each.code for each in currencies if each.exponent == exponent]
        parameters[f"low_{suffix}"], parameters[f"high_{suffix}"] = (
            -int(-low.scaleb(exponent) // 1),
            int(high.scaleb(exponent) // 1),
        )
        yield (
            f"currency IN (SELECT key FROM json_each(:codes_{suffix}))"
            f" AND amount BETWEEN :low_{suffix} AND :high_{suffix}"
        )
