"""Records of chargebacks: never more than the lost disputes took, and undone exactly (R11)."""

from pathlib import Path

import pytest
from sqlalchemy import text

from desk import Desk, new_invoice
from refundcli.domain.invoice import Payment
from refundcli.domain.money import parse_money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider
from refundcli.services.ports.records import NewPayment
from refundcli.store.checks.integrity import findings
from tampering import tamper

FULL = "mark-refunded Y-1 --full --reason chargeback --yes"


def lost(desk: Desk, *, amount: int = 15000, method: str = "cash", auto_refundable: bool = False) -> None:
    """Y-1: 400.00 EUR were paid, and a dispute took a part of it."""
    whole = parse_money("400.00 EUR")
    provider = Provider.STRIPE if auto_refundable else None
    payment = NewPayment(
        whole.minor,
        provider,
        method=method,
        reference="pi_boleto" if auto_refundable else "",
        auto_refundable=auto_refundable,
        dispute=Dispute.LOST,
        dispute_amount=amount,
    )
    desk.bring_in(new_invoice("Y-1", whole, payments=(payment,)))


def sums(desk: Desk) -> tuple[int, int, int]:
    """Refunded, lost, and recorded of disputes."""
    payment: Payment = desk.invoice("Y-1").payments[0]
    assert findings(desk.books) == []
    return payment.refunded.minor, payment.lost.minor, payment.recorded_of_disputes.minor


def records(desk: Desk) -> list[Refund]:
    return [refund for refund in desk.invoice("Y-1").refunds if refund.stands_for_dispute]


def written(desk: Desk, *rows: str, columns: str = "invoice,amount,reason,method") -> Path:
    file = desk.folder / "records.csv"
    file.write_text("\n".join([columns, *rows]) + "\n")
    return file


@pytest.mark.parametrize(("method", "auto_refundable"), [("cash", False), ("boleto", True)])
def test_a_chargeback_is_recorded_once_and_what_is_left_is_other_money(
    desk: Desk, method: str, auto_refundable: bool
) -> None:
    lost(desk, method=method, auto_refundable=auto_refundable)
    desk.refused("mark-refunded Y-1 --amount 150.01 --reason chargeback --yes", "over-refund")
    desk.json(FULL)
    desk.refused(FULL, "chargeback-recorded")
    desk.refused("mark-refunded Y-1 --amount 20 --reason chargeback --yes", "chargeback-recorded")
    assert sums(desk) == (15000, 0, 15000)
    assert desk.invoice("Y-1").status is InvoiceStatus.PAID
    (record,) = records(desk)
    desk.json(f"mark-refunded --undo {record.id} --memo wrong --yes")
    assert sums(desk) == (0, 15000, 0)
    desk.json(FULL)
    assert sums(desk) == (15000, 0, 15000)
    desk.json("mark-refunded Y-1 --full --reason other --yes")
    assert desk.invoice("Y-1").status is InvoiceStatus.REFUNDED


def test_a_chargeback_is_recorded_in_parts_that_are_undone_one_by_one(desk: Desk) -> None:
    lost(desk)
    first = desk.json("mark-refunded Y-1 --amount 100 --reason chargeback --yes")["refunds"][0]["id"]
    second = desk.json(FULL)["refunds"][0]
    assert (second["amount"]["amount"], sums(desk)) == ("50.00", (15000, 0, 15000))
    desk.json(f"mark-refunded --undo {first} --memo wrong --yes")
    assert sums(desk) == (5000, 10000, 5000)
    desk.refused("mark-refunded Y-1 --amount 100.01 --reason chargeback --yes", "over-refund")
    desk.json(f"mark-refunded --undo {second['id']} --memo wrong --yes")
    assert sums(desk) == (0, 15000, 0)


def test_rows_of_a_file_that_differ_in_method_record_the_loss_once(desk: Desk) -> None:
    lost(desk)
    file = written(desk, "Y-1,,chargeback,bank", "Y-1,,chargeback,cash")
    answer = desk.json(f"mark-refunded --from {file} --yes", exit_code=9)
    assert answer["refused_by_code"] == {"chargeback-recorded": 1}
    assert sums(desk) == (15000, 0, 15000)


def test_a_chargeback_recorded_before_its_dispute_counts_and_is_undone_alone(desk: Desk) -> None:
    whole = parse_money("400.00 EUR")
    desk.bring_in(new_invoice("Y-1", whole, payments=(NewPayment(whole.minor, method="cash"),)))
    by_hand = desk.json("mark-refunded Y-1 --amount 100 --reason chargeback --yes")["refunds"][0]["id"]
    lost(desk)
    assert sums(desk) == (10000, 15000, 0)
    desk.json(FULL)
    assert sums(desk) == (15000, 10000, 5000)
    desk.refused(FULL, "chargeback-recorded")
    desk.json(f"mark-refunded --undo {by_hand} --memo wrong --yes")
    assert sums(desk) == (5000, 10000, 5000)
    desk.json(FULL)
    assert sums(desk) == (15000, 0, 15000)


def test_a_chargeback_is_of_the_payment_with_the_dispute_unless_named(desk: Desk) -> None:
    whole = parse_money("400.00 EUR")
    disputed = NewPayment(30000, method="cash", dispute=Dispute.LOST, dispute_amount=15000)
    desk.bring_in(new_invoice("Y-1", whole, payments=(disputed, NewPayment(10000, method="cash"))))
    assert [record["amount"]["amount"] for record in desk.json(FULL)["refunds"]] == ["150.00"]
    desk.refused(FULL, "chargeback-recorded")
    assert desk.json(f"{FULL} --payment 2")["refunds"][0]["amount"]["amount"] == "100.00"
    assert sums(desk) == (15000, 0, 15000)


def test_a_chargeback_of_an_undisputed_payment_is_recorded_as_it_was(desk: Desk) -> None:
    desk.paid_outside("Y-1", "400.00 EUR")
    record = desk.json(FULL)["refunds"][0]["id"]
    assert sums(desk) == (40000, 0, 0)
    desk.json(f"mark-refunded --undo {record} --memo wrong --yes")
    assert sums(desk) == (0, 0, 0)


def forget_what_records_took(desk: Desk) -> None:
    """As an earlier release wrote them."""
    tamper(desk.books.engine, "UPDATE audit_entry SET after = '{}' WHERE action = 'refund recorded'")


def test_what_an_earlier_release_recorded_too_much_is_found_and_corrected(desk: Desk) -> None:
    lost(desk)
    desk.json(FULL)
    beyond = desk.json("mark-refunded Y-1 --full --reason other --yes")["refunds"][0]["id"]
    forget_what_records_took(desk)
    with desk.books.engine.begin() as line:
        line.execute(text("UPDATE refund SET reason = 'chargeback'"))
    said = "payment 1: more is recorded as chargebacks than its lost disputes took"
    assert said in findings(desk.books)
    desk.json(f"mark-refunded --undo {beyond} --memo wrong --yes")
    payment = desk.invoice("Y-1").payments[0]
    assert (payment.lost.minor, payment.recorded_of_disputes.minor) == (0, 15000)
    assert said not in findings(desk.books)
    (record,) = records(desk)
    desk.json(f"mark-refunded --undo {record.id} --memo wrong --yes")
    payment = desk.invoice("Y-1").payments[0]
    assert (payment.lost.minor, payment.recorded_of_disputes.minor) == (15000, 0)
