"""Standard streams that are gone, full, closed or lack a character: the exit code stays the same (I11)."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from desk import Desk
from refundcli.store.errors import StoreCorrupt
from refundcli.store.queries.invoices import SqlInvoiceReads

REFUND = ("refund", "INV-1", "--full", "--reason", "other", "--yes")
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def in_shell(
    desk: Desk, redirection: str, command: Sequence[str] = REFUND, **environ: str
) -> subprocess.CompletedProcess[bytes]:
    """`refundcli …` in a shell with redirected or closed streams."""
    shell = ["bash", "-c", f'"$@" {redirection}', "bash", sys.executable, "-m", "refundcli", *command]
    environ = {**os.environ, **desk.environ, **environ}
    return subprocess.run(shell, env=environ, capture_output=True, stdin=subprocess.DEVNULL, check=False)


def with_no_reader(desk: Desk, *command: str) -> subprocess.CompletedProcess[bytes]:
    """stdout is a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "refundcli", *command]
    environ = {**os.environ, **desk.environ}
    try:
        return subprocess.run(words, env=environ, stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)


# --- Nobody reads ---


@pytest.mark.parametrize(("behaviour", "code"), [("drop_after", 8), ("failed", 6)])
@pytest.mark.parametrize("output", ["table", "json"])
def test_a_reader_that_went_away_does_not_make_an_outcome_good(
    desk: Desk, behaviour: str, code: int, output: str
) -> None:
    desk.paid_by_card()
    desk.sandbox.faults(behaviour)
    process = with_no_reader(desk, *REFUND, "-o", output)
    assert (process.returncode, b"rf_" in process.stderr) == (code, True), process.stderr


def test_a_reader_that_went_away_makes_nothing_bad_either(desk: Desk) -> None:
    desk.paid_by_card()
    for command in (("--quiet", *REFUND), ("invoice", "list"), ("--help",)):
        process = with_no_reader(desk, *command)
        assert (process.returncode, process.stderr) == (0, b""), command


def test_a_pipe_that_is_gone_for_both_streams_leaves_the_exit_code(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_after")
    assert with_no_reader(desk, *REFUND).returncode == 8
    process = in_shell(desk, "2>&1 | exit; exit ${PIPESTATUS[0]}", ("status",))
    assert process.returncode == 8


# --- Nothing can be written ---


def test_output_that_cannot_be_written_is_reported_on_stderr(desk: Desk) -> None:
    reference = desk.paid_by_card()
    process = in_shell(desk, ">/dev/full")
    assert process.returncode == 4
    assert b"[output-failed]" in process.stderr
    (refund,) = desk.json("invoice show INV-1")["refunds"]
    assert refund["id"].encode() in process.stderr
    assert desk.refunded_at_provider(reference) == [10000]


def test_output_that_cannot_be_written_is_reported_as_json_on_request(desk: Desk) -> None:
    desk.paid_by_card()
    error = json.loads(in_shell(desk, ">/dev/full", (*REFUND, "-o", "json")).stderr)["error"]
    assert (error["code"], error["hint"].partition("\n")[0]) == ("output-failed", "This was not shown:")
    assert re.search(r'"id": "rf_\w+"', error["hint"])


def test_an_outcome_in_doubt_stays_in_doubt_on_a_full_disk(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_after")
    process = in_shell(desk, ">/dev/full")
    assert process.returncode == 8
    assert b"[outcome-unknown]" in process.stderr
    assert b"[output-failed]" in process.stderr


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_a_stream_that_is_closed_stops_no_refund(desk: Desk, redirection: str) -> None:
    reference = desk.paid_by_card()
    process = in_shell(desk, redirection)
    assert (process.returncode, desk.refunded_at_provider(reference)) == (0, [10000]), process.stderr
    assert desk.json("store check")["sound"]


def test_without_a_standard_input_there_is_no_prompt(desk: Desk) -> None:
    desk.paid_by_card()
    process = in_shell(desk, "<&-", REFUND[:-1])
    assert (process.returncode, b"[confirmation-required]" in process.stderr) == (2, True), process.stderr


@pytest.mark.parametrize("command", ["mark-refunded --yes --from -", "invoice import -"])
def test_a_standard_input_that_is_closed_is_an_empty_file(desk: Desk, command: str) -> None:
    process = in_shell(desk, "<&-", command.split())
    assert (process.returncode, b"[empty-file]" in process.stderr) == (2, True), process.stderr


# --- Letters and bytes ---


@pytest.mark.parametrize("environ", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, BARE])
@pytest.mark.parametrize("output", ["table", "json", "csv"])
def test_a_terminal_that_lacks_a_letter_does_not_turn_a_refund_into_a_bug(
    desk: Desk, environ: dict[str, str], output: str
) -> None:
    reference = desk.paid_by_card(customer_name="Łukasz 😀", products=("Żagiel 😀",))
    process = in_shell(desk, "", (*REFUND, "-o", output), **environ)
    assert (process.returncode, desk.refunded_at_provider(reference)) == (0, [10000]), process.stderr
    if output == "json":
        assert any("Żagiel 😀" in note for note in json.loads(process.stdout)["notes"])


def test_letters_are_escaped_where_the_terminal_lacks_them(desk: Desk) -> None:
    desk.paid_by_card(customer_name="Łukasz 😀 Müller")
    process = in_shell(desk, "", ("invoice", "list"), PYTHONIOENCODING="latin-1").stdout.decode("latin-1")
    assert r"\u0141ukasz \ud83d\ude00 Müller" in process


@pytest.mark.parametrize(
    "command",
    [
        "refund INV-\udcff --full --reason other --yes",
        "refund INV-1 --full --reason other --memo \udcff --yes",
        "mark-refunded INV-1 --full --reason other --reference \udcff --yes",
        "invoice list --after \udcff",
        "--store sqlite:///\udcff invoice list",
        "\udcff",
    ],
)
def test_what_is_not_text_is_refused_before_anything_else(desk: Desk, command: str) -> None:
    reference = desk.paid_by_card()
    desk.refused(command, "not-text", exit_code=2)
    assert desk.refunded_at_provider(reference) == []


@pytest.mark.parametrize(("environ", "memo"), [({}, b"\xff"), (BARE, "zwrot żagla".encode())])
def test_bytes_that_are_not_text_here_are_a_mistake_and_no_crash(
    desk: Desk, environ: dict[str, str], memo: bytes
) -> None:
    desk.paid_by_card()
    process = in_shell(desk, "", (*REFUND, "--memo", os.fsdecode(memo)), **environ)
    assert (process.returncode, b"[not-text]" in process.stderr) == (2, True), process.stderr


def test_a_user_whose_name_is_not_text_still_has_a_name(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.paid_by_card()
    del desk.environ["REFUNDCLI_OPERATOR_NAME"]
    monkeypatch.setenv("LOGNAME", "ada\udcff")
    assert desk.json(" ".join(REFUND))["refunds"][0]["operator"] == r"ada\udcff"


# --- The store, after and before ---


@pytest.mark.parametrize(("behaviour", "code"), [("", 0), ("drop_after", 8)])
def test_a_store_that_fails_after_the_refund_does_not_hide_the_refund(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, behaviour: str, code: int
) -> None:
    desk.paid_by_card()
    if behaviour:
        desk.sandbox.faults(behaviour)
    _unreadable_once_refunded(monkeypatch)
    answer = desk(f"{' '.join(REFUND)} -o json")
    assert (answer.exit_code, answer.json["invoice"]) == (code, None), answer
    assert answer.json["refunds"][0]["id"].startswith("rf_")
    assert "Nothing was changed" not in answer.err


def test_a_store_failure_after_the_refund_is_reported(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.paid_by_card()
    _unreadable_once_refunded(monkeypatch)
    answer = desk(" ".join(REFUND))
    assert (answer.exit_code, answer.rows[0][0][:3]) == (0, "rf_")
    assert "could not be read again [store-corrupt]" in answer.err


def _unreadable_once_refunded(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SqlInvoiceReads.get

    def invoice(reads: SqlInvoiceReads, number: str) -> Any:
        stored = real(reads, number)
        if stored and stored.refunds and not any(refund.state == "ready" for refund in stored.refunds):
            raise StoreCorrupt("malformed")
        return stored

    monkeypatch.setattr(SqlInvoiceReads, "get", invoice)


@pytest.fixture
def no_folder(tmp_path: Path) -> Path:
    """A file in place of a folder, so that not even root can write into it."""
    path = tmp_path / "file"
    path.write_text("")
    return path


@pytest.mark.parametrize("place", ["{}/copy.db", "{}/deeper/copy.db", "/proc/none/copy.db", "x" * 300])
def test_a_backup_that_cannot_be_made_is_reported(desk: Desk, no_folder: Path, place: str) -> None:
    if desk.url.startswith("sqlite"):
        error = desk.refused(f"store backup {place.format(no_folder)}", "backup-failed", exit_code=4)
        assert "folder that you can write to" in error["hint"]


@pytest.mark.parametrize("place", ["{}/x.db", "{}/deeper/x.db", "/proc/none/x.db", f"/tmp/{'x' * 300}"])
def test_a_store_that_cannot_be_made_is_reported(desk: Desk, no_folder: Path, place: str) -> None:
    desk.environ["REFUNDCLI_STORE_URL"] = f"sqlite:///{place.format(no_folder)}"
    Path("invoices.csv").write_text("number,customer,currency,total,status,issued_on\nINV-9,c,EUR,1,open,2026-09-01\n")
    for command in ("invoice import invoices.csv", "init --force"):
        error = desk.refused(command, "store-out-of-reach", exit_code=4)
        assert "--store" in error["hint"]


def test_a_removed_working_folder_is_reported(desk: Desk, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    for command in ("invoice list", "init"):
        desk.refused(command, "no-working-folder", exit_code=4)
    assert desk("--help").exit_code == 0


@pytest.mark.parametrize("address", ["postgresql://u:hidden@[::1/x", "postgresql://u:hidden@localhost:abc/x"])
def test_an_invalid_store_address_is_reported_without_its_password(desk: Desk, address: str) -> None:
    error = desk.refused(f"--store {address} invoice list", "store-address", exit_code=4)
    assert "hidden" not in json.dumps(error) + desk(f"--debug --store {address} invoice list").err


def test_a_check_of_a_malformed_database_finds_it_unsound(desk: Desk) -> None:
    desk.paid_by_card()
    if not desk.url.startswith("sqlite"):
        return
    path = Path(desk.url.removeprefix("sqlite:///"))
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    error = desk.refused("store check", "store-unsound", exit_code=4)
    assert "malformed" in str(error["context"])
    assert "refundcli store check" not in error["hint"]


def test_a_check_of_a_store_that_lost_a_table_finds_it_unsound(desk: Desk) -> None:
    with desk.books.engine.begin() as connection:
        connection.execute(text("DROP TABLE audit_entry"))
    desk.refused("store check", "store-unsound", exit_code=4)
