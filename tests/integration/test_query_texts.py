"""Every query's text on both databases, on the bare driver and on SQLAlchemy's connection, with the same results."""

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from conftest import NewStore
from desk import Desk, new_invoice
from refundcli.domain.bulk_run import ItemState, RunKind, RunState
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import parse_money
from refundcli.domain.statuses import ClosingState, Dispute, Provider, RefundState
from refundcli.services.ports.bulk_invoices import block_of
from refundcli.services.ports.provider_updates import EventState
from refundcli.services.ports.reads import (
    AuditFilter,
    CreditNoteFilter,
    EventFilter,
    InvoiceFilter,
    InvoiceSearch,
    InvoiceSort,
    RefundFilter,
    RunFilter,
)
from refundcli.services.ports.records import NewPayment
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.databases.rows import Row, Rows
from refundcli.store.queries.snapshot import SqlReading
from refundcli.store.read_only.postgres import PostgresBooks, plain_postgres_address
from refundcli.store.read_only.sqlite import SqliteBooks, plain_sqlite_path

SORTED_BY: tuple[InvoiceSort, ...] = ("number", "issued", "due", "total", "customer")
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=9999)
# What JSON, LIKE and SQL each have a meaning for.
ODD = """INV-'"%_/\\ é€😀 :x ?"""
INVOICES = (
    new_invoice("INV-1", parse_money("100.00 EUR"), payments=(NewPayment(10000, method="cash"),)),
    new_invoice(ODD, parse_money("7.000 KWD"), payments=(NewPayment(7000, method="cash"),), customer="cus_'%"),
    new_invoice(
        "INV-2",
        parse_money("50 JPY"),
        payments=(
            NewPayment(30, Provider.ADYEN, "card", "PSP1", dispute=Dispute.LOST, dispute_amount=10),
            NewPayment(20, Provider.STRIPE, "card", "pi_1", auto_refundable=True, processing=True),
        ),
    ),
    new_invoice("INV-3", parse_money("50 JPY"), payments=(NewPayment(50, Provider.STRIPE, "card", "ch_1"),)),
)


def samples(invoice: Invoice) -> dict[str, dict[str, list[Callable[[Any], Any]]]]:
    """By repository and method, calls of it. `invoice`: one with a refund and a credit note."""
    note = invoice.refunds[0].credit_note
    assert note
    names, refund_ids, references = [ODD, "INV-1", "INV-2", "none"], [invoice.refunds[0].id, ODD], ["PSP1", "pi_1", ODD]
    page: dict[str, Any] = {"after": 0, "limit": 50}
    notes = CreditNoteFilter(since=date(2020, 1, 1), until=date(2099, 1, 1), invoice="INV-1", reason=note.reason)
    refunds = RefundFilter(RefundState.RECORDED, ODD, note.reason, Provider.STRIPE, ODD, "INV-1", after=refund_ids[0])
    amounts = RefundFilter(amounts=(Decimal(1), Decimal("40.005")), since=LONG_AGO, until=NOW)
    runs = RunFilter(RunState.STOPPED, RunKind.REFUND, ODD, LONG_AGO, NOW)
    period = (Provider.STRIPE, LONG_AGO, NOW)

    def calls(*arguments: Any, **named: Any) -> list[Callable[[Any], Any]]:
        return [lambda method: method(*arguments, **named)]

    def each(values: Sequence[Any]) -> list[Callable[[Any], Any]]:
        return [partial(lambda value, method: method(value), value) for value in values]

    return {
        "invoices": {
            "get": each(names),
            "by_number": calls(names),
            "ids": each([InvoiceFilter(ids=(invoice.id, 7), sort="total", after="INV-1")]),
            "by_id": calls([invoice.id]),
            "with_facts": calls(names),
            "facts": calls(names),
            "count_after": each([InvoiceFilter(after="INV-1"), InvoiceFilter(ids=(invoice.id,), disputed=True)]),
            "matching": each(
                [
                    InvoiceFilter(overdue_on=NOW.date(), ids=(invoice.id, 7)),
                    *(InvoiceFilter(sort=sort, descending=True, after="INV-1") for sort in SORTED_BY),
                ]
            )
            + each([InvoiceFilter(), InvoiceFilter(customer="cus_'%", refundable=True)])
            + each([InvoiceFilter(provider=Provider.ADYEN, disputed=True), InvoiceFilter(processing=True, after=ODD)]),
            "count": each([InvoiceFilter(disputed=True), InvoiceFilter(processing=True)]),
            "losses": calls(),
            "numbers_behind": each(["pi_1", "PSP1", note.number, invoice.refunds[0].id, ODD]),
            "numbers_in_any_case": each(["inv-1", ODD.upper(), "zz"]),
            "numbers_near": each(["INV-9", "INV-'\"%_/\\", "%", "/", "zz"]),
            "of_payments": calls(Provider.STRIPE, references),
            "by_reference": calls(["in_1", ODD]),
        },
        "payments": {
            "captures": calls(invoice.payments[0]),
            "failed_captures": calls(),
            "known_as": calls(Provider.ADYEN, references),
            "lines": calls(Provider.ADYEN, references),
            "count": each(list(Provider)),
            "any_since": calls(Provider.ADYEN, NOW.date()),
            "lines_after": calls(Provider.STRIPE, 0, limit=10),
        },
        "disputes": {"payment_of": calls(Provider.ADYEN, "account", "reference")},
        "refund_search": {
            "matching": each([RefundFilter(), refunds, amounts]),
            "totals": each([RefundFilter(), refunds, amounts]),
            "named": each([*refund_ids, note.number]),
        },
        "refunds": {
            "get": each(refund_ids),
            "by_id": calls(refund_ids),
            "by_key": each([invoice.refunds[0].request_key, ODD]),
            "by_keys": calls([invoice.refunds[0].request_key, ODD]),
            "in_states": calls(RefundState.RECORDED, RefundState.READY),
            "pending": calls(recent=NOW, overdue=NOW, stuck="insufficient_funds", limit=5),
            "failed_since": calls(NOW, limit=5),
            "to_acknowledge": calls(),
            "by_provider_references": calls(Provider.STRIPE, references),
            "succeeded": calls(*period, after="", limit=5),
        },
        "search": {
            "ids": each([InvoiceSearch(NOW.date(), name=ODD), InvoiceSearch(NOW.date(), amount="1..500")]),
            "find": calls(InvoiceSearch(NOW.date(), (ODD, "120", "aug", "pi_1")), limit=5),
        },
        "run_search": {
            "matching": each([RunFilter(), runs]),
            "with_plan": each([ODD]),
            "older_count": each([replace(runs, after=ODD)]),
            "sums": each([RunFilter(), runs]),
            "sums_by_run": each([[ODD]]),
            "item_counts_by_run": each([[ODD]]),
            "refused_codes": each([ODD]),
        },
        "external_refunds": {"listed": calls(adopted=True) + calls(adopted=False)},
        "credit_notes": {
            "with_content": each([CreditNoteFilter(), notes]),
            "matching": each([CreditNoteFilter(), notes, replace(notes, after=note)]),
            "get": each([note.number, ODD]),
            "numbers_near": each(["CN-2026-000009"]),
            "number_format": calls(),
        },
        "closings": {"get": each([ODD]), "in_states": calls(ClosingState.READY, ClosingState.SUBMITTED)},
        "events": {
            "unreviewed": calls(limit=5),
            "unreviewed_with_word": calls(Provider.ADYEN, ODD),
            "payments_of": each([1]),
            "unreviewed_count": each(list(Provider)),
            "matching": each([EventFilter(), EventFilter(EventState.WAITING, Provider.ADYEN, ODD)]),
            "get": each([1, 999]),
            "to_apply": calls(**page),
            "of_known_payments": calls(Provider.ADYEN, **page) + calls(Provider.STRIPE, **page),
            "to_reread": calls(Provider.ADYEN, **page),
            "counts_of_known_payments": calls(),
            "oldest": each([EventState.WAITING]),
            "counts": calls(),
        },
        "deliveries": {"newest": each(list(Provider)), "counts": calls()},
        "words": {"decided": each(list(Provider))},
        "runs": {
            "get": each([ODD]),
            "newest": calls(limit=5),
            "unfinished": calls(),
            "unfinished_of": each([ODD]),
            "row_leases": each([ODD]),
            "item_count_with_code": calls(ODD, ODD),
            "item_counts": each([ODD]),
            "items": calls(ODD, *ItemState, **page),
            "items_on_lines": calls(ODD, [1, 2]),
            "refunds": calls(ODD, after="", limit=5),
            "newest_refund": each([ODD]),
        },
        "audit": {
            "changed_since": calls(1, apart_from=ODD),
            "history": calls(invoice),
            "about": calls(refund_ids),
            "import_of": calls(invoice),
            "newest_entry": calls(),
            "newest_at": calls(),
        },
        "audit_lists": {
            "matching": [
                *calls(AuditFilter(limit=5)),
                *calls(AuditFilter(operator=ODD, action=ODD, subjects=[ODD], import_entry=1, after=1, limit=5)),
            ],
            "exported": calls(after=0, limit=5),
            "hashes": calls([1, 2]),
            "head": calls(),
        },
        "store": {"secret": calls(), "livemode": calls(), "sync_state": each(["reconcile:stripe", ODD])},
        "accounts": {"known": calls(), "of_key": calls(Provider.STRIPE, ODD)},
        "imports": {"conflicts": calls(block_of(INVOICES))},
    }


@pytest.fixture
def filled(desk: Desk) -> Desk:
    """A store with something of most kinds in it."""
    desk.bring_in(*INVOICES)
    assert desk("mark-refunded INV-1 --amount 40 --reason other --memo A --yes").exit_code == 0
    reference = desk.paid_by_card("INV-9")
    assert desk("refund INV-9 --amount 10 --reason duplicate --yes").exit_code == 0
    desk.sandbox.dashboard_refund(reference, 500)
    desk("reconcile")
    return desk


def answers_of(reading: Any, invoice: Invoice) -> dict[str, list[Any]]:
    return {
        f"{repository}.{method}": [call(getattr(getattr(reading, repository), method)) for call in calls]
        for repository, methods in samples(invoice).items()
        for method, calls in methods.items()
    }


def test_every_text_gives_the_same_by_the_bare_driver_and_in_a_transaction(filled: Desk) -> None:
    invoice = filled.invoice("INV-1")
    in_transaction = filled.books.read(lambda tx: answers_of(tx, invoice))
    assert in_transaction["invoices.by_number"][0].keys() == {ODD, "INV-1", "INV-2"}
    assert in_transaction["invoices.numbers_near"][1] == [ODD]
    assert in_transaction["invoices.numbers_behind"][2] == ["INV-1"]
    assert in_transaction["invoices.numbers_in_any_case"][0] == ["INV-1"]
    assert in_transaction["credit_notes.matching"][1] == [invoice.refunds[0].credit_note]
    path = plain_sqlite_path(filled.url)
    bare = SqliteBooks(path) if path else PostgresBooks(filled.url, plain_postgres_address(filled.url) or {}, "status")
    assert bare.read(lambda tx: answers_of(tx, invoice)) == in_transaction
    assert bare.zone == filled.books.zone


def test_every_method_of_a_reading_repository_is_called_here(desk: Desk) -> None:
    desk.bring_in(INVOICES[0])
    desk("mark-refunded INV-1 --amount 40 --reason other --memo A --yes")
    called = {name: set(methods) for name, methods in samples(desk.invoice("INV-1")).items()}

    def public(repository: object) -> set[str]:
        return {name for name, _ in inspect.getmembers(repository, callable) if not name.startswith("_")}

    def methods(tx: Any) -> dict[str, set[str]]:
        return {name: public(getattr(tx, name)) for name in {*vars(tx), *vars(SqlReading)} if not name.startswith("_")}

    assert desk.books.read(methods) == called


class Explained(Rows):
    """Rows of a connection that keep the plan of each text."""

    def __init__(self, rows: ConnectionRows) -> None:
        self._rows, self.plans = rows, dict[str, list[str]]()

    def all(self, text: str, **parameters: object) -> Sequence[Row]:
        if not text.startswith("PRAGMA"):
            self.plans[text] = [step[3] for step in self._rows.all(f"EXPLAIN QUERY PLAN {text}", **parameters)]
        return self._rows.all(text, **parameters)


LARGE = ("invoice", "payment", "refund", "credit_note", "event_payment", "audit_entry", "bulk_item")


def test_no_text_looks_through_a_large_table(sqlite_desk: Desk) -> None:
    sqlite_desk.bring_in(*INVOICES)
    sqlite_desk("mark-refunded INV-1 --amount 40 --reason other --memo A --yes")
    invoice = sqlite_desk.invoice("INV-1")

    def plans(connection: Any) -> dict[str, list[str]]:
        rows = Explained(ConnectionRows(connection))
        answers_of(SqlReading(rows), invoice)
        return rows.plans

    scans = {
        step: query
        for query, steps in sqlite_desk.books.inspect(plans).items()
        for step in steps
        if step.startswith(tuple(f"SCAN {table}" for table in LARGE)) and "INDEX" not in step
    }
    # All payments of a provider are counted, and the index on request keys leaves out refunds that failed.
    # A list that is sorted by something else than the number reads all that match.
    assert sorted(scans) == ["SCAN invoice", "SCAN payment", "SCAN refund"], scans
    assert "number DESC LIMIT" in scans["SCAN invoice"]
    assert "count(*)" in scans["SCAN payment"]
    assert "refund.request_key IN" in scans["SCAN refund"]


@pytest.mark.parametrize("key", ["", ODD, "a\nb", "\x7f", "😀" * 40, "null", "1", "-0", "1e3"])
def test_a_list_of_values_is_the_same_after_a_query(new_store: NewStore, key: str) -> None:
    from refundcli.store.databases.connection_rows import ConnectionRows
    from refundcli.store.databases.engine import store_engine

    with store_engine(new_store()).connect() as connection:
        rows = ConnectionRows(connection)
        assert rows.all("SELECT key FROM json_each(:keys)", keys=[key]) == [(key,)]
        assert rows.all("SELECT CAST(key AS BIGINT) FROM json_each(:ids)", ids=[2**53 + 1]) == [(2**53 + 1,)]
        assert connection.execute(text("SELECT 1")).scalar() == 1
    assert json.loads(json.dumps({key: None})) == {key: None}
