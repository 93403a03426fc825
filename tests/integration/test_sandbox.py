"""The sandbox, used through the vendors' own SDKs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import Adyen
import pytest
import requests
import stripe
from Adyen.exceptions import AdyenAPIResponseError

from refundcli.sandbox.core.exponents import to_major, to_minor
from refundcli.sandbox.core.seed import seed_file, seed_payments
from refundcli.sandbox.core.state import AdyenRefund, SandboxState, StripeRefund
from refundcli.sandbox.testing import RunningSandbox

DAY = 86400


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    with RunningSandbox(merchant_account="Shop") as running:
        yield running


@pytest.fixture
def client(sandbox: RunningSandbox) -> stripe.StripeClient:
    return stripe_client(sandbox.url)


def stripe_client(url: str, key: str = "sk_test_1", timeout: float = 10) -> stripe.StripeClient:
    transport = stripe.RequestsClient(timeout=timeout)
    return stripe.StripeClient(key, base_addresses={"api": url}, http_client=transport, max_network_retries=0)


@pytest.fixture
def adyen(sandbox: RunningSandbox) -> Any:
    return adyen_modifications(sandbox.url)


def adyen_modifications(url: str) -> Any:
    api = Adyen.Adyen(xapikey="key", platform="test", http_timeout=10).checkout.modifications_api
    api.baseUrl = url + "/v72"
    return api


def order(value: int = 1000, currency: str = "EUR", **more: Any) -> dict[str, Any]:
    return {"merchantAccount": "Shop", "amount": {"currency": currency, "value": value}, **more}


def control(sandbox: RunningSandbox, path: str, body: Any = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{sandbox.url}/_sandbox/{path}", data=data, method=method)
    with urllib.request.urlopen(request) as answer:
        content = answer.read()
    return json.loads(content) if content else None


def post_refund(sandbox: RunningSandbox, form: str, **headers: str) -> requests.Response:
    default_headers = {"Authorization": "Bearer sk_test_1", "Content-Type": "application/x-www-form-urlencoded"}
    return requests.post(
        f"{sandbox.url}/v1/refunds",
        data=form,
        headers=default_headers | {name.replace("_", "-"): value for name, value in headers.items()},
        timeout=10,
        allow_redirects=False,
    )


class TestStripeRefunds:
    def test_a_refund_by_payment_intent_is_made_and_found_again(
        self, sandbox: RunningSandbox, client: stripe.StripeClient
    ) -> None:
        paid = sandbox.charge("100.00 EUR")
        created = client.v1.refunds.create(
            {
                "payment_intent": paid.reference,
                "amount": 6000,
                "reason": "requested_by_customer",
                "metadata": {"refund": "rf_1", "reason": "returned-goods"},
            },
            {"idempotency_key": "key-1"},
        )
        assert (created.status, created.amount, created.currency) == ("succeeded", 6000, "eur")
        assert created.payment_intent == paid.payment_intent
        assert created.charge == paid.charge
        listed = list(client.v1.refunds.list({"payment_intent": paid.reference}).auto_paging_iter())
        assert [refund.id for refund in listed] == [created.id]
        retrieved = client.v1.refunds.retrieve(created.id)
        assert retrieved.metadata is not None
        assert retrieved.metadata.to_dict() == {"refund": "rf_1", "reason": "returned-goods"}
        (stored,) = sandbox.refunds
        assert isinstance(stored, StripeRefund)
        assert stored.idempotency_key == "key-1"

    def test_without_an_amount_what_is_left_is_refunded(
        self, sandbox: RunningSandbox, client: stripe.StripeClient
    ) -> None:
        paid = sandbox.charge("100.00 EUR", charge="ch_old", refunded=3000)
        assert client.v1.refunds.create({"charge": "ch_old"}).amount == 7000
        charge = client.v1.charges.retrieve("ch_old")
        assert (charge.refunded, charge.amount_refunded) == (True, 10000)
        assert charge.payment_intent is None
        assert paid.reference == "ch_old"

    def test_more_than_is_left_is_refused_with_a_sentence_and_no_code(
        self, sandbox: RunningSandbox, client: stripe.StripeClient
    ) -> None:
        paid = sandbox.charge("10.00 EUR")
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            client.v1.refunds.create({"payment_intent": paid.reference, "amount": 1500})
        assert refusal.value.http_status == 400
        assert refusal.value.code is None
        assert refusal.value.param == "amount"
        assert "(€15.00) is greater than unrefunded amount on charge (€10.00)" in str(refusal.value)
        assert sandbox.refunds == []

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"refunded": 1000}, "charge_already_refunded"),
            ({"dispute": "open"}, "charge_disputed"),
            ({"dispute": "lost"}, "charge_disputed"),
            ({"processing": True}, "payment_intent_unexpected_state"),
            ({"captured": False}, "payment_intent_unexpected_state"),
            ({"captured": False, "charge": "ch_held"}, "charge_not_refundable"),
        ],
    )
    def test_a_charge_that_cannot_be_refunded_says_which_rule_it_broke(
        self, sandbox: RunningSandbox, client: stripe.StripeClient, options: dict[str, Any], code: str
    ) -> None:
        paid = sandbox.charge(1000, **options)
        params = {"charge": "ch_held"} if "charge" in options else {"payment_intent": paid.reference}
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            client.v1.refunds.create(params)  # type: ignore[arg-type]
        assert (refusal.value.http_status, refusal.value.code) == (400, code)

    def test_a_dispute_that_was_won_leaves_the_charge_refundable(
        self, sandbox: RunningSandbox, client: stripe.StripeClient
    ) -> None:
        paid = sandbox.charge(1000, dispute="won")
        assert client.v1.refunds.create({"payment_intent": paid.reference}).status == "succeeded"

    def test_what_a_lost_dispute_took_cannot_be_refunded_again(
        self, sandbox: RunningSandbox, client: stripe.StripeClient
    ) -> None:
        paid = sandbox.charge(1000, dispute="lost", dispute_amount=400)
        assert client.v1.refunds.create({"payment_intent": paid.reference}).amount == 600

    @pytest.mark.parametrize(
        ("form", "status", "code", "param"),
        [
            ("charge=ch_1&memo=x", 400, "parameter_unknown", "memo"),
            ("charge=ch_1&reason=returned", 400, None, "reason"),
            ("charge=ch_1&amount=12.5", 400, "parameter_invalid_integer", "amount"),
            ("charge=ch_1&amount=0", 400, "parameter_invalid_integer", "amount"),
            ("charge=ch_1&amount=-5", 400, "parameter_invalid_integer", "amount"),
            ("charge=", 400, "parameter_invalid_empty", "charge"),
            ("amount=5", 400, None, None),
            ("charge=ch_nowhere", 404, "resource_missing", "charge"),
            ("payment_intent=pi_nowhere", 404, "resource_missing", "payment_intent"),
            ("charge=ch_1&metadata=x", 400, None, "metadata"),
            ("charge=ch_1&expand[]=secrets", 400, None, "expand"),
        ],
    )
    def test_a_request_the_schema_does_not_take_is_refused(
        self, sandbox: RunningSandbox, form: str, status: int, code: str | None, param: str | None
    ) -> None:
        sandbox.charge(1000, charge="ch_1")
        answer = post_refund(sandbox, form)
        error = answer.json()["error"]
        assert (answer.status_code, error.get("code"), error.get("param")) == (status, code, param)
        assert error["type"] == "invalid_request_error"

    @pytest.mark.parametrize(("currency", "amount"), [("kwd", 1005), ("isk", 150), ("ugx", 99)])
    def test_an_amount_finer_than_stripe_takes_is_refused(
        self, sandbox: RunningSandbox, client: stripe.StripeClient, currency: str, amount: int
    ) -> None:
        paid = sandbox.charge(100_000, currency)
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.refunds.create({"payment_intent": paid.reference, "amount": amount})
        assert sandbox.refunds == []

    def test_metadata_can_be_changed_and_nothing_else(
        self, sandbox: RunningSandbox, client: stripe.StripeClient
    ) -> None:
        paid = sandbox.charge(1000)
        refund = client.v1.refunds.create({"payment_intent": paid.reference, "metadata": {"a": "1", "b": "2"}})
        changed = client.v1.refunds.update(refund.id, {"metadata": {"b": "", "c": "3"}})
        assert changed.metadata is not None
        assert changed.metadata.to_dict() == {"a": "1", "c": "3"}
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.refunds.update(refund.id, {"amount": 5})  # type: ignore[arg-type]

    def test_only_a_refund_that_requires_action_can_be_canceled(
        self, sandbox: RunningSandbox, client: stripe.StripeClient
    ) -> None:
        paid = sandbox.charge(1000)
        sandbox.faults("requires_action")
        waiting = client.v1.refunds.create({"payment_intent": paid.reference, "amount": 1000})
        assert waiting.status == "requires_action"
        assert client.v1.refunds.cancel(waiting.id).status == "canceled"
        refund = client.v1.refunds.create({"payment_intent": paid.reference, "amount": 1000})
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.refunds.cancel(refund.id)


class TestStripeReads:
    def test_lists_are_paged_newest_first(self, sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
        paid = sandbox.charge(10_000)
        charge = sandbox.charge(10_000)
        for amount in range(1, 8):
            client.v1.refunds.create({"payment_intent": paid.reference, "amount": amount})
        client.v1.refunds.create({"payment_intent": charge.reference})
        first = client.v1.refunds.list({"charge": str(paid.charge), "limit": 3})
        assert first.has_more
        assert [refund.amount for refund in first.auto_paging_iter()] == [7, 6, 5, 4, 3, 2, 1]
        before = client.v1.refunds.list({"charge": str(paid.charge), "ending_before": first.data[2].id})
        assert [refund.amount for refund in before.data] == [7, 6]
        later = client.v1.refunds.list({"created": {"gte": first.data[0].created + 60}})
        assert later.data == []

    def test_an_intent_holds_the_id_of_its_charge_or_on_request_the_charge(
        self, sandbox: RunningSandbox, client: stripe.StripeClient
    ) -> None:
        paid = sandbox.charge("12.00 EUR")
        intent = client.v1.payment_intents.retrieve(paid.reference)
        assert (intent.latest_charge, intent.status) == (paid.charge, "succeeded")
        expanded = client.v1.payment_intents.retrieve(
            paid.reference, {"expand": ["latest_charge", "latest_charge.refunds"]}
        )
        charge = expanded.latest_charge
        assert isinstance(charge, stripe.Charge)
        assert (charge.amount_captured, charge.captured) == (1200, True)
        assert charge.refunds is not None
        assert charge.refunds.data == []
        (listed,) = client.v1.charges.list({"payment_intent": paid.reference}).data
        assert listed.id == paid.charge

    def test_a_payment_under_way_is_processing_and_its_charge_pending(
        self, sandbox: RunningSandbox, client: stripe.StripeClient
    ) -> None:
        paid = sandbox.charge(1000, processing=True)
        intent = client.v1.payment_intents.retrieve(paid.reference, {"expand": ["latest_charge"]})
        assert isinstance(intent.latest_charge, stripe.Charge)
        assert (intent.status, intent.latest_charge.status) == ("processing", "pending")

    def test_disputes_are_found_by_charge_and_by_intent(
        self, sandbox: RunningSandbox, client: stripe.StripeClient
    ) -> None:
        paid = sandbox.charge(1000)
        dispute = sandbox.dispute(paid.reference)
        assert [d.id for d in client.v1.disputes.list({"charge": str(paid.charge)}).data] == [dispute]
        (listed_dispute,) = client.v1.disputes.list({"payment_intent": paid.reference}).data
        assert (listed_dispute.status, listed_dispute.is_charge_refundable) == ("needs_response", False)
        sandbox.dispute(str(paid.charge), "won")
        assert client.v1.disputes.retrieve(dispute).is_charge_refundable

    def test_the_account_can_be_retrieved(self, client: stripe.StripeClient) -> None:
        assert client.v1.accounts.retrieve_current().id.startswith("acct_")

    @pytest.mark.parametrize("key", ["sk_live_1", "rk_live_1", "pk_test_1", "nonsense"])
    def test_only_test_keys_are_accepted(self, sandbox: RunningSandbox, key: str) -> None:
        with pytest.raises(stripe.AuthenticationError) as refusal:
            stripe_client(sandbox.url, key).v1.accounts.retrieve_current()
        assert key not in str(refusal.value)

    def test_a_restricted_key_and_basic_credentials_are_taken_too(self, sandbox: RunningSandbox) -> None:
        assert stripe_client(sandbox.url, "rk_test_1").v1.accounts.retrieve_current().id
        response = requests.get(f"{sandbox.url}/v1/account", auth=("sk_test_1", ""), timeout=10)
        assert response.status_code == 200
        assert requests.get(f"{sandbox.url}/v1/account", timeout=10).status_code == 401

    def test_an_unknown_url_returns_stripes_error_shape(self, sandbox: RunningSandbox) -> None:
        response = requests.get(f"{sandbox.url}/v1/refund", auth=("sk_test_1", ""), timeout=10)
        assert (response.status_code, response.json()["error"]["type"]) == (404, "invalid_request_error")


class TestStripeKeys:
    def test_the_same_key_and_parameters_give_the_same_answer_and_one_refund(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge(1000)
        form = f"payment_intent={paid.reference}&amount=300"
        first = post_refund(sandbox, form, Idempotency_Key="k", Stripe_Version="2026-10-28.endive")
        again = post_refund(sandbox, form, Idempotency_Key="k")
        assert again.content == first.content
        assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (
            None,
            "true",
        )
        assert (again.headers["Idempotency-Key"], first.headers["Stripe-Version"]) == (
            "k",
            "2026-10-28.endive",
        )
        assert first.headers["Request-Id"] != again.headers["Request-Id"]
        assert len(sandbox.refunds) == 1

    def test_the_same_key_with_other_parameters_is_an_idempotency_error(
        self, sandbox: RunningSandbox, client: stripe.StripeClient
    ) -> None:
        paid = sandbox.charge(1000)
        client.v1.refunds.create({"payment_intent": paid.reference, "amount": 300}, {"idempotency_key": "k"})
        with pytest.raises(stripe.IdempotencyError):
            client.v1.refunds.create({"payment_intent": paid.reference, "amount": 301}, {"idempotency_key": "k"})

    def test_an_endpoint_refusal_is_stored_and_replayed(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge(1000, dispute="open")
        form = f"payment_intent={paid.reference}"
        post_refund(sandbox, form, Idempotency_Key="k")
        sandbox.dispute(paid.reference, "won")
        again = post_refund(sandbox, form, Idempotency_Key="k")
        assert again.json()["error"]["code"] == "charge_disputed"
        assert again.headers["Idempotent-Replayed"] == "true"

    def test_errors_before_the_endpoint_are_not_stored(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge(1000)
        assert post_refund(sandbox, f"payment_intent={paid.reference}&x=1", Idempotency_Key="k").status_code == 400
        sandbox.faults("429", "401", retry_after=7)
        limited = post_refund(sandbox, f"payment_intent={paid.reference}", Idempotency_Key="k")
        assert (limited.status_code, limited.headers["Retry-After"]) == (429, "7")
        assert post_refund(sandbox, f"payment_intent={paid.reference}", Idempotency_Key="k").status_code == 401
        assert post_refund(sandbox, f"payment_intent={paid.reference}", Idempotency_Key="k").status_code == 200

    def test_a_key_is_forgotten_after_a_day(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge(1000)
        form = f"payment_intent={paid.reference}&amount=300"
        post_refund(sandbox, form, Idempotency_Key="k")
        sandbox.advance(DAY - 60)
        assert "Idempotent-Replayed" in post_refund(sandbox, form, Idempotency_Key="k").headers
        control(sandbox, "clock", {"advance_seconds": 61})
        assert "Idempotent-Replayed" not in post_refund(sandbox, form, Idempotency_Key="k").headers
        assert len(sandbox.refunds) == 2

    def test_a_key_whose_request_is_under_way_is_in_use(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge(1000)
        form = f"payment_intent={paid.reference}&amount=300"
        sandbox.faults("delay_ms", delay_ms=600)
        with ThreadPoolExecutor() as pool:
            slow = pool.submit(post_refund, sandbox, form, Idempotency_Key="k")
            while not sandbox.refunds:
                pass
            busy = post_refund(sandbox, form, Idempotency_Key="k")
            assert (busy.status_code, busy.json()["error"]["code"]) == (409, "idempotency_key_in_use")
            assert slow.result().status_code == 200

    def test_sixteen_at_once_never_refund_more_than_was_paid(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge(1000)
        start = threading.Barrier(16)

        def refund(turn: int) -> int:
            start.wait()
            form = f"payment_intent={paid.reference}&amount=100"
            return post_refund(sandbox, form, Idempotency_Key=f"k{turn}").status_code

        with ThreadPoolExecutor(16) as pool:
            answers = sorted(pool.map(refund, range(16)))
        assert answers == [200] * 10 + [400] * 6
        assert sum(refund.amount for refund in sandbox.refunds) == 1000


class TestStripeFaults:
    @pytest.mark.parametrize(("behaviour", "count"), [("drop_before", 0), ("drop_after", 1)])
    def test_a_dropped_connection_is_no_answer(
        self, sandbox: RunningSandbox, client: stripe.StripeClient, behaviour: str, count: int
    ) -> None:
        paid = sandbox.charge(1000)
        sandbox.faults(behaviour)
        with pytest.raises(stripe.APIConnectionError):
            client.v1.refunds.create({"payment_intent": paid.reference}, {"idempotency_key": "k"})
        assert len(sandbox.refunds) == count
        assert sandbox.requests[-1].status is None
        client.v1.refunds.create({"payment_intent": paid.reference}, {"idempotency_key": "k"})
        assert len(sandbox.refunds) == 1
        assert sandbox.requests[-1].replayed is bool(count)

    @pytest.mark.parametrize(
        ("behaviour", "status", "count"),
        [
            ("401", 401, 0),
            ("403", 403, 0),
            ("409", 409, 0),
            ("429", 429, 0),
            ("500_before", 500, 0),
            ("503", 503, 0),
            ("500_after", 500, 1),
            ("500_stuck", 500, 0),
        ],
    )
    def test_an_error_answer_says_nothing_of_whether_it_was_processed(
        self, sandbox: RunningSandbox, client: stripe.StripeClient, behaviour: str, status: int, count: int
    ) -> None:
        paid = sandbox.charge(1000)
        sandbox.faults(behaviour)
        with pytest.raises(stripe.StripeError) as error:
            client.v1.refunds.create({"payment_intent": paid.reference})
        assert error.value.http_status == status
        assert len(sandbox.refunds) == count

    @pytest.mark.parametrize("behaviour", ["500_after", "500_stuck"])
    def test_a_stored_500_is_replayed(self, sandbox: RunningSandbox, behaviour: str) -> None:
        paid = sandbox.charge(1000)
        sandbox.faults(behaviour)
        form = f"payment_intent={paid.reference}"
        post_refund(sandbox, form, Idempotency_Key="k")
        again = post_refund(sandbox, form, Idempotency_Key="k")
        assert (again.status_code, again.headers["Idempotent-Replayed"]) == (500, "true")

    def test_a_spoiled_answer_does_not_spoil_the_refund(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge(10_000)
        form = f"payment_intent={paid.reference}&amount=100"
        sandbox.faults("malformed", "empty_object", "wrong_amount", "wrong_payment", "wrong_currency")
        malformed = post_refund(sandbox, form, Idempotency_Key="k0")
        assert malformed.status_code == 200
        with pytest.raises(requests.exceptions.JSONDecodeError):
            malformed.json()
        assert post_refund(sandbox, form).json() == {}
        assert post_refund(sandbox, form).json()["amount"] == 200
        assert post_refund(sandbox, form).json()["payment_intent"] != paid.reference
        assert post_refund(sandbox, form).json()["currency"] == "sek"
        assert len(sandbox.refunds) == 5
        assert post_refund(sandbox, form, Idempotency_Key="k0").json()["amount"] == 100

    def test_a_redirect_that_is_followed_leaves_a_trace(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge(1000)
        sandbox.faults("redirect")
        answer = post_refund(sandbox, f"payment_intent={paid.reference}")
        assert answer.status_code == 307
        assert sandbox.requests[-1].path == "/v1/refunds"
        requests.post(sandbox.url + answer.headers["Location"], data="x=1", timeout=10)
        assert sandbox.requests[-1].path == "/_sandbox/elsewhere"
        assert sandbox.refunds == []

    @pytest.mark.parametrize("status", ["pending", "requires_action", "failed", "canceled"])
    def test_a_refund_can_turn_out_otherwise(
        self, sandbox: RunningSandbox, client: stripe.StripeClient, status: str
    ) -> None:
        paid = sandbox.charge(1000)
        sandbox.faults(status)
        refund = client.v1.refunds.create({"payment_intent": paid.reference})
        assert refund.status == status
        remaining = 0 if status in ("pending", "requires_action") else 1000
        charge = client.v1.charges.retrieve(str(paid.charge))
        assert charge.amount - charge.amount_refunded == remaining
        sandbox.settle(refund.id, status="failed", failure_reason="declined")
        assert client.v1.refunds.retrieve(refund.id).failure_reason == "declined"

    def test_a_delayed_answer_comes_after_the_refund_was_made(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge(1000)
        sandbox.faults("delay_ms", delay_ms=1500)
        hasty = stripe_client(sandbox.url, timeout=0.3)
        with pytest.raises(stripe.APIConnectionError):
            hasty.v1.refunds.create({"payment_intent": paid.reference})
        assert len(sandbox.refunds) == 1

    def test_a_fault_waits_for_its_payment_and_lasts_its_times(self, sandbox: RunningSandbox) -> None:
        first, second = sandbox.charge(1000), sandbox.charge(1000)
        sandbox.faults("503", payment=second.reference, times=2)
        answers = [
            post_refund(sandbox, f"payment_intent={paid.reference}&amount=1").status_code
            for paid in (first, second, second, second)
        ]
        assert answers == [200, 503, 503, 200]

    def test_a_look_up_can_fail_too(self, sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
        paid = sandbox.charge(1000)
        sandbox.faults("503", call="lookup")
        client.v1.refunds.create({"payment_intent": paid.reference})
        with pytest.raises(stripe.APIError):
            client.v1.refunds.list({"payment_intent": paid.reference})
        assert len(client.v1.refunds.list({"payment_intent": paid.reference}).data) == 1


class TestAdyenRefunds:
    def test_a_refund_is_received_and_its_outcome_stored(self, sandbox: RunningSandbox, adyen: Any) -> None:
        paid = sandbox.charge("100.00 EUR", provider="adyen")
        answer = adyen.refund_captured_payment(
            order(6000, reference="rf_1", merchantRefundReason="CUSTOMER REQUEST"),
            paid.reference,
            idempotency_key="k",
        )
        assert answer.status_code == 201
        (refund,) = sandbox.refunds
        assert answer.message == {
            "merchantAccount": "Shop",
            "amount": {"currency": "EUR", "value": 6000},
            "reference": "rf_1",
            "merchantRefundReason": "CUSTOMER REQUEST",
            "paymentPspReference": paid.reference,
            "pspReference": refund.id,
            "status": "received",
        }
        assert isinstance(refund, AdyenRefund)
        assert (refund.success, refund.reference, refund.idempotency_key) == (True, "rf_1", "k")

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"refunded": 500}, "Insufficient balance on payment"),
            ({"captured": False}, "Transaction hasn't been captured, refund not possible"),
            ({"processing": True}, "Transaction hasn't been captured, refund not possible"),
            ({"dispute": "open"}, "Transaction has been charged back, refund not possible"),
        ],
    )
    def test_a_refund_that_cannot_be_is_received_all_the_same_and_fails_later(
        self, sandbox: RunningSandbox, adyen: Any, options: dict[str, Any], why: str
    ) -> None:
        paid = sandbox.charge(1000, provider="adyen", **options)
        assert adyen.refund_captured_payment(order(1000), paid.reference).status_code == 201
        sandbox_refund = sandbox.refunds[-1]
        assert isinstance(sandbox_refund, AdyenRefund)
        assert (sandbox_refund.success, sandbox_refund.outcome_reason) == (False, why)

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (order(memo="x"), 422, "702"),
            (order(0), 422, "137"),
            (order(True), 422, "702"),
            ({"merchantAccount": "Shop"}, 422, "100"),
            ({"amount": {"currency": "EUR", "value": 5}}, 422, "702"),
            (order(merchantRefundReason="CUSTOMER_REQUEST"), 422, "702"),
            (order(reference="x" * 81), 422, "702"),
            (order(lineItems=[{"price": 5}]), 422, "702"),
            (order(currency="SEK"), 422, "139"),
            (order(merchantAccount="Other"), 403, "901"),
        ],
    )
    def test_a_request_the_schema_does_not_take_is_refused(
        self, sandbox: RunningSandbox, adyen: Any, body: dict[str, Any], status: int, code: str
    ) -> None:
        paid = sandbox.charge(1000, provider="adyen")
        with pytest.raises(AdyenAPIResponseError) as refusal:
            adyen.refund_captured_payment(body, paid.reference)
        assert (refusal.value.status_code, refusal.value.error_code) == (status, code)
        assert sandbox.refunds == []

    def test_an_unknown_payment_is_167_and_a_missing_key_401(self, sandbox: RunningSandbox, adyen: Any) -> None:
        with pytest.raises(AdyenAPIResponseError) as refusal:
            adyen.refund_captured_payment(order(), "NOWHERE")
        assert (refusal.value.status_code, refusal.value.error_code) == (422, "167")
        answer = requests.post(f"{sandbox.url}/v72/payments/X/refunds", json=order(), timeout=10)
        assert (answer.status_code, answer.json()["errorCode"]) == (401, "000")

    def test_a_key_gives_one_refund_for_seven_days(self, sandbox: RunningSandbox, adyen: Any) -> None:
        paid = sandbox.charge(10_000, provider="adyen")

        def send(value: int = 1000, key: str = "k") -> Any:
            return adyen.refund_captured_payment(order(value), paid.reference, idempotency_key=key)

        first = send()
        sandbox.advance(7 * DAY - 60)
        assert send().message == first.message
        with pytest.raises(AdyenAPIResponseError) as refusal:
            send(1001)
        assert refusal.value.status_code == 422
        sandbox.advance(61)
        assert send().psp != first.psp
        with pytest.raises(AdyenAPIResponseError):
            send(key="k" * 65)

    def test_a_key_whose_request_is_under_way_is_704(self, sandbox: RunningSandbox, adyen: Any) -> None:
        paid = sandbox.charge(10_000, provider="adyen")
        sandbox.faults("delay_ms", provider="adyen", delay_ms=600)
        with ThreadPoolExecutor() as pool:
            second = adyen_modifications(sandbox.url)
            slow = pool.submit(second.refund_captured_payment, order(), paid.reference, idempotency_key="k")
            while not sandbox.refunds:
                pass
            with pytest.raises(AdyenAPIResponseError) as refusal:
                adyen.refund_captured_payment(order(), paid.reference, idempotency_key="k")
            assert (refusal.value.status_code, refusal.value.error_code) == (422, "704")
            assert slow.result().status_code == 201

    @pytest.mark.parametrize(
        ("behaviour", "status", "count"),
        [
            ("401", 401, 0),
            ("403", 403, 0),
            ("409", 409, 0),
            ("429", 429, 0),
            ("500_before", 500, 0),
            ("503", 503, 0),
            ("adyen_703", 503, 0),
            ("adyen_704", 422, 0),
            ("500_after", 500, 1),
        ],
    )
    def test_an_error_response_then_the_real_outcome_under_the_same_key(
        self, sandbox: RunningSandbox, adyen: Any, behaviour: str, status: int, count: int
    ) -> None:
        paid = sandbox.charge(1000, provider="adyen")
        sandbox.faults(behaviour, provider="adyen")
        with pytest.raises(AdyenAPIResponseError) as error:
            adyen.refund_captured_payment(order(), paid.reference, idempotency_key="k")
        assert error.value.status_code == status
        assert len(sandbox.refunds) == count
        assert adyen.refund_captured_payment(order(), paid.reference, idempotency_key="k").psp
        assert len(sandbox.refunds) == 1

    @pytest.mark.parametrize(("behaviour", "count"), [("drop_before", 0), ("drop_after", 1)])
    def test_a_dropped_connection_is_no_answer(
        self, sandbox: RunningSandbox, adyen: Any, behaviour: str, count: int
    ) -> None:
        paid = sandbox.charge(1000, provider="adyen")
        sandbox.faults(behaviour, provider="adyen")
        # The SDK uses requests where it can be imported, and otherwise the standard library: both raise an OSError.
        with pytest.raises(OSError, match=r"(?i)remote|connection"):
            adyen.refund_captured_payment(order(), paid.reference, idempotency_key="k")
        assert len(sandbox.refunds) == count

    @pytest.mark.parametrize(("behaviour", "success"), [("pending", None), ("failed", False)])
    def test_the_end_can_be_planned(
        self, sandbox: RunningSandbox, adyen: Any, behaviour: str, success: bool | None
    ) -> None:
        paid = sandbox.charge(1000, provider="adyen")
        sandbox.faults(behaviour, provider="adyen")
        adyen.refund_captured_payment(order(), paid.reference)
        (refund,) = sandbox.refunds
        assert isinstance(refund, AdyenRefund)
        assert refund.success is success
        sandbox.settle(refund.id, success=True)
        assert refund.success is True


class TestControl:
    def test_the_state_shows_every_record(self, sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
        charge = control(sandbox, "charges", {"provider": "stripe", "amount": 1000, "currency": "EUR"})
        control(sandbox, "charges", {"provider": "adyen", "reference": "PSP1", "amount": 5, "currency": "EUR"})
        control(sandbox, "disputes", {"charge": "PSP1", "status": "open"})
        client.v1.refunds.create({"charge": charge["charge"], "metadata": {"refund": "rf_1"}}, {"idempotency_key": "k"})
        state = control(sandbox, "state")
        (refund,) = state["refunds"]
        assert refund["payment"] == charge["payment_intent"] == charge["reference"]
        assert (refund["provider"], refund["idempotency_key"]) == ("stripe", "k")
        assert state["payments"][0]["dispute"] == "needs_response"
        (request,) = state["requests"]
        assert (request["method"], request["path"], request["status"]) == ("POST", "/v1/refunds", 200)
        assert request["params"] == {"charge": charge["charge"], "metadata": {"refund": "rf_1"}}
        assert request["headers"]["idempotency-key"] == "k"
        assert request["headers"]["stripe-version"]
        assert "authorization" not in request["headers"]

    def test_faults_are_planned_shown_and_cleared(self, sandbox: RunningSandbox) -> None:
        control(sandbox, "faults", [{"provider": "stripe", "behaviour": "503", "times": 3}])
        assert [fault["times"] for fault in control(sandbox, "faults")] == [3]
        control(sandbox, "faults", method="DELETE")
        assert control(sandbox, "faults") == []

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("faults", [{"provider": "stripe", "behaviour": "explode"}]),
            ("faults", [{"provider": "stripe", "behaviour": "adyen_704"}]),
            ("faults", [{"behaviour": "503"}]),
            ("charges", {"provider": "paypal", "amount": 1, "currency": "EUR"}),
            ("charges", {"provider": "stripe"}),
            ("disputes", {"charge": "ch_nowhere", "status": "open"}),
            ("refunds/re_nowhere", {"status": "failed"}),
            ("clock", {}),
        ],
    )
    def test_control_rejects_unknown_input_with_a_message(self, sandbox: RunningSandbox, path: str, body: Any) -> None:
        with pytest.raises(urllib.error.HTTPError) as refusal:
            control(sandbox, path, body)
        assert refusal.value.code == 400
        assert json.load(refusal.value)["error"]


class TestSeeding:
    def test_an_invoices_file_becomes_payments(self, tmp_path: Path) -> None:
        path = tmp_path / "invoices.csv"
        path.write_text(
            "number,customer,currency,total,status,issued_on,provider,payment_reference,paid_amount,"
            "processing,dispute,dispute_amount,refunded_amount\n"
            "A-1,c,EUR,100.00,paid,2026-09-01,stripe,pi_1,,,,,30.00\n"
            "A-2,c,JPY,5000,paid,2026-09-01,stripe,ch_2,5000,,,,\n"
            "A-3,c,CLP,10,paid,2026-09-01,adyen,PSP3,,,open,,\n"
            "A-4,c,EUR,10.00,paid,2026-09-01,,,,,,,\n"
            "A-5,c,EUR,10.00,open,2026-09-01,stripe,pi_5,,yes,,,\n"
            "A-6,c,EUR,10.00,paid,2026-09-01,stripe,pi_6,,,lost,4.00,\n"
            "A-7,c,EUR,10.001,paid,2026-09-01,stripe,pi_7,,,,,\n"
        )
        state = SandboxState()
        report = seed_file(state, path)
        assert [payment.reference for payment in report.payments] == ["pi_1", "ch_2", "PSP3", "pi_5", "pi_6"]
        assert len(report.skipped) == 1
        assert report.skipped[0].startswith("row 7:")
        assert state.unrefunded(state.find_charge("pi_1")) == 7000
        assert state.charges["ch_2"].payment_intent is None
        assert state.payments["PSP3"].amount == 1000
        assert state.payments["PSP3"].dispute == "needs_response"
        assert state.find_charge("pi_5").processing
        assert state.unrefunded(state.find_charge("pi_6")) == 600

    def test_an_invoice_of_several_payments_becomes_them_all(self, tmp_path: Path) -> None:
        path = tmp_path / "invoices.jsonl"
        invoice = {
            "number": "A-1",
            "currency": "EUR",
            "total": 30.10,
            "status": "paid",
            "payments": [
                {"provider": "stripe", "payment_reference": "pi_1", "paid_amount": 10.10},
                {"provider": "adyen", "payment_reference": "PSP1", "amount": "20.00", "dispute": "won"},
                {"paid_amount": "0"},
            ],
        }
        path.write_text(json.dumps(invoice) + "\n")
        state = SandboxState()
        seed_file(state, path)
        assert state.find_charge("pi_1").amount == 1010
        assert (state.payments["PSP1"].amount, state.payments["PSP1"].dispute) == (2000, "won")

    def test_seeding_twice_makes_nothing_twice(self) -> None:
        row = {"number": "A", "currency": "EUR", "total": "5", "status": "paid"}
        row |= {"provider": "stripe", "payment_reference": "pi_1"}
        state = SandboxState()
        seed_payments(state, [row])
        assert "exists already" in seed_payments(state, [row]).skipped[0]
        assert len(state.charges) == 1

    @pytest.mark.parametrize(
        ("provider", "amount", "currency", "minor"),
        [
            ("stripe", "10", "CLP", 10),
            ("adyen", "10", "CLP", 1000),
            ("stripe", "10", "ISK", 1000),
            ("adyen", "10", "ISK", 1000),
            ("adyen", "10", "IDR", 10),
            ("stripe", "10", "IDR", 1000),
            ("stripe", "1.230", "KWD", 1230),
            ("stripe", "12.34", "EUR", 1234),
        ],
    )
    def test_each_vendor_counts_in_its_own_units(self, provider: Any, amount: str, currency: str, minor: int) -> None:
        assert to_minor(provider, amount, currency) == minor
        assert float(to_major(provider, minor, currency)) == float(amount)

    @pytest.mark.parametrize("amount", ["1.5 JPY", "1.234 KWD", "0.5 ISK", "x EUR", "NaN EUR"])
    def test_an_amount_that_cannot_be_exact_is_refused(self, amount: str) -> None:
        number, currency = amount.split()
        with pytest.raises(ValueError, match=r"amount|decimals|finer"):
            to_minor("stripe", number, currency)


class TestServer:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_announces_its_url_and_ends_cleanly(self, number: int) -> None:
        script = (
            "from refundcli.sandbox.server import bind, serve; serve(bind(0), announce=lambda u: print(u, flush=True))"
        )
        source = Path(__file__).parents[2] / "src"
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(source)},
        )
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        assert requests.get(f"{url}/_sandbox/state", timeout=10).status_code == 200
        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)
        assert (process.returncode, rest, errors) == (0, "", "")

    def test_the_state_outlives_the_server(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge(1000)
        sandbox.stop()
        with pytest.raises(stripe.APIConnectionError):
            stripe_client(sandbox.url).v1.payment_intents.retrieve(paid.reference)
        with RunningSandbox(state=sandbox.state) as again:
            assert stripe_client(again.url).v1.payment_intents.retrieve(paid.reference).id == paid.reference
