"""CSV for spreadsheets: a spreadsheet reads every row back, and no cell is a formula."""

import csv
import io
import re
from pathlib import Path

import pytest

from desk import Desk, new_invoice
from refundcli.domain.money import parse_money
from refundcli.domain.statuses import InvoiceStatus

NASTY = [
    '"=HYPERLINK(""http://evil.example"",""x"")',
    '"unclosed',
    '"',
    "=1+1",
    "＝1+1",
    "+46 8 123",
    "-1+cmd|' /C calc'!A0",
    "@SUM(A1)",
    " =1",
    "'=1",
    "''=1",
    "a\tb\n=1",
    "Kit;=1",
    'O\'Hara, "Ltd"',
]
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    return new_sqlite


def read(text: str, dialect: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), dialect=dialect))


def is_formula(cell: str) -> bool:
    return cell.lstrip().startswith(tuple("=+-@\t\r\n＝＋－＠")) and not _NUMBER.fullmatch(cell)


@pytest.mark.parametrize(("form", "reader"), [("csv", "excel"), ("tsv", "excel-tab")])
@pytest.mark.parametrize("command", ["invoice list", "credit-notes list", "status", "invoice history INV-00", "config"])
def test_every_row_is_read_back_and_no_cell_runs(desk: Desk, command: str, form: str, reader: str) -> None:
    whole = parse_money("100.00 EUR")
    for n, name in enumerate(NASTY):
        desk.bring_in(new_invoice(f"OPEN-{n:02}", whole, status=InvoiceStatus.OPEN, customer=name, customer_name=name))
        desk.paid_outside(f"INV-{n:02}")
        memo = name.replace("'", "'\\''").replace("\t", " ").replace("\n", " ")
        output = desk(f"mark-refunded INV-{n:02} --full --reason other --yes --memo='{memo}' --reference='{memo}'")
        assert output.exit_code == 0, output
    desk.environ["REFUNDCLI_OPERATOR_NAME"] = '"=1+1'
    answer = desk(f"{command} -o {form}")
    assert answer.exit_code in (0, 8), answer
    as_json = desk(f"{command} -o ndjson").out.splitlines() if command != "status" else None
    rows = read(answer.out, reader)
    assert [cell for row in rows for cell in row if is_formula(cell)] == []
    assert {len(row) for row in rows} == {len(rows[0])}
    if as_json is not None:
        assert len(rows) == 1 + len(as_json)


def test_rejected_rows_are_written_as_they_were_read(desk: Desk) -> None:
    """Refused twice, guarded each time, and finally corrected."""
    memos = [name.strip() for name in NASTY if "\t" not in name]
    buffer = io.StringIO()
    write = csv.writer(buffer).writerow
    write(["invoice", "amount", "reason", "memo"])
    for n, memo in enumerate(memos):
        desk.paid_outside(f"R-{n:02}")
        # An apostrophe before a formula reads as a guard, so a literal one is doubled.
        write([f"R-{n:02}", "x", "other", f"'{memo}" if memo.startswith("'") else memo])
    Path("a.csv").write_text(buffer.getvalue())
    for name in ("a.csv", "a.csv.rejected.csv"):
        assert desk(f"mark-refunded --from {name} --yes").exit_code == 9
        rejected = read(Path("a.csv.rejected.csv").read_bytes().decode(), "excel")
        assert [cell for row in rejected for cell in row if is_formula(cell)] == []
        assert len(rejected) == 1 + len(memos)
    for row in rejected[1:]:
        row[rejected[0].index("amount")] = "10.00"
    fixed = io.StringIO()
    csv.writer(fixed).writerows(rejected)
    Path("fixed.csv").write_text(fixed.getvalue())
    assert desk("mark-refunded --from fixed.csv --yes").exit_code == 0
    assert [desk.invoice(f"R-{n:02}").refunds[0].memo for n in range(len(memos))] == memos
