"""Differences between the books and a provider, and what is not a difference."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from refundcli.domain.currencies import currency
from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money, parse_money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import OutOfBand, Refund
from refundcli.domain.statuses import InvoiceStatus, Provider, RefundKind, RefundState
from refundcli.services.ports.provider_updates import DisputeUpdate, PaymentSnapshot, RefundUpdate
from refundcli.services.preflight.comparison import compare
from refundcli.services.preflight.difference import MAYBE_RECORDED, Difference, DifferenceKind

NOW = datetime(2026, 11, 20, tzinfo=UTC)
ASKED = datetime(2026, 11, 21, tzinfo=UTC)
BEFORE = datetime(2026, 11, 1, tzinfo=UTC)


def eur(text: str) -> Money:
    return Money(int(text) * 100, currency("EUR"))


def payment(**changes: Any) -> Payment:
    zero = eur("0")
    default = Payment(
        id=1,
        allocated=eur("100"),
        reserved=zero,
        refunded=zero,
        refunded_externally=zero,
        auto_refundable=True,
        lost=zero,
        credited=zero,
        provider=Provider.STRIPE,
        references=("pi_1", "ch_1"),
        opening_returned=zero,
        opening_at=datetime(2026, 11, 10, tzinfo=UTC),
    )
    return replace(default, **changes)


def invoice(of: Payment, *refunds: Refund) -> Invoice:
    return Invoice(
        id=1,
        number="INV-1",
        customer="cus_1",
        customer_name="",
        total=eur("100"),
        status=InvoiceStatus.PAID,
        issued_on=date(2026, 11, 1),
        payments=(of,),
        refunds=refunds,
    )


def refund(state: RefundState = RefundState.SUCCEEDED, **changes: Any) -> Refund:
    default = Refund(
        id="rf_1",
        invoice_id=1,
        invoice_number="INV-1",
        payment_id=1,
        kind=RefundKind.PROVIDER,
        amount=eur("40"),
        reason=RefundReason.OTHER,
        state=state,
        request_key="k",
        content="",
        created_at=NOW,
        operator="Ada",
        provider_reference="re_1",
        seen_at=Provider.STRIPE,
    )
    return replace(default, **changes)


def update(state: RefundState = RefundState.SUCCEEDED, **changes: Any) -> RefundUpdate:
    default = RefundUpdate(Provider.STRIPE, "re_1", ("pi_1", "ch_1"), eur("40"), state, state.value, created_at=NOW)
    return replace(default, **changes)


def snapshot(*refunds: RefundUpdate, **changes: Any) -> PaymentSnapshot:
    amounts = [r.amount for r in refunds if r.state in (RefundState.PENDING, RefundState.SUCCEEDED)]
    default = PaymentSnapshot(
        Provider.STRIPE, ("pi_1", "ch_1"), eur("100"), sum(amounts, eur("0")), False, (), refunds, ASKED
    )
    return replace(default, **changes)


def kinds(of: Payment, there: PaymentSnapshot | None, *refunds: Refund) -> list[str]:
    return [f"{difference.kind} {difference.what}" for difference in compare(invoice(of, *refunds), of, there)]


def disputed(state: DisputeState, *, reference: str = "dp_1", amount: str = "100") -> tuple[DisputeUpdate, ...]:
    """A dispute as the provider reports it."""
    stage = DisputeStage.CHARGEBACK
    return (DisputeUpdate(Provider.STRIPE, reference, ("ch_1",), state, stage, state.value, NOW, eur(amount)),)


def record(state: DisputeState, *, reference: str = "dp_1", amount: str = "100", status: str = "") -> DisputeRecord:
    """A dispute in the books; a placeholder without a reference."""
    return DisputeRecord(
        id=1,
        payment_id=1,
        provider=Provider.STRIPE,
        account="",
        reference=reference,
        stage=DisputeStage.CHARGEBACK,
        state=state,
        status=status or state.value,
        amount=eur(amount),
        reported_at=NOW,
    )


OPEN, WON, LOST, UNKNOWN = DisputeState.OPEN, DisputeState.WON, DisputeState.LOST, DisputeState.UNKNOWN


@pytest.mark.parametrize(
    ("there", "refunds"),
    [
        pytest.param(snapshot(), [], id="nothing happened"),
        pytest.param(snapshot(update()), [refund()], id="the same refund"),
        pytest.param(snapshot(update()), [refund(RefundState.PENDING)], id="its success is on its way to us"),
        pytest.param(
            snapshot(update(refund_id="rf_1")), [refund(RefundState.SUBMITTED, provider_reference="")], id="in doubt"
        ),
        pytest.param(snapshot(), [refund(RefundState.SUBMITTED, provider_reference="")], id="in doubt, and not made"),
        pytest.param(snapshot(update(RefundState.FAILED)), [refund(RefundState.REVERSED)], id="reversed"),
        pytest.param(snapshot(update(RefundState.FAILED)), [], id="a stranger that failed gave nothing back"),
    ],
)
def test_equivalent_statuses_are_no_difference(there: PaymentSnapshot, refunds: list[Refund]) -> None:
    assert kinds(payment(), there, *refunds) == []


@pytest.mark.parametrize(
    ("of", "there", "refunds", "expected"),
    [
        pytest.param(payment(), None, [], ["missing-there payment"], id="no such payment"),
        pytest.param(payment(), snapshot(captured=eur("90")), [], ["amount captured"], id="captured"),
        pytest.param(payment(), snapshot(captured=eur("150")), [], ["unallocated captured"], id="more than its share"),
        pytest.param(payment(), snapshot(captured=parse_money("100 USD")), [], ["currency currency"], id="currency"),
        pytest.param(payment(), snapshot(processing=True), [], ["status payment"], id="processing"),
        pytest.param(payment(), snapshot(disputes=disputed(OPEN)), [], ["dispute dispute"], id="dispute opened"),
        pytest.param(payment(disputes=(record(OPEN),)), snapshot(), [], ["dispute dispute"], id="dispute gone"),
        pytest.param(payment(), snapshot(update()), [], ["missing-here refund"], id="dashboard refund"),
        pytest.param(payment(), snapshot(), [refund()], ["missing-there refund"], id="not there"),
        pytest.param(payment(), snapshot(update(amount=eur("30"))), [refund()], ["amount refund"], id="amount"),
        pytest.param(payment(), snapshot(update(RefundState.FAILED)), [refund()], ["status refund"], id="failed since"),
        pytest.param(payment(), snapshot(refunded=eur("5")), [], ["amount refunded"], id="more gone than listed"),
        pytest.param(payment(), snapshot(why_not_refundable="held"), [], ["status payment"], id="not refundable there"),
    ],
)
def test_each_difference_has_its_kind(
    of: Payment, there: PaymentSnapshot | None, refunds: list[Refund], expected: list[str]
) -> None:
    assert kinds(of, there, *refunds) == expected


def test_an_imported_refunded_amount_covers_earlier_refunds() -> None:
    old = snapshot(update(reference="re_a", amount=eur("30"), created_at=BEFORE))
    assert kinds(payment(opening_returned=eur("30")), old) == []
    assert kinds(payment(opening_returned=eur("20")), old) == ["missing-here refund"]
    assert kinds(payment(opening_returned=eur("30")), snapshot(update(amount=eur("30")))) == ["missing-here refund"]


def test_a_record_that_names_the_dashboards_refund_is_that_refund() -> None:
    mark = refund(
        RefundState.RECORDED,
        kind=RefundKind.RECORD,
        provider_reference="",
        seen_at=None,
        out_of_band=OutOfBand(reference="re_1"),
    )
    assert kinds(payment(), snapshot(update()), mark) == []


@pytest.mark.parametrize(
    ("here", "there"),
    [
        pytest.param([record(OPEN)], disputed(OPEN), id="the same state and amount"),
        pytest.param([record(OPEN, reference="")], disputed(OPEN), id="a placeholder matches it"),
        pytest.param([record(WON)], (), id="a won one is over, and not every source lists it"),
        pytest.param([record(WON, amount="40")], disputed(WON), id="of one that is over the amount says nothing"),
        pytest.param([record(LOST, status="limbo")], disputed(UNKNOWN, amount="100"), id="decided by a person"),
    ],
)
def test_a_dispute_that_is_the_same_on_both_sides_is_no_difference(
    here: list[DisputeRecord], there: tuple[DisputeUpdate, ...]
) -> None:
    there = tuple(replace(dispute, status=here[0].status) if dispute.state is UNKNOWN else dispute for dispute in there)
    assert kinds(payment(disputes=tuple(here)), snapshot(disputes=there)) == []


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        pytest.param([record(WON)], disputed(LOST), ["won", "lost"], id="its end"),
        pytest.param([record(LOST)], disputed(LOST, amount="40"), ["lost 100.00 EUR", "lost 40.00 EUR"], id="amount"),
        pytest.param([record(LOST)], disputed(UNKNOWN), ["lost", "unknown"], id="a word that nobody decided"),
        pytest.param([record(LOST, reference="")], (), ["lost", "none"], id="only imported"),
    ],
)
def test_a_differing_dispute_shows_both_sides(
    here: list[DisputeRecord], there: tuple[DisputeUpdate, ...], expected: list[str]
) -> None:
    of = payment(disputes=tuple(here))
    (difference,) = compare(invoice(of), of, snapshot(disputes=there))
    assert [difference.here, difference.there] == expected


def test_two_disputes_of_one_payment_are_compared_one_by_one() -> None:
    of = payment(disputes=(record(LOST, reference="dp_1", amount="30"), record(OPEN, reference="dp_2", amount="20")))
    there = (*disputed(LOST, reference="dp_1", amount="30"), *disputed(LOST, reference="dp_2", amount="20"))
    (difference,) = compare(invoice(of), of, snapshot(disputes=there))
    assert (difference.here, difference.there, difference.amount) == ("open", "lost", eur("20"))


def test_a_won_dispute_that_the_books_do_not_know_is_a_difference() -> None:
    """A later refund needs a decision, so the dispute must be known first (R11)."""
    assert kinds(payment(), snapshot(disputes=disputed(WON))) == ["dispute dispute"]


@pytest.mark.parametrize(
    ("kind", "what", "here", "applied", "command"),
    [
        ("missing-here", "refund", "", True, "refundcli reconcile --adopt re_1 --reason REASON"),
        ("missing-here", "refund", "", False, "refundcli events list --state unreviewed --about re_1"),
        ("unadopted", "refund", "no credit note", False, "refundcli reconcile --adopt re_1 --reason REASON"),
        ("unadopted", "refund", MAYBE_RECORDED, False, "refundcli reconcile --match re_1 --record REFUND"),
        ("missing-there", "payment", "100.00 EUR", False, "refundcli invoice history INV-1"),
        ("dispute", "dispute", "none", False, "refundcli events list --state unreviewed --about re_1"),
        ("dispute", "dispute", "none", True, ""),
        ("amount", "captured", "100.00 EUR", False, "refundcli invoice show INV-1"),
        ("unallocated", "captured", "1.00 EUR", False, "refundcli invoice pull stripe   or   refundcli invoice import"),
    ],
)
def test_each_difference_names_its_next_command(kind: str, what: str, here: str, applied: bool, command: str) -> None:
    difference = Difference(DifferenceKind(kind), Provider.STRIPE, "INV-1", "re_1", what, here, "there")
    step = difference.next_step(applied=applied)
    assert step.startswith(command)
    assert bool(step) == bool(command)
