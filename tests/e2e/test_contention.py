"""Many processes refund one invoice at once: the money goes out once, and the others are refused."""

import json
from collections import Counter

import pytest

from at_once import all_at_once
from desk import Desk

PROCESSES = 16
pytestmark = pytest.mark.both_databases


def test_sixteen_processes_never_return_more_than_was_captured(desk: Desk) -> None:
    """Each refunds 15.00 of 100.00: six succeed and 10.00 is left."""
    reference = desk.paid_by_card()
    command = ["refund", "INV-1", "--amount", "15", "--reason", "other", "--yes", "--allow-duplicate"]
    answers = all_at_once(desk, [command] * PROCESSES)
    assert Counter(code for code, _, _ in answers) == {0: 6, 3: 10}, answers
    for code, _, err in answers:
        if code:
            error = json.loads(err)["error"]
            assert error["code"] == "over-refund"
            assert error["hint"]
    assert desk.refunded_at_provider(reference) == [1500] * 6
    invoice = desk.invoice("INV-1")
    assert (invoice.refunded.number, invoice.reserved.number, invoice.refundable.number) == ("90.00", "0.00", "10.00")
    assert desk("store check").exit_code == 0


def test_sixteen_processes_with_one_request_key_make_one_refund(desk: Desk) -> None:
    reference = desk.paid_by_card()
    command = ["refund", "INV-1", "--amount", "15", "--reason", "other", "--yes", "--request-key", "job-7"]
    answers = all_at_once(desk, [command] * PROCESSES)
    ids = {json.loads(out)["refunds"][0]["id"] for _, out, _ in answers}
    assert len(ids) == 1, answers
    # A process that starts while the first still waits for the provider ends with 8.
    assert {code for code, _, _ in answers} <= {0, 8}, answers
    assert desk.refunded_at_provider(reference) == [1500]


def test_sixteen_processes_of_every_kind_leave_sound_books(desk: Desk) -> None:
    reference = desk.paid_by_card("INV-1", "100.00 EUR")
    desk.paid_outside("INV-2", "100.00 EUR")
    refund = ["refund", "INV-1", "--amount", "30", "--reason", "other", "--yes", "--allow-duplicate"]
    mark = ["mark-refunded", "INV-2", "--amount", "30", "--reason", "other", "--yes", "--allow-duplicate"]
    answers = all_at_once(desk, [refund, mark, ["resume", "--yes"], mark] * (PROCESSES // 4))
    assert {code for code, _, _ in answers} <= {0, 3, 8}, answers
    assert sum(desk.refunded_at_provider(reference)) == desk.invoice("INV-1").refunded.minor == 9000
    assert desk.invoice("INV-2").refunded.number == "90.00"
    assert desk("store check").exit_code == 0
