"""The tables as statements name them. `schema/` declares the same columns; a test holds that both agree.

A refund runs statements and never needs the models: SQLModel, its mappers and pydantic would be a third of its time.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Date, LargeBinary, Text, case, column, table
from sqlalchemy.sql.expression import TableClause
from sqlalchemy.types import TypeEngine

from refundcli.store.databases.utc_datetime import UtcDateTime


def _table(
    name: str, *, text: str = "", numbers: str = "", flags: str = "", days: str = "", times: str = "", blobs: str = ""
) -> Any:
    typed_names: tuple[tuple[TypeEngine[Any], str], ...] = (
        (Text(), text), (BigInteger(), numbers), (Boolean(), flags), (Date(), days), (UtcDateTime(), times),
        (LargeBinary(), blobs),
    )  # fmt: skip
    columns = (column(column_name, of_type) for of_type, names in typed_names for column_name in names.split())
    ALL_TABLES[name] = table(name, *columns)
    return ALL_TABLES[name]


ALL_TABLES: dict[str, TableClause] = {}

INVOICE = _table(
    "invoice",
    text="number customer customer_name currency status invoice_reference products subscription customer_email billing"
    " source",
    numbers="id total paid returned",
    days="issued_on due_on paid_on",
    times="created_at updated_at",
)
PAYMENT = _table(
    "payment",
    text="provider method card_last4 card_brand payment_intent charge psp_reference reference unsupported dispute",
    numbers="id invoice_id position allocated captured reserved refunded returned_elsewhere lost dispute_recorded"
    " credited loss_acknowledged opening_returned share_of",
    flags="auto_refundable processing",
    days="paid_on",
    times="opening_at",
)
DISPUTE = _table(
    "dispute",
    text="provider account reference stage state status",
    numbers="id payment_id amount",
    times="reported_at",
)
CAPTURE = _table(
    "capture", text="provider account reference state", numbers="id payment_id amount", times="reported_at"
)
REFUND = _table(
    "refund",
    text="id kind currency reason memo state request_key content operator provider account idempotency_key endpoint"
    " api_version request lease_owner provider_reference provider_status failure failure_code pending_reason"
    " trace_destination trace_type trace_number trace_status"
    " dispute_decision method reference after_failed evidence acknowledged_by run_id",
    numbers="invoice_id payment_id amount try_number fence reversed_amount",
    flags="livemode holding undecided",
    days="refunded_on",
    times="lease_until first_sent_at expires_at succeeded_at failed_at hold_until came_back_at acknowledged_at"
    " created_at updated_at",
)
CREDIT_NOTE = _table(
    "credit_note",
    text="id refund_id number status currency reason memo content",
    numbers="invoice_id amount seller_id",
    days="issued_on",
    times="issued_at voided_at",
)
SELLER = _table("seller", text="digest content", numbers="id")
CLOSING = _table(
    "closing",
    text="id action state memo operator provider account idempotency_key endpoint api_version lease_owner failure",
    numbers="invoice_id fence",
    flags="livemode",
    times="lease_until first_sent_at created_at updated_at",
)
PROVIDER_EVENT = _table(
    "provider_event",
    text="provider account event_key kind about payload state note source not_applied",
    numbers="id",
    flags="livemode",
    times="occurred_at received_at",
)
EVENT_PAYMENT = _table("event_payment", text="reference", numbers="event_id")
WORD_DECISION = _table("word_decision", text="provider word effect operator", times="decided_at")
DELIVERY_REJECTION = _table("delivery_rejection", text="provider reason", numbers="count", times="first_at last_at")
SYNC_STATE = _table("sync_state", text="name value", times="at")
BULK_RUN = _table(
    "bulk_run",
    text="id kind state source options fingerprint operator planned_by plan_hash",
    numbers="rows",
    times="created_at updated_at",
)
BULK_ITEM = _table(
    "bulk_item",
    text="run_id invoice amount_text reason memo payment request_key cells state code message hint worker",
    numbers="n line expected",
    times="lease_until",
)
STORE_INFO = _table(
    "store_info", text="secret number_format timezone", numbers="id", flags="livemode", times="created_at"
)
PROVIDER_ACCOUNT = _table("provider_account", text="provider key_fingerprint account", flags="livemode")
AUDIT_ENTRY = _table(
    "audit_entry",
    text="operator host login action subject before after previous_hash rows hash",
    numbers="seq",
    times="at",
)
SEARCH_WORD = _table("search_word", text="word", numbers="bucket", blobs="ids")
COUNTER = _table("counter", text="name", numbers="value")

# `conditions.CAPTURED` as an expression, for sums.
CAPTURED_SHARE = case((PAYMENT.c.captured < PAYMENT.c.allocated, PAYMENT.c.captured), else_=PAYMENT.c.allocated)
