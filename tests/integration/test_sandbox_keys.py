"""The sandbox's own record of idempotency keys, which outlives the vendor's."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import Adyen
import pytest
import requests

from refundcli.sandbox.testing import RunningSandbox

DAY = 86400


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSandbox]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with RunningSandbox(merchant_account="Shop") as running:
        yield running


def post(sandbox: RunningSandbox, payment: str, key: str, amount: int = 100) -> requests.Response:
    """A refund request without the SDK, to read the response headers."""
    form = {"payment_intent": payment, "amount": str(amount)}
    return requests.post(
        f"{sandbox.url}/v1/refunds", form, auth=("sk_test_1", ""), headers={"Idempotency-Key": key}, timeout=10
    )


def test_the_first_post_of_a_key_is_on_record(sandbox: RunningSandbox) -> None:
    paid = sandbox.charge(1000).reference
    began = sandbox.state.now()
    assert post(sandbox, paid, "k").headers.get("Idempotent-Replayed") is None
    sandbox.advance(3600)
    assert post(sandbox, paid, "k").headers["Idempotent-Replayed"] == "true"
    assert post(sandbox, paid, "k", 200).json()["error"]["type"] == "idempotency_error"
    with urllib.request.urlopen(f"{sandbox.url}/_sandbox/keys") as answer:
        (record,) = json.load(answer)
    assert (record["provider"], record["key"], record["count"]) == ("stripe", "k", 3)
    assert began <= record["first_seen"] < began + 3600 <= record["last_seen"]
    assert [param["amount"] for param in record["params"]] == ["100", "200"]
    assert record["path"] == "/v1/refunds"


def test_a_post_that_got_no_answer_is_on_record_too(sandbox: RunningSandbox) -> None:
    paid = sandbox.charge(1000).reference
    sandbox.faults("drop_before")
    with pytest.raises(requests.ConnectionError):
        post(sandbox, paid, "k")
    assert [(record.key, record.count) for record in sandbox.keys] == [("k", 1)]
    assert sandbox.refunds == []


def test_adyens_keys_are_on_record(sandbox: RunningSandbox) -> None:
    api: Any = Adyen.Adyen(xapikey="key", platform="test", http_timeout=10).checkout.modifications_api
    api.baseUrl = sandbox.url + "/v72"
    paid = sandbox.charge("10.00 EUR", provider="adyen").reference
    order = {"merchantAccount": "Shop", "amount": {"currency": "EUR", "value": 100}}
    first, second = (api.refund_captured_payment(order, paid, idempotency_key="k").psp for _ in range(2))
    assert first == second
    (record,) = sandbox.keys
    assert (record.provider, record.count, record.params) == ("adyen", 2, [order])


def test_the_vendor_forgets_keys_on_request(sandbox: RunningSandbox) -> None:
    paid = sandbox.charge(1000).reference
    post(sandbox, paid, "old")
    first_seen = sandbox.keys[0].first_seen
    sandbox.advance(2 * 3600)
    post(sandbox, paid, "new")
    assert sandbox.forget_keys("adyen") == 0
    assert sandbox.forget_keys(older_than=3600) == 1
    post(sandbox, paid, "old")
    post(sandbox, paid, "new")
    assert len(sandbox.refunds) == 3
    assert [(record.key, record.count) for record in sandbox.keys] == [("old", 2), ("new", 2)]
    assert sandbox.keys[0].first_seen == first_seen
    body = json.dumps({"provider": "stripe"}).encode()
    with urllib.request.urlopen(f"{sandbox.url}/_sandbox/keys/forget", body) as answer:
        assert json.load(answer) == {"forgotten": 2}


@pytest.mark.parametrize(("hours", "count"), [(23, 1), (25, 2)])
def test_stripe_forgets_after_a_day_of_its_own_clock(sandbox: RunningSandbox, hours: int, count: int) -> None:
    paid = sandbox.charge(1000).reference
    post(sandbox, paid, "k")
    sandbox.advance(hours * 3600)
    post(sandbox, paid, "k")
    assert len(sandbox.refunds) == count
