"""A second import never overwrites newer facts of the store, nor moves one payment's money to another."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from desk import Answer, Desk
from refundcli.store.checks.integrity import findings


def bring_in(desk: Desk, *payments: dict[str, Any], status: str = "paid") -> list[str]:
    """Imports one invoice with these payments; the reported reasons and notices."""
    invoice = {"number": "INV-1", "customer": "c", "currency": "EUR", "total": "150.00", "status": status}
    Path("again.jsonl").write_text(json.dumps({**invoice, "issued_on": "2026-09-01", "payments": payments}) + "\n")
    answer = desk.json("invoice import again.jsonl")
    assert not findings(desk.books)
    return [conflict["message"] for conflict in answer["conflicts"]]


def paid(amount: str, reference: str = "", **more: Any) -> dict[str, Any]:
    provider = {"": "", "p": "stripe", "c": "stripe"}.get(reference[:1], "adyen")
    return {"paid_amount": amount, "provider": provider, "payment_reference": reference, **more}


def payments(desk: Desk) -> list[tuple[str | None, str]]:
    return [
        (payment["reference"], payment["captured"]["amount"]) for payment in desk.json("invoice show INV-1")["payments"]
    ]


def ids(desk: Desk) -> list[tuple[str | None, ...]]:
    columns = "provider, payment_intent, charge, psp_reference"
    with desk.books.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(f"SELECT {columns} FROM payment ORDER BY position"))]


def refund(desk: Desk, amount: str, reference: str, key: str = "K") -> Answer:
    return desk(f"refund INV-1 --amount {amount} --payment {reference} --reason other --request-key {key} --yes")


# --- which payment is which ---


def test_payments_in_another_order_do_not_lend_each_other_their_money(desk: Desk) -> None:
    small = desk.sandbox.charge("50.00 EUR", provider="adyen").reference
    large = desk.sandbox.charge("100.00 EUR", provider="adyen").reference
    bring_in(desk, paid("50.00", small), paid("100.00", large))
    assert refund(desk, "50", small, "first").exit_code == 0
    assert refund(desk, "10", large, "second").exit_code == 0
    assert bring_in(desk, paid("100.00", large), paid("50.00", small)) == []
    refund(desk, "50", small, "again")
    assert sum(desk.refunded_at_provider(small)) == 5000


def test_payments_in_another_order_keep_their_own_dispute(desk: Desk) -> None:
    bring_in(desk, paid("50.00", "PSPA"), paid("100.00", "PSPB"))
    bring_in(desk, paid("100.00", "PSPB", dispute="open", processing=True), paid("50.00", "PSPA"))
    disputes = {p["reference"]: (p["dispute"], p["processing"]) for p in desk.json("invoice show INV-1")["payments"]}
    assert disputes == {"PSPA": (None, False), "PSPB": ("open", True)}


def test_payments_in_another_order_change_nothing(desk: Desk) -> None:
    first, second = paid("50.00", "PSPA"), paid("100.00", "PSPB")
    bring_in(desk, first, second)
    assert bring_in(desk, second, first) == []
    assert payments(desk) == [("PSPA", "50.00"), ("PSPB", "100.00")]


@pytest.mark.parametrize("reference", ["", "transfer 7"])
def test_payments_without_an_id_are_matched_by_amount(desk: Desk, reference: str) -> None:
    small, large = ({"paid_amount": amount, "payment_reference": reference} for amount in ("50.00", "100.00"))
    bring_in(desk, small, large)
    assert bring_in(desk, large, small) == []
    assert [amount for _, amount in payments(desk)] == ["50.00", "100.00"]


def test_a_payment_without_an_id_does_not_take_one_with_an_id_for_itself(desk: Desk) -> None:
    bring_in(desk, paid("50.00", "PSPA"), paid("100.00"))
    notes = bring_in(desk, paid("100.00"), paid("30.00", "PSPB"), paid("50.00", "PSPA"))
    assert (notes, payments(desk)) == ([], [("PSPA", "50.00"), (None, "100.00"), ("PSPB", "30.00")])


def test_another_payment_does_not_raise_what_was_captured_of_the_refunded_one(desk: Desk) -> None:
    reference = desk.sandbox.charge("50.00 EUR", provider="adyen").reference
    bring_in(desk, paid("50.00", reference), status="open")
    assert refund(desk, "50", reference).exit_code == 0
    [note] = bring_in(desk, paid("150.00", "OTHERPAYMENT0001"))
    assert "lacks 1 of the payments" in note
    assert payments(desk) == [(reference, "50.00"), ("OTHERPAYMENT0001", "150.00")]
    refund(desk, "50", reference, "again")
    assert sum(desk.refunded_at_provider(reference)) == 5000


@pytest.mark.parametrize("new_reference", ["ch_2", "PSPB"])
def test_another_id_is_another_payment_once_money_has_moved(desk: Desk, new_reference: str) -> None:
    reference = desk.sandbox.charge("50.00 EUR").reference
    bring_in(desk, paid("50.00", reference))
    assert refund(desk, "20", reference).exit_code == 0
    bring_in(desk, paid("100.00", new_reference))
    assert payments(desk) == [(reference, "50.00"), (new_reference, "100.00")]


@pytest.mark.parametrize(
    ("right", "columns"),
    [
        ("PSPA", ("adyen", None, None, "PSPA")),
        ("ch_2", ("stripe", None, "ch_2", None)),
        ("pi_2", ("stripe", "pi_2", None, None)),
    ],
)
def test_a_mistyped_id_is_corrected_while_no_money_has_moved(
    desk: Desk, right: str, columns: tuple[str | None, ...]
) -> None:
    bring_in(desk, paid("150.00", "pi_1"))
    assert bring_in(desk, paid("150.00", right)) == []
    assert ids(desk) == [columns]


def test_an_id_of_a_disputed_payment_is_not_corrected(desk: Desk) -> None:
    bring_in(desk, paid("150.00", "pi_1", dispute="open"))
    bring_in(desk, paid("150.00", "pi_2"))
    assert [reference for reference, _ in payments(desk)] == ["pi_1", "pi_2"]


def test_a_stripe_payment_that_was_refunded_may_become_known_by_its_charge_too(desk: Desk) -> None:
    reference = desk.sandbox.charge("150.00 EUR").reference
    bring_in(desk, paid("150.00", reference))
    assert refund(desk, "20", reference).exit_code == 0
    bring_in(desk, paid("150.00", "ch_1"))
    assert ids(desk) == [("stripe", reference, "ch_1", None)]
    [note] = bring_in(desk, paid("150.00", "ch_1"), paid("150.00", reference))
    assert "by its other id" in note
    assert bring_in(desk, paid("150.00", "ch_1")) == []


def test_a_payment_that_had_no_id_gets_the_one_that_the_file_knows(desk: Desk) -> None:
    bring_in(desk, paid("150.00", provider="stripe"))
    bring_in(desk, paid("150.00", "pi_1", auto_refundable=True))
    assert ids(desk) == [("stripe", "pi_1", None, None)]
    assert desk.json("invoice show INV-1")["auto_refundable"]


def test_a_file_without_the_ids_takes_none_away_and_raises_no_amount(desk: Desk) -> None:
    bring_in(desk, paid("100.00", "pi_1"))
    notes = bring_in(desk, paid("150.00"))
    assert "does not name the payment" in notes[0]
    assert "a payment at Stripe" in notes[1]
    assert payments(desk) == [("pi_1", "100.00")]
    assert desk.json("invoice show INV-1")["auto_refundable"]


# --- disputes ---


@pytest.mark.parametrize("columns", [{}, {"dispute": "won"}, {"dispute": "lost"}])
def test_an_open_dispute_ends_only_won_or_lost(desk: Desk, columns: dict[str, str]) -> None:
    bring_in(desk, paid("150.00", "PSPA", dispute="open"))
    notes = bring_in(desk, paid("150.00", "PSPA", **columns))
    assert notes == ([] if columns else ["its dispute was open; left unchanged"])
    assert desk.json("invoice show INV-1")["dispute"] == columns.get("dispute", "open")


def test_a_file_that_does_not_know_an_open_dispute_does_not_allow_a_refund(desk: Desk) -> None:
    reference = desk.sandbox.charge("100.00 EUR", provider="adyen").reference
    bring_in(desk, paid("100.00", reference, dispute="open"))
    bring_in(desk, paid("100.00", reference))
    desk.refused("refund INV-1 --full --reason other --yes", "disputed")


def test_a_lost_dispute_without_an_amount_took_all(desk: Desk) -> None:
    bring_in(desk, paid("100.00", "PSPA", dispute="open", dispute_amount="30.00"))
    bring_in(desk, paid("100.00", "PSPA", dispute="lost"))
    assert desk.json("invoice show INV-1")["refundable"]["amount"] == "0.00"


@pytest.mark.parametrize(
    ("first", "then", "refundable", "is_kept"),
    [("30", "20", "120.00", True), ("30", "40", "110.00", False), ("30", "", "0.00", False), ("", "30", "0.00", True)],
)
def test_what_a_lost_dispute_took_only_grows(desk: Desk, first: str, then: str, refundable: str, is_kept: bool) -> None:
    for amount in (first, then):
        notes = bring_in(desk, paid("150.00", "PSPA", dispute="lost", dispute_amount=amount))
    assert desk.json("invoice show INV-1")["refundable"]["amount"] == refundable
    assert bool(notes) is is_kept


# --- what makes money move ---


def test_a_column_left_out_does_not_let_money_move(desk: Desk) -> None:
    bring_in(desk, paid("150.00", "PSPA", auto_refundable=False))
    [note] = bring_in(desk, paid("150.00", "PSPA"))
    assert "until the file says yes" in note
    desk.refused("refund INV-1 --full --reason other --yes", "not-auto-refundable")
    assert bring_in(desk, paid("150.00", "PSPA", auto_refundable=True)) == []
    assert desk.json("invoice show INV-1")["auto_refundable"]


def test_a_payment_on_its_way_becomes_refundable_once_it_is_there(desk: Desk) -> None:
    bring_in(desk, {"provider": "stripe", "processing": True}, status="open")
    assert bring_in(desk, paid("150.00", "pi_1")) == []
    assert desk.json("invoice show INV-1")["refundable"]["amount"] == "150.00"
    assert desk.json("invoice show INV-1")["auto_refundable"]


def test_what_was_given_back_before_comes_with_the_money(desk: Desk) -> None:
    bring_in(desk, {"provider": "stripe", "payment_reference": "pi_1", "processing": True}, status="open")
    assert bring_in(desk, paid("150.00", "pi_1", refunded_amount="40.00")) == []
    assert desk.json("invoice show INV-1")["refundable"]["amount"] == "110.00"
    [note] = bring_in(desk, paid("150.00", "pi_1", refunded_amount="50.00"))
    assert "refunded_amount" in note
    assert desk.json("invoice show INV-1")["refundable"]["amount"] == "110.00"


# --- void ---


def test_a_file_does_not_void_what_was_paid(desk: Desk) -> None:
    bring_in(desk, paid("50.00"), status="open")
    notes = bring_in(desk, status="void")
    assert "the store shows captured money" in notes[0]
    assert desk.json("invoice show INV-1")["status"] == "open"


def test_a_voided_invoice_that_was_paid_after_all_is_paid(desk: Desk) -> None:
    bring_in(desk, status="open")
    assert desk("void INV-1 --yes").exit_code == 0
    [note] = bring_in(desk, status="open")
    assert "the store says void" in note
    [noticed] = bring_in(desk, paid("150.00", "pi_1"))
    assert noticed == "it was voided here, but the file shows captured money; it is now paid"
    invoice = desk.json("invoice show INV-1")
    assert (invoice["status"], invoice["refundable"]["amount"]) == ("paid", "150.00")
