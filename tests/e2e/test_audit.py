"""audit list, export, anchor and verify, and the verifier that needs no refundcli."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from desk import Desk
from refundcli.files.anchors import newest_anchor, read_anchors
from refundcli.store.audit import system_user
from tampering import rebuild_chain, tamper

VERIFIER = Path(__file__).parents[2] / "examples" / "verify_audit.py"


@pytest.fixture
def anchors(desk: Desk, tmp_path: Path) -> Path:
    """Every command that changes the books anchors them here."""
    path = tmp_path / "outside.anchors"
    key = tmp_path / "audit.key"
    key.write_text("5f" * 32 + "\n")
    key.chmod(0o600)
    desk.environ |= {"REFUNDCLI_AUDIT_ANCHOR": str(path), "REFUNDCLI_AUDIT_KEY": f"file:{key}"}
    return path


def refunded(desk: Desk) -> None:
    desk.paid_by_card("INV-1")
    desk.paid_outside("INV-2")
    desk.json("refund INV-1 --amount 10 --reason other --yes")
    desk.json("mark-refunded INV-2 --amount 10 --reason other --yes")


def verified(desk: Desk, tmp_path: Path, *options: str) -> tuple[int, str]:
    export = tmp_path / "audit.jsonl"
    export.unlink(missing_ok=True)
    desk.json(f"audit export {export}")
    command = [sys.executable, str(VERIFIER), str(export), *options]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    return process.returncode, process.stdout


def problems(desk: Desk, anchors: Path) -> list[str]:
    error = desk.refused(f"audit verify --anchor {anchors}", "audit-mismatch", exit_code=3)
    return list(error["context"]["problems"])


def test_a_list_can_be_limited_to_operator_action_invoice_and_days(desk: Desk) -> None:
    refunded(desk)
    entries = desk.json("audit list")
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    operator = entries[0]["operator"]
    assert len(desk.json(f"audit list --operator '{operator}'")) == len(entries)
    assert desk.json("audit list --operator Mallory") == []
    actions = {entry["action"] for entry in desk.json("audit list --action 'credit note'")}
    assert actions == {"credit note issued"}
    of_invoice = desk.json("audit list --invoice INV-2")
    assert [entry["action"] for entry in of_invoice] == ["invoices imported", "refund recorded", "credit note issued"]
    assert desk.json("audit list --until 2000-01-01") == []
    assert len(desk.json("audit list --since 2000-01-01")) == len(entries)
    heading, first, *_ = desk("audit list -o csv").out.splitlines()
    assert heading == "seq,at,operator,login,host,action,subject,details"
    assert first.startswith("1,")


def test_each_entry_names_who_the_database_says_it_was(desk: Desk) -> None:
    desk.paid_by_card()
    login = system_user() if desk.url.startswith("sqlite") else "postgres"
    assert {entry["login"] for entry in desk.json("audit list")} == {login}
    assert {entry["login"] for entry in desk.json("invoice history INV-1")} == {login}


def test_commands_that_change_the_books_anchor_them(desk: Desk, anchors: Path, tmp_path: Path) -> None:
    refunded(desk)
    desk.json("audit list")
    seqs = [json.loads(line)["seq"] for line in anchors.read_text().splitlines()]
    assert seqs == sorted(set(seqs))
    assert seqs[-1] == desk.json("audit verify")["entries"]
    answer = desk.json(f"audit verify --anchor {anchors}")
    assert (answer["verified"], answer["anchors"]) == (True, len(seqs))
    assert desk.json(f"audit anchor --to {anchors}")["seq"] == seqs[-1]
    code, said = verified(desk, tmp_path, "--anchors", str(anchors))
    assert (code, said.rstrip().endswith(": 0 problems")) == (0, True), said


def test_a_cut_chain_is_found_with_its_anchor_alone(desk: Desk, anchors: Path, tmp_path: Path) -> None:
    desk.paid_by_card("INV-1")
    desk.json("store clock --accept")
    desk.json(f"audit anchor --to {anchors}")
    newest = desk.json("audit verify")["entries"]
    tamper(desk.books.engine, f"DELETE FROM audit_entry WHERE seq > {newest - 1}")
    assert desk.json("audit verify")["verified"]
    assert any("the chain was cut, or a backup was restored" in problem for problem in problems(desk, anchors))
    code, said = verified(desk, tmp_path, "--anchors", str(anchors))
    assert (code, "the chain was cut" in said) == (3, True), said
    status = desk("status")
    assert (status.exit_code, "audit verify --anchor" in status.out) == (8, True), status


def test_a_chain_that_was_written_anew_is_found_with_its_anchor(desk: Desk, anchors: Path, tmp_path: Path) -> None:
    refunded(desk)
    tamper(desk.books.engine, "UPDATE audit_entry SET operator = 'Mallory' WHERE action = 'refund recorded'")
    rebuild_chain(desk.books.engine)
    assert desk.json("audit verify")["verified"]
    assert any("the chain was written anew" in problem for problem in problems(desk, anchors))
    assert verified(desk, tmp_path)[0] == 0
    code, said = verified(desk, tmp_path, "--anchors", str(anchors))
    assert (code, "the chain was written anew" in said) == (3, True), said


def test_swapped_entries_are_found(desk: Desk, tmp_path: Path) -> None:
    refunded(desk)
    tamper(
        desk.books.engine,
        "UPDATE audit_entry SET seq = -1 WHERE seq = 2",
        "UPDATE audit_entry SET seq = 2 WHERE seq = 3",
        "UPDATE audit_entry SET seq = 3 WHERE seq = -1",
    )
    desk.refused("audit verify", "audit-mismatch", exit_code=3)
    assert verified(desk, tmp_path)[0] == 3


def test_a_forged_anchor_is_not_believed(desk: Desk, anchors: Path) -> None:
    refunded(desk)
    lines = [json.loads(line) for line in anchors.read_text().splitlines()]
    lines[-1]["hash"] = "0" * 64
    anchors.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert any("is not signed with the key" in problem for problem in problems(desk, anchors))


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_nothing_agrees_with_anchors_that_are_not_there(
    desk: Desk, anchors: Path, tmp_path: Path, content: str
) -> None:
    refunded(desk)
    anchors.write_text(content)
    desk.refused(f"audit verify --anchor {anchors}", "empty-file", exit_code=2)
    anchors.write_text("")
    code, said = verified(desk, tmp_path, "--anchors", str(anchors))
    assert (code, "there is no anchor to compare with" in said) == (3, True)
    nothing = tmp_path / "nothing.jsonl"
    nothing.write_text("")
    verifier = subprocess.run(
        [sys.executable, str(VERIFIER), str(nothing)], capture_output=True, text=True, check=False
    )
    assert (verifier.returncode, "there is no entry to verify" in verifier.stdout) == (3, True)


def test_the_newest_anchor_of_a_long_file_is_its_last_line(desk: Desk, anchors: Path) -> None:
    refunded(desk)
    first, *_, last = anchors.read_text().splitlines(keepends=True)
    anchors.write_text(first * 1_000 + last)
    newest, in_first = newest_anchor(anchors), json.loads(first)
    assert newest is not None
    assert (newest.seq, newest.seq > in_first["seq"]) == (json.loads(last)["seq"], True)
    assert len(read_anchors(anchors)) == 1_001


def test_without_a_key_nothing_is_anchored_and_the_refund_is_made(desk: Desk, anchors: Path) -> None:
    del desk.environ["REFUNDCLI_AUDIT_KEY"]
    desk.paid_by_card()
    answer = desk("refund INV-1 --amount 10 --reason other --yes")
    assert answer.exit_code == 0
    assert "The audit trail was not anchored: No key for signing is set." in answer.err
    assert not anchors.exists()
    desk.refused(f"audit anchor --to {anchors}", "anchor-key-not-set", exit_code=4)


def test_an_export_never_replaces_a_file(desk: Desk, tmp_path: Path) -> None:
    desk.paid_by_card()
    (tmp_path / "a.jsonl").write_text("mine")
    desk.refused(f"audit export {tmp_path / 'a.jsonl'}", "file-exists", exit_code=2)
    assert (tmp_path / "a.jsonl").read_text() == "mine"
