"""Which columns are guarded: the audit trail carries what was last written to them, and a check compares.

Leases, fences and what follows from the clock alone are not. The lists of a version never change: entries that were
written with it name it. A column that a later schema adds goes to the end of its table's list of a new version, and
`GUARDED_SINCE` becomes that schema, so that the upgrade writes a baseline.
"""

from functools import lru_cache

from refundcli.store.databases.utc_datetime import UtcDateTime
from refundcli.store.tables import ALL_TABLES

VERSION = 1
# The schema from which this version's columns are guarded; the upgrade of an older store writes a baseline.
GUARDED_SINCE = "0015"

_LISTS = {
    "invoice": "id number customer customer_name currency total paid returned status issued_on due_on paid_on"
    " invoice_reference products subscription customer_email billing source",
    "payment": "id invoice_id position provider method card_last4 card_brand payment_intent charge psp_reference"
    " reference allocated captured reserved refunded returned_elsewhere lost dispute_recorded credited"
    " loss_acknowledged unsupported auto_refundable processing dispute opening_returned opening_at paid_on share_of",
    "dispute": "id payment_id provider account reference stage state status amount reported_at",
    "refund": "id invoice_id payment_id kind amount currency reason memo state request_key content try_number operator"
    " provider account livemode idempotency_key endpoint api_version request provider_reference provider_status"
    " failure failure_code pending_reason expires_at succeeded_at failed_at reversed_amount holding hold_until"
    " undecided dispute_decision method reference refunded_on after_failed evidence came_back_at acknowledged_at"
    " acknowledged_by run_id created_at trace_destination trace_type trace_number trace_status",
    "credit_note": "id refund_id invoice_id number status amount currency reason memo issued_on issued_at voided_at"
    " content seller_id",
    "seller": "id digest content",
    "closing": "id invoice_id action state memo operator provider account livemode idempotency_key endpoint"
    " api_version failure created_at",
    "bulk_run": "id kind state source options fingerprint rows operator planned_by plan_hash created_at",
}
GUARDED: dict[str, tuple[str, ...]] = {table: tuple(names.split()) for table, names in _LISTS.items()}
# Tables whose rows the database numbers.
NUMBERED = frozenset({"invoice", "payment", "dispute", "seller"})
_TIME = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"


@lru_cache
def json_rows(table: str, *, is_sqlite: bool) -> str:
    """An expression of SQL: the guarded columns of all selected rows, as one list of lists in JSON."""
    if is_sqlite:
        return f"json_group_array(json_array({', '.join(GUARDED[table])}))"
    columns = ALL_TABLES[table].c
    of_columns = (
        _TIME.format(name) if isinstance(columns[name].type, UtcDateTime) else name for name in GUARDED[table]
    )
    return f"CAST(json_agg(json_build_array({', '.join(of_columns)})) AS text)"
