"""Stripe's adapter with the real SDK over real sockets: what it sends, and how it reads a response."""

import inspect
import io
import json
import logging
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stripe

from refundcli.domain.reasons import RefundReason
from refundcli.domain.statuses import Provider, RefundState
from refundcli.providers import BadCredentials, ProviderUnreachable, UnusableReference
from refundcli.providers.registry import PracticeAddressWhenLive, ProviderNotConfigured, connect
from refundcli.providers.stripe.keys import fingerprint
from refundcli.sandbox.core.faults import LOOKUP_BEHAVIOURS
from refundcli.sandbox.core.state import StripeRefund
from refundcli.sandbox.testing import RunningSandbox
from refundcli.secrets import LiteralSecret, SecretNotInEnvironment
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.ports.providers import PaymentProvider, RefundAnswer
from refundcli.settings import OperatorSettings, Settings, StoreSettings, StripeSettings
from wire import FAULTS, KEY, QUICK, STRIPE_KEY, Reply, Stub, allowed, order, refund, refused_url, stripe_at

LIVE_KEY = "sk_" + "live_x"
# As Stripe's own SDK lists them.
STRIPE_CODES = re.findall(
    r'"([a-z0-9_]+)"',
    inspect.getsource(stripe.PaymentIntent.LastPaymentError).split("    code: ")[1].split("]")[0],
)


def refund_body(**fields: Any) -> dict[str, Any]:
    """A refund as Stripe returns it."""
    body = {"id": "re_1", "object": "refund", "status": "succeeded", "amount": 1000, "currency": "eur"}
    return {**body, "payment_intent": "pi_1", "charge": "ch_1", "metadata": {"refundcli_refund": "rf_1"}, **fields}


def error(
    status: int, code: str = "", param: str = "", kind: str = "invalid_request_error", text: str = "No."
) -> Reply:
    fields = {"type": kind, "message": text, "code": code or None, "param": param or None}
    return Reply(status, {"error": {name: value for name, value in fields.items() if value}})


def answer_to(*replies: Reply) -> RefundAnswer:
    with Stub(*replies) as stub:
        return refund(stripe_at(stub.url), order("pi_1"))


def looked_up(*replies: Reply) -> RefundAnswer | None:
    with Stub(*replies) as stub:
        provider = stripe_at(stub.url)
        return provider.find_refund(provider.prepare(order("pi_1")), "rf_1")


def page(*refunds: dict[str, Any], more: bool = False) -> Reply:
    return Reply(body={"object": "list", "url": "/v1/refunds", "has_more": more, "data": list(refunds)})


class TestRefunding:
    @pytest.mark.parametrize("named", [{"payment_intent": "pi_1"}, {"charge": "ch_1"}, {"charge": "py_1"}])
    def test_a_refund_is_made_with_one_call_and_its_key(self, sandbox: RunningSandbox, named: dict[str, Any]) -> None:
        paid = sandbox.charge("100.00 EUR", **named)
        answer = refund(stripe_at(sandbox.url), order(paid.reference, "60.00 EUR"))
        (stored,) = sandbox.refunds
        assert (answer.signal, answer.state) == (Signal.ACCEPTED, RefundState.SUCCEEDED)
        assert (answer.reference, answer.status, answer.replayed) == (stored.id, "succeeded", False)
        assert (stored.amount, stored.payment, stored.idempotency_key) == (6000, paid.reference, KEY)
        assert len(sandbox.refund_requests) == 1

    def test_our_names_travel_as_metadata(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge("100.00 EUR")
        refund(stripe_at(sandbox.url), order(paid.reference))
        (stored,) = sandbox.refunds
        assert isinstance(stored, StripeRefund)
        assert stored.metadata == {
            "refundcli_refund": "rf_1",
            "refundcli_reason": "returned-goods",
            "refundcli_invoice": "INV-1",
            "refundcli_currency": "eur",
        }

    @pytest.mark.parametrize("reason", RefundReason)
    @pytest.mark.parametrize("fraudulent", [False, True])
    def test_fraudulent_is_said_only_where_the_settings_allow_it(self, reason: RefundReason, fraudulent: bool) -> None:
        provider = stripe_at(None, fraudulent=fraudulent)
        said = provider.prepare(order("pi_1", reason=reason)).params["reason"]
        if reason is RefundReason.DUPLICATE:
            assert said == "duplicate"
        elif reason is RefundReason.FRAUDULENT_CHARGE and fraudulent:
            assert said == "fraudulent"
        else:
            assert said == "requested_by_customer"

    @pytest.mark.parametrize(
        ("status", "state"),
        [
            ("pending", RefundState.PENDING),
            ("requires_action", RefundState.PENDING),
            ("failed", RefundState.FAILED),
            ("canceled", RefundState.FAILED),
        ],
    )
    def test_each_status_maps_to_our_state(self, sandbox: RunningSandbox, status: str, state: RefundState) -> None:
        paid = sandbox.charge("100.00 EUR")
        sandbox.faults(status, failure_reason="declined" if status == "failed" else None)
        answer = refund(stripe_at(sandbox.url), order(paid.reference))
        assert (answer.signal, answer.state, answer.status) == (Signal.ACCEPTED, state, status)
        assert ("declined" in answer.message) is (status == "failed")

    @pytest.mark.parametrize("reference", ["in_1", "pi 1", "", "pi_", "PSP1", "pi_1/../x", "pi_1\n"])
    def test_a_reference_that_is_no_payment_is_refused_before_anything(self, reference: str) -> None:
        with pytest.raises(UnusableReference):
            stripe_at(None).prepare(order(reference))

    def test_the_stored_api_version_is_the_one_that_is_sent(self) -> None:
        with Stub(Reply(body=refund_body())) as stub:
            provider = stripe_at(stub.url)
            stored = replace(provider.prepare(order("pi_1")), api_version="2026-01-28.older")
            assert provider.refund(stored, KEY, allowed).signal == Signal.ACCEPTED
        assert stub.requests[0].headers["stripe-version"] == "2026-01-28.older"


class TestAnswers:
    @pytest.mark.parametrize(("behaviour", "signal", "refunds"), FAULTS)
    def test_a_fault_is_named_for_what_it_proves(
        self, sandbox: RunningSandbox, behaviour: str, signal: Signal, refunds: int
    ) -> None:
        paid = sandbox.charge("100.00 EUR")
        sandbox.faults(behaviour)
        answer = refund(stripe_at(sandbox.url), order(paid.reference))
        assert (answer.signal, answer.state) == (signal, None)
        assert len(sandbox.refunds) == refunds
        assert len(sandbox.requests) == 1

    @pytest.mark.parametrize(
        "body",
        [
            refund_body(amount=999),
            refund_body(amount=True),
            refund_body(amount="1000"),
            refund_body(amount=1000.0),
            refund_body(amount=None),
            refund_body(currency="sek"),
            refund_body(currency=None),
            refund_body(payment_intent="pi_2"),
            refund_body(payment_intent=None),
            refund_body(id=""),
            refund_body(id=None),
            refund_body(object="charge"),
            refund_body(status=None),
            refund_body(status="refunded"),
            {},
            [],
            "refund",
            b"",
            b"<html>",
        ],
    )
    def test_a_2xx_for_another_refund_is_not_an_acceptance(self, body: object) -> None:
        answer = answer_to(Reply(body=body))
        assert answer.signal in (Signal.MALFORMED, Signal.OTHER)
        assert answer.state is None

    def test_every_code_of_stripes_list_is_a_refusal_but_those_that_leave_it_open(self) -> None:
        signals: dict[str, list[str]] = {}
        with Stub(Reply()) as stub:
            provider = stripe_at(stub.url)
            for code in STRIPE_CODES:
                stub.replies = [error(400, code)]
                signals.setdefault(refund(provider, order("pi_1")).signal, []).append(code)
        assert len(STRIPE_CODES) > 200
        assert len(signals.pop(Signal.DECLINED)) > 200
        assert signals == {
            Signal.AWAITING_APPROVAL: ["approval_required"],
            Signal.IN_PROGRESS: ["idempotency_key_in_use", "lock_timeout"],
            Signal.OTHER: ["payment_method_provider_timeout", "processing_error", "terminal_reader_timeout"],
            Signal.RATE_LIMITED: ["rate_limit"],
        }

    @pytest.mark.parametrize(
        "reply",
        [
            error(400, text="This payment is too old to be refunded."),
            error(
                400, param="amount", text="Refund amount ($9.00) is greater than unrefunded amount on charge ($5.00)"
            ),
            error(400, param="reason"),
            error(400, "brand_new_code"),
            error(404),
            error(404, "resource_missing", "payment_intent"),
            error(404, "resource_missing", "customer"),
        ],
    )
    def test_a_well_formed_refusal_is_a_decline_whatever_its_code(self, reply: Reply) -> None:
        answer = answer_to(reply)
        assert (answer.signal, answer.state) == (Signal.DECLINED, None)

    @pytest.mark.parametrize(
        "reply",
        [
            error(400, param="amount", kind="api_error"),
            error(400, "charge_already_refunded", kind=""),
            error(400, "charge_already_refunded", kind="api_error"),
            error(402, "card_declined", kind="card_error"),
            error(402, "charge_already_refunded"),
            error(408),
            Reply(400, b"<html>"),
            Reply(404, b"<html>"),
            Reply(400, b""),
            Reply(400, b'{"error": {"type": "invalid_request_error"'),
            Reply(400, {"error": "invalid_request_error"}),
            Reply(400, {"error": {"type": ["invalid_request_error"]}}),
            Reply(400, {"type": "invalid_request_error"}),
            Reply(400, []),
            Reply(301, b""),
            Reply(304, b""),
        ],
    )
    def test_any_other_answer_proves_nothing(self, reply: Reply) -> None:
        assert answer_to(reply).signal == Signal.OTHER

    @pytest.mark.parametrize("status", [400, 402, 403, 409])
    @pytest.mark.parametrize("replayed", [False, True])
    def test_a_second_person_who_must_approve_it_is_waited_for(self, status: int, replayed: bool) -> None:
        reply = error(status, "approval_required", text="Approval request areq_123 was created.")
        reply.headers = {"Idempotent-Replayed": "true"} if replayed else {}
        answer = answer_to(reply)
        assert (answer.signal, answer.state, answer.reference) == (Signal.AWAITING_APPROVAL, None, "")
        assert (answer.status, answer.replayed) == ("approval_required areq_123", replayed)

    def test_an_approval_request_in_the_place_of_the_refund_is_waited_for(self) -> None:
        body = {"id": "areq_123", "object": "v2.core.approval_request", "status": "requires_review"}
        answer = answer_to(Reply(body=body))
        assert (answer.signal, answer.state, answer.reference) == (Signal.AWAITING_APPROVAL, None, "")

    @pytest.mark.parametrize("code", ["idempotency_key_in_use", "lock_timeout"])
    @pytest.mark.parametrize("status", [400, 409, 429])
    def test_a_lock_is_a_refund_that_may_be_under_way(self, code: str, status: int) -> None:
        assert answer_to(error(status, code)).signal == Signal.IN_PROGRESS

    @pytest.mark.parametrize(
        ("charge", "code"),
        [
            ({"refunded": 10_000}, "charge_already_refunded"),
            ({"dispute": "open"}, "charge_disputed"),
            ({"captured": False}, "payment_intent_unexpected_state"),
            ({"refunded": 9_500}, ""),
        ],
    )
    def test_the_sandbox_declines_as_stripe_does(self, sandbox: RunningSandbox, charge: Any, code: str) -> None:
        paid = sandbox.charge("100.00 EUR", **charge)
        answer = refund(stripe_at(sandbox.url), order(paid.reference))
        assert answer.signal == Signal.DECLINED
        assert code in answer.message
        assert answer.message.startswith("Stripe: ")

    def test_an_unknown_payment_is_declined(self, sandbox: RunningSandbox) -> None:
        assert refund(stripe_at(sandbox.url), order("pi_nowhere")).signal == Signal.DECLINED

    def test_retry_after_is_passed_on(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge("100.00 EUR")
        sandbox.faults("429", retry_after=7)
        assert refund(stripe_at(sandbox.url), order(paid.reference)).retry_after == 7

    @pytest.mark.parametrize(
        ("header", "seconds"), [("1.5", 1.5), ("999999", 3600), ("soon", None), ("-1", None), ("Mon, 1 Jan", None)]
    )
    def test_retry_after_counts_only_in_seconds(self, header: str, seconds: float | None) -> None:
        assert answer_to(replace(error(429), headers={"Retry-After": header})).retry_after == seconds

    def test_while_it_wants_to_be_left_alone_for_long_nothing_is_sent(self) -> None:
        with Stub(Reply(429, headers={"Retry-After": "60"})) as stub:
            provider = stripe_at(stub.url)
            refund(provider, order("pi_1"))
            answer = refund(provider, order("pi_1"))
            assert (answer.signal, len(stub.requests)) == (Signal.TOO_SOON, 1)
        assert answer.retry_after
        assert 50 < answer.retry_after <= 60

    def test_a_key_with_other_content_is_loud(self, sandbox: RunningSandbox) -> None:
        paid, provider = sandbox.charge("100.00 EUR"), stripe_at(sandbox.url)
        refund(provider, order(paid.reference, "10.00 EUR"))
        assert refund(provider, order(paid.reference, "11.00 EUR")).signal == Signal.KEY_REUSED
        assert len(sandbox.refunds) == 1

    def test_a_replay_is_the_same_refund_and_says_so(self, sandbox: RunningSandbox) -> None:
        paid, provider = sandbox.charge("100.00 EUR"), stripe_at(sandbox.url)
        first, again = (refund(provider, order(paid.reference)) for _ in range(2))
        assert (first.replayed, again.replayed) == (False, True)
        assert again.reference == first.reference
        assert len(sandbox.refunds) == 1

    def test_a_stored_decline_is_flagged_as_such(self, sandbox: RunningSandbox) -> None:
        paid, provider = sandbox.charge("5.00 EUR"), stripe_at(sandbox.url)
        first, again = (refund(provider, order(paid.reference)) for _ in range(2))
        assert [(decline.signal, decline.replayed) for decline in (first, again)] == [
            (Signal.DECLINED, False),
            (Signal.DECLINED, True),
        ]


class TestNetwork:
    def test_no_answer_in_time_is_no_answer(self, sandbox: RunningSandbox) -> None:
        paid = sandbox.charge("100.00 EUR")
        sandbox.faults("delay_ms", delay_ms=1500)
        answer = refund(stripe_at(sandbox.url), order(paid.reference))
        assert answer.signal == Signal.NO_ANSWER
        assert len(sandbox.refunds) == 1

    def test_a_reset_after_the_request_is_no_answer(self) -> None:
        assert answer_to(Reply(body=None)).signal == Signal.NO_ANSWER

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_refused_connection_proves_that_nothing_was_sent(self, scheme: str) -> None:
        answer = refund(stripe_at(refused_url(scheme)), order("pi_1"))
        assert (answer.signal, answer.message) == (Signal.NOT_SENT, "No connection to Stripe: Connection refused")

    def test_a_server_without_tls_gets_nothing(self) -> None:
        with Stub(Reply()) as stub:
            answer = refund(stripe_at(stub.url.replace("http:", "https:")), order("pi_1"))
        assert answer.signal == Signal.NOT_SENT
        assert stub.requests == []

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
    def test_a_server_with_an_untrusted_certificate_is_sent_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
        names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run([*make.split(), *names], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        with Stub(Reply(body=refund_body())) as stub:
            stub.secure(context)
            provider = stripe_at(stub.url.replace("http:", "https:"))
            assert refund(provider, order("pi_1")).signal == Signal.NOT_SENT
            assert stub.requests == []
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
            assert refund(provider, order("pi_1")).signal == Signal.ACCEPTED

    def test_certificates_that_are_not_there_stop_it_before_it_is_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
        with Stub(Reply(body=refund_body())) as stub:
            answer = refund(stripe_at(stub.url), order("pi_1"))
        assert answer.signal == Signal.NOT_SENT
        assert "/nowhere/ca.pem" in answer.message
        assert stub.connections == 0

    def test_a_name_that_cannot_be_found_proves_that_nothing_was_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lookups: list[tuple[object, object]] = []

        def fail(host: object, port: object, *rest: object, **more: object) -> None:
            lookups.append((host, port))
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        answer = refund(stripe_at(None), order("pi_1"))
        assert (answer.signal, lookups) == (Signal.NOT_SENT, [("api.stripe.com", 443)])
        assert answer.message == "No connection to Stripe: Name or service not known"

    def test_a_redirect_is_not_followed(self) -> None:
        with (
            Stub(Reply(body=refund_body())) as elsewhere,
            Stub(Reply(307, headers={"Location": elsewhere.url})) as stub,
        ):
            assert refund(stripe_at(stub.url), order("pi_1")).signal == Signal.OTHER
        assert (len(stub.requests), elsewhere.requests) == (1, [])

    def test_proxies_of_the_environment_are_not_used(
        self, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("NO_PROXY", raising=False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, refused_url())
            monkeypatch.setenv(name.lower(), refused_url())
        paid = sandbox.charge("100.00 EUR")
        assert refund(stripe_at(sandbox.url), order(paid.reference)).signal == Signal.ACCEPTED

    def test_each_call_has_a_connection_of_its_own(self) -> None:
        with Stub(Reply(body=refund_body())) as stub:
            provider = stripe_at(stub.url)
            for _ in range(3):
                refund(provider, order("pi_1"))
        assert (stub.connections, len(stub.requests)) == (3, 3)

    def test_threads_may_share_it(self) -> None:
        with Stub(Reply(body=refund_body())) as stub:
            provider = stripe_at(stub.url)
            answers: list[str] = []
            threads = [
                threading.Thread(target=lambda: answers.append(refund(provider, order("pi_1")).signal))
                for _ in range(6)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert answers == [Signal.ACCEPTED] * 6

    @pytest.mark.parametrize(
        "changes",
        [{"account": "acct_2"}, {"livemode": True}, {"endpoint": "https://api.stripe.com/v1/refunds"}],
    )
    def test_what_was_prepared_for_another_place_goes_nowhere(self, changes: Any) -> None:
        with Stub(Reply(body=refund_body())) as stub:
            provider = stripe_at(stub.url)
            stored = replace(provider.prepare(order("pi_1")), **changes)
            assert provider.refund(stored, KEY, allowed).signal == Signal.NOT_SENT
            match = provider.find_refund(stored, "rf_1")
        assert match is not None
        assert (match.signal, stub.connections) == (Signal.OTHER, 0)


class TestLookingUp:
    def test_ours_is_found_among_more_than_a_page(self, sandbox: RunningSandbox) -> None:
        paid, provider = sandbox.charge("1000.00 EUR"), stripe_at(sandbox.url, refunds=replace(QUICK, read_timeout=5))
        request = provider.prepare(order(paid.reference))
        ours = provider.refund(request, KEY, allowed)
        assert paid.charge
        for number in range(230):
            foreign = StripeRefund(
                id=f"re_{number}",
                charge=paid.charge,
                payment_intent=paid.reference,
                amount=1,
                currency="eur",
                created=int(sandbox.state.now()),
            )
            sandbox.state.refunds[foreign.id] = foreign
        match = provider.find_refund(request, "rf_1")
        assert match == ours
        assert provider.find_refund(request, "rf_2") is None
        assert len([logged for logged in sandbox.requests if logged.method == "GET"]) == 6

    def test_no_refund_is_none(self, sandbox: RunningSandbox) -> None:
        paid, provider = sandbox.charge("100.00 EUR"), stripe_at(sandbox.url)
        assert provider.find_refund(provider.prepare(order(paid.reference)), "rf_1") is None

    def test_a_payment_that_this_account_does_not_have_has_no_refund(self, sandbox: RunningSandbox) -> None:
        provider = stripe_at(sandbox.url)
        assert provider.find_refund(provider.prepare(order("pi_nowhere")), "rf_1") is None

    @pytest.mark.parametrize(
        "behaviour",
        [behaviour for behaviour, *_ in FAULTS if behaviour in LOOKUP_BEHAVIOURS],
    )
    def test_a_look_up_that_fails_is_no_proof(self, sandbox: RunningSandbox, behaviour: str) -> None:
        paid, provider = sandbox.charge("100.00 EUR"), stripe_at(sandbox.url)
        sandbox.faults(behaviour, call="lookup")
        answer = provider.find_refund(provider.prepare(order(paid.reference)), "rf_1")
        assert answer is not None
        assert answer.state is None
        assert answer.signal in (Signal.OTHER, Signal.MALFORMED)
        assert answer.message

    @pytest.mark.parametrize(
        "reply",
        [
            error(400, "charge_already_refunded"),
            error(404),
            error(404, "resource_missing"),
            error(404, "resource_missing", "starting_after"),
            Reply(400, {"error": {"code": "parameter_unknown"}}, {"Idempotent-Replayed": "true"}),
            Reply(body={"object": "list", "data": []}),
            Reply(body={"object": "list", "data": {}, "has_more": False}),
            Reply(body={"object": "list", "data": [], "has_more": True}),
            Reply(body={"object": "list", "data": [{"id": "re_1"}], "has_more": False}),
            Reply(body={"object": "search_result", "data": [], "has_more": False}),
            Reply(body=[]),
            Reply(body=b"<html>"),
        ],
    )
    def test_half_a_list_is_no_proof(self, reply: Reply) -> None:
        answer = looked_up(reply)
        assert answer is not None
        assert answer.state is None
        assert answer.signal in (Signal.OTHER, Signal.MALFORMED)

    def test_a_second_page_that_fails_is_no_proof(self) -> None:
        first_page = page(refund_body(id="re_0", metadata={}), more=True)
        answer = looked_up(first_page, error(500))
        assert answer is not None
        assert answer.state is None

    def test_a_found_refund_must_match_the_request(self) -> None:
        match = looked_up(page(refund_body(amount=2000)))
        assert match is not None
        assert match.signal == Signal.MALFORMED

    def test_ours_twice_is_for_a_person_to_see(self) -> None:
        match = looked_up(page(refund_body(id="re_1"), refund_body(id="re_2")))
        assert match is not None
        assert match.signal == Signal.MALFORMED
        assert "re_1, re_2" in match.message

    def test_a_failed_refund_is_found_as_failed(self) -> None:
        match = looked_up(page(refund_body(status="failed", failure_reason="lost_or_stolen_card")))
        assert match is not None
        assert (match.signal, match.state) == (Signal.ACCEPTED, RefundState.FAILED)
        assert "lost_or_stolen_card" in match.message


class Accounts:
    """An inspectable cache."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.put_calls: list[tuple[Provider, str, str, bool]] = []

    def get(self, provider: Provider, fingerprint: str) -> str | None:
        return self.kept.get(fingerprint)

    def put(self, provider: Provider, fingerprint: str, account: str, livemode: bool) -> None:
        self.kept[fingerprint] = account
        self.put_calls.append((provider, fingerprint, account, livemode))

    def known(self, provider: Provider, fingerprint: str) -> str:
        return self.kept.get(fingerprint, "")


def connected(
    accounts: Accounts, *, api_base: str | None, key: str = STRIPE_KEY, api_key: str | None = "env:STRIPE_API_KEY"
) -> PaymentProvider:
    settings = Settings(
        store=StoreSettings(url="sqlite:////nowhere/refundcli.db"),
        operator=OperatorSettings(name="Ada", timezone="UTC"),
        stripe=StripeSettings(api_key=api_key, api_base=api_base),
        refunds=QUICK,
    )
    return connect(Provider.STRIPE, settings=settings, environ={"STRIPE_API_KEY": key}, account_cache=accounts)


class TestConnecting:
    def test_the_account_is_retrieved_once_per_key(self, sandbox: RunningSandbox) -> None:
        accounts = Accounts()
        first, again = (connected(accounts, api_base=sandbox.url) for _ in range(2))
        account = sandbox.state.account_id
        assert first.account == again.account == account
        assert (first.livemode, first.base_url) == (False, sandbox.url)
        assert accounts.put_calls == [(Provider.STRIPE, fingerprint(STRIPE_KEY), account, False)]
        assert [request.path for request in sandbox.requests] == ["/v1/account"]
        assert STRIPE_KEY not in fingerprint(STRIPE_KEY)

    def test_a_restricted_key_identifies_its_own_account(self) -> None:
        with Stub(error(403)) as stub:
            provider = connected(Accounts(), api_base=stub.url, key="rk_test_" + "sandbox")
        assert provider.account == f"key-{fingerprint('rk_test_' + 'sandbox')}"

    def test_a_sandbox_without_accounts_is_identified_by_its_key(self) -> None:
        with Stub(error(404)) as stub:
            provider = connected(Accounts(), api_base=stub.url)
        assert provider.account == f"key-{fingerprint(STRIPE_KEY)}"

    def test_a_key_stripe_does_not_know_is_refused(self) -> None:
        with Stub(error(401, text=f"Invalid API Key provided: {STRIPE_KEY}")) as stub, pytest.raises(BadCredentials):
            connected(Accounts(), api_base=stub.url)

    @pytest.mark.parametrize("reply", [error(500), error(400), Reply(429), Reply(body={}), Reply(body=b"<html>")])
    def test_a_missing_account_is_not_guessed(self, reply: Reply) -> None:
        accounts = Accounts()
        with Stub(reply) as stub, pytest.raises(ProviderUnreachable):
            connected(accounts, api_base=stub.url)
        assert accounts.put_calls == []

    def test_an_unreachable_server_is_reported(self) -> None:
        with pytest.raises(ProviderUnreachable, match="Connection refused"):
            connected(Accounts(), api_base=refused_url())

    def test_a_live_key_is_not_sent_to_an_address_for_practice(self) -> None:
        with Stub(Reply()) as stub, pytest.raises(PracticeAddressWhenLive):
            connected(Accounts(), api_base=stub.url, key=LIVE_KEY)
        assert stub.connections == 0

    def test_a_live_key_is_known_by_its_look(self) -> None:
        accounts = Accounts()
        accounts.kept[fingerprint(LIVE_KEY)] = "acct_live"
        provider = connected(accounts, api_base=None, key=LIVE_KEY)
        assert (provider.livemode, provider.base_url) == (True, "https://api.stripe.com")

    @pytest.mark.parametrize("key", ["pk_test_" + "x", "whatever", "sk_test_", "sk_" + "prod_x"])
    def test_what_is_no_secret_key_is_refused_unsent(self, key: str) -> None:
        with pytest.raises(BadCredentials) as refusal:
            connected(Accounts(), api_base=None, key=key)
        assert key not in refusal.value.message.removesuffix("sk_test_, rk_test_, sk_live_ or rk_live_.")

    def test_a_missing_key_is_named_with_what_to_write(self) -> None:
        with pytest.raises(ProviderNotConfigured) as refusal:
            connected(Accounts(), api_base=None, api_key=None)
        assert refusal.value.context["key"] == "stripe.api_key"
        assert "REFUNDCLI_STRIPE_API_KEY" in refusal.value.hint

    def test_a_reference_that_leads_nowhere_is_named(self) -> None:
        with pytest.raises(SecretNotInEnvironment):
            connected(Accounts(), api_base=None, api_key="env:ELSEWHERE")
        with pytest.raises(LiteralSecret):
            connected(Accounts(), api_base=None, api_key=STRIPE_KEY)


class TestSecrets:
    @pytest.mark.parametrize(
        "reply",
        [
            error(401, text=f"Invalid API Key provided: {STRIPE_KEY}"),
            error(400, "charge_disputed", text=f"seen with {STRIPE_KEY} and whsec_abcdef"),
            error(500, text=f"Authorization: Bearer {STRIPE_KEY}"),
            Reply(body=refund_body(status=STRIPE_KEY)),
            Reply(body=refund_body(failure_reason=STRIPE_KEY, status="failed")),
            Reply(body=STRIPE_KEY),
            Reply(body=None),
        ],
    )
    def test_no_message_ever_holds_the_key(self, reply: Reply) -> None:
        answer = answer_to(reply)
        assert STRIPE_KEY not in answer.message + repr(answer.signal)
        assert answer.message

    def test_a_long_message_is_cut(self) -> None:
        assert len(answer_to(error(400, text="x" * 10_000)).message) <= 500

    def test_nothing_is_logged_or_printed_whatever_the_environment_says(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("stripe._util.STRIPE_LOG", "debug")
        caplog.set_level(logging.DEBUG, logger="stripe")
        with redirect_stderr(io.StringIO()) as printed:
            answer_to(Reply(body=refund_body()))
        assert (printed.getvalue(), [record for record in caplog.records if record.name == "stripe"]) == ("", [])

    def test_the_key_is_not_in_what_is_stored(self) -> None:
        stored = stripe_at(None).prepare(order("pi_1"))
        assert STRIPE_KEY not in json.dumps([stored.endpoint, stored.account, stored.api_version, stored.params])
        assert STRIPE_KEY not in repr(stripe_at(None))
        assert STRIPE_KEY not in os.environ.values()
