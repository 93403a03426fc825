# ruff: noqa: E501
"""Values that stored stores, files, providers and scripts depend on. They were computed once and must never change.

A key that changed would be a second refund; a hash that changed would be a broken audit chain. Do not update a value
here to make a test pass.
"""

import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from conftest import NewStore
from desk import MERCHANT, Desk
from refundcli.canonical import canonical
from refundcli.domain.bulk_run import RunKind
from refundcli.domain.identifiers import derived_id
from refundcli.domain.money import parse_money
from refundcli.domain.reasons import RefundReason
from refundcli.files.bulk.plan import PlanFile, write_plan
from refundcli.files.source import open_source
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.bulk.rows import BulkRow, CheckedRow
from refundcli.services.bulk.runs import fingerprint
from refundcli.services.dispatch.idempotency_keys import (
    content_of,
    digest,
    idempotency_key,
    is_derived,
    refund_id,
    row_key,
)
from refundcli.services.ports.providers import RefundOrder
from refundcli.store.audit import AuditTrail
from refundcli.store.databases.engine import store_engine
from wire import adyen_at, stripe_at

SECRET = bytes(range(32))
AT = datetime(2026, 10, 2, 12, 3, 4, 567890, tzinfo=UTC)
FIELDS = {
    "kind": "refund",
    "invoice": "INV-1",
    "amount": "12.50",
    "reason": "duplicate",
    "method": "",
    "reference": "",
    "refunded_on": None,
    "memo": "zwei \u00fc",
    "payment": "pi_1",
}


# --- what is derived from a request -----------------------------------------------------------------------------------


def test_row_keys() -> None:
    assert row_key(FIELDS, 1) == "row-8555fe9e3038642a1b3fd5cee5d75f3b1ec3317b"
    assert row_key(FIELDS, 2) == "row-db91a251927ec75a751a4c13cc8484d46dbcc287"
    assert row_key({"cells": ("INV-1", "x")}, 1) == "row-9e6921c8afb82f0f8493db9183518d2a7247c958"
    assert is_derived(row_key(FIELDS, 1))


def test_content_of_a_request() -> None:
    assert (
        content_of(FIELDS)
        == '{"amount":"12.50","invoice":"INV-1","kind":"refund","memo":"zwei ü","payment":"pi_1","reason":"duplicate"}'
    )
    assert digest(FIELDS) == "c089e45a2ad6bff61a559b686a17ea6c11840baf2f4e3128cd5111f4cd9601ed"


def test_refund_ids() -> None:
    assert refund_id(SECRET, "order-7", "pi_1", 1) == "rf_3VCM82Z33AY1CJXWS4GDM7J709"
    assert refund_id(SECRET, "order-7", "pi_1", 2) == "rf_74F7DW9EY3QZM73E518GVPQG07"
    assert derived_id("rf_", bytes(range(16))) == "rf_00041061050R3GG28A1C60T3GF"


def test_idempotency_keys() -> None:
    assert idempotency_key(SECRET, "order-7", "pi_1", 1) == "122ba00a-b828-4973-8530-1a9d21332e79"
    assert idempotency_key(SECRET, "void INV-1", "in_1", 2) == "75960262-2180-4f3c-affb-c91066d182a5"


def test_fingerprint_of_a_run() -> None:
    options: dict[str, object] = {
        "reason": None,
        "allow_duplicate": False,
        "plan": False,
        "columns": ("invoice", "amount"),
    }
    assert (
        fingerprint(RunKind.REFUND, "ab" * 32, options)
        == "14218593d4d81c4c5288ba2fce1c8d7779289d1ee58f0eff9b2905240f8fe7f7"
    )
    options = {"reason": RefundReason.OTHER, "allow_duplicate": True, "plan": True, "columns": ("invoice",)}
    assert (
        fingerprint(RunKind.MARK_REFUNDED, "cd" * 32, options)
        == "081d71629b7b1456fd3cb0209dc509300354bbd25679bf1a3990b384b94a435f"
    )


# --- audit and plans --------------------------------------------------------------------------------------------------


def test_canonical_json() -> None:
    facts = {"b": 1, "a": "é", "at": AT, "on": date(2026, 10, 2), "none": None, "list": [1, "x"], "amount": "1.00 EUR"}
    assert (
        canonical(facts)
        == '{"a":"é","amount":"1.00 EUR","at":"2026-10-02T12:03:04.567890+00:00","b":1,"list":[1,"x"],"none":null,"on":"2026-10-02"}'
    )


def test_hashes_of_audit_entries(new_sqlite: NewStore) -> None:
    engine = store_engine(new_sqlite())
    with engine.connect() as connection:
        connection.execute(text("DELETE FROM audit_entry"))
        trail = AuditTrail(connection, AT, "Ada Lovelace", "desk-2", login="ada")
        trail.write("refund succeeded", "rf_1", {"state": "submitted"}, {"state": "succeeded", "memo": 'a "b" ü'})
        trail.write("clock accepted", "store", {}, {"clock": AT.isoformat()})
        trail.flush()
        stored = connection.execute(
            text('SELECT seq, "before", "after", previous_hash, hash FROM audit_entry ORDER BY seq')
        )
        entries = [tuple(row) for row in stored]
    engine.dispose()
    assert entries == [
        (
            1,
            '{"state":"submitted"}',
            '{"memo":"a \\"b\\" ü","state":"succeeded"}',
            "",
            "b2136aaf26284430230f3552e75c92f227363a8916ab60055287c56898c0d93e",
        ),
        (
            2,
            "{}",
            '{"clock":"2026-10-02T12:03:04.567890+00:00"}',
            "b2136aaf26284430230f3552e75c92f227363a8916ab60055287c56898c0d93e",
            "0221ef9c379fe6cd65b86eaab264b2f66ee245b4b612a0419c8c227b8a2a5e5d",
        ),
    ]


def test_seal_of_a_plan(tmp_path: Path) -> None:
    row = BulkRow(
        2, "INV-1", "12.50", RefundReason.DUPLICATE, "cash", "ref 1", date(2026, 10, 2), "m", "pi_1", "", ("a",)
    )
    full = BulkRow(3, "INV-2", "", RefundReason.OTHER, key="mine", cells=("b",))
    checked = [
        CheckedRow(row, "row-1", 1250, 5000, "EUR", 1, 0, ((1, 1250, 0),)),
        CheckedRow(full, "mine", 700, 700, "JPY", 2, 0, ((2, 700, 0),)),
    ]
    header = {
        "kind": RunKind.MARK_REFUNDED,
        "file": "f.csv",
        "planned_by": "Ada",
        "planned_at": AT.isoformat(),
        "columns": ("invoice",),
        "rows_planned": 2,
        "reason": None,
        "allow_duplicate": False,
    }
    path = tmp_path / "plan.json"
    seal = write_plan(path, header, [checked], SECRET)
    assert seal == "9eaa3e7f6b338927410adc0a8c6afe49dff933b20eaf76b1a697ce2be7afb340"
    assert (
        path.read_text()
        == '{"refundcli_plan": {"version": 1, "kind": "mark-refunded", "file": "f.csv", "planned_by": "Ada", "planned_at": "2026-10-02T12:03:04.567890+00:00", "columns": ["invoice"], "rows_planned": 2, "reason": null, "allow_duplicate": false}, "rows": [\n{"line": 2, "invoice": "INV-1", "amount": "12.50", "takes_minor": 1250, "remaining_minor": 5000, "currency": "EUR", "reason": "duplicate", "method": "cash", "reference": "ref 1", "refunded_on": "2026-10-02", "memo": "m", "payment": "pi_1", "key": "row-1", "own_key": false, "cells": ["a"]},\n{"line": 3, "invoice": "INV-2", "amount": "full", "takes_minor": 700, "remaining_minor": 700, "currency": "JPY", "reason": "other", "key": "mine", "own_key": true, "cells": ["b"]}\n], "hmac": "9eaa3e7f6b338927410adc0a8c6afe49dff933b20eaf76b1a697ce2be7afb340"}\n'
    )
    plan = PlanFile(open_source(str(path), io.BytesIO()), RunKind.MARK_REFUNDED, SECRET)
    assert [(r.line, r.invoice, r.amount_text, r.key) for r in plan.rows()] == [
        (2, "INV-1", "12.50", ""),
        (3, "INV-2", "", "mine"),
    ]


# --- what is sent to providers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", list(RefundReason))
def test_requests_to_providers(reason: RefundReason) -> None:
    def order(payment: str) -> RefundOrder:
        return RefundOrder("rf_1", "INV-1", payment, parse_money("10.00 EUR"), reason)

    stripe_request = stripe_at(None).prepare(order("pi_1"))
    adyen_request = adyen_at(None).prepare(order("WNS7WQ756L2GWR82"))
    for_stripe, for_adyen = PROVIDER_REASONS[reason.value]
    assert stripe_request.params == {
        "payment_intent": "pi_1",
        "amount": 1000,
        "reason": for_stripe,
        "metadata": {
            "refundcli_refund": "rf_1",
            "refundcli_reason": reason.value,
            "refundcli_invoice": "INV-1",
            "refundcli_currency": "eur",
        },
    }
    assert adyen_request.params == {
        "merchantAccount": "Shop",
        "amount": {"currency": "EUR", "value": 1000},
        "reference": "rf_1",
        "merchantRefundReason": for_adyen,
    }
    assert stripe_request.endpoint == "https://api.stripe.com/v1/refunds"
    assert adyen_request.endpoint == "https://checkout-test.adyen.com/v72/payments/WNS7WQ756L2GWR82/refunds"


# At Stripe and at Adyen, by reason.
PROVIDER_REASONS = {
    "other": ("requested_by_customer", "OTHER"),
    "chargeback": ("requested_by_customer", "OTHER"),
    "returned-goods": ("requested_by_customer", "RETURN"),
    "product-unsatisfactory": ("requested_by_customer", "CUSTOMER REQUEST"),
    "overcharged": ("requested_by_customer", "CUSTOMER REQUEST"),
    "duplicate": ("duplicate", "DUPLICATE"),
    "billing-error": ("requested_by_customer", "CUSTOMER REQUEST"),
    "fraudulent-charge": ("requested_by_customer", "FRAUD"),
}


# --- a whole store ----------------------------------------------------------------------------------------------------


@pytest.fixture
def frozen_desk(new_sqlite: NewStore, tmp_path: Path) -> Iterator[Desk]:
    """Two commands and two files, in a store with a fixed secret."""
    with RunningSandbox(merchant_account=MERCHANT) as sandbox:
        desk = Desk(new_sqlite(), sandbox, tmp_path)
        with desk.books.engine.begin() as connection:
            connection.execute(text("UPDATE store_info SET secret = :secret"), {"secret": SECRET.hex()})
        references = {"C-1": "pi_frozen1", "C-2": "pi_frozen2"}
        for number, reference in references.items():
            made = sandbox.charge("100.00 EUR", reference=reference)
            desk.paid_by_card(number, reference=made.reference)
        desk.paid_outside("T-1")
        desk.paid_outside("T-2")
        desk.unpaid("U-1")
        refunds, records = tmp_path / "refunds.csv", tmp_path / "records.csv"
        refunds.write_text("invoice,amount,reason,memo\nC-2,10.00,overcharged,\nC-2,10.00,duplicate,twice\n")
        records.write_text("invoice,amount,reason,method,reference,refunded_on\nT-2,5.00,other,cash,,2026-10-02\n")
        for command in (
            "refund C-1 --amount 30.00 --reason overcharged --memo kit --request-key order-7 --yes",
            "mark-refunded T-1 --amount 40.00 --reason other --method cash --request-key order-8 --yes",
            f"refund --from {refunds} --yes",
            f"mark-refunded --from {records} --yes",
            "void U-1 --memo twice --yes",
        ):
            answer = desk(command)
            assert answer.exit_code == 0, answer
        yield desk
        desk.books.engine.dispose()


def test_stored_refunds_and_runs(frozen_desk: Desk) -> None:
    """Ids, keys, `content` and the request, as commands and files make them; the id of a record is random."""
    with frozen_desk.books.engine.connect() as connection:
        refunds = connection.execute(
            text(
                "SELECT CASE WHEN kind = 'provider' THEN id END, request_key, content, idempotency_key, request "
                "FROM refund ORDER BY request_key"
            )
        )
        runs = connection.execute(text("SELECT kind, options, fingerprint FROM bulk_run ORDER BY kind"))
        assert [tuple(row) for row in refunds] == [
            (
                "rf_3GYRVVA8YX7YE1VN18P0DAJC6M",
                "order-7",
                '{"amount":"30.00","invoice":"C-1","kind":"provider","memo":"kit","reason":"overcharged"}',
                "b066613f-f1ad-438b-9961-29cbf6dfb52a",
                '{"amount":3000,"metadata":{"refundcli_currency":"eur","refundcli_invoice":"C-1","refundcli_reason":"overcharged","refundcli_refund":"rf_3GYRVVA8YX7YE1VN18P0DAJC6M"},"payment_intent":"pi_frozen1","reason":"requested_by_customer"}',
            ),
            (
                None,
                "order-8",
                '{"amount":"40.00","invoice":"T-1","kind":"record","method":"cash","reason":"other"}',
                None,
                None,
            ),
            (
                "rf_1G5J3M9RZ4MY8XQCVN2CK782RE",
                "row-4dcbae4c376543c2b38ed9f2d32241c68b2bab81",
                '{"amount":"10.00","invoice":"C-2","kind":"provider","reason":"overcharged"}',
                "dcfc623d-792a-4f21-8d3e-b8fd272942fc",
                '{"amount":1000,"metadata":{"refundcli_currency":"eur","refundcli_invoice":"C-2","refundcli_reason":"overcharged","refundcli_refund":"rf_1G5J3M9RZ4MY8XQCVN2CK782RE"},"payment_intent":"pi_frozen2","reason":"requested_by_customer"}',
            ),
            (
                None,
                "row-701ac331ea0b3c662c4ddd742764da204576a39e",
                '{"amount":"5.00","invoice":"T-2","kind":"record","method":"cash","reason":"other","refunded_on":"2026-10-02"}',
                None,
                None,
            ),
            (
                "rf_24HBA4G6VEKXZ6JJ2RX6PGVX1Z",
                "row-94e9e3a8aefc1788d017b5d2331085f42bf342f8",
                '{"amount":"10.00","invoice":"C-2","kind":"provider","memo":"twice","reason":"duplicate"}',
                "9f910514-833b-4392-bf9b-58490a5446d4",
                '{"amount":1000,"metadata":{"refundcli_currency":"eur","refundcli_invoice":"C-2","refundcli_reason":"duplicate","refundcli_refund":"rf_24HBA4G6VEKXZ6JJ2RX6PGVX1Z"},"payment_intent":"pi_frozen2","reason":"duplicate"}',
            ),
        ]
        assert [tuple(row) for row in runs] == [
            (
                "mark-refunded",
                '{"allow_duplicate": false, "columns": ["invoice", "amount", "reason", "method", "reference", "refunded_on"], "plan": false, "reason": null}',
                "90dd9ccf3617ad7c606043b94d24a88ef4024f8c729b81a2c992fb67a59edf38",
            ),
            (
                "refund",
                '{"allow_duplicate": false, "columns": ["invoice", "amount", "reason", "memo"], "plan": false, "reason": null}',
                "595a7e4109aedb48c549d7e1a35279266a700fb115bb67701cf20b0239d08db9",
            ),
        ]


def test_entries_of_the_audit_trail(frozen_desk: Desk) -> None:
    """Actions and keys, whatever the times and random ids."""
    with frozen_desk.books.engine.connect() as connection:
        rows = connection.execute(text('SELECT action, subject, "before", "after" FROM audit_entry ORDER BY seq')).all()
    entries = {
        (
            action,
            re.sub(r"_\w+$", "", subject),
            " ".join(sorted(json.loads(before))),
            " ".join(sorted(json.loads(after))),
        )
        for action, subject, before, after in rows
    }
    assert entries == {
        ("credit note issued", "rf", "", "number"),
        ("invoice void", "U-1", "status", "memo status"),
        ("invoices imported", "test.csv", "", "changed first_line new"),
        ("provider account seen", "stripe", "", "account livemode"),
        ("refund ready", "rf", "", "amount idempotency_key invoice kind memo provider reason request_key run state"),
        ("refund ready", "rf", "", "amount idempotency_key invoice kind memo provider reason request_key state"),
        ("refund ready", "rf", "", "amount idempotency_key invoice kind provider reason request_key run state"),
        ("refund recorded", "rf", "", "amount invoice kind method reason refunded_on request_key run state"),
        ("refund recorded", "rf", "", "amount invoice kind method reason request_key state"),
        ("refund submitted", "rf", "state", "fence lease_owner state"),
        ("refund succeeded", "rf", "state", "provider_reference provider_status state"),
        ("run begun", "run", "", "fingerprint kind rows source"),
        ("run finished", "run", "state", "state"),
        ("store mode pinned", "store", "", "livemode"),
    }
