"""Prompts and screens in a real terminal (a pty), read off an emulated screen."""

import shlex
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from desk import Desk
from refundcli.domain.statuses import Dispute
from refundcli.services.ports.records import NewPayment
from terminal.terminal import Terminal


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    """On one database: the rules are tested on both."""
    return new_sqlite


def sit_down(desk: Desk, command: str, *, columns: int = 100, new_python: bool = False) -> Terminal:
    return Terminal(shlex.split(command), desk.environ, columns=columns, new_python=new_python)


def test_the_amount_must_be_typed_before_money_moves(desk: Desk) -> None:
    reference = desk.paid_by_card(products=("Season pass",), subscription="sub_88")
    terminal = sit_down(desk, "refund INV-1 --amount 12.50 --reason duplicate", new_python=True)
    terminal.wait_for("Type 12.50 EUR to confirm:")
    assert "cannot be undone" in terminal.text
    assert "test mode" in terminal.text
    terminal.type("12.50 eur")
    assert terminal.ends() == 0
    for words in (
        "Refunded 12.50 EUR",
        "credit note CN-",
        "Season pass",
        "sub_88 is still active",
        "5–10 business days",
    ):
        assert words in terminal.text
    assert desk.refunded_at_provider(reference) == [1250]


@pytest.mark.parametrize("typed", ["12.05 EUR", "12.50", "yes"])
def test_a_wrong_amount_moves_no_money(desk: Desk, typed: str) -> None:
    desk.paid_by_card()
    terminal = sit_down(desk, "refund INV-1 --amount 12.50 --reason duplicate")
    terminal.wait_for("to confirm:")
    terminal.type(typed)
    terminal.wait_for("to confirm:")
    assert f"'{typed}' is not 12.50 EUR." in terminal.text
    terminal.type("n")
    assert terminal.ends() == 3
    assert "Cancelled. Nothing was sent.   [not-confirmed]" in terminal.text
    assert desk.sandbox.refund_requests == []
    assert desk.count("refund") == 0


def test_ctrl_c_at_the_question_moves_no_money(desk: Desk) -> None:
    desk.paid_by_card()
    terminal = sit_down(desk, "refund INV-1 --full --reason duplicate")
    terminal.wait_for("to confirm:")
    terminal.press_ctrl_c()
    assert terminal.ends() == 130
    assert "Interrupted. Nothing was sent." in terminal.text
    assert desk.count("refund") == 0


QUESTIONS = {
    "refund INV-1 --full --reason other": "sent",
    "refund --from refunds.csv": "sent",
    "mark-refunded INV-2 --full --reason other": "recorded",
    "mark-refunded --from records.csv": "recorded",
    "mark-refunded INV-2 --amount 5 --reason other": "recorded",
    "refund INV-1 --amount 5 --reason other": "sent",
    "mark-refunded --undo RECORD --memo why": "undone",
    "void INV-3": "changed",
    "uncollectible INV-3": "changed",
}


@pytest.fixture
def half_refunded(desk: Desk) -> Desk:
    """A desk for every question, with 5.00 EUR of two invoices refunded just now."""
    desk.paid_by_card()
    desk.paid_outside()
    desk.unpaid()
    desk.json("refund INV-1 --amount 5 --reason other --yes")
    desk.json("mark-refunded INV-2 --amount 5 --reason other --yes")
    (desk.folder / "refunds.csv").write_text("invoice,amount,reason\nINV-1,10,other\n")
    (desk.folder / "records.csv").write_text("invoice,amount,reason\nINV-2,10,other\n")
    return desk


@pytest.mark.parametrize(("command", "what"), QUESTIONS.items(), ids=list(QUESTIONS))
def test_declining_the_prompt_says_that_nothing_was_done(half_refunded: Desk, command: str, what: str) -> None:
    desk = half_refunded
    before, sent = desk.count("audit_entry"), len(desk.sandbox.refund_requests)
    command = command.replace("RECORD", desk.invoice("INV-2").refunds[0].id)
    answers: list[Callable[[Terminal], None]] = [
        lambda terminal: terminal.type(""),
        lambda terminal: terminal.type("n"),
        Terminal.press_ctrl_d,
        Terminal.press_ctrl_c,
    ]
    for answer in answers:
        terminal = sit_down(desk, command)
        terminal.wait_for_any("to confirm:", "[y/N]")
        answer(terminal)
        is_interrupted = answer is Terminal.press_ctrl_c
        assert terminal.ends() == (130 if is_interrupted else 3)
        assert f"{'Interrupted' if is_interrupted else 'Cancelled'}. Nothing was {what}." in terminal.text
    assert (desk.count("audit_entry"), len(desk.sandbox.refund_requests)) == (before, sent)


@pytest.mark.parametrize(
    ("command", "question"),
    [
        ("refund INV-1 --amount 5 --reason other", "Refund it again? [y/N]"),
        ("mark-refunded INV-2 --amount 5 --reason overcharged", "Record it again? [y/N]"),
    ],
)
def test_the_same_amount_within_minutes_needs_confirmation(half_refunded: Desk, command: str, question: str) -> None:
    terminal = sit_down(half_refunded, command)
    terminal.wait_for(question)
    assert "5.00 EUR of the same payment" in terminal.text
    terminal.type("y")
    terminal.wait_for_any("Type 5.00 EUR to confirm:", "Record it? [y/N]")
    terminal.type("5.00 EUR" if command.startswith("refund") else "y")
    assert terminal.ends() == 0
    assert half_refunded.invoice(command.split()[1]).refunded.number == "10.00"


def test_ctrl_c_while_the_provider_works_waits_for_its_answer(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.faults("delay_ms", delay_ms=1500)
    terminal = sit_down(desk, "refund INV-1 --full --reason duplicate --yes", new_python=True)
    _until(lambda: bool(desk.sandbox.refund_requests))
    terminal.press_ctrl_c()
    terminal.wait_for("for the provider's response")
    assert terminal.ends() == 130
    assert desk.refunded_at_provider(reference) == [10000]
    assert desk.invoice("INV-1").status == "refunded"


def drip_for_ever(listening: socket.socket, over: threading.Event) -> None:
    """Answer one request a byte at a time, each well within the read timeout."""
    line, _ = listening.accept()
    with line, suppress(OSError):
        line.recv(65536)
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
        while not over.wait(0.1):
            line.sendall(b" ")


@pytest.mark.parametrize("presses", [0, 1, 3])
def test_an_answer_that_never_ends_holds_neither_the_refund_nor_ctrl_c(desk: Desk, presses: int) -> None:
    desk.paid_by_card(provider="adyen")
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        desk.environ["REFUNDCLI_ADYEN_API_BASE"] = f"http://127.0.0.1:{listening.getsockname()[1]}"
        desk.environ |= {"REFUNDCLI_REFUNDS_READ_TIMEOUT": "5", "REFUNDCLI_REFUNDS_CONNECT_TIMEOUT": "2"}
        server = threading.Thread(target=drip_for_ever, args=(listening, over))
        server.start()
        terminal = sit_down(desk, "refund INV-1 --full --reason duplicate --yes")
        _until(lambda: any(refund.state == "submitted" for refund in desk.invoice("INV-1").refunds))
        for _ in range(presses):
            terminal.press_ctrl_c()
        if presses:
            # Ends at once, although the server keeps sending.
            terminal.wait_for("Waiting up to 7 s for the provider's response")
        assert terminal.ends() == (130 if presses else 8)
        over.set()
        server.join()
    (refund,) = desk.invoice("INV-1").refunds
    assert refund.state == "submitted"
    assert f"refundcli resume {refund.id}" in " ".join(terminal.text.split())


def test_ctrl_c_during_the_preflight_ends_at_once_and_sends_nothing(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 1 --reason other --yes")
    sent, over = len(desk.sandbox.refund_requests), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        desk.environ["REFUNDCLI_STRIPE_API_BASE"] = f"http://127.0.0.1:{listening.getsockname()[1]}"
        desk.environ["REFUNDCLI_REFUNDS_READ_TIMEOUT"] = "600"
        server = threading.Thread(target=drip_for_ever, args=(listening, over))
        server.start()
        terminal = sit_down(desk, "refund INV-1 --amount 2 --reason duplicate --yes")
        time.sleep(3)
        terminal.press_ctrl_c()
        assert terminal.ends() == 130
        over.set()
        server.join()
    assert len(desk.sandbox.refund_requests) == sent
    assert [refund.state for refund in desk.invoice("INV-1").refunds if refund.state == "submitted"] == []


def test_another_terminal_that_was_faster_is_noticed_before_money_moves(desk: Desk) -> None:
    reference = desk.paid_by_card()
    terminal = sit_down(desk, "refund INV-1 --full --reason duplicate")
    terminal.wait_for("Type 100.00 EUR to confirm:")
    desk.json("refund INV-1 --amount 40 --reason other --yes")
    terminal.type("100.00 EUR")
    assert terminal.ends() == 3
    assert "[changed-meanwhile]" in terminal.text
    assert desk.refunded_at_provider(reference) == [4000]


def test_no_input_never_asks_even_in_a_terminal(desk: Desk) -> None:
    desk.paid_by_card()
    terminal = sit_down(desk, "--no-input refund INV-1 --full --reason duplicate")
    assert terminal.ends() == 2
    assert "[confirmation-required]" in terminal.text


@pytest.mark.parametrize(
    ("command", "said", "status"),
    [("void INV-3", "Voided", "void"), ("uncollectible INV-3", "Uncollectible", "uncollectible")],
)
def test_ending_an_invoice_asks_for_a_plain_yes(desk: Desk, command: str, said: str, status: str) -> None:
    desk.unpaid()
    terminal = sit_down(desk, command)
    terminal.wait_for("[y/N]")
    terminal.type("")
    assert terminal.ends() == 3
    assert desk.invoice("INV-3").status == "open"
    terminal = sit_down(desk, command)
    terminal.wait_for("[y/N]")
    terminal.type("y")
    assert terminal.ends() == 0
    assert said in terminal.text
    assert desk.invoice("INV-3").status == status


@pytest.mark.parametrize(
    ("paid", "question"),
    [
        (0, "Write off INV-3, 100.00 EUR? It can still be voided, or paid later."),
        (6000, "Write off INV-3, 40.00 EUR still owed (of 100.00 EUR)? It can still be paid later."),
    ],
)
def test_a_write_off_says_what_can_still_be_done(desk: Desk, paid: int, question: str) -> None:
    desk.unpaid(payments=(NewPayment(paid, method="cash"),) if paid else ())
    terminal = sit_down(desk, "uncollectible INV-3", columns=140)
    terminal.wait_for("[y/N]")
    assert question in terminal.text
    terminal.type("")
    assert terminal.ends() == 3


def test_a_record_says_that_no_money_moves(desk: Desk) -> None:
    desk.paid_outside()
    terminal = sit_down(desk, "mark-refunded INV-2 --full --reason other")
    terminal.wait_for("[y/N]")
    assert "No money moves" in terminal.text
    terminal.type("y")
    assert terminal.ends() == 0
    assert "Recorded 100.00 EUR" in terminal.text


def test_a_file_of_records_asks_for_the_number_of_rows(desk: Desk) -> None:
    desk.paid_outside("T-1", "100.00 EUR")
    path = desk.folder / "transfers.csv"
    path.write_text("invoice,amount,reason\nT-1,40,other\nT-1,10,other\nT-9,5,other\n")
    terminal = sit_down(desk, f"mark-refunded --from {path}")
    terminal.wait_for("Type 2 to confirm:")
    for words in ("Will record", "50.00", "1 invoice-not-found", "lines 4"):
        assert words in terminal.text
    terminal.type("3")
    terminal.wait_for("'3' is not 2.")
    terminal.type("")
    assert terminal.ends() == 3
    assert desk.count("refund") == 0
    terminal = sit_down(desk, f"mark-refunded --from {path}")
    terminal.wait_for("to confirm:")
    terminal.type("2")
    assert terminal.ends() == 9
    assert "Recorded 2 rows: 50.00 EUR" in terminal.text
    assert "Rows left out: 1 of 3" in terminal.text


def test_a_plan_is_not_called_a_dry_run(desk: Desk) -> None:
    desk.paid_outside("T-1")
    path = desk.folder / "transfers.csv"
    path.write_text("invoice,amount,reason\nT-1,40,other\n")
    terminal = sit_down(desk, f"mark-refunded --from {path} --plan {desk.folder / 'plan.json'}", columns=200)
    assert terminal.ends() == 0
    assert "Plan saved (rows: 1)" in terminal.text
    assert "Dry run" not in terminal.text


def test_a_dry_run_of_an_undo_says_what_it_would_do(desk: Desk) -> None:
    desk.paid_outside("T-1")
    desk.json("mark-refunded T-1 --amount 40 --reason other --yes")
    record = desk.invoice("T-1").refunds[0].id
    terminal = sit_down(desk, f"mark-refunded --undo {record} --memo why --dry-run", columns=160)
    assert terminal.ends() == 0
    words = "40.00 EUR. Its credit note would become void; no money would move."
    assert f"Would undo the record {record} of T-1: {words}" in terminal.text


@pytest.mark.parametrize("columns", [80, 140])
def test_no_screen_wraps_amounts_numbers_or_commands(desk: Desk, columns: int) -> None:
    desk.paid_by_card("INV-2026-000001", dispute=Dispute.NONE, products=("Season pass 2026", "Training kit"))
    desk.json("refund INV-2026-000001 --amount 30 --reason product-unsatisfactory --yes")
    note = desk.json("credit-notes list")[0]["number"]
    for command, whole in {
        "invoice show INV-2026-000001": ("70.00 EUR", note, "refundcli refund INV-2026-000001 --full --reason REASON"),
        "invoice list": ("INV-2026-000001", "100.00", "70.00"),
        "credit-notes list": (note, "INV-2026-000001", "30.00"),
        f"credit-notes show {note}": (note, "30.00 EUR"),
        "invoice history INV-2026-000001": ("refund succeeded", "refund submitted"),
        "config": ("refunds.read_timeout",),
    }.items():
        terminal = sit_down(desk, command, columns=columns)
        assert terminal.ends() == 0
        for words in whole:
            assert words in terminal.text, (command, columns, terminal.text)


def test_a_hostile_name_cannot_reach_the_terminal(desk: Desk) -> None:
    desk.paid_by_card(customer_name="Eve \x1b[2J\x1b]0;owned\x07 \u202etxt.exe")
    terminal = sit_down(desk, "invoice show INV-1")
    assert terminal.ends() == 0
    assert "\x1b[2J" not in terminal.raw
    assert "owned\x07" not in terminal.raw
    assert r"\x1b[2J" in terminal.text


def test_a_large_import_shows_its_progress(desk: Desk) -> None:
    path = _large_file(desk.folder / "many.csv", 3000)
    terminal = sit_down(desk, f"invoice import {path}")
    assert terminal.ends() == 0
    assert "Checking" in terminal.raw
    assert "Writing" in terminal.raw
    # A long path wraps the line.
    assert "3000 new" in " ".join(terminal.text.split())


def _large_file(path: Path, rows: int) -> Path:
    lines = ["number,customer,currency,total,status,issued_on"]
    lines += [f"L-{row:06},cus_1,EUR,10.00,open,2026-09-01" for row in range(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_lost_answer_is_reported_before_the_state_of_the_invoice(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_after")
    terminal = sit_down(desk, "refund INV-1 --amount 60 --reason duplicate --yes")
    assert terminal.ends() == 8
    assert terminal.text.index("[outcome-unknown]") < terminal.text.index("INV-1 is now Paid")
    (refund,) = desk.invoice("INV-1").refunds
    screen = sit_down(desk, "invoice show INV-1")
    assert screen.ends() == 0
    assert f"✓ resume         refundcli resume {refund.id}" in screen.text


def test_init_with_force_says_that_it_replaced_the_settings(desk: Desk) -> None:
    for options, said in (("", "Wrote refundcli.toml"), ("--force", "Replaced refundcli.toml")):
        terminal = sit_down(desk, f"init {options}")
        assert terminal.ends() == 0
        assert said in terminal.text
