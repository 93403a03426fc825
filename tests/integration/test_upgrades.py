"""Stores written by released programs, upgraded by this one: nothing is lost, misreported or sent twice.

The stores and what their own programs said of them are in tests/stores/dumps; tests/stores/build.py makes them.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from desk import Desk
from refundcli.domain.statuses import Provider
from refundcli.sandbox.core.records import LoggedRequest
from refundcli.sandbox.testing import RunningSandbox
from refundcli.store.databases.engine import store_engine
from refundcli.store.schema_check import HEAD
from stores.build import brief
from stores.loading import PLACEHOLDER, SCHEMAS, Released, rows, sent_lately
from tampering import tamper
from webhooks import Json, adyen, item, settle_secrets, signed

# Allowed changes of `invoice show` after an upgrade, with the reason.
MAY_CHANGE = {
    "actions": "rules grow; what matters of them has tests of its own here",
    "references": "later schemas know more ids of a payment",
    "dispute_amount": "disputes are records since 0006; their amounts are compared",
    "why_not_auto_refundable": "a sentence for people; whether it is one is checked by auto_refundable",
}
# JSON keys that were renamed since.
RENAMED = {
    "came_back_at": "needs_acknowledgement_since",
    "held": "still_reserved",
    "held_until": "reserved_until",
    "in_flight": "reserved",
    "returned_elsewhere": "refunded_externally",
    "why": "message",
    "word": "code",
}
# The parts of `status` that list refunds and closings, and what they were called.
ATTENTION = ("unfinished", "closings", "needs_acknowledgement", "pending", "external")
OLD_ATTENTION = ("unfinished", "closings", "came_back", "pending", "elsewhere")
DATABASES = ("sqlite", "postgresql")
NEW_DATABASE = Callable[[], str]


@pytest.fixture(scope="module")
def new_database(postgres: Any) -> Iterator[NEW_DATABASE]:
    """Empty PostgreSQL databases for the old tables."""
    admin = create_engine(
        postgres.get_uri("postgres").replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    names: list[str] = []

    def make() -> str:
        names.append(f"released_{len(names)}")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {names[-1]}"))
        return str(postgres.get_uri(names[-1]))

    yield make
    with admin.connect() as connection:
        for name in names:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(params=SCHEMAS)
def released(request: pytest.FixtureRequest) -> Released:
    return Released(request.param)


@pytest.fixture(params=DATABASES)
def old_store(request: pytest.FixtureRequest, released: Released, sandbox: RunningSandbox, tmp_path: Path) -> str:
    """The old program's store, with this sandbox as its providers."""
    released.into_sandbox(sandbox)
    if request.param == "sqlite":
        return released.into_sqlite(tmp_path / "store.db", sandbox.url)
    return released.into_postgres(request.getfixturevalue("new_database")(), sandbox.url)


@pytest.fixture
def desk(old_store: str, sandbox: RunningSandbox, tmp_path: Path) -> Iterator[Desk]:
    """A desk with the upgraded store, whose requests were sent ten minutes ago."""
    sent_lately(old_store)
    new_desk = Desk(old_store, sandbox, tmp_path)
    upgraded = new_desk.json("store upgrade")
    assert upgraded["after"] == HEAD
    # The stores may be older than the allowed clock skew.
    new_desk.json("store clock --accept")
    yield new_desk
    new_desk.books.engine.dispose()


# --- what is stored ---


def test_the_books_report_what_the_old_program_reported(desk: Desk, released: Released) -> None:
    for invoice in released.expectations["invoices"]:
        answer = brief(desk.json(f"invoice show {invoice['number']}"))
        assert _same(invoice, answer), invoice["number"]
    assert desk.json("store check")["sound"]


def test_rows_are_compared_from_the_upgrade_on(desk: Desk) -> None:
    assert desk.json("store check")["compared_from"] > 1
    tamper(desk.books.engine, "UPDATE invoice SET customer = 'Mallory' WHERE id = 1")
    (mismatch,) = desk.refused("audit verify", "audit-mismatch", exit_code=3)["context"]["mismatches"]
    assert (mismatch["field"], mismatch["stored"]) == ("customer", "Mallory")


def _same(old: Any, new: Any, at: str = "") -> bool:
    """Every field that the old program printed still has its value; new fields may exist."""
    if isinstance(old, Mapping):
        if "dispute_amount" in old and "disputes" in new:
            assert [dispute.get("amount") for dispute in new["disputes"]] == [old["dispute_amount"]], at
        for name, value in old.items():
            if name in MAY_CHANGE:
                continue
            now = new.get(name, new.get(RENAMED.get(name, name)))
            assert _same(value, now, f"{at}.{name}")
        return True
    if isinstance(old, list):
        assert len(old) == len(new), at
        return all(_same(*pair, f"{at}[{n}]") for n, pair in enumerate(zip(old, new, strict=True)))
    assert old == new, f"{at}: {old!r} became {new!r}"
    return True


def test_refunds_keep_their_keys_and_their_stored_requests(desk: Desk, released: Released) -> None:
    columns = "id, state, request_key, idempotency_key, endpoint, api_version, request"
    stored = rows(desk.url, f"SELECT {columns} FROM refund ORDER BY id")
    assert stored == _filled_in(released.expectations["refunds"], desk.sandbox.url)
    if released.has("0002"):
        columns = "id, action, state, idempotency_key, endpoint, api_version"
        stored = rows(desk.url, f"SELECT {columns} FROM closing ORDER BY id")
        assert stored == _filled_in(released.expectations["closings"], desk.sandbox.url)


def test_credit_notes_keep_their_numbers_and_the_series_continues(desk: Desk, released: Released) -> None:
    credit_notes = released.expectations["credit_notes"]
    assert _same(credit_notes, brief(desk.json("credit-notes list")))
    numbers = [f"CN-2026-{n:06}" for n in range(1, len(credit_notes) + 1)]
    assert sorted(note["number"] for note in credit_notes) == numbers
    desk.json("mark-refunded CASH --amount 1 --reason other --yes")
    (newest,) = {note["number"] for note in desk.json("credit-notes list")} - set(numbers)
    assert newest.endswith(f"-{len(credit_notes) + 1:06}") or newest.endswith("-000001"), newest
    assert desk.json("store check")["sound"]


def test_the_audit_chain_continues_from_its_old_head(desk: Desk, released: Released) -> None:
    (head,) = released.expectations["audit_head"]
    desk.json("mark-refunded CASH --amount 1 --reason other --yes")
    chain = rows(desk.url, f"SELECT seq, hash, previous_hash FROM audit_entry WHERE seq >= {head['seq']} ORDER BY seq")
    assert chain[0]["hash"] == head["hash"]
    assert chain[1]["previous_hash"] == head["hash"]
    assert desk.json("store check")["sound"]


def test_status_lists_what_needed_someone(desk: Desk, released: Released) -> None:
    event = released.expectations["status"][0]
    status = brief(desk.json("status", exit_code=event["exit_code"]))
    # A reversed external refund was listed in two places.
    listed = {entry["id"] for part in ATTENTION for entry in status.get(part, [])}
    for part in OLD_ATTENTION:
        assert {entry["id"] for entry in event.get(part, [])} <= listed, part
    assert set(event.get("disputed", [])) <= set(status.get("disputed", []))


def test_runs_and_events_are_all_there(desk: Desk, released: Released) -> None:
    for table, columns, since in (
        ("bulk_run", "id, kind, state, fingerprint", "0003"),
        ("bulk_item", "run_id, n, invoice, request_key, state, code", "0003"),
        ("provider_event", "id, kind, about", "0002"),
    ):
        if released.has(since):
            part = {"bulk_run": "runs", "bulk_item": "run_rows", "provider_event": "events"}[table]
            names = columns.split(", ")
            recorded = [{name: row[name] for name in names} for row in released.expectations[part]]
            assert rows(desk.url, f"SELECT {columns} FROM {table} ORDER BY {columns}") == recorded


def _filled_in(expectations: Any, sandbox: str) -> Any:
    return json.loads(json.dumps(expectations).replace(PLACEHOLDER, sandbox))


# --- what was under way ---


def test_unfinished_refunds_resume_with_their_own_keys_and_requests(desk: Desk, released: Released) -> None:
    apply_events(desk, released)
    unfinished = _of_single_refunds(desk)
    assert {entry["state"] for entry in unfinished} == {"ready", "submitted"}
    resume(desk)
    stored = {
        entry["idempotency_key"]: entry for entry in _filled_in(released.expectations["refunds"], desk.sandbox.url)
    }
    for request in desk.sandbox.refund_requests:
        assert request.idempotency_key in stored
        _is_the_stored_request(request, stored[str(request.idempotency_key)], desk.sandbox.url)
    for entry in unfinished:
        (refund,) = rows(desk.url, f"SELECT state, amount FROM refund WHERE id = '{entry['id']}'")
        assert refund["state"] == ("succeeded" if entry["provider"] == "stripe" else "pending"), entry["number"]
        assert desk.refunded_at_provider(entry["reference"]) == [refund["amount"]], entry["number"]
    assert desk.json("store check")["sound"]


def test_nothing_is_sent_again_once_the_providers_forgot_its_key(desk: Desk, released: Released) -> None:
    apply_events(desk, released)
    sent_lately(desk.url, minutes=60 * 24 * 30)
    submitted = {run["id"]: run for run in _of_single_refunds(desk) if run["state"] == "submitted"}
    before = len(desk.sandbox.refund_requests)
    resume(desk)
    sent = {str(request.idempotency_key) for request in desk.sandbox.refund_requests[before:]}
    assert not sent & {run["idempotency_key"] for run in submitted.values()}
    for run in submitted.values():
        (now,) = rows(desk.url, f"SELECT state FROM refund WHERE id = '{run['id']}'")
        # Stripe still lists the refund.
        assert now["state"] == ("succeeded" if run["number"] == "S-LOST-ANSWER" else "submitted"), run["number"]


def test_closings_resume_at_stripe(desk: Desk, released: Released) -> None:
    unfinished = [
        closing for closing in released.expectations["closings"] if closing["state"] in ("ready", "submitted")
    ]
    if not unfinished:
        pytest.skip("closings came with 0003's program")
    apply_events(desk, released)
    resume(desk)
    keys = {closing["idempotency_key"] for closing in unfinished}
    requests = [
        closing for closing in desk.sandbox.requests if closing.method == "POST" and "/invoices/" in closing.path
    ]
    assert {closing.idempotency_key for closing in requests} <= keys
    for name in ("C-READY", "C-SENT", "C-LOST-ANSWER"):
        invoice = desk.json(f"invoice show {name}")
        assert invoice["status"] == "void", name
    assert {
        str(closing.status) for closing in desk.sandbox.state.invoices.values() if "WRITTEN" not in closing.number
    } == {
        "void",
        "open",  # the one that Stripe declined
    }
    assert desk.json("store check")["sound"]


def test_unfinished_runs_resume_and_refund_each_row_once(desk: Desk, released: Released) -> None:
    if not released.has("0003"):
        pytest.skip("runs came with 0003")
    apply_events(desk, released)
    _write_files(desk, released)
    runs = {run["state"]: run["id"] for run in released.expectations["runs"] if run["kind"] == "refund"}
    assert set(runs) == {"finished", "stopped", "running"}
    desk.json(f"refund --resume {runs['running']} --yes")
    # The stopped run resumes with its file.
    assert desk("refund --from stopped.csv --yes").exit_code == 9
    assert {run["state"] for run in rows(desk.url, "SELECT state FROM bulk_run")} == {"finished"}
    for name in "FIJKLMNOPQ":
        assert desk.refunded_at_provider(_reference(desk, f"R-{name}")) == [2000], name
    for name in "GH":
        assert desk.refunded_at_provider(_reference(desk, f"R-{name}")) == [], "the run refused it"
    assert desk.json("store check")["sound"]


def test_the_same_files_again_do_nothing_twice(desk: Desk, released: Released) -> None:
    apply_events(desk, released)
    _write_files(desk, released)
    # One of them has a separate test.
    numbers = [
        invoice["number"] for invoice in released.expectations["invoices"] if invoice["number"] != "A-CAPTURE-FAILED"
    ]
    books = [brief(desk.json(f"invoice show {number}")) for number in numbers]
    for name in ("invoices.csv", "several.jsonl"):
        desk.json(f"invoice import {name}")
    again = [brief(desk.json(f"invoice show {number}")) for number in numbers]
    assert _same(books, again)
    if released.has("0003"):
        before = len(desk.sandbox.refund_requests)
        answer = desk.json("refund --from finished.csv --yes", exit_code=9)
        # R-E was declined by the provider, so it is a new attempt; R-D is refused again.
        assert [_money_at(desk, f"R-{name}") for name in "ABCDE"] == [[2000], [5000], [1000], [], [500]]
        assert len(desk.sandbox.refund_requests) == before + 1, answer
        assert desk.json("mark-refunded --from transfers.csv --yes")["recorded"] == 0
    assert desk.json("store check")["sound"]


def apply_events(desk: Desk, released: Released) -> None:
    """The operator's first steps, as the events suggest."""
    settle_secrets(desk)
    if released.has("0002"):
        assert desk("events apply").exit_code in (0, 3, 8)


def resume(desk: Desk) -> None:
    """`resume` with the confirmation for first sends."""
    answer = desk("resume --all --yes")
    # 9: an unfinished run, which is finished separately.
    assert answer.exit_code in (0, 8, 9), answer


def _of_single_refunds(desk: Desk) -> list[Mapping[str, Any]]:
    """Unfinished refunds outside runs."""
    return rows(
        desk.url,
        "SELECT r.id, r.state, r.idempotency_key, r.provider, i.number,"
        " coalesce(p.payment_intent, p.charge, p.psp_reference) AS reference FROM refund r"
        " JOIN invoice i ON i.id = r.invoice_id JOIN payment p ON p.id = r.payment_id"
        " WHERE r.state IN ('ready', 'submitted') AND i.number NOT LIKE 'R-%' ORDER BY r.id",
    )


def _is_the_stored_request(request: LoggedRequest, stored: Mapping[str, Any], sandbox: str) -> None:
    assert f"{sandbox}{request.path}" == stored["endpoint"]
    assert _texts(request.params) == _texts(json.loads(stored["request"]))


def _texts(params: Any) -> Any:
    """Form values are strings."""
    if isinstance(params, Mapping):
        return {name: _texts(value) for name, value in params.items()}
    return str(params)


def _write_files(desk: Desk, released: Released) -> None:
    for name, content in released.files.items():
        (desk.folder / name).write_text(content)


def _reference(desk: Desk, number: str) -> str:
    return desk.invoice(number).payments[0].reference


def _money_at(desk: Desk, number: str) -> list[int]:
    return desk.refunded_at_provider(_reference(desk, number))


# --- what 0006 makes of disputes and events ---


def ingest(desk: Desk, *items: Json) -> Any:
    path = desk.folder / "deliveries.jsonl"
    path.write_text("".join(f"{adyen(signed(entry)).as_line}\n" for entry in items))
    settle_secrets(desk)
    return json.loads(desk(f"events ingest {path} -o json").out)


def refusal(desk: Desk, number: str) -> str:
    """The refusal code of a refund of 1.00; empty if allowed."""
    answer = desk(f"refund {number} --amount 1 --reason other --dry-run -o json")
    return "" if answer.exit_code == 0 else str(answer.error["code"])


def payment_of(desk: Desk, number: str) -> Json:
    payment: Json = brief(desk.json(f"invoice show {number}"))["payments"][0]
    return payment


@pytest.mark.parametrize(
    "codes", [("CHARGEBACK", "DISPUTE_DEFENSE_PERIOD_ENDED"), ("SECOND_CHARGEBACK",), ("DISPUTE_DEFENSE_PERIOD_ENDED",)]
)
def test_an_imported_loss_and_its_webhooks_are_one_loss(desk: Desk, codes: tuple[str, ...]) -> None:
    for hour, code in enumerate(codes, 10):
        ingest(
            desk,
            item(
                code,
                pspReference="DISPUTE000000009",
                originalReference=_reference(desk, "A-D-LOST-30"),
                amount={"currency": "EUR", "value": 3000},
                eventDate=f"2026-10-06T{hour}:00:00+02:00",
            ),
        )
    payment = payment_of(desk, "A-D-LOST-30")
    assert (payment["lost"], payment["refundable"]) == ("30.00 EUR", "70.00 EUR")
    assert [dispute["amount"] for dispute in payment["disputes"]] == ["30.00 EUR"]


def test_a_chargeback_that_an_answer_had_cleared_is_open_again(desk: Desk, released: Released) -> None:
    _of_events(released)
    assert refusal(desk, "A-CLEARED") in ("disputed", "unreviewed-event"), "before the events are applied"
    apply_events(desk, released)
    assert refusal(desk, "A-CLEARED") == "disputed"
    assert refusal(desk, "A-INQUIRY") == "disputed"


def test_a_capture_that_failed_is_applied_and_the_invoice_is_not_paid(desk: Desk, released: Released) -> None:
    _of_events(released)
    # Programs from 0006 on have applied it already.
    assert refusal(desk, "A-CAPTURE-FAILED") == ("not-paid" if released.has("0006") else "unreviewed-event")
    apply_events(desk, released)
    assert refusal(desk, "A-CAPTURE-FAILED") == "not-paid"
    assert desk("void A-CAPTURE-FAILED --yes").exit_code == 0


def test_ordinary_events_block_nothing_after_the_upgrade(desk: Desk, released: Released) -> None:
    _of_events(released)
    ordinary = ("A-ORDINARY", "A-PART")
    assert [refusal(desk, number) for number in ordinary] == ["events-not-read"] * 2, "a dry run cannot read them"
    apply_events(desk, released)
    assert [refusal(desk, number) for number in ordinary] == ["", ""]
    assert desk.json("refund A-ORDINARY --full --reason other --yes")["refunds"][0]["status"] == "pending"
    kinds = rows(desk.url, "SELECT DISTINCT state FROM provider_event WHERE kind IN ('AUTHORISATION', 'CAPTURE')")
    # Before 0006 a capture was noted: it is read again, and applied a known payment is applied.
    assert {kind["state"] for kind in kinds} == {"noted", "applied", "unmatched"}


def test_two_disputes_that_were_one_value_add_up(desk: Desk, released: Released) -> None:
    _of_events(released)
    apply_events(desk, released)
    payment = payment_of(desk, "A-TWO")
    assert (payment["lost"], payment["refundable"]) == ("50.00 EUR", "50.00 EUR")
    assert payment_of(desk, "A-LOST-30")["lost"] == "30.00 EUR"
    assert payment_of(desk, "A-WON")["dispute"] == "won"


def test_an_event_that_contradicted_the_books_blocks_until_it_is_known(desk: Desk, released: Released) -> None:
    _of_events(released)
    assert refusal(desk, "A-WRONG") == "unreviewed-event"
    if released.has("0003"):
        assert refusal(desk, "A-WRONG-KNOWN") == "events-not-read"
        apply_events(desk, released)
        assert refusal(desk, "A-WRONG") == "unreviewed-event"
        assert refusal(desk, "A-WRONG-KNOWN") == "", "somebody acknowledged it before the upgrade"


def test_a_stored_event_that_is_delivered_again_is_known(desk: Desk, released: Released) -> None:
    _of_events(released)
    apply_events(desk, released)
    stored = rows(desk.url, "SELECT payload FROM provider_event WHERE provider = 'adyen' ORDER BY id")
    summary = ingest(desk, *(json.loads(row["payload"]) for row in stored))
    assert (summary["new"], summary["already_stored"]) == (0, len(stored))


def test_a_chargeback_stored_before_its_invoice_is_applied_by_the_import(desk: Desk, released: Released) -> None:
    _of_events(released)
    file = desk.folder / "late.csv"
    head = "number,customer,currency,total,status,issued_on,provider,payment_reference"
    file.write_text(f"{head}\nLATE-1,cus_1,EUR,100.00,paid,2026-09-01,adyen,NOTINTHEBOOKS001\n")
    desk.json(f"invoice import {file}")
    assert refusal(desk, "LATE-1") in ("disputed", "unreviewed-event")
    apply_events(desk, released)
    assert refusal(desk, "LATE-1") == "disputed"


def test_a_late_failure_stays_reserved_until_it_is_acknowledged(desk: Desk, released: Released) -> None:
    _of_events(released)
    apply_events(desk, released)
    late = brief(desk.json("invoice show A-LATE"))
    assert late["refundable"] == "60.00 EUR"
    desk.json(f"acknowledge {late['refunds'][0]['id']} --yes")
    assert brief(desk.json("invoice show A-LATE"))["refundable"] == "100.00 EUR"


def test_an_import_does_not_make_an_uncaptured_invoice_paid_again(desk: Desk, released: Released) -> None:
    if not released.has("0002"):
        pytest.skip("events came with 0002")
    apply_events(desk, released)
    _write_files(desk, released)
    desk.json("invoice import invoices.csv")
    assert desk.json("invoice show A-CAPTURE-FAILED")["status"] == "open"


def _of_events(released: Released) -> None:
    if not released.has("0002"):
        pytest.skip("events came with 0002")


# --- what 0007 makes of rejected deliveries ---


def test_deliveries_that_an_older_program_rejected_are_still_counted(
    old_store: str, released: Released, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """Old counts have no provider and no time; new ones have both."""
    if not released.has("0006"):
        pytest.skip("counted in the same way since 0002")
    engine = store_engine(old_store)
    with engine.connect() as connection, connection.begin():
        connection.execute(text("INSERT INTO counter (name, value) VALUES ('delivery refused: forged', 7)"))
    engine.dispose()
    desk = Desk(old_store, sandbox, tmp_path)
    settle_secrets(desk)
    desk.json("store upgrade")
    path = desk.folder / "forged.jsonl"
    path.write_text(f"{adyen(signed(item(), 'ab' * 16)).as_line}\n")
    assert desk(f"events ingest {path}").exit_code == 3
    counts = desk.books.read(lambda tx: tx.deliveries.counts())
    assert [(count.provider, count.reason, count.count) for count in counts] == [
        (None, "forged", 7),
        (Provider.ADYEN, "forged", 1),
    ]
    assert [count.last_at is None for count in counts] == [True, False]
    assert rows(desk.url, "SELECT name FROM counter WHERE name LIKE 'delivery%'") == []
    desk.books.engine.dispose()
