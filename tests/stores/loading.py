"""Stores of released schemas on either database, and the providers in the state they had then."""

import json
import sqlite3
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Boolean, Column, Connection, Date, DateTime, MetaData, Table, text

import refundcli.store
from refundcli.sandbox.core import records
from refundcli.sandbox.testing import RunningSandbox
from refundcli.store.databases.engine import store_engine

DUMPS = Path(__file__).parent / "dumps"
SCHEMAS = tuple(sorted(path.stem for path in DUMPS.glob("*.sql")))
PLACEHOLDER = "{{SANDBOX}}"
# The first two belong to the last program that made the store; see 0001_first_schema.py.
_OLD_WORDS = (
    "ALTER TABLE invoice DROP CONSTRAINT invoice_status_known",
    "ALTER TABLE invoice ADD CONSTRAINT invoice_status_known"
    " CHECK (status IN ('draft','open','paid','refunded','void','uncollectible'))",
    "ALTER TABLE payment DROP CONSTRAINT payment_dispute_known",
    "ALTER TABLE payment ADD CONSTRAINT payment_dispute_known CHECK (dispute IN ('','open','won','lost'))",
    "ALTER TABLE payment DROP CONSTRAINT payment_provider_known",
    "ALTER TABLE payment ADD CONSTRAINT payment_provider_known CHECK (provider IN ('','stripe','adyen'))",
    *(f"DROP INDEX ux_payment_{name}" for name in ("payment_intent", "charge", "psp_reference")),
    *(f"ALTER TABLE payment ADD UNIQUE ({name})" for name in ("charge", "payment_intent", "psp_reference")),
)
_OLD_WORDS_UNTIL = "0003"


@dataclass(frozen=True)
class Released:
    """The store of one released schema, its program's output, and its providers."""

    schema: str

    @cached_property
    def expectations(self) -> Mapping[str, Any]:
        """The old program's output; see build.py."""
        answer: dict[str, Any] = json.loads((DUMPS / f"{self.schema}.json").read_text())
        return answer

    @property
    def files(self) -> Mapping[str, str]:
        """The operator's own files, by name."""
        (paths,) = self.expectations["files"]
        return dict(paths)

    def has(self, schema: str) -> bool:
        return self.schema >= schema

    def dump(self, sandbox: str) -> str:
        return (DUMPS / f"{self.schema}.sql").read_text().replace(PLACEHOLDER, sandbox)

    # --- the store ---

    def into_sqlite(self, path: Path, sandbox: str) -> str:
        """The URL of a SQLite store as the old program left it."""
        with closing(sqlite3.connect(path)) as store:
            store.executescript(self.dump(sandbox))
        return f"sqlite:///{path}"

    def into_postgres(self, url: str, sandbox: str) -> str:
        """The same rows in an empty database, its tables made by the migrations up to this schema."""
        engine = store_engine(url)
        with engine.connect() as connection, connection.begin():
            _migrate(connection, self.schema)
            if self.schema <= _OLD_WORDS_UNTIL:
                for statement in _OLD_WORDS:
                    connection.execute(text(statement))
            self._insert_rows(connection, sandbox)
        engine.dispose()
        return url

    def _insert_rows(self, connection: Connection, sandbox: str) -> None:
        tables = MetaData()
        tables.reflect(bind=connection)
        with closing(sqlite3.connect(":memory:")) as store:
            store.executescript(self.dump(sandbox))
            store.row_factory = sqlite3.Row
            for table in tables.sorted_tables:
                rows = [_converted(table, row) for row in store.execute(f'SELECT * FROM "{table.name}" ORDER BY rowid')]
                if rows and table.name != "alembic_version":
                    connection.execute(table.insert(), rows)
                if table.name in ("invoice", "payment", "provider_event", "dispute", "capture") and rows:
                    count_on = f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id)) FROM {table.name}"
                    connection.execute(text(count_on))

    # --- the providers ---

    def into_sandbox(self, sandbox: RunningSandbox) -> None:
        """The payments, refunds, disputes and invoices of the old program's sandbox at its end."""
        there = json.loads((DUMPS / f"{self.schema}.sandbox.json").read_text())
        state = sandbox.state
        (account,) = there["account"]
        with state.lock:
            state.account_id = account["id"]
            for shelf, kind, refunds in (
                (state.charges, records.Charge, there["charges"]),
                (state.payments, records.AdyenPayment, there["payments"]),
                (state.disputes, records.Dispute, there["disputes"]),
                (state.invoices, records.Invoice, there["invoices"]),
                (state.invoice_payments, records.InvoicePayment, there["invoice_payments"]),
            ):
                for refund in refunds:
                    key = refund.get("id") or refund["psp_reference"]
                    shelf[key] = _record(kind, refund)
            for refund in there["refunds"]:
                if not self._is_remembered_by_its_key(refund):
                    of_stripe = refund["provider"] == "stripe"
                    refunds = _record(records.StripeRefund if of_stripe else records.AdyenRefund, refund)
                    state.refunds[refund["id"]] = refunds
        for refund in filter(self._is_remembered_by_its_key, there["refunds"]):
            self._ask_again(refund["idempotency_key"], sandbox)

    def _is_remembered_by_its_key(self, refund: Mapping[str, Any]) -> bool:
        """Adyen has no refund look-up: only a replay of the key shows that the refund was made."""
        unfinished = {
            entry["idempotency_key"] for entry in self.expectations["refunds"] if entry["state"] == "submitted"
        }
        return refund["provider"] == "adyen" and refund["idempotency_key"] in unfinished

    def _ask_again(self, key: str, sandbox: RunningSandbox) -> None:
        """As the old program did when the response was lost."""
        (stored,) = [refund for refund in self.expectations["refunds"] if refund["idempotency_key"] == key]
        request = urllib.request.Request(
            stored["endpoint"].replace(PLACEHOLDER, sandbox.url),
            data=stored["request"].encode(),
            headers={"X-API-Key": "desk", "Idempotency-Key": key, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status < 300


def sent_lately(url: str, *, minutes: float = 10) -> None:
    """Moves sent requests to a while ago, so that the providers still know their keys."""
    engine = store_engine(url)
    at = datetime.now(UTC) - timedelta(minutes=minutes)
    with engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        tables = MetaData()
        tables.reflect(bind=connection)
        for table in (tables.tables[name] for name in ("refund", "closing") if name in tables.tables):
            sent = table.c.state == "submitted"
            connection.execute(table.update().where(sent).values(first_sent_at=_stored(table.c.first_sent_at, at)))
        connection.commit()
    engine.dispose()


def _migrate(connection: Connection, schema: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(refundcli.store.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, schema)


def _converted(table: Table, row: sqlite3.Row) -> dict[str, Any]:
    return {name: _value(table.c[name], row[name]) for name in row.keys()}  # noqa: SIM118 - a Row has values, too


def _value(column: Column[Any], value: Any) -> Any:
    if value is None:
        return None
    if isinstance(column.type, Boolean):
        return bool(value)
    if isinstance(column.type, DateTime):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    if isinstance(column.type, Date):
        return date.fromisoformat(value)
    return value


def _stored(column: Column[Any], at: datetime) -> datetime:
    """SQLite stores no zone."""
    return at if getattr(column.type, "timezone", False) else at.replace(tzinfo=None)


def _record(kind: type[Any], columns: Mapping[str, Any]) -> Any:
    names = {field.name for field in fields(kind) if field.init}
    arguments = {name: value for name, value in columns.items() if name in names}
    for name in ("lines", "story"):
        if name in arguments:
            arguments[name] = [tuple(field) for field in arguments[name]]
    return kind(**arguments)


def rows(url: str, query: str) -> list[Mapping[str, Any]]:
    """The rows of a query, in either database."""
    engine = store_engine(url)
    with engine.connect() as connection:
        records: Sequence[Any] = connection.execute(text(query)).mappings().all()
    engine.dispose()
    return [dict(record) for record in records]


def released() -> Iterator[Released]:
    yield from map(Released, SCHEMAS)
