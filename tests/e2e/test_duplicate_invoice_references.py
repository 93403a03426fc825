"""Two lines of one file with the same invoice of a provider: the second one is named, and nothing is written."""

import json

import pytest

from desk import Desk

ROW = {"customer": "c", "currency": "EUR", "total": "1.00", "status": "open", "issued_on": "2026-09-01"}
ROWS = [{"number": number, **ROW, "invoice_reference": "in_1"} for number in ("A", "B")]
AS_CSV = "\n".join([",".join(ROWS[0]), *(",".join(row.values()) for row in ROWS)]) + "\n"
AS_JSON_LINES = "".join(f"{json.dumps(row)}\n" for row in ROWS)


@pytest.mark.parametrize(("name", "text", "line"), [("a.csv", AS_CSV, 3), ("a.jsonl", AS_JSON_LINES, 2)])
def test_the_second_line_with_an_invoice_reference_is_refused_by_name(
    sqlite_desk: Desk, name: str, text: str, line: int
) -> None:
    (sqlite_desk.folder / name).write_text(text)
    answer = sqlite_desk(f"invoice import {sqlite_desk.folder / name} -o json")
    assert (answer.exit_code, answer.error["code"]) == (3, "bad-rows")
    (problem,) = answer.error["context"]["problems"]
    assert (problem["line"], problem["code"]) == (line, "duplicate-reference")
    assert sqlite_desk.json("invoice list --all") == []
