"""Invoice files: each row is an invoice, or is rejected with every bad cell named."""

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider
from refundcli.files.bulk.rejected_rows import RejectedFile, path_for_rejected
from refundcli.files.csv_table import MissingColumn
from refundcli.files.invoices import file as invoice_file
from refundcli.files.invoices.columns import InvoiceColumns, NotPlain
from refundcli.files.invoices.file import InvoiceFile
from refundcli.files.invoices.rows import COLUMNS, REQUIRED, invoice_in_table
from refundcli.files.source import EmptyFile, FileProblem, open_source
from refundcli.services.ports.bad_rows import BadRow, Problem
from refundcli.services.ports.records import NewInvoice, NewPayment

PLAIN: dict[str, str] = {
    "number": "INV-1",
    "customer": "cus_1",
    "currency": "EUR",
    "total": "120.00",
    "status": "open",
    "issued_on": "2026-09-01",
}


def _rows(content: str | bytes) -> list[NewInvoice | BadRow]:
    encoded = content.encode() if isinstance(content, str) else content
    with open_source("-", io.BytesIO(encoded)) as source:
        return list(_in_order(InvoiceFile(source)))


def _in_order(file: InvoiceFile) -> Iterator[NewInvoice | BadRow]:
    for stretch in file.batches():
        assert len(stretch.originals()) == stretch.good.size
        rows: list[NewInvoice | BadRow] = [*stretch.good.invoices(), *stretch.bad]
        yield from sorted(rows, key=lambda row: row.line)


def _csv(*rows: dict[str, str]) -> str:
    columns = sorted({column for row in rows for column in row})
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    return "".join(",".join(f'"{cell}"' for cell in line) + "\n" for line in lines)


def _jsonl(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _invoice(**cells: str) -> NewInvoice:
    [row] = _rows(_csv(PLAIN | cells))
    assert isinstance(row, NewInvoice), row
    return row


def _payment(**cells: str) -> NewPayment:
    [payment] = _invoice(**cells).payments
    return payment


def _problems(**cells: str) -> list[Problem]:
    [row] = _rows(_csv(PLAIN | cells))
    assert isinstance(row, BadRow), row
    return list(row.problems)


def _problem(**cells: str) -> Problem:
    [problem] = _problems(**cells)
    return problem


def _json_invoice(**values: Any) -> NewInvoice:
    [row] = _rows(_jsonl(PLAIN | values))
    assert isinstance(row, NewInvoice), row
    return row


def _json_problem(**values: Any) -> Problem:
    [row] = _rows(_jsonl(PLAIN | values))
    assert isinstance(row, BadRow), row
    [problem] = row.problems
    return problem


# --- what a row says -----------------------------------------------------------------------------------------


def test_the_required_columns_make_an_unpaid_invoice() -> None:
    invoice = _invoice()
    assert (invoice.number, invoice.customer, invoice.currency, invoice.total) == ("INV-1", "cus_1", "EUR", 12000)
    assert (invoice.status, invoice.issued_on) == (InvoiceStatus.OPEN, date(2026, 9, 1))
    assert invoice.payments == ()


def test_every_column_is_read() -> None:
    invoice = _invoice(
        status="paid",
        customer_name="Ada",
        due_on="2026-09-30",
        paid_on="2026-09-03",
        paid_amount="100.00",
        payment_method="card",
        provider="stripe",
        payment_reference="pi_3Q",
        invoice_reference="in_1",
        auto_refundable="no",
        processing="0",
        dispute="lost",
        dispute_amount="40",
        refunded_amount="10.5",
        products="Season pass; Kit ;",
        subscription="sub_88",
    )
    assert (invoice.customer_name, invoice.invoice_reference, invoice.subscription) == ("Ada", "in_1", "sub_88")
    assert (invoice.due_on, invoice.paid_on) == (date(2026, 9, 30), date(2026, 9, 3))
    assert invoice.products == ("Season pass", "Kit")
    assert invoice.payments == (
        NewPayment(
            captured=10000,
            provider=Provider.STRIPE,
            method="card",
            reference="pi_3Q",
            returned_elsewhere=1050,
            auto_refundable_is_explicit=True,
            dispute=Dispute.LOST,
            dispute_amount=4000,
            paid_on=date(2026, 9, 3),
        ),
    )


def test_a_paid_invoice_was_paid_in_full_unless_it_says_otherwise() -> None:
    assert _payment(status="paid").captured == 12000
    assert _payment(status="paid", paid_amount="20.00").captured == 2000
    assert _payment(status="open", paid_amount="20.00").captured == 2000


def test_a_free_invoice_has_no_payment() -> None:
    assert _invoice(status="paid", total="0").payments == ()


def test_a_provider_payment_is_auto_refundable_unless_the_row_says_no() -> None:
    cells = {"status": "paid", "provider": "stripe", "payment_reference": "ch_1"}
    assert _payment(**cells).auto_refundable
    assert not _payment(**cells, auto_refundable="false").auto_refundable
    assert not _payment(status="paid", provider="stripe").auto_refundable
    assert not _payment(status="paid").auto_refundable


@pytest.mark.parametrize(("word", "means"), [("true", True), ("YES", True), ("1", True), ("no", False), ("0", False)])
def test_yes_and_no_have_several_spellings(word: str, means: bool) -> None:
    assert _payment(provider="adyen", payment_reference="ABC1", processing=word).processing is means


@pytest.mark.parametrize(
    ("code", "text", "minor"), [("JPY", "1250", 1250), ("KWD", "1.234", 1234), ("EUR", "12.5", 1250), ("eur", "1", 100)]
)
def test_amounts_are_in_major_units_of_the_invoices_own_currency(code: str, text: str, minor: int) -> None:
    assert _invoice(currency=code, total=text).total == minor


def test_a_guarded_cell_is_read_without_its_guard() -> None:
    assert _invoice(customer_name="'=HYPERLINK()").customer_name == "=HYPERLINK()"


# --- what is wrong with a cell -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "column", "code", "hint"),
    [
        ({"total": "12,50"}, "total", "invalid-amount", "Write 12.50."),
        ({"total": "-5"}, "total", "invalid-amount", "Write"),
        ({"total": "1e3"}, "total", "invalid-amount", "Write"),
        ({"currency": "JPY", "total": "1.50"}, "total", "invalid-amount", "Write"),
        ({"currency": "EURO"}, "currency", "unknown-currency", "EUR"),
        ({"status": "payed"}, "status", "unknown-status", "Did you mean paid?"),
        ({"status": "refunded"}, "status", "unknown-status", "refunded_amount"),
        ({"issued_on": "01.09.2026"}, "issued_on", "invalid-date", "YYYY-MM-DD"),
        ({"issued_on": "2026-02-30"}, "issued_on", "invalid-date", "YYYY-MM-DD"),
        ({"issued_on": "20260901"}, "issued_on", "invalid-date", "YYYY-MM-DD"),
        ({"paid_on": "soon"}, "paid_on", "invalid-date", "YYYY-MM-DD"),
        ({"number": "INV 1; rm -rf"}, "number", "invalid-number", "letters, digits"),
        ({"number": "--yes"}, "number", "invalid-number", "letters, digits"),
        ({"number": "INV-１"}, "number", "invalid-number", "letters, digits"),
        ({"number": "I" * 201}, "number", "too-long", "Shorten"),
        ({"customer": ""}, "customer", "missing", "Fill in customer"),
        ({"provider": "strype"}, "provider", "unknown-provider", "Did you mean stripe?"),
        ({"provider": "stripe", "payment_reference": "in_1"}, "payment_reference", "invalid-reference", "pi_"),
        ({"provider": "stripe", "payment_reference": "pi_"}, "payment_reference", "invalid-reference", "pi_"),
        ({"provider": "adyen", "payment_reference": "pi_1"}, "payment_reference", "invalid-reference", "pspReference"),
        ({"provider": "adyen", "payment_reference": "A" * 33}, "payment_reference", "invalid-reference", "at most 32"),
        ({"payment_reference": "pi_1"}, "provider", "missing", "stripe"),
        ({"auto_refundable": "maybe"}, "auto_refundable", "invalid-flag", "true or false"),
        ({"auto_refundable": "yes"}, "auto_refundable", "invalid-flag", "false"),
        ({"status": "paid", "dispute": "closed"}, "dispute", "unknown-dispute", "open, won, lost"),
        ({"status": "paid", "dispute_amount": "5"}, "dispute_amount", "no-dispute", "dispute"),
        ({"refunded_amount": "5"}, "refunded_amount", "nothing-paid", "paid_amount"),
        ({"dispute": "open"}, "dispute", "nothing-paid", "paid"),
        ({"status": "void", "paid_amount": "5"}, "paid_amount", "paid-on-closed", "open or paid"),
        ({"status": "draft", "paid_amount": "5"}, "paid_amount", "paid-on-closed", "open or paid"),
    ],
)
def test_a_wrong_cell_is_named_with_what_to_write(cells: dict[str, str], column: str, code: str, hint: str) -> None:
    problem = _problem(**cells)
    assert (problem.line, problem.column, problem.code) == (2, column, code)
    assert hint in problem.hint
    assert problem.message.endswith(".")


def test_all_problems_of_a_row_are_reported_at_once() -> None:
    problems = [
        (p.column, p.value) for p in _problems(total="x", status="y", issued_on="z", currency="Q", paid_amount="w")
    ]
    assert sorted(problems) == [
        ("currency", "Q"),
        ("issued_on", "z"),
        ("paid_amount", "w"),
        ("status", "y"),
        ("total", "x"),
    ]


def test_a_cell_wrong_for_invoice_and_payment_is_reported_once() -> None:
    assert [p.column for p in _problems(status="paid", paid_on="x")] == ["paid_on"]


def test_a_number_that_comes_twice_names_the_line_it_came_on_first() -> None:
    first, second = _rows(_csv(PLAIN, PLAIN | {"total": "1"}))
    assert isinstance(first, NewInvoice)
    assert isinstance(second, BadRow)
    assert second.problems[0].code == "duplicate-number"
    assert "line 2" in second.problems[0].message


def test_a_provider_payment_that_comes_twice_names_the_line_it_came_on_first() -> None:
    paid = PLAIN | {"status": "paid", "provider": "adyen", "payment_reference": "ABC1"}
    _, second = _rows(_csv(paid, paid | {"number": "INV-2"}))
    assert isinstance(second, BadRow)
    assert (second.problems[0].column, second.problems[0].code) == ("payment_reference", "duplicate-payment")


def test_a_bank_reference_may_come_twice() -> None:
    paid = PLAIN | {"status": "paid", "payment_reference": "transfer 7"}
    assert all(isinstance(row, NewInvoice) for row in _rows(_csv(paid, paid | {"number": "INV-2"})))


def test_a_missing_required_column_is_reported_before_any_row() -> None:
    with pytest.raises(MissingColumn, match="issued_on"):
        _rows("number,customer,currency,total,status\n")


# --- JSON Lines ----------------------------------------------------------------------------------------------


def test_json_lines_take_the_same_keys() -> None:
    invoice = _json_invoice(status="paid", products=["Season pass", "Kit"], auto_refundable=False, customer_name=None)
    assert invoice.products == ("Season pass", "Kit")
    assert invoice.payments[0].captured == 12000


@pytest.mark.parametrize("total", ["12.50", '"12.50"', "12.5"])
def test_a_json_number_is_read_as_it_is_written(total: str) -> None:
    [row] = _rows(_jsonl(PLAIN).replace('"120.00"', total))
    assert isinstance(row, NewInvoice)
    assert row.total == 1250


@pytest.mark.parametrize("total", ["0.1e1", "12.505", "1E2", "-1", "12.50000000000000000001"])
def test_a_json_number_is_never_rounded(total: str) -> None:
    [row] = _rows(_jsonl(PLAIN).replace('"120.00"', total))
    assert isinstance(row, BadRow)
    assert (row.problems[0].column, row.problems[0].value) == ("total", total)


def test_several_payments_are_read_in_their_order() -> None:
    invoice = _json_invoice(
        status="paid",
        payments=[
            {"provider": "stripe", "payment_reference": "pi_1", "paid_amount": "100.00"},
            {"payment_method": "cash", "paid_amount": 20, "paid_on": "2026-09-02"},
        ],
    )
    assert [payment.captured for payment in invoice.payments] == [10000, 2000]
    assert [payment.auto_refundable for payment in invoice.payments] == [True, False]


@pytest.mark.parametrize(
    ("values", "column", "code"),
    [
        ({"totl": "5"}, "totl", "unknown-key"),
        ({"customer_name": ["a"]}, "customer_name", "wrong-type"),
        ({"customer_name": "a\0b"}, "customer_name", "unstorable"),
        ({"customer_name": "\ud800"}, "customer_name", "unstorable"),
        ({"payments": "pi_1"}, "payments", "wrong-type"),
        ({"payments": [{"paid_amount": "1", "amount": "1"}]}, "payments[1].amount", "unknown-key"),
        ({"payments": [{"payment_method": "cash"}]}, "payments[1].paid_amount", "missing"),
        ({"payments": [{"paid_amount": "x"}]}, "payments[1].paid_amount", "invalid-amount"),
        ({"payments": [{"paid_amount": "1"}], "paid_amount": "1"}, "paid_amount", "ambiguous"),
        ({"payments": [{"paid_amount": "1"}] * 101}, "payments", "too-many"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(values: dict[str, Any], column: str, code: str) -> None:
    problem = _json_problem(**values)
    assert (problem.line, problem.column, problem.code) == (1, column, code)


def test_an_unknown_key_names_its_nearest_neighbour() -> None:
    assert _json_problem(totl="5").hint == "Did you mean total?"


def test_payments_that_sum_up_past_what_the_books_hold_are_refused() -> None:
    most = {"paid_amount": "999999999999999"}
    assert _json_problem(payments=[most] * 11).code == "invalid-amount"


@pytest.mark.parametrize(
    "line", ["[1]", "{", '{"a": 1} x', '{"number": "1", "number": "2"}', '{"total": NaN}', "[" * 100_000, '"x"', "\0"]
)
def test_a_line_that_is_not_an_object_is_reported_and_the_next_one_read(line: str) -> None:
    first, bad, last = _rows(_jsonl(PLAIN) + line + "\n" + _jsonl(PLAIN | {"number": "INV-2"}))
    assert isinstance(first, NewInvoice)
    assert isinstance(last, NewInvoice)
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.problems[0].code) == (2, "invalid-json")


def test_a_line_of_many_megabytes_is_reported_and_the_next_one_read() -> None:
    bad, good = _rows('{"number": "' + "x" * 3_000_000 + '"}\n' + _jsonl(PLAIN))
    assert isinstance(bad, BadRow)
    assert bad.problems[0].code == "too-long"
    assert isinstance(good, NewInvoice)
    assert good.line == 2


def test_the_file_extension_decides_the_format(tmp_path: Path) -> None:
    path = tmp_path / "invoices.jsonl"
    path.write_text(" \n")
    with open_source(str(path), io.BytesIO()) as source, pytest.raises(EmptyFile):
        list(InvoiceFile(source).batches())


# --- any file at all -----------------------------------------------------------------------------------------


@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_crash_it(content: bytes, in_table: bool) -> None:
    start = ",".join(REQUIRED).encode() + b"\n" if in_table else b"{"
    with suppress(FileProblem):
        assert all(isinstance(row, NewInvoice | BadRow) for row in _rows(start + content))


_CELL = st.sampled_from(["", "INV-1", "EUR", "paid", "12.50", "x", "2026-01-01", "stripe", "pi_1", "yes", "open", "0"])


@given(st.lists(st.dictionaries(st.sampled_from(COLUMNS), _CELL | st.text(max_size=8)), max_size=4))
def test_every_object_is_an_invoice_or_has_its_problems_reported(records: list[dict[str, str]]) -> None:
    with suppress(EmptyFile):
        for row, record in zip(_rows(_jsonl(*records)), records, strict=True):
            assert isinstance(row, NewInvoice) or row.problems
            assert isinstance(row, BadRow) or (row.number, row.customer) == (
                record["number"].strip(),
                record["customer"].strip(),
            )


_LIKELY = {
    "number": ["INV-1", "INV-2", "INV-3", " INV-4", "INV 5", "INV-6\n"],
    "currency": ["EUR", "jpy", "KWD", "EURO"],
    "total": ["12", "12.5", "12.50", "0.00", "1.234", "9" * 15, "9" * 16, "012", "12,50", ""],
    "status": ["open", "Paid", "void", "draft", "refunded"],
    "paid_amount": ["", "0", "12.50", "x"],
    "due_on": ["", "2026-02-28", "2026-02-30"],
    "paid_on": ["", "2026-09-03"],
    "provider": ["", "stripe", "Adyen", "bank"],
    "payment_reference": ["", "pi_1", "ch_1", "PSP1", "PSP2", "transfer 7", "py_1\n", "two\nlines"],
    "payment_method": ["", "card", "m" * 201],
    "auto_refundable": ["", "yes", "no", "maybe"],
    "processing": ["", "1", "no"],
    "dispute": ["", "open", "lost", "none"],
    "dispute_amount": ["", "5", "0"],
    "refunded_amount": ["", "0", "5"],
    "products": ["", "Kit", "Season pass; Kit;"],
}
_ROW = st.fixed_dictionaries({}, optional={name: st.sampled_from(cells) for name, cells in _LIKELY.items()})


@given(st.lists(_ROW, min_size=1, max_size=8))
def test_rows_read_column_by_column_are_what_they_are_cell_by_cell(rows: list[dict[str, str]]) -> None:
    content = _csv(*(dict.fromkeys(COLUMNS, "") | PLAIN | {"number": f"INV-{n}0"} | row for n, row in enumerate(rows)))
    by_columns = _rows(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InvoiceColumns, "read", _nothing_is_plain)
        assert by_columns == _rows(content)


def _nothing_is_plain(*_: object) -> None:
    raise NotPlain


def test_of_many_rows_only_those_near_a_bad_one_are_read_cell_by_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def noted(line: int, *row: Any) -> NewInvoice | BadRow:
        read.append(line)
        return invoice_in_table(line, *row)

    monkeypatch.setattr(invoice_file, "invoice_in_table", noted)
    rows = [PLAIN | {"number": f"INV-{n}", "total": "x" if n == 700 else "12.50"} for n in range(1000)]
    parsed = _rows(_csv(*rows))
    assert [row.line for row in parsed if isinstance(row, BadRow)] == [702]
    assert 702 in read
    assert len(read) <= 25


# --- what was left out, given back ---------------------------------------------------------------------------


def _reject(path: Path) -> Path:
    with open_source(str(path), io.BytesIO()) as source:
        invoices = InvoiceFile(source)
        with RejectedFile(path_for_rejected(source, invoices.columns), invoices.columns) as rejected:
            for row in _in_order(invoices):
                if isinstance(row, BadRow):
                    rejected.add(row)
            written = rejected.publish()
    assert written
    return written


def test_corrected_rejected_rows_can_be_imported(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(_csv(PLAIN, PLAIN | {"number": "INV-2", "total": "12,50", "customer_name": "=1+1"}), newline="")
    rejected = _reject(path)
    assert rejected == tmp_path / "a.csv.rejected.csv"
    content = rejected.read_text()
    assert content.splitlines()[0].endswith("line,error_code,error,hint")
    assert "'=1+1" in content
    rejected.write_text(content.replace("12,50", "12.50"))
    [row] = _rows(rejected.read_bytes())
    assert isinstance(row, NewInvoice)
    assert (row.number, row.total, row.customer_name) == ("INV-2", 1250, "=1+1")


def test_rejected_rows_that_were_not_corrected_are_rejected_again(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    header = ",".join(REQUIRED)
    path.write_text(f'{header}\nINV-1,Acme, Inc,EUR,5,open,2026-01-01\nINV-2,c,EUR\n"INV-3"x,c,EUR,5,open,2026-01-01\n')
    again = _reject(path)
    assert [type(row) for row in _rows(again.read_bytes())] == [BadRow, BadRow, BadRow]


def test_rejected_json_lines_are_written_as_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(_jsonl(PLAIN | {"total": "x", "payments": [{"paid_amount": "5"}]}) + "nothing\n")
    rejected = _reject(path)
    assert rejected.name == "a.jsonl.rejected.jsonl"
    first, second = rejected.read_text().splitlines()
    assert json.loads(first)["line"] == 1
    assert json.loads(second)["text"] == "nothing"
    [row] = _rows(first.replace('"x"', "5"))
    assert isinstance(row, NewInvoice)
    assert row.payments[0].captured == 500


def test_a_rejected_file_is_private_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(_csv(PLAIN | {"total": "x"}))
    rejected = _reject(path)
    assert rejected.stat().st_mode & 0o777 == 0o600
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.csv", "a.csv.rejected.csv"]


def test_without_rejected_rows_there_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(_csv(PLAIN))
    with RejectedFile(tmp_path / "a.csv.rejected.csv", COLUMNS) as rejected:
        assert rejected.publish() is None
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12), min_size=2, max_size=2))
@example(["", "'@"])
@example(["'=1", " =1"])
def test_a_rejected_row_says_what_the_original_said(cells: list[str]) -> None:
    row = BadRow(2, (Problem(2, "total", "x", "c", "Wrong."),), tuple(cells))
    with RejectedFile(Path("stdin.rejected.csv"), ("customer", "customer_name")) as rejected:
        rejected.add(row)
        path = rejected.publish()
    assert path
    header = b"number,currency,total,status,issued_on," + path.read_bytes().partition(b"\r\n")[0]
    body = b"INV-1,EUR,x,open,2026-01-01," + path.read_bytes().partition(b"\r\n")[2]
    [again] = _rows(header + b"\r\n" + body)
    assert isinstance(again, BadRow)
    assert list(again.original[-2:]) == cells
