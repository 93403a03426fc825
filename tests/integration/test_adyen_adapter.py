"""Adyen's adapter with the real SDK over real sockets: what it sends, and how it reads a response."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from refundcli.domain.reasons import RefundReason
from refundcli.domain.statuses import Provider, RefundState
from refundcli.providers import UnusableReference
from refundcli.providers.registry import PracticeAddressWhenLive, ProviderNotConfigured, connect
from refundcli.sandbox.core.state import AdyenRefund
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.ports.providers import PaymentProvider, RefundAnswer
from refundcli.settings import AdyenSettings, OperatorSettings, Settings, StoreSettings
from wire import ADYEN_KEY, FAULTS, KEY, MERCHANT, QUICK, Reply, Stub, adyen_at, allowed, order, refund, refused_url

LIVE_PREFIX = "1797a841fbb37ca7-Shop"


def received(**fields: Any) -> dict[str, Any]:
    """A refund as Adyen acknowledges it."""
    body = {"merchantAccount": MERCHANT, "amount": {"currency": "EUR", "value": 1000}, "reference": "rf_1"}
    return {**body, "paymentPspReference": "PSP1", "pspReference": "PSPREFUND1", "status": "received", **fields}


def error(status: int, code: str = "", kind: str = "validation", text: str = "No.") -> Reply:
    return Reply(status, {"status": status, "errorCode": code, "message": text, "errorType": kind})


def answer_to(*replies: Reply) -> RefundAnswer:
    with Stub(*replies) as stub:
        return refund(adyen_at(stub.url), order("PSP1"))


class TestRefunding:
    def test_a_refund_is_one_request_with_its_key(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge("100.00 EUR", provider="adyen")
        answer = refund(adyen_at(sandbox.url), order(paid.reference, "60.00 EUR"))
        (stored,) = sandbox.refunds
        assert isinstance(stored, AdyenRefund)
        assert answer == RefundAnswer(Signal.ACCEPTED, RefundState.PENDING, stored.id, "received")
        assert (stored.amount, stored.payment, stored.idempotency_key) == (6000, paid.reference, KEY)
        assert (stored.reference, stored.merchant_account) == ("rf_1", MERCHANT)
        assert len(sandbox.refund_requests) == 1

    @pytest.mark.parametrize(
        ("reason", "said"),
        [
            (RefundReason.FRAUDULENT_CHARGE, "FRAUD"),
            (RefundReason.DUPLICATE, "DUPLICATE"),
            (RefundReason.RETURNED_GOODS, "RETURN"),
            (RefundReason.OVERCHARGED, "CUSTOMER REQUEST"),
            (RefundReason.BILLING_ERROR, "CUSTOMER REQUEST"),
            (RefundReason.PRODUCT_UNSATISFACTORY, "CUSTOMER REQUEST"),
            (RefundReason.CHARGEBACK, "OTHER"),
            (RefundReason.OTHER, "OTHER"),
        ],
    )
    def test_each_reason_has_adyens_code(self, sandbox: RunningSandbox, reason: RefundReason, said: str) -> None:
        paid = sandbox.charge("100.00 EUR", provider="adyen")
        refund(adyen_at(sandbox.url), order(paid.reference, reason=reason))
        (stored,) = sandbox.refunds
        assert isinstance(stored, AdyenRefund)
        assert stored.merchant_refund_reason == said

    @pytest.mark.parametrize("reference", ["pi_1", "", "PSP 1", "PSP1/refunds", "../PSP1", "P" * 33, "PSP1\n"])
    def test_a_reference_that_is_no_payment_is_refused_before_anything(self, reference: str) -> None:
        with pytest.raises(UnusableReference):
            adyen_at(None).prepare(order(reference))

    def test_refund_lookup_is_not_supported_and_says_so(self) -> None:
        with Stub(Reply()) as stub:
            provider = adyen_at(stub.url)
            answer = provider.find_refund(provider.prepare(order("PSP1")), "rf_1")
        # None would prove that there is no refund.
        assert answer is not None
        assert (answer.signal, answer.state, stub.connections) == (Signal.OTHER, None, 0)


class TestAnswers:
    @pytest.mark.parametrize(
        ("behaviour", "signal", "refunds"),
        [*FAULTS, ("adyen_704", Signal.IN_PROGRESS, 0), ("adyen_703", Signal.SERVER_ERROR, 0)],
    )
    def test_a_fault_is_named_for_what_it_proves(
        self, sandbox: RunningSandbox, behaviour: str, signal: Signal, refunds: int
    ) -> None:
        paid = sandbox.charge("100.00 EUR", provider="adyen")
        sandbox.faults(behaviour, provider="adyen")
        answer = refund(adyen_at(sandbox.url), order(paid.reference))
        assert (answer.signal, answer.state) == (signal, None)
        assert len(sandbox.refunds) == refunds
        assert len(sandbox.requests) == 1

    @pytest.mark.parametrize(
        "body",
        [
            received(amount={"currency": "EUR", "value": 999}),
            received(amount={"currency": "EUR", "value": "1000"}),
            received(amount={"currency": "EUR", "value": 1000.0}),
            received(amount={"currency": "SEK", "value": 1000}),
            received(amount=1000),
            received(amount=None),
            received(paymentPspReference="PSP2"),
            received(pspReference=""),
            received(pspReference=None),
            received(pspReference="PSP1"),
            received(reference="rf_2"),
            received(merchantAccount="Elsewhere"),
            received(status="rejected"),
            received(status=None),
            {},
            [],
            "received",
            b"",
            b"<html>",
            b"\xff",
        ],
    )
    def test_a_2xx_for_another_refund_is_not_an_acceptance(self, body: object) -> None:
        answer = answer_to(Reply(201, body))
        assert (answer.signal, answer.state) == (Signal.MALFORMED, None)

    def test_optional_response_fields_may_be_missing(self) -> None:
        body = received()
        del body["reference"]
        assert answer_to(Reply(201, body)).signal == Signal.ACCEPTED

    @pytest.mark.parametrize("status", [400, 422])
    @pytest.mark.parametrize("code", ["130", "137", "138", "139", "167", "702", "901", "905_1", "14_002", "new"])
    def test_a_well_formed_refusal_is_a_decline_whatever_its_code(self, status: int, code: str) -> None:
        answer = answer_to(error(status, code, text="Original pspReference required"))
        assert answer.signal == Signal.DECLINED
        assert answer.message == f"Adyen: Original pspReference required (HTTP {status}, errorCode {code})"

    @pytest.mark.parametrize(
        "reply",
        [
            # Without an errorCode it may be a 704.
            error(422),
            error(400),
            error(402, "101"),
            error(404, "000"),
            error(408),
            Reply(400, b"<html>"),
            Reply(422, b"<html>"),
            Reply(422, b'{"errorCode": "167"'),
            Reply(422, []),
            Reply(400, {"errorType": "validation"}),
            Reply(422, {"errorCode": 167}),
            Reply(301, b""),
            Reply(304, b""),
        ],
    )
    def test_any_other_answer_proves_nothing(self, reply: Reply) -> None:
        assert answer_to(reply).signal == Signal.OTHER

    @pytest.mark.parametrize("status", [400, 401, 403, 409, 422, 429, 500, 503])
    def test_704_is_a_refund_that_may_be_under_way(self, status: int) -> None:
        assert answer_to(error(status, "704")).signal == Signal.IN_PROGRESS

    @pytest.mark.parametrize("status", [401, 422, 503])
    def test_703_never_proves_a_no(self, status: int) -> None:
        assert answer_to(error(status, "703")).signal == Signal.SERVER_ERROR

    def test_an_unknown_payment_is_declined(self, sandbox: RunningSandbox) -> None:
        assert refund(adyen_at(sandbox.url), order("NOWHERE1")).signal == Signal.DECLINED

    def test_an_account_that_is_not_ours_is_not_allowed(self, sandbox: RunningSandbox) -> None:
        sandbox.charge("100.00 EUR", provider="adyen", reference="PSP1")
        sandbox.state.merchant_account = "Another"
        assert refund(adyen_at(sandbox.url), order("PSP1")).signal == Signal.NOT_ALLOWED
        assert sandbox.refunds == []

    def test_an_excessive_refund_is_accepted_first_and_fails_later(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge("10.00 EUR", provider="adyen")
        answer = refund(adyen_at(sandbox.url), order(paid.reference, "11.00 EUR"))
        assert (answer.signal, answer.state) == (Signal.ACCEPTED, RefundState.PENDING)

    @pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("999999", 3600), ("soon", None)])
    def test_retry_after_is_passed_on_in_seconds(self, header: str, seconds: float | None) -> None:
        answer = answer_to(Reply(429, headers={"Retry-After": header}))
        assert (answer.signal, answer.retry_after) == (Signal.RATE_LIMITED, seconds)

    def test_while_it_wants_to_be_left_alone_for_long_nothing_is_sent(self) -> None:
        with Stub(Reply(429, headers={"Retry-After": "60"})) as stub:
            provider = adyen_at(stub.url)
            refund(provider, order("PSP1"))
            answer = refund(provider, order("PSP1"))
            assert (answer.signal, len(stub.requests)) == (Signal.TOO_SOON, 1)
        assert answer.retry_after
        assert 50 < answer.retry_after <= 60

    def test_a_key_with_other_content_makes_no_refund_and_proves_none(self, sandbox: RunningSandbox) -> None:
        paid, provider = sandbox.charge("100.00 EUR", provider="adyen"), adyen_at(sandbox.url)
        refund(provider, order(paid.reference, "10.00 EUR"))
        assert refund(provider, order(paid.reference, "11.00 EUR")).signal == Signal.IN_PROGRESS
        assert len(sandbox.refunds) == 1

    def test_a_replay_is_the_same_refund(self, sandbox: RunningSandbox) -> None:
        paid, provider = sandbox.charge("100.00 EUR", provider="adyen"), adyen_at(sandbox.url)
        first, again = (refund(provider, order(paid.reference)) for _ in range(2))
        assert again == first
        assert len(sandbox.refunds) == 1


class TestNetwork:
    def test_no_answer_in_time_is_no_answer(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge("100.00 EUR", provider="adyen")
        sandbox.faults("delay_ms", provider="adyen", delay_ms=1500)
        assert refund(adyen_at(sandbox.url), order(paid.reference)).signal == Signal.NO_ANSWER
        assert len(sandbox.refunds) == 1

    def test_a_reset_after_the_request_is_no_answer(self) -> None:
        assert answer_to(Reply(body=None)).signal == Signal.NO_ANSWER

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_refused_connection_proves_that_nothing_was_sent(self, scheme: str) -> None:
        answer = refund(adyen_at(refused_url(scheme)), order("PSP1"))
        assert (answer.signal, answer.message) == (Signal.NOT_SENT, "No connection to Adyen: Connection refused")

    def test_a_server_without_tls_gets_nothing(self) -> None:
        with Stub(Reply()) as stub:
            answer = refund(adyen_at(stub.url.replace("http:", "https:")), order("PSP1"))
        assert answer.signal == Signal.NOT_SENT
        assert stub.requests == []

    @pytest.mark.parametrize(
        ("prefix", "host"),
        [(None, "checkout-test.adyen.com"), (LIVE_PREFIX, f"{LIVE_PREFIX}-checkout-live.adyenpayments.com")],
    )
    def test_a_name_that_cannot_be_found_proves_that_nothing_was_sent(
        self, monkeypatch: pytest.MonkeyPatch, prefix: str | None, host: str
    ) -> None:
        lookups: list[tuple[object, object]] = []

        def fail(host: object, port: object, *rest: object, **more: object) -> None:
            lookups.append((host, port))
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        answer = refund(adyen_at(None, prefix=prefix), order("PSP1"))
        assert answer.signal == Signal.NOT_SENT
        # The SDK logs the stored address.
        assert [str(name).lower() for name, _ in lookups] == [host.lower()]

    def test_an_address_the_sdk_would_write_otherwise_is_not_called(self) -> None:
        answer = refund(adyen_at(None, prefix="Shop-test"), order("PSP1"))
        assert answer.signal == Signal.NOT_SENT
        assert "a different address" in answer.message

    def test_a_redirect_is_not_followed(self) -> None:
        with Stub(Reply(201, received())) as elsewhere, Stub(Reply(307, headers={"Location": elsewhere.url})) as stub:
            assert refund(adyen_at(stub.url), order("PSP1")).signal == Signal.OTHER
        assert (len(stub.requests), elsewhere.requests) == (1, [])

    def test_proxies_of_the_environment_are_not_used(
        self, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("NO_PROXY", raising=False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, refused_url())
            monkeypatch.setenv(name.lower(), refused_url())
        paid = sandbox.charge("100.00 EUR", provider="adyen")
        assert refund(adyen_at(sandbox.url), order(paid.reference)).signal == Signal.ACCEPTED

    def test_threads_may_share_it_and_each_call_has_a_connection_of_its_own(self) -> None:
        with Stub(Reply(201, received())) as stub, ThreadPoolExecutor(6) as pool:
            provider = adyen_at(stub.url)
            answers = list(pool.map(lambda _: refund(provider, order("PSP1")).signal, range(6)))
        assert answers == [Signal.ACCEPTED] * 6
        assert (stub.connections, len(stub.requests)) == (6, 6)

    @pytest.mark.parametrize(
        "changes",
        [
            {"account": "Another"},
            {"livemode": True},
            {"api_version": "v71"},
            {"endpoint": "https://checkout-test.adyen.com/v72/payments/PSP1/refunds"},
        ],
    )
    def test_what_was_prepared_for_another_place_goes_nowhere(self, changes: Any) -> None:
        with Stub(Reply(201, received())) as stub:
            provider = adyen_at(stub.url)
            answer = provider.refund(replace(provider.prepare(order("PSP1")), **changes), KEY, allowed)
        assert (answer.signal, stub.connections) == (Signal.NOT_SENT, 0)


class NoAccounts:
    """Adyen's account comes from the settings, without a request."""

    def get(self, provider: Provider, fingerprint: str) -> str | None:
        raise AssertionError

    def put(self, provider: Provider, fingerprint: str, account: str, livemode: bool) -> None:
        raise AssertionError

    def known(self, provider: Provider, fingerprint: str) -> str:
        raise AssertionError


def connected(**adyen: Any) -> PaymentProvider:
    options = {"api_key": "env:ADYEN_API_KEY", "merchant_account": MERCHANT, **adyen}
    settings = Settings(
        store=StoreSettings(url="sqlite:////nowhere/refundcli.db"),
        operator=OperatorSettings(name="Ada", timezone="UTC"),
        adyen=AdyenSettings(**options),
        refunds=QUICK,
    )
    environ = {"ADYEN_API_KEY": ADYEN_KEY}
    return connect(Provider.ADYEN, settings=settings, environ=environ, account_cache=NoAccounts())


class TestConnecting:
    def test_the_account_and_the_mode_are_the_settings(self) -> None:
        test, live = connected(), connected(environment="live", live_endpoint_prefix=LIVE_PREFIX)
        assert (test.account, test.livemode, test.base_url) == (MERCHANT, False, "https://checkout-test.adyen.com")
        assert (live.account, live.livemode) == (MERCHANT, True)
        assert live.base_url == f"https://{LIVE_PREFIX}-checkout-live.adyenpayments.com"

    @pytest.mark.parametrize(
        ("settings", "endpoint"),
        [
            ({}, "https://checkout-test.adyen.com/v72/payments/PSP1/refunds"),
            ({"api_base": "http://127.0.0.1:4243"}, "http://127.0.0.1:4243/v72/payments/PSP1/refunds"),
            (
                {"environment": "live", "live_endpoint_prefix": LIVE_PREFIX},
                f"https://{LIVE_PREFIX}-checkout-live.adyenpayments.com/checkout/v72/payments/PSP1/refunds",
            ),
        ],
    )
    def test_the_whole_address_is_stored(self, settings: dict[str, str], endpoint: str) -> None:
        provider = connected(**settings)
        assert provider.prepare(order("PSP1")).endpoint == endpoint
        assert endpoint.startswith(provider.base_url)

    def test_a_live_key_is_not_sent_to_an_address_for_practice(self) -> None:
        with pytest.raises(PracticeAddressWhenLive):
            connected(environment="live", live_endpoint_prefix=LIVE_PREFIX, api_base="http://127.0.0.1:4243")

    @pytest.mark.parametrize(
        ("settings", "missing"),
        [
            ({"api_key": None}, "adyen.api_key"),
            ({"merchant_account": None}, "adyen.merchant_account"),
            ({"environment": "live"}, "adyen.live_endpoint_prefix"),
        ],
    )
    def test_a_missing_setting_is_named_with_what_to_write(self, settings: dict[str, Any], missing: str) -> None:
        with pytest.raises(ProviderNotConfigured) as refusal:
            connected(**settings)
        assert refusal.value.context["key"] == missing
        assert "REFUNDCLI_" + missing.replace(".", "_").upper() in refusal.value.hint


class TestSecrets:
    @pytest.mark.parametrize(
        "reply",
        [
            error(401, "000", text=f"Unauthorized: {ADYEN_KEY}"),
            error(422, "167", text=f"x-api-key: {ADYEN_KEY}"),
            error(500, ADYEN_KEY),
            Reply(201, received(amount=ADYEN_KEY, status=ADYEN_KEY)),
            Reply(201, ADYEN_KEY),
            Reply(body=None),
        ],
    )
    def test_no_message_ever_holds_the_key(self, reply: Reply) -> None:
        answer = answer_to(reply)
        assert answer.message
        assert ADYEN_KEY not in answer.message

    def test_a_long_message_is_cut(self) -> None:
        assert len(answer_to(error(422, "167", text="x" * 10_000)).message) <= 500

    def test_the_key_is_not_in_what_is_stored(self) -> None:
        stored = adyen_at(None).prepare(order("PSP1"))
        assert ADYEN_KEY not in json.dumps([stored.endpoint, stored.account, stored.api_version, stored.params])
        assert ADYEN_KEY not in repr(adyen_at(None))
