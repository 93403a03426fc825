"""invoice import from the command line, on both databases: all or nothing, nothing twice, nothing lost."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from desk import Answer, Desk
from refundcli.cli.main import run
from refundcli.domain.money import Money
from refundcli.domain.statuses import InvoiceStatus
from refundcli.sandbox.core.seed import seed_file
from refundcli.sandbox.core.state import SandboxState
from refundcli.services.clock import SystemClock
from refundcli.services.imports import from_file
from refundcli.services.imports.from_file import CheckedInvoices, ImportRefused, write_invoices
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.bulk_invoices import block_of
from refundcli.services.ports.records import NewInvoice
from refundcli.store.databases.engine import store_engine
from refundcli.store.imports.staging import InvoiceSpool
from refundcli.store.unit_of_work import SqlBooks

HEADER = "number,customer,customer_name,currency,total,status,issued_on,provider,payment_reference,refunded_amount"
GOOD = f"""{HEADER}
INV-1,cus_1,Ada,EUR,120.00,paid,2026-09-01,stripe,pi_1,
INV-2,cus_2,Bo,JPY,5200,open,2026-09-02,,,
INV-3,cus_3,Cy,KWD,1.250,paid,2026-09-03,adyen,PSP1,1.250
"""


class Shop:
    """A store, and invoices to import."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.books = SqlBooks(store_engine(url), SystemClock(UTC), "Ada")

    def __call__(self, *args: str, stdin: str = "") -> Answer:
        environ = {"REFUNDCLI_STORE_URL": self.url, "REFUNDCLI_OPERATOR_NAME": "Ada"}
        with CliRunner().isolation(input=stdin, env=environ) as (out, err, _):
            code = run(args)
            sys.stderr.flush()
            return Answer(code, out.getvalue().decode(), err.getvalue().decode())

    def bring_in(self, content: str, *options: str, name: str = "invoices.csv") -> Answer:
        Path(name).write_text(content)
        return self("invoice", "import", name, *options)

    def total(self, number: str) -> Money | None:
        invoice = self.books.read(lambda tx: tx.invoices.get(number))
        return invoice.total if invoice else None

    def status(self, number: str) -> InvoiceStatus:
        return self.books.read(lambda tx: invoice_named(tx, number)).status


@pytest.fixture
def shop(store_url: str) -> Iterator[Shop]:
    new_shop = Shop(store_url)
    yield new_shop
    new_shop.books.engine.dispose()


def test_the_first_import_makes_the_store(tmp_path: Path) -> None:
    shop = Shop(f"sqlite:///{tmp_path / 'new' / 'books.db'}")
    answer = shop.bring_in(GOOD)
    assert answer.exit_code == 0, answer
    assert "3 new, 0 changed, 0 unchanged" in answer.err
    assert f"Created the store {shop.url}" in answer.err
    assert (tmp_path / "new" / "books.db").stat().st_mode & 0o777 == 0o600
    assert "Created" not in shop.bring_in(GOOD).err


def test_good_rows_go_in_and_are_counted(shop: Shop) -> None:
    answer = shop.bring_in(GOOD, "-o", "json")
    assert answer.exit_code == 0, answer
    assert answer.json == {
        "schema": "1",
        "file": "invoices.csv",
        "rows": 3,
        "new": 3,
        "changed": 0,
        "unchanged": 0,
        "conflicts": [],
        "conflict_count": 0,
        "refused": [],
        "refused_count": 0,
        "rejected_file": None,
        "matched": [],
        "read_as": None,
        "passed_over": {},
    }
    assert [str(shop.total(f"INV-{n}")) for n in (1, 2, 3)] == ["120.00 EUR", "5200 JPY", "1.250 KWD"]
    # Fully refunded before the import.
    assert shop.status("INV-3") is InvoiceStatus.REFUNDED


def test_the_same_file_again_changes_nothing_and_says_so(shop: Shop) -> None:
    shop.bring_in(GOOD)
    again = shop.bring_in(GOOD)
    assert again.exit_code == 0
    assert "0 new, 0 changed, 3 unchanged. Nothing was changed." in again.err
    assert "kept" not in again.err
    history = json.loads(shop("invoice", "history", "INV-1", "-o", "json").out)
    assert [entry["action"] for entry in history] == ["invoice imported"]


def test_one_changed_cell_changes_one_invoice(shop: Shop) -> None:
    shop.bring_in(GOOD)
    answer = shop.bring_in(GOOD.replace("Ada", "Ada Lovelace"), "-o", "json")
    assert (answer.json["new"], answer.json["changed"], answer.json["unchanged"]) == (0, 1, 2)


def test_standard_input_is_read_for_a_dash(shop: Shop) -> None:
    answer = shop("invoice", "import", "-", "-o", "json", stdin=GOOD)
    assert answer.exit_code == 0, answer
    assert (answer.json["file"], answer.json["new"]) == ("standard input", 3)


def test_json_lines_with_several_payments_go_in(shop: Shop) -> None:
    line = {"number": "INV-1", "customer": "c", "currency": "EUR", "total": 120, "status": "paid"}
    line |= {"issued_on": "2026-09-01", "payments": [{"paid_amount": "100"}, {"paid_amount": "20.00"}]}
    assert shop.bring_in(json.dumps(line), name="a.jsonl").exit_code == 0
    invoice = shop.books.read(lambda tx: invoice_named(tx, "INV-1"))
    assert [payment.captured.number for payment in invoice.payments] == ["100.00", "20.00"]


def test_one_bad_row_rejects_the_whole_file(shop: Shop) -> None:
    answer = shop.bring_in(GOOD.replace("5200", "52,00").replace("JPY,52,00", 'JPY,"52,00"'))
    assert answer.exit_code == 3
    assert "line 3, total: “52,00”" in answer.err
    assert "1 of 3 rows cannot be imported. Nothing was written.   [bad-rows]" in answer.err
    assert "--skip-invalid" in answer.err
    assert shop.total("INV-1") is None
    assert not list(Path().glob("*.rejected.csv"))


def test_bad_rows_are_reported_as_json_too(shop: Shop) -> None:
    answer = shop.bring_in(GOOD.replace("open", "opne"), "-o", "json")
    assert answer.exit_code == 3
    assert answer.out == ""
    assert answer.error["code"] == "bad-rows"
    assert answer.error["context"]["bad_rows"] == 1
    [problem] = answer.error["context"]["problems"]
    assert (problem["line"], problem["column"], problem["value"]) == (3, "status", "opne")
    assert "Did you mean open?" in problem["hint"]


def test_fifty_problems_are_shown_and_the_rest_counted(shop: Shop) -> None:
    rows = "".join(f"INV-{n},c,N,EUR,x,open,2026-09-01,,,\n" for n in range(2500))
    answer = shop.bring_in(f"{HEADER}\n{rows}")
    assert answer.err.count("This is not an amount") == 50
    assert "… and 2450 more invalid rows." in answer.err
    assert "2500 of 2500 rows" in answer.err


def test_skipped_rows_go_to_a_file_that_can_be_given_back(shop: Shop) -> None:
    answer = shop.bring_in(GOOD.replace("5200", "-5200"), "--skip-invalid", "-o", "json")
    assert answer.exit_code == 9
    assert (answer.json["new"], answer.json["refused_count"]) == (2, 1)
    assert answer.json["refused"][0]["column"] == "total"
    rejected = Path(answer.json["rejected_file"])
    assert rejected.name == "invoices.csv.rejected.csv"
    assert shop.total("INV-2") is None

    again = shop("invoice", "import", str(rejected))
    assert again.exit_code == 3

    rejected.write_text(rejected.read_text().replace("'-5200", "5200"))
    corrected = shop("invoice", "import", str(rejected), "-o", "json")
    assert (corrected.exit_code, corrected.json["new"]) == (0, 1), corrected
    assert str(shop.total("INV-2")) == "5200 JPY"


def test_what_was_left_out_of_standard_input_goes_to_the_working_folder(shop: Shop) -> None:
    answer = shop("invoice", "import", "-", "--skip-invalid", stdin=GOOD.replace("open", "opne"))
    assert answer.exit_code == 9
    assert "stdin.rejected.csv" in answer.err
    assert Path("stdin.rejected.csv").exists()


def test_without_bad_rows_skip_invalid_leaves_no_file(shop: Shop) -> None:
    assert shop.bring_in(GOOD, "--skip-invalid").exit_code == 0
    assert not list(Path().glob("*.rejected.csv"))


def test_a_payment_that_belongs_to_another_invoice_is_refused(shop: Shop) -> None:
    shop.bring_in(GOOD)
    content = f"{HEADER}\nINV-9,c,N,EUR,5,paid,2026-09-01,stripe,pi_1,\nINV-8,c,N,EUR,5,paid,2026-09-01,,,\n"
    answer = shop.bring_in(content, name="other.csv")
    assert answer.exit_code == 3
    assert "line 2, payment_reference: “pi_1” It belongs to INV-1 in the store." in answer.err

    skipped = shop.bring_in(content, "--skip-invalid", "-o", "json", name="other.csv")
    assert (skipped.exit_code, skipped.json["new"]) == (9, 1)
    assert "INV-9" in Path(skipped.json["rejected_file"]).read_text()


def test_an_invoice_keeps_its_currency(shop: Shop) -> None:
    shop.bring_in(GOOD)
    answer = shop.bring_in(GOOD.replace("EUR,120.00", "USD,120.00"))
    assert answer.exit_code == 3
    assert "INV-1 is in EUR in the store." in answer.err


def test_newer_facts_of_the_store_are_kept_and_reported(shop: Shop) -> None:
    content = f"{HEADER}\nINV-1,c,N,EUR,50.00,paid,2026-09-01,,,\n"
    shop.bring_in(content)
    marked = shop("mark-refunded", "INV-1", "--full", "--reason", "duplicate", "--yes")
    assert marked.exit_code == 0, marked
    answer = shop.bring_in(content.replace("N,EUR", "New name,EUR"), "-o", "json")
    assert answer.exit_code == 0, answer
    assert answer.json["changed"] == 1
    [conflict] = answer.json["conflicts"]
    assert (conflict["line"], conflict["number"]) == (2, "INV-1")
    assert "refunded" in conflict["message"]
    assert shop.status("INV-1") is InvoiceStatus.REFUNDED


def test_an_open_invoice_is_paid_by_a_later_file(shop: Shop) -> None:
    shop.bring_in(GOOD)
    answer = shop.bring_in(GOOD.replace("open,2026-09-02,,", "paid,2026-09-02,adyen,PSP2"), "-o", "json")
    assert answer.json["changed"] == 1
    invoice = shop.books.read(lambda tx: invoice_named(tx, "INV-2"))
    assert (invoice.status, str(invoice.refundable)) == (InvoiceStatus.PAID, "5200 JPY")
    assert invoice.auto_refundable


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports each chunk of the file in a separate transaction."""
    monkeypatch.setattr(from_file, "MOST_IN_CHUNK", 1)
    monkeypatch.setattr(from_file, "NEW_AT_ONCE", 1_500)


def test_a_file_of_several_chunks_goes_in_whole_and_once(shop: Shop, short_chunks: None) -> None:
    count = 2_007
    rows = "".join(f"INV-{n:05},c,N,EUR,{n + 1},paid,2026-09-01,stripe,pi_{n},\n" for n in range(count))
    assert shop.bring_in(f"{HEADER}\n{rows}", "-o", "json").json["new"] == count
    assert shop.bring_in(f"{HEADER}\n{rows}", "-o", "json").json["unchanged"] == count
    assert str(shop.total(f"INV-{count - 1:05}")) == f"{count}.00 EUR"
    [imported] = json.loads(shop("invoice", "history", "INV-02005", "-o", "json").out)
    assert imported["action"] == "invoice imported"
    with shop.books.engine.connect() as store:
        entries = store.execute(text("SELECT count(*) FROM audit_entry WHERE action = 'invoices imported'")).scalar()
    assert entries == 2


def test_an_import_that_was_killed_between_chunks_is_finished_by_the_same_file(shop: Shop) -> None:
    rows = "".join(f"INV-{n:05},c,N,EUR,{n + 1},open,2026-09-01,,,\n" for n in range(1005))
    shop.bring_in(f"{HEADER}\n" + "".join(rows.splitlines(keepends=True)[:1000]))
    rest = shop.bring_in(f"{HEADER}\n{rows}", "-o", "json").json
    assert (rest["new"], rest["unchanged"]) == (5, 1000)


def test_books_that_change_after_the_check_stop_the_import(shop: Shop) -> None:
    as_of = shop.books.write(lambda tx: tx.audit.newest_entry())
    shop.bring_in(GOOD)
    row = NewInvoice(2, "INV-1", "c", "USD", 100, InvoiceStatus.OPEN, SystemClock(UTC).today())
    with InvoiceSpool() as shelf:
        shelf.put(block_of([row, replace(row, line=3, number="INV-7")]))
        checked = CheckedInvoices(rows=2, as_of=as_of)
        with pytest.raises(ImportRefused) as refusal:
            write_invoices(shelf, checked, source="late.csv", books=shop.books, advance=lambda rows: None)
    assert refusal.value.checked.problems[0].code == "other-currency"
    assert shop.total("INV-7") is None


def test_invoices_that_came_in_after_the_check_are_brought_in_as_known_ones(shop: Shop) -> None:
    as_of = shop.books.write(lambda tx: tx.audit.newest_entry())
    shop.bring_in(GOOD)
    fresh = NewInvoice(2, "INV-1", "c", "EUR", 12000, InvoiceStatus.PAID, date(2026, 9, 1), customer_name="Late")
    with InvoiceSpool() as shelf:
        shelf.put(block_of([fresh]))
        checked = CheckedInvoices(rows=1, as_of=as_of)
        result = write_invoices(shelf, checked, source="late.csv", books=shop.books, advance=lambda rows: None)
    assert (result.new, result.changed) == (0, 1)


def test_an_invoice_imported_meanwhile_is_known_in_later_chunks(
    shop: Shop, short_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_file, "NEW_AT_ONCE", 1)
    monkeypatch.setattr(from_file, "EXISTING_AT_ONCE", 1)
    as_of = shop.books.write(lambda tx: tx.audit.newest_entry())
    first = NewInvoice(2, "INV-1", "c", "EUR", 12000, InvoiceStatus.OPEN, date(2026, 9, 1))
    rows = [first, *(replace(first, line=line, number=f"INV-{line}") for line in (3, 4))]
    concurrent = iter([[replace(rows[2], customer_name="Ada")]])

    def advance(_: int) -> None:
        for theirs in concurrent:
            shop.books.write(lambda tx, theirs=theirs: tx.imports.add_invoices(theirs, source="theirs.csv"))  # type: ignore[misc]

    with InvoiceSpool() as shelf:
        for row in rows:
            shelf.put(block_of([row]))
        result = write_invoices(
            shelf, CheckedInvoices(rows=3, as_of=as_of), source="a", books=shop.books, advance=advance
        )
    assert (result.new, result.changed) == (2, 1)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty-file"),
        (b"\xef\xbb\xbf", "empty-file"),
        (b"number;customer\n", "missing-column"),
        (b"number,custumer\n", "unknown-column"),
        (b"number,number\n", "duplicate-column"),
        (b"number,customer\n", "missing-column"),
        ("number,customer\n".encode("utf-16"), "missing-column"),
        (b"number,customer\xff\n", "unknown-column"),
        (b"number,customer\x81\xff\n", "not-utf8"),
        (b"PK\x03\x04", "file-unreadable"),
        (b'"number\n', "broken-header"),
    ],
)
def test_a_file_that_cannot_be_read_is_answered_plainly(tmp_path: Path, content: bytes, code: str) -> None:
    shop = Shop(f"sqlite:///{tmp_path / 'books.db'}")
    Path("a.csv").write_bytes(content)
    answer = shop("invoice", "import", "a.csv", "-o", "json")
    assert (answer.exit_code, answer.error["code"]) == (2, code)
    assert answer.error["hint"]
    assert not (tmp_path / "books.db").exists()


def test_a_file_that_is_not_there_is_answered_plainly(tmp_path: Path) -> None:
    shop = Shop(f"sqlite:///{tmp_path / 'books.db'}")
    answer = shop("invoice", "import", "nothing.csv")
    assert answer.exit_code == 2
    assert "[file-not-found]" in answer.err


def test_hostile_cells_are_shown_as_escapes(shop: Shop) -> None:
    answer = shop.bring_in(GOOD.replace("INV-2", "INV\x1b[2J\u202e"))
    assert answer.exit_code == 3
    assert "\x1b" not in answer.err
    assert "\u202e" not in answer.err
    assert r"INV\x1b[2J\u202e" in answer.err


def test_quiet_says_only_what_went_wrong(shop: Shop) -> None:
    Path("a.csv").write_text(GOOD)
    assert shop("--quiet", "invoice", "import", "a.csv").err == ""


def test_an_unwritable_folder_stops_the_import_before_it_starts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("refundcli.files.bulk.rejected_rows.create", refuse)
    answer = shop.bring_in(GOOD.replace("open", "opne"), "--skip-invalid")
    assert answer.exit_code == 2
    assert "permission denied" in answer.err
    assert shop.total("INV-1") is None


EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_example_invoices_go_in_and_seed_the_sandbox(shop: Shop) -> None:
    answer = shop("invoice", "import", str(EXAMPLES / "invoices.csv"), "-o", "json")
    assert answer.exit_code == 0, answer
    assert answer.json["new"] >= 30
    seeded = seed_file(SandboxState(), EXAMPLES / "invoices.csv")
    assert len(seeded.payments) == 19
    assert seeded.skipped == []


def test_the_example_transfers_have_two_rows_that_are_refused(shop: Shop) -> None:
    shop("invoice", "import", str(EXAMPLES / "invoices.csv"))
    answer = shop("mark-refunded", "--from", str(EXAMPLES / "transfers.csv"), "--dry-run", "-o", "json")
    assert answer.exit_code == 9, answer
    assert answer.json["recorded"] == 9
    assert [row["code"] for row in answer.json["refused"]] == ["use-refund", "invoice-not-found"]


def test_an_empty_list_has_no_rows(sqlite_desk: Desk) -> None:
    path = sqlite_desk.folder / "invoices.jsonl"
    path.write_text("[]\n")
    error = sqlite_desk.refused(f"invoice import {path}", "no-rows", exit_code=2)
    assert "has no rows" in error["message"]
