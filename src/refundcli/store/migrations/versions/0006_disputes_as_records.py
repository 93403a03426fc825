"""Disputes as records; the allocated amount apart from the captured one; provider updates that need a person.

Stored events are read again with the vocabulary of this version: those that it knows wait to be applied. The words are
listed here, because a migration must not change when the program's tables do.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)
PAGE = 1000

# The most that a payment can refund: its share, or what was captured if that is less.
CAPTURED = "CASE WHEN captured < allocated THEN captured ELSE allocated END"
MONEY_LEFT = (
    f"{CAPTURED} - reserved - refunded - returned_elsewhere - lost - credited > 0"
    " AND dispute <> 'open' AND dispute <> 'unknown' AND NOT processing"
)
DISPUTES = (
    "REQUEST_FOR_INFORMATION", "INFORMATION_SUPPLIED", "NOTIFICATION_OF_CHARGEBACK", "DISPUTE_OPENED_WITH_CHARGEBACK",
    "CHARGEBACK", "PREARBITRATION_OPEN", "CHARGEBACK_REVERSED", "ISSUER_RESPONSE_TIMEFRAME_EXPIRED",
    "PREARBITRATION_WON", "PREARBITRATION_ISSUER_WITHDRAWN", "SCHEME_ARBITRATION_WON", "SECOND_CHARGEBACK",
    "PREARBITRATION_LOST", "PREARBITRATION_ACCEPTED", "PREARBITRATION_DECLINED", "SCHEME_ARBITRATION",
    "SCHEME_ARBITRATION_LOST", "DISPUTE_DEFENSE_PERIOD_ENDED",
)  # fmt: skip
REFUNDS = (
    "REFUND", "REFUND_WITH_DATA", "REFUND_FAILED", "REFUNDED_REVERSED", "POSTPONED_REFUND", "VOID_PENDING_REFUND",
    "CANCEL_OR_REFUND",
)  # fmt: skip
# All other Adyen events are read again too, except these, which do not concern refunds.
SAY_NOTHING = (
    "AUTHORISATION_ADJUSTMENT", "RECURRING_CONTRACT", "REPORT_AVAILABLE", "OFFER_CLOSED", "ORDER_OPENED", "AUTORESCUE",
    "CANCEL_AUTORESCUE", "PAYOUT_THIRDPARTY", "PAYOUT_DECLINE", "PAYOUT_EXPIRE", "PAIDOUT_REVERSED",
    "ACH_NOTIFICATION_OF_CHANGE", "DIRECT_DEBIT_NOTICE_OF_CHANGE_NOTIFICATION", "NOTIFICATION_OF_FRAUD",
    "ISSUER_COMMENTS", "MANUAL_REVIEW_ACCEPT",
)  # fmt: skip


def upgrade() -> None:
    _payments()
    _refunds()
    _invoices()
    op.add_column("store_info", sa.Column("number_format", sa.Text(), server_default="", nullable=False))
    _events()
    _checks()


def _payments() -> None:
    op.drop_index("ix_payment_money_left", "payment")
    op.drop_index("ix_payment_disputed", "payment")
    op.execute("ALTER TABLE payment RENAME COLUMN captured TO allocated")
    op.add_column("payment", sa.Column("captured", sa.BigInteger(), nullable=True))
    for name in ("lost", "credited", "loss_acknowledged"):
        op.add_column("payment", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("payment", sa.Column("unsupported", sa.Text(), server_default="", nullable=False))
    # The first share of a payment that pays several invoices has its ids; the others refer to it.
    number = "BIGINT" if op.get_bind().dialect.name == "postgresql" else "INTEGER"
    op.execute(f"ALTER TABLE payment ADD COLUMN share_of {number} REFERENCES payment (id)")
    _index("ix_payment_share_of", "payment", ["share_of"], "share_of IS NOT NULL")
    op.create_table(
        "dispute",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("payment_id", BIG_ID, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("reported_at", UTC_TIME, nullable=True),
        sa.CheckConstraint("state IN ('unknown','open','lost','won','closed')", name="dispute_state_known"),
        sa.CheckConstraint("stage IN ('inquiry','answered-inquiry','chargeback')", name="dispute_stage_known"),
        sa.ForeignKeyConstraint(["payment_id"], ["payment.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_dispute_payment_id", "dispute", ["payment_id"])
    _index(
        "ux_dispute_reference", "dispute", ["provider", "account", "reference"], "reference IS NOT NULL", unique=True
    )
    op.create_table(
        "capture",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("payment_id", BIG_ID, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reported_at", UTC_TIME, nullable=False),
        sa.CheckConstraint("state IN ('added','failed','cancelled')", name="capture_state_known"),
        sa.ForeignKeyConstraint(["payment_id"], ["payment.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ux_capture_reference", "capture", ["payment_id", "provider", "account", "reference"], unique=True)
    # Disputes from a provider's events are kept apart from those known from an import only.
    op.execute(
        "INSERT INTO dispute (payment_id, provider, account, reference, stage, state, status, amount, reported_at)"
        " SELECT id, provider, '', NULL, 'chargeback', dispute,"
        " CASE WHEN dispute_at IS NULL THEN 'imported' ELSE 'migrated' END, dispute_amount, dispute_at"
        " FROM payment WHERE dispute <> ''"
    )
    op.execute(
        "UPDATE payment SET lost = coalesce(dispute_amount, allocated) - dispute_recorded"
        " WHERE dispute = 'lost' AND coalesce(dispute_amount, allocated) > dispute_recorded"
    )
    op.execute("ALTER TABLE payment DROP COLUMN dispute_amount")
    op.execute("ALTER TABLE payment DROP COLUMN dispute_at")
    _index("ix_payment_money_left", "payment", ["invoice_id"], MONEY_LEFT)
    _index("ix_payment_disputed", "payment", ["invoice_id"], "dispute = 'open' OR dispute = 'unknown'")
    _index("ix_payment_loss", "payment", ["invoice_id"], f"refunded + returned_elsewhere + lost > {CAPTURED}")


def _refunds() -> None:
    for name in ("failure_code", "pending_reason"):
        op.add_column("refund", sa.Column(name, sa.Text(), server_default="", nullable=False))
    op.add_column("refund", sa.Column("reversed_amount", sa.BigInteger(), server_default="0", nullable=False))
    for name in ("holding", "undecided"):
        op.add_column("refund", sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False))
    for name in ("hold_until", "succeeded_at", "failed_at", "expires_at"):
        op.add_column("refund", sa.Column(name, UTC_TIME, nullable=True))
    held = "state = 'failed' AND came_back_at IS NOT NULL AND acknowledged_at IS NULL"
    op.execute(sa.text(f"UPDATE refund SET holding = :yes WHERE {held}").bindparams(yes=True))  # noqa: S608
    _index("ix_refund_attention", "refund", ["id"], "came_back_at IS NOT NULL AND acknowledged_at IS NULL")


def _invoices() -> None:
    """Give each provider invoice one owner. A second invoice with the same reference keeps it with a remark."""
    op.execute(
        "UPDATE invoice SET invoice_reference = invoice_reference || ' (also of another invoice, ' || id || ')'"
        " WHERE invoice_reference IS NOT NULL AND id > (SELECT min(other.id) FROM invoice other"
        " WHERE other.invoice_reference = invoice.invoice_reference)"
    )
    op.drop_index("ix_invoice_invoice_reference", "invoice")
    _index("ux_invoice_reference", "invoice", ["invoice_reference"], "invoice_reference IS NOT NULL", unique=True)


def _events() -> None:
    op.add_column("provider_event", sa.Column("source", sa.Text(), server_default="webhook", nullable=False))
    op.create_table(
        "event_payment",
        sa.Column("event_id", BIG_ID, nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["provider_event.id"]),
        sa.PrimaryKeyConstraint("event_id", "reference"),
    )
    op.create_index("ix_event_payment_reference", "event_payment", ["reference"])
    op.create_table(
        "word_decision",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("effect", sa.Text(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("decided_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("provider", "word"),
    )


def _read_events_again() -> None:
    """Link each event to its payments, set its key of this version, and let events with a known meaning wait."""
    bind, after = op.get_bind(), 0
    query = sa.text(
        "SELECT id, provider, kind, about, payload, state, note FROM provider_event WHERE id > :after"
        " ORDER BY id LIMIT :page"
    )
    while rows := bind.execute(query, {"after": after, "page": PAGE}).all():
        after = rows[-1].id
        links, states, keys = [], [], []
        for row in rows:
            payload = _object(row.payload)
            references = _payments_of(row.provider, row.kind, payload)
            links += [{"event": row.id, "reference": reference} for reference in sorted(references)]
            states.append({"id": row.id, "state": _state(row, payload)})
            if row.provider == "adyen":
                keys.append({"id": row.id, "key": _adyen_key(payload)})
        if links:
            bind.execute(sa.text("INSERT INTO event_payment (event_id, reference) VALUES (:event, :reference)"), links)
        bind.execute(sa.text("UPDATE provider_event SET state = :state WHERE id = :id"), states)
        if keys:
            bind.execute(sa.text("UPDATE provider_event SET event_key = :key WHERE id = :id"), keys)


def _state(row: Any, payload: Mapping[str, Any]) -> str:
    """Applied refund events stay applied, unless they report that a failed refund succeeded after all."""
    if row.state == "contradicts":
        return "unreviewed"
    if row.provider != "adyen":
        return "noted" if row.state == "unknown" else str(row.state)
    if row.note.startswith("acknowledged by "):
        return str(row.state)
    succeeded = payload.get("success") == "true"
    nothing = row.kind in SAY_NOTHING or (row.kind in ("AUTHORISATION", "ORDER_CLOSED") and succeeded)
    if nothing:
        return "noted"
    if row.kind == "CAPTURE" and succeeded and row.state == "unknown":
        return "noted"
    if row.state == "applied" and row.kind in REFUNDS and not (row.kind == "REFUND" and succeeded and _failed(row)):
        return "applied"
    return "waiting"


def _failed(row: Any) -> bool:
    query = sa.text("SELECT 1 FROM refund WHERE provider_reference = :about AND state = 'failed'")
    return op.get_bind().execute(query, {"about": row.about}).first() is not None


def _object(text: str) -> dict[str, Any]:
    try:
        payload = json.loads(text)
    except ValueError:
        return {}
    return payload if isinstance(payload, dict) else {}


def _payments_of(provider: str, kind: str, payload: Mapping[str, Any]) -> set[str]:
    if provider == "adyen":
        extra = payload.get("additionalData")
        parts = extra.items() if isinstance(extra, dict) else ()
        order = [value for name, value in parts if re.fullmatch(r"order-\d+-pspReference", name)]
        return _texts([payload.get("originalReference") or payload.get("pspReference"), *order])
    about = payload.get("data")
    found = about.get("object") if isinstance(about, dict) else None
    if not isinstance(found, dict):
        return set()
    charge = found if found.get("object") == "charge" else found.get("charge")
    return _texts([_id(charge), _id(found.get("payment_intent"))])


def _id(value: object) -> object:
    return value.get("id") if isinstance(value, dict) else value


def _texts(values: Iterable[object]) -> set[str]:
    return {value for value in values if isinstance(value, str) and value}


def _adyen_key(payload: Mapping[str, Any]) -> str:
    amount = payload.get("amount")
    amount = amount if isinstance(amount, dict) else {}
    parts = [payload.get(name, "") for name in ("pspReference", "eventCode", "success", "eventDate")]
    return ":".join(str(part) for part in (*parts, amount.get("value", ""), amount.get("currency", "")))


# --- constraints -----------------------------------------------------------------------------------------------------

CHECKS = {
    ("payment", "payment_dispute_known"): (
        "dispute = '' OR dispute = 'open' OR dispute = 'won' OR dispute = 'lost' OR dispute = 'unknown'"
    ),
    ("refund", "refund_state_known"): (
        "state IN ('ready','submitted','awaiting-approval','pending','succeeded','recorded','failed','reversed')"
    ),
    ("provider_event", "provider_event_state_known"): "state IN ('waiting','applied','unmatched','unreviewed','noted')",
}


def _checks() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("provider_event_state_known", "provider_event", type_="check")
        _read_events_again()
        for (table, name), words in CHECKS.items():
            if table != "provider_event":
                op.drop_constraint(name, table, type_="check")
            op.create_check_constraint(name, table, words)
        return
    # SQLite cannot change a constraint. Its manual recommends to edit the schema text, which leaves the rows alone.
    # This connection uses the old constraint until it is opened again.
    bind = op.get_bind()
    bind.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
    _read_events_again()
    bind.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
    version = int(bind.exec_driver_sql("PRAGMA schema_version").scalar_one())
    bind.exec_driver_sql("PRAGMA writable_schema = ON")
    for (table, name), words in CHECKS.items():
        old = bind.exec_driver_sql("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,))
        text = _with_check(str(old.scalar_one()), name, words)
        bind.exec_driver_sql("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (text, table))
    bind.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    bind.exec_driver_sql("PRAGMA writable_schema = OFF")


def _with_check(table: str, name: str, words: str) -> str:
    """The table's SQL with another condition for this constraint."""
    start = table.index("(", re.search(rf'CONSTRAINT "?{name}"? CHECK', table).end())  # type: ignore[union-attr]
    depth = 0
    for place in range(start, len(table)):
        depth += {"(": 1, ")": -1}.get(table[place], 0)
        if depth == 0:
            return f"{table[:start]}({words}){table[place + 1 :]}"
    raise AssertionError("the parentheses of a stored table are balanced")


def _index(name: str, table: str, columns: list[str], of: str, *, unique: bool = False) -> None:
    op.create_index(name, table, columns, unique=unique, sqlite_where=sa.text(of), postgresql_where=sa.text(of))
