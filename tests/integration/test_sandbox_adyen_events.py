"""The sandbox produces every Adyen event code, dispute life and report type."""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import io
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import Adyen
import pytest
from Adyen.exceptions import AdyenAPIUnprocessableEntity
from Adyen.util import is_valid_hmac_notification

from refundcli.sandbox.adyen.disputes import LIVES
from refundcli.sandbox.core.records import AdyenRefund
from refundcli.sandbox.testing import RunningSandbox

HMAC_KEY = "0123456789abcdef" * 4
# docs.adyen.com/api-explorer/Webhooks/1, and one unknown code. Two more have another shape.
CODES = [
    "AUTHORISATION",
    "AUTHORISATION_ADJUSTMENT",
    "AUTORESCUE",
    "CANCELLATION",
    "CANCEL_AUTORESCUE",
    "CANCEL_OR_REFUND",
    "CAPTURE",
    "CAPTURE_FAILED",
    "CHARGEBACK",
    "CHARGEBACK_REVERSED",
    "DISPUTE_DEFENSE_PERIOD_ENDED",
    "DISPUTE_OPENED_WITH_CHARGEBACK",
    "EXPIRE",
    "INFORMATION_SUPPLIED",
    "ISSUER_COMMENTS",
    "ISSUER_RESPONSE_TIMEFRAME_EXPIRED",
    "MANUAL_REVIEW_ACCEPT",
    "MANUAL_REVIEW_REJECT",
    "NOTIFICATION_OF_CHARGEBACK",
    "NOTIFICATION_OF_FRAUD",
    "OFFER_CLOSED",
    "ORDER_CLOSED",
    "ORDER_OPENED",
    "PAIDOUT_REVERSED",
    "PAYOUT_DECLINE",
    "PAYOUT_EXPIRE",
    "PAYOUT_THIRDPARTY",
    "POSTPONED_REFUND",
    "PREARBITRATION_ACCEPTED",
    "PREARBITRATION_DECLINED",
    "PREARBITRATION_ISSUER_WITHDRAWN",
    "PREARBITRATION_LOST",
    "PREARBITRATION_OPEN",
    "PREARBITRATION_WON",
    "RECURRING_CONTRACT",
    "REFUND",
    "REFUNDED_REVERSED",
    "REFUND_FAILED",
    "REFUND_WITH_DATA",
    "REPORT_AVAILABLE",
    "REQUEST_FOR_INFORMATION",
    "SCHEME_ARBITRATION",
    "SCHEME_ARBITRATION_LOST",
    "SCHEME_ARBITRATION_WON",
    "SECOND_CHARGEBACK",
    "TECHNICAL_CANCEL",
    "VOID_PENDING_REFUND",
    "DISPUTE_FOO",
]


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSandbox]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with RunningSandbox(merchant_account="Shop") as running:
        running.webhooks("adyen", hmac_key=HMAC_KEY)
        yield running


@pytest.fixture
def adyen(sandbox: RunningSandbox) -> Any:
    api = Adyen.Adyen(xapikey="key", platform="test", http_timeout=10).checkout.modifications_api
    api.baseUrl = sandbox.url + "/v72"
    return api


def paid_by(sandbox: RunningSandbox, amount: str = "100.00 EUR", **fields: Any) -> str:
    """A captured payment whose own items have been sent already."""
    reference = sandbox.charge(amount, provider="adyen", **fields).reference
    sandbox.deliveries("adyen", drain=True)
    return reference


def items(sandbox: RunningSandbox) -> list[dict[str, Any]]:
    """The new deliveries; Adyen's SDK checks each signature."""
    notifications = []
    for delivery in sandbox.deliveries("adyen", drain=True):
        (entry,) = json.loads(delivery.body)["notificationItems"]
        item = entry["NotificationRequestItem"]
        assert is_valid_hmac_notification(item, HMAC_KEY)
        notifications.append(item)
    return notifications


def control(sandbox: RunningSandbox, path: str, body: Any = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{sandbox.url}/_sandbox/{path}", content)) as answer:
        return json.load(answer)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def refund(adyen: Any, payment: str, value: int, **fields: Any) -> Any:
    order = {"merchantAccount": "Shop", "amount": {"currency": "EUR", "value": value}, **fields}
    return adyen.refund_captured_payment(order, payment)


# --- events ---


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize("code", CODES)
def test_every_code_is_sent_signed(sandbox: RunningSandbox, code: str, success: bool) -> None:
    payment = paid_by(sandbox)
    sandbox.adyen_event(code, payment, success=success, amount=1000)
    (item,) = items(sandbox)
    assert (item["eventCode"], item["success"]) == (code, "true" if success else "false")
    assert item["amount"] == {"currency": "EUR", "value": 1000}


def test_every_field_of_a_notification_can_be_set(sandbox: RunningSandbox) -> None:
    payment = paid_by(sandbox)
    fields = {
        "event_code": "CHARGEBACK",
        "payment": payment,
        "amount": 3000,
        "currency": "USD",
        "psp_reference": "DISPUTE000000001",
        "original_reference": "ELSEWHERE0000001",
        "merchant_reference": "INV-9",
        "reason": "Fraud",
        "additional_data": {"disputeStatus": "Lost"},
        "event_date": "2026-11-20T10:00:00+01:00",
        "payment_method": "mc",
        "merchant_account": "Another",
        "item": {"operations": ["REFUND"], "paymentMethod": None},
    }
    answer = control(sandbox, "adyen/events", fields)
    (item,) = items(sandbox)
    del item["additionalData"]["hmacSignature"]
    assert item == answer
    assert item == {
        "additionalData": {"chargebackReasonCode": "10.4", "chargebackSchemeCode": "visa", "disputeStatus": "Lost"},
        "amount": {"currency": "USD", "value": 3000},
        "eventCode": "CHARGEBACK",
        "eventDate": "2026-11-20T10:00:00+01:00",
        "merchantAccountCode": "Another",
        "merchantReference": "INV-9",
        "operations": ["REFUND"],
        "originalReference": "ELSEWHERE0000001",
        "pspReference": "DISPUTE000000001",
        "reason": "Fraud",
        "success": "true",
    }


def test_an_item_may_be_about_no_payment_and_live(sandbox: RunningSandbox) -> None:
    sandbox.adyen_event("REPORT_AVAILABLE", live=True, reason="https://example.com/report.csv")
    (delivery,) = sandbox.deliveries("adyen")
    assert json.loads(delivery.body)["live"] == "true"
    (item,) = items(sandbox)
    assert "originalReference" not in item


def test_a_webhook_of_another_shape_is_signed_in_its_header(sandbox: RunningSandbox) -> None:
    body = {"type": "ach.notificationOfChange", "environment": "test", "data": {"pspReference": "X"}}
    sandbox.adyen_webhook(body)
    (delivery,) = sandbox.deliveries("adyen")
    assert json.loads(delivery.body) == body
    digest = hmac.new(bytes.fromhex(HMAC_KEY), delivery.body.encode(), hashlib.sha256).digest()
    assert delivery.headers["HmacSignature"] == base64.b64encode(digest).decode()
    assert delivery.headers["Protocol"] == "HmacSHA256"


def test_event_codes_alone_change_nothing(sandbox: RunningSandbox, adyen: Any) -> None:
    payment = paid_by(sandbox)
    sandbox.adyen_event("CHARGEBACK", payment, effect=False)
    sandbox.adyen_event("CANCELLATION", payment, effect=False)
    refund(adyen, payment, 10000)
    assert [item["success"] for item in items(sandbox)] == ["true", "true", "true"]


# --- captures ---


def test_a_capture_that_failed_is_captured_again(sandbox: RunningSandbox, adyen: Any) -> None:
    payment = paid_by(sandbox)
    sandbox.adyen_event("CAPTURE_FAILED", payment, reason="Capture Failed")
    refund(adyen, payment, 100)
    sandbox.adyen_event("CAPTURE", payment, reason="Transaction Recaptured")
    refund(adyen, payment, 100)
    events = [(item["eventCode"], item["success"]) for item in items(sandbox)]
    assert events == [("CAPTURE_FAILED", "true"), ("REFUND", "false"), ("CAPTURE", "true"), ("REFUND", "true")]
    types = [row["Record Type"] for row in rows(sandbox.report("payment-accounting"))]
    assert types[:5] == ["Received", "Authorised", "SentForSettle", "Settled", "CaptureFailed"]


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("CANCELLATION", {}),
        ("TECHNICAL_CANCEL", {}),
        ("CANCEL_OR_REFUND", {"modification.action": "cancel"}),
        ("CAPTURE_FAILED", {}),
    ],
)
def test_what_was_not_taken_cannot_be_refunded(
    sandbox: RunningSandbox, adyen: Any, code: str, data: dict[str, str]
) -> None:
    payment = paid_by(sandbox)
    sandbox.adyen_event(code, payment, additional_data=data)
    refund(adyen, payment, 100)
    authorised, refused = items(sandbox)
    assert (authorised["originalReference"], data.items() <= authorised["additionalData"].items()) == (payment, True)
    assert refused["reason"] == "Transaction hasn't been captured, refund not possible"


def test_a_part_that_was_captured_is_all_there_is(sandbox: RunningSandbox, adyen: Any) -> None:
    payment = paid_by(sandbox, captured=False)
    sandbox.adyen_event("CAPTURE", payment, amount=4000)
    sandbox.adyen_event("CAPTURE", payment, amount=2000)
    sandbox.adyen_event("EXPIRE", payment, amount=4000)
    refund(adyen, payment, 6001)
    refund(adyen, payment, 6000)
    assert [item["success"] for item in items(sandbox)[3:]] == ["false", "true"]


def test_an_order_that_is_closed_takes_nothing_of_its_payments(sandbox: RunningSandbox, adyen: Any) -> None:
    first, second = paid_by(sandbox, "60.00 EUR"), paid_by(sandbox, "40.00 EUR")
    data = {"order-1-pspReference": first, "order-1-paymentAmount": "EUR 60.00", "order-2-pspReference": second}
    sandbox.adyen_event("ORDER_CLOSED", success=False, amount=10000, additional_data=data)
    refund(adyen, second, 4000)
    closed, refused = items(sandbox)
    assert closed["additionalData"]["order-2-pspReference"] == second
    assert refused["success"] == "false"


# --- refunds ---


def test_a_refund_that_failed_is_made_again_by_adyen(sandbox: RunningSandbox, adyen: Any) -> None:
    payment = paid_by(sandbox)
    refund_reference = refund(adyen, payment, 4000, reference="rf_1").psp
    sandbox.adyen_event(
        "REFUND_FAILED", payment, psp_reference=refund_reference, amount=4000, merchant_reference="rf_1"
    )
    assert sandbox.state.adyen_balance(sandbox.state.payments[payment]) == 10000
    sandbox.advance(3 * 86400)
    sandbox.adyen_event("REFUND", payment, psp_reference=refund_reference, amount=4000, merchant_reference="rf_1")
    assert [(i["eventCode"], i["pspReference"]) for i in items(sandbox)] == [
        ("REFUND", refund_reference),
        ("REFUND_FAILED", refund_reference),
        ("REFUND", refund_reference),
    ]
    assert sandbox.state.adyen_balance(sandbox.state.payments[payment]) == 6000
    assert len(sandbox.refunds) == 1
    lines = rows(sandbox.report("payment-accounting"))
    steps = [row["Record Type"] for row in lines if row["Modification Psp Reference"] == refund_reference]
    assert steps == ["SentForRefund", "RefundFailed", "SentForRefund", "Refunded"]


def test_part_of_a_refund_is_reversed(sandbox: RunningSandbox) -> None:
    payment = paid_by(sandbox)
    refund_id = sandbox.dashboard_refund(payment, 4000)
    sandbox.settle(refund_id, event="REFUNDED_REVERSED", amount=1500)
    assert items(sandbox)[-1]["amount"]["value"] == 1500
    assert sandbox.state.adyen_balance(sandbox.state.payments[payment]) == 7500
    (line,) = (row for row in rows(sandbox.report("settlement-details")) if row["Type"] == "RefundedReversed")
    assert (line["Gross Credit (GC)"], line["Modification Reference"]) == ("15.00", refund_id)
    sandbox.settle(refund_id, event="REFUNDED_REVERSED", amount=2500)
    assert sandbox.state.adyen_balance(sandbox.state.payments[payment]) == 10000
    lines = [row for row in rows(sandbox.report("settlement-details")) if row["Type"] == "RefundedReversed"]
    assert [row["Gross Credit (GC)"] for row in lines] == ["15.00", "25.00"]


@pytest.mark.parametrize(
    ("code", "data"),
    [("REFUND", {}), ("REFUND_WITH_DATA", {}), ("CANCEL_OR_REFUND", {"modification.action": "refund"})],
)
def test_an_external_refund_reduces_the_payment(sandbox: RunningSandbox, code: str, data: dict[str, str]) -> None:
    payment = paid_by(sandbox)
    item = sandbox.adyen_event(code, payment, amount=3000, additional_data=data)
    (refund,) = sandbox.refunds
    assert (refund.id, refund.amount) == (item["pspReference"], 3000)
    assert sandbox.state.adyen_balance(sandbox.state.payments[payment]) == 7000


def test_cancel_or_refund_may_not_say_which(sandbox: RunningSandbox) -> None:
    payment = paid_by(sandbox)
    sandbox.adyen_event("CANCEL_OR_REFUND", payment)
    (item,) = items(sandbox)
    assert "modification.action" not in item["additionalData"]
    assert sandbox.refunds == []


def test_a_pending_refund_is_voided(sandbox: RunningSandbox, adyen: Any) -> None:
    payment = paid_by(sandbox)
    sandbox.faults("pending", provider="adyen")
    refund_reference = refund(adyen, payment, 4000).psp
    sandbox.adyen_event("VOID_PENDING_REFUND", payment, psp_reference=refund_reference, amount=4000)
    (stored,) = sandbox.refunds
    assert isinstance(stored, AdyenRefund)
    assert stored.success is False


@pytest.mark.parametrize("method", ["klarna", "klarna_account", "affirm", "afterpaytouch", "facilypay_3x", "zip"])
def test_some_methods_want_line_items_for_a_part(sandbox: RunningSandbox, adyen: Any, method: str) -> None:
    payment = paid_by(sandbox, method=method)
    with pytest.raises(AdyenAPIUnprocessableEntity) as refusal:
        refund(adyen, payment, 4000)
    assert (refusal.value.status_code, refusal.value.error_code) == (422, "130")
    assert sandbox.refunds == []
    refund(adyen, payment, 4000, lineItems=[{"id": "1", "amountIncludingTax": 4000}])
    assert [item["paymentMethod"] for item in items(sandbox)] == [method]


def test_all_of_it_wants_no_line_items(sandbox: RunningSandbox, adyen: Any) -> None:
    assert refund(adyen, paid_by(sandbox, method="klarna"), 10000).status_code == 201


def test_splits_are_shown_with_the_payment(sandbox: RunningSandbox) -> None:
    split = {"type": "BalanceAccount", "account": "BA1", "reference": "s1", "amount": {"value": 9000}}
    sandbox.charge("100.00 EUR", provider="adyen", splits=[split, {"type": "Commission", "amount": {"value": 1000}}])
    additional = items(sandbox)[0]["additionalData"]
    assert (additional["split.nrOfItems"], additional["split.item1.account"], additional["split.item2.amount"]) == (
        "2",
        "BA1",
        "1000",
    )


# --- disputes ---


@pytest.mark.parametrize("life", LIVES)
def test_a_dispute_goes_through_its_life(sandbox: RunningSandbox, life: str) -> None:
    payment = paid_by(sandbox)
    dispute = control(sandbox, "adyen/disputes", {"payment": payment, "codes": life, "amount": 3000})["id"]
    notifications = items(sandbox)
    assert tuple(item["eventCode"] for item in notifications) == LIVES[life]
    assert {(item["pspReference"], item["originalReference"]) for item in notifications} == {(dispute, payment)}
    assert {item["amount"]["value"] for item in notifications} == {3000}


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        (["REQUEST_FOR_INFORMATION"], "Unresponded"),
        (["REQUEST_FOR_INFORMATION", "INFORMATION_SUPPLIED"], "Responded"),
        (["CHARGEBACK"], "Undefended"),
        (["CHARGEBACK", "INFORMATION_SUPPLIED"], "Pending"),
        (["CHARGEBACK", "DISPUTE_DEFENSE_PERIOD_ENDED"], "Lost"),
        (["CHARGEBACK", "ISSUER_RESPONSE_TIMEFRAME_EXPIRED"], "Won"),
    ],
)
def test_each_step_has_the_status_adyen_gives_it(sandbox: RunningSandbox, codes: list[str], status: str) -> None:
    sandbox.adyen_dispute(paid_by(sandbox), codes)
    assert items(sandbox)[-1]["additionalData"]["disputeStatus"] == status


def test_documents_do_not_close_a_chargeback(sandbox: RunningSandbox, adyen: Any) -> None:
    payment = paid_by(sandbox)
    sandbox.adyen_dispute(payment, "defence uploaded")
    refund(adyen, payment, 100)
    assert items(sandbox)[-1]["reason"] == "Transaction has been charged back, refund not possible"


def test_an_inquiry_takes_nothing(sandbox: RunningSandbox, adyen: Any) -> None:
    payment = paid_by(sandbox)
    sandbox.adyen_dispute(payment, "answered inquiry")
    refund(adyen, payment, 10000)
    assert items(sandbox)[-1]["success"] == "true"


def test_a_payment_has_several_disputes(sandbox: RunningSandbox, adyen: Any) -> None:
    payment = paid_by(sandbox)
    first = sandbox.adyen_dispute(payment, "undefended", amount=3000)
    second = sandbox.adyen_dispute(payment, "charged back", amount=2000)
    assert first != second
    assert sandbox.adyen_dispute(payment, ["DISPUTE_DEFENSE_PERIOD_ENDED"], dispute=second) == second
    refund(adyen, payment, 5001)
    refund(adyen, payment, 5000)
    assert [item["success"] for item in items(sandbox)[-2:]] == ["false", "true"]
    debits = [row for row in rows(sandbox.report("settlement-details")) if row["Type"] == "Chargeback"]
    assert [(row["Modification Reference"], row["Gross Debit (GC)"]) for row in debits] == [
        (first, "30.00"),
        (second, "20.00"),
    ]


def test_the_old_control_statuses_open_a_second_dispute_too(sandbox: RunningSandbox) -> None:
    payment = paid_by(sandbox)
    first = sandbox.dispute(payment, "open", 3000, new=True)
    second = sandbox.dispute(payment, "open", 2000, new=True)
    sandbox.dispute(payment, "lost", dispute=second)
    events = [(item["eventCode"], item["pspReference"], item["amount"]["value"]) for item in items(sandbox)]
    assert events == [
        ("NOTIFICATION_OF_CHARGEBACK", first, 3000),
        ("NOTIFICATION_OF_CHARGEBACK", second, 2000),
        ("CHARGEBACK", second, 2000),
    ]
    state = control(sandbox, "state")
    assert [adyen_dispute["id"] for adyen_dispute in state["adyen_disputes"]] == [first, second]
    assert state["payments"][0]["dispute_reference"] == first


def test_an_item_may_leave_the_payment_out(sandbox: RunningSandbox) -> None:
    payment = paid_by(sandbox)
    dispute = sandbox.adyen_dispute(payment, "charged back")
    sandbox.adyen_dispute(payment, ["CHARGEBACK_REVERSED"], dispute=dispute, original_reference=None)
    item = items(sandbox)[-1]
    assert (item["pspReference"], "originalReference" in item) == (dispute, False)
    sandbox.adyen_event("SECOND_CHARGEBACK", payment, psp_reference=payment, original_reference=None)
    (own,) = items(sandbox)
    assert (own["pspReference"], "originalReference" in own) == (payment, False)


# --- reports ---


@pytest.mark.parametrize("ending", ["", "Externally", "ExternallyWithInfo"])
@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("Settled", "Gross Credit (GC)"),
        ("SettledBulk", "Gross Credit (GC)"),
        ("SettledInInstallments", "Gross Credit (GC)"),
        ("Refunded", "Gross Debit (GC)"),
        ("RefundedBulk", "Gross Debit (GC)"),
        ("RefundedInstallment", "Gross Debit (GC)"),
        ("RefundedInInstallments", "Gross Debit (GC)"),
        ("RefundedReversed", "Gross Credit (GC)"),
        ("Chargeback", "Gross Debit (GC)"),
        ("ChargebackReversed", "Gross Credit (GC)"),
        ("SecondChargeback", "Gross Debit (GC)"),
    ],
)
def test_each_record_type_has_its_column(sandbox: RunningSandbox, kind: str, column: str, ending: str) -> None:
    payment = paid_by(sandbox)
    sandbox.report_line(kind + ending, payment, 3000, modification="M" * 16)
    (row,) = (row for row in rows(sandbox.report("settlement-details")) if row["Modification Reference"] == "M" * 16)
    assert (row["Type"], row[column], row["Psp Reference"]) == (kind + ending, "30.00", payment)
    (booked,) = (
        row for row in rows(sandbox.report("payment-accounting")) if row["Modification Psp Reference"] == "M" * 16
    )
    assert booked["Payable (SC)"] == ("30.00" if "Credit" in column else "-30.00")


@pytest.mark.parametrize(
    "kind",
    [
        "RefundAuthorised",
        "SentForRefund",
        "CaptureFailed",
        "Cancelled",
        "Expired",
        "Refused",
        "HandledExternally",
        "AuthorisedPending",
        "RefundedByPigeon",
    ],
)
def test_any_type_is_in_the_accounting_report(sandbox: RunningSandbox, kind: str) -> None:
    payment = paid_by(sandbox)
    control(sandbox, "reports/lines", {"type": kind, "payment": payment, "amount": 3000})
    last = rows(sandbox.report("payment-accounting"))[-1]
    assert (last["Record Type"], last["Psp Reference"], last["Main Amount"]) == (kind, payment, "30.00")


def test_a_line_may_use_the_wrong_column(sandbox: RunningSandbox) -> None:
    payment = paid_by(sandbox)
    sandbox.report_line("Refunded", payment, 3000, side="credit", cells={"Batch Number": "7"})
    last = rows(sandbox.report("settlement-details"))[-1]
    assert (last["Gross Credit (GC)"], last["Gross Debit (GC)"], last["Batch Number"]) == ("30.00", "", "7")


def test_a_column_can_be_left_out_and_a_zone_chosen(sandbox: RunningSandbox) -> None:
    payment = paid_by(sandbox)
    for at in (1_783_000_000, 1_795_000_000):
        sandbox.report_line("Refunded", payment, 3000, at=at)
    query = urllib.parse.urlencode({"zone": "America/Los_Angeles", "without": "Modification Psp Reference"})
    with urllib.request.urlopen(f"{sandbox.url}/_sandbox/reports/payment-accounting.csv?{query}") as answer:
        report = rows(answer.read().decode())
    assert "Modification Psp Reference" not in report[0]
    dates = [(row["Booking Date"], row["TimeZone"]) for row in report if row["Record Type"] == "Refunded"]
    assert dates == [("2026-07-02 06:46:40", "PDT"), ("2026-11-18 03:06:40", "PST")]
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{sandbox.url}/_sandbox/reports/payment-accounting.csv?zone=Nowhere")
