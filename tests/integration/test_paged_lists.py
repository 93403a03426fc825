"""Long lists: the same rows by every query plan, each row once, and no full scan of the store."""

import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import event, text
from sqlmodel import SQLModel

from conftest import NewStore
from desk import new_invoice
from refundcli.cli import context, streams
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import parse_money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider
from refundcli.services.clock import SystemClock
from refundcli.services.invoices import pages
from refundcli.services.invoices.pages import credit_note_pages, invoice_pages
from refundcli.services.ports.reads import CreditNoteFilter, InvoiceFilter
from refundcli.services.ports.records import NewInvoice, NewPayment
from refundcli.store import migrate
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.databases.engine import store_engine
from refundcli.store.queries import lists
from refundcli.store.queries.invoices import SqlInvoiceReads
from refundcli.store.schema_check import HEAD
from refundcli.store.unit_of_work import SqlBooks

ISSUED = "2026-10-%02d"
STATUSES = (None, InvoiceStatus.PAID, InvoiceStatus.OPEN, InvoiceStatus.VOID)
FILTERS = [
    InvoiceFilter(status=status, provider=provider, customer=customer, refundable=refundable)
    for status, provider, customer, refundable in itertools.product(
        STATUSES, (None, Provider.STRIPE, Provider.ADYEN), ("", "cus_1"), (False, True)
    )
]
UNSETTLED = (Dispute.OPEN, Dispute.UNKNOWN)
WAITING = [InvoiceFilter(disputed=True), InvoiceFilter(processing=True), InvoiceFilter(disputed=True, status="paid")]  # type: ignore[arg-type]


@pytest.fixture
def books(store_url: str) -> SqlBooks:
    """Forty invoices of every kind, mixed."""
    books = SqlBooks(store_engine(store_url), SystemClock(UTC), "Ada")
    books.write(lambda tx: tx.imports.add_invoices([_invoice(n) for n in range(40)], source="test.csv"))
    return books


def _invoice(n: int) -> NewInvoice:
    invoice = new_invoice(f"INV-{n * 7 % 40:04}", parse_money("100.00 EUR"), customer=f"cus_{n % 3}")
    if n % 5 == 4:
        return replace(invoice, status=(InvoiceStatus.OPEN, InvoiceStatus.VOID)[n % 2], paid_on=None)
    provider = (None, Provider.STRIPE, Provider.ADYEN, Provider.STRIPE)[n % 4]
    payment = NewPayment(
        10000,
        provider,
        "card",
        f"ch_{n}" if provider else "",
        auto_refundable=bool(provider),
        returned_elsewhere=(0, 0, 10000)[n % 3],
        processing=n % 11 == 10,
        dispute=Dispute.OPEN if n % 13 == 12 else Dispute.NONE,
    )
    cash = NewPayment(5000, method="cash")
    return replace(invoice, payments=(payment, cash) if n % 6 == 0 else (payment,))


def _fits(invoice: Invoice, criteria: InvoiceFilter) -> bool:
    refundable = [
        payment
        for payment in invoice.payments
        if payment.refundable and payment.dispute not in UNSETTLED and not payment.processing
    ]
    return (
        (not criteria.status or invoice.status == criteria.status)
        and (not criteria.provider or criteria.provider in [payment.provider for payment in invoice.payments])
        and (not criteria.customer or invoice.customer == criteria.customer)
        and (not criteria.refundable or (bool(refundable) and invoice.status is not InvoiceStatus.VOID))
        and (not criteria.disputed or any(payment.dispute in UNSETTLED for payment in invoice.payments))
        and (not criteria.processing or invoice.processing)
    )


@pytest.mark.parametrize("few", [-1, 5, 50_000])
def test_every_filter_finds_its_invoices_once_whichever_way_leads_to_them(
    books: SqlBooks, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(lists, "_FEW", few)
    monkeypatch.setattr(pages, "PAGE", 3)
    unknown = "UPDATE payment SET dispute = 'unknown' WHERE id = (SELECT max(id) FROM payment WHERE dispute = 'open')"
    with books.engine.begin() as line:
        line.execution_options(writes=True).execute(text(unknown))
    everything = books.read(lambda tx: tx.invoices.matching(InvoiceFilter(limit=100)))
    assert [invoice.number for invoice in everything] == [f"INV-{n:04}" for n in range(40)]
    for criteria in (*FILTERS, *WAITING):
        listed = [invoice for page in invoice_pages(books, criteria) for invoice in page]
        assert listed == [invoice for invoice in everything if _fits(invoice, criteria)], criteria


def test_credit_notes_come_once_each_in_the_order_of_issue(books: SqlBooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE", 3)
    ids = books.inspect(lambda s: s.execute(text("SELECT invoice_id, id FROM payment ORDER BY id")).all())
    # At one instant, on one day, with drafts between them.
    days = [1, 1, 1, 1, 1, 2, 2, 3, 3, 3]
    for place, (invoice, payment) in enumerate(ids[:12]):
        number = place * 3 % 10 if place < 10 else None
        _note(books, place, invoice, payment, number, days[number] if number is not None else 1)

    def numbers(criteria: CreditNoteFilter) -> list[int]:
        return [int((note.number or "")[-3:]) for page in credit_note_pages(books, criteria) for note in page]

    assert numbers(CreditNoteFilter()) == list(range(10))
    assert numbers(CreditNoteFilter(since=date(2026, 10, 2))) == [5, 6, 7, 8, 9]
    assert numbers(CreditNoteFilter(until=date(2026, 10, 2))) == [0, 1, 2, 3, 4, 5, 6]
    assert numbers(CreditNoteFilter(since=date(2026, 10, 2), until=date(2026, 10, 2))) == [5, 6]
    assert numbers(CreditNoteFilter(reason=RefundReason.OTHER)) == list(range(10))
    assert numbers(CreditNoteFilter(reason=RefundReason.DUPLICATE)) == []


def _note(books: SqlBooks, place: int, invoice: int, payment: int, number: int | None, day: int) -> None:
    # With a fraction, as the program writes times, which are compared as text.
    at = datetime(2026, 10, day, 9, 0, 0, 1, tzinfo=UTC).replace(tzinfo=None)
    refund = {
        **dict.fromkeys(
            ("memo", "content", "lease_owner", "provider_status", "failure", "dispute_decision", "method", "reference",
             "evidence", "acknowledged_by"), ""
        ),
        "id": f"rf_{place}", "invoice_id": invoice, "payment_id": payment, "kind": "record", "amount": 1,
        "currency": "EUR", "reason": "other", "state": "recorded", "request_key": f"key-{place}", "try_number": 1,
        "operator": "Ada", "fence": 0, "created_at": at, "updated_at": at,
    }  # fmt: skip
    note = {
        "id": f"cn_{place}", "refund_id": f"rf_{place}", "invoice_id": invoice, "amount": 1, "currency": "EUR",
        "number": None if number is None else f"CN-{number:03}", "status": "draft" if number is None else "issued",
        "reason": "other", "memo": "", "issued_on": None if number is None else ISSUED % day,
        "issued_at": None if number is None else at,
    }  # fmt: skip
    with books.engine.connect() as line:
        line = line.execution_options(writes=True)
        for table, row in (("refund", refund), ("credit_note", note)):
            names = ", ".join(row)
            line.execute(text(f"INSERT INTO {table} ({names}) VALUES (:{', :'.join(row)})"), row)
        line.commit()


@pytest.mark.parametrize("few", [-1, 50_000])
def test_no_filter_looks_through_the_whole_store(
    new_sqlite: NewStore, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(lists, "_FEW", few)
    url = new_sqlite()
    for criteria in (*FILTERS, *WAITING):
        plan = _plan(url, partial(SqlInvoiceReads.matching, filters=replace(criteria, after="INV-0003")))
        # A scan of a partial index with only matching rows is fine.
        looked_at = [step for step in plan if step.startswith(("SCAN invoice", "SCAN payment")) and "INDEX" not in step]
        assert looked_at == [], criteria


def test_a_page_of_one_status_is_read_in_order(new_sqlite: NewStore) -> None:
    criteria = InvoiceFilter(status=InvoiceStatus.PAID, after="INV-0003")
    plan = _plan(new_sqlite(), lambda reads: reads.matching(criteria))
    assert plan[0] == "SEARCH invoice USING INDEX ix_invoice_status_number (status=? AND number>?)"
    assert not any("TEMP B-TREE" in step for step in plan)


def test_one_customers_invoices_lead_whatever_else_is_wanted(new_sqlite: NewStore) -> None:
    criteria = InvoiceFilter(status=InvoiceStatus.PAID, customer="cus_1", provider=Provider.STRIPE, refundable=True)
    plan = _plan(new_sqlite(), lambda reads: reads.matching(criteria))
    assert plan[0] == "SEARCH invoice USING INDEX ix_invoice_customer_number (customer=? AND number>?)"


def _plan(url: str, ask: Callable[[SqlInvoiceReads], object]) -> list[str]:
    engine = store_engine(url)
    said: list[tuple[str, Any]] = []
    event.listen(
        engine, "before_cursor_execute", lambda _line, _cursor, words, values, *_: said.append((words, values))
    )
    with engine.connect() as connection:
        ask(SqlInvoiceReads(ConnectionRows(connection)))
    assert not any("OFFSET" in words.partition("LIMIT")[2] and values[-1] for words, values in said)
    with engine.connect() as line:
        return [
            step[3]
            for words, values in list(said)
            if words.startswith("SELECT")
            for step in line.exec_driver_sql(f"EXPLAIN QUERY PLAN {words}", values)
        ]


def test_an_older_store_gets_the_indexes_of_lists(store_url: str) -> None:
    engine = store_engine(store_url)
    with engine.connect() as line:
        line = line.execution_options(writes=True)
        SQLModel.metadata.drop_all(line)
        line.execute(text("DROP TABLE alembic_version"))
        config = Config()
        config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
        config.attributes["connection"] = line
        command.upgrade(config, "0003")
        line.commit()
    assert migrate.schema_of(engine) == "0003"
    migrate.upgrade(engine, at=datetime(2026, 11, 23, tzinfo=UTC))
    assert migrate.schema_of(engine) == HEAD
    with engine.connect() as line:
        assert compare_metadata(MigrationContext.configure(line), SQLModel.metadata) == []


def test_a_long_list_is_read_only_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe:
        out = streams.Output(pipe)
        monkeypatch.setattr("sys.stdout", out.stream)
        rows = context.while_read(itertools.count())
        out.stream.write(f"{next(rows)}\n")
        os.close(reader)
        out.stream.write(f"{next(rows)}\n")
        out.stream.flush()
        assert list(rows) == []
        monkeypatch.undo()
