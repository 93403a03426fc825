"""Refunds at Adyen, through Adyen's SDK.

Adyen only answers `received` and reports the outcome by webhook or report. It has no API to look up a refund.
"""

import json as json_format
import re
from collections.abc import Mapping
from typing import Any

import Adyen
from Adyen.exceptions import AdyenAPIResponseError

from refundcli.domain.provider_units import to_provider_minor
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import WireRequest
from refundcli.domain.statuses import Provider, RefundState
from refundcli.providers import UnusableReference
from refundcli.providers.transport import (
    STATUS_SIGNALS,
    FreshConnections,
    NeverConnected,
    last_check,
    network_answer,
    retry_after,
    safe_text,
    text_in,
)
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.rate_limit import Pace
from refundcli.services.ports.providers import MaySend, RefundAnswer, RefundOrder
from refundcli.settings import AdyenSettings, RefundSettings

_VERSION = "v72"
_PSP_REFERENCE = re.compile(r"[A-Za-z0-9]{1,32}")

_REASONS = {
    RefundReason.FRAUDULENT_CHARGE: "FRAUD",
    RefundReason.DUPLICATE: "DUPLICATE",
    RefundReason.RETURNED_GOODS: "RETURN",
    RefundReason.OVERCHARGED: "CUSTOMER REQUEST",
    RefundReason.BILLING_ERROR: "CUSTOMER REQUEST",
    RefundReason.PRODUCT_UNSATISFACTORY: "CUSTOMER REQUEST",
    RefundReason.CHARGEBACK: "OTHER",
    RefundReason.OTHER: "OTHER",
}

_IN_PROGRESS = "704"  # a request with the same key is in progress, whatever the HTTP status
_STORE_DOWN = "703"  # the key store is down; the key must still be sent, or the refund could be made twice

# An errorCode with one of these statuses means that Adyen refused the request and made no refund. Other refusals, such
# as of too large an amount, come later by webhook.
_REFUSED = (400, 422)


class AdyenProvider:
    """`PaymentProvider` for one merchant account, test or live (I12)."""

    name = Provider.ADYEN

    def __init__(
        self, key: str, settings: AdyenSettings, refunds: RefundSettings, account: str, pace: Pace | None = None
    ) -> None:
        self.account = account
        self.livemode = settings.environment == "live"
        self.base_url, path = _base(settings)
        self._base = self.base_url + path
        transport = _Transport(self._base, (refunds.connect_timeout, refunds.read_timeout), pace)
        self._api = _modifications_api(key, settings, transport, self._base)

    def prepare(self, order: RefundOrder) -> WireRequest:
        """The exact request, to be stored before it is sent (I2). Raises UnusableReference, AmountNotExact."""
        if not _PSP_REFERENCE.fullmatch(order.payment_reference):
            raise UnusableReference(self.name, order.payment_reference, "16 letters and digits")
        value = to_provider_minor(self.name, order.amount)
        params: dict[str, object] = {
            "merchantAccount": self.account,
            "amount": {"currency": order.amount.currency.code, "value": value},
            "reference": order.refund_id,
            "merchantRefundReason": _REASONS[order.reason],
        }
        endpoint = f"{self._base}/payments/{order.payment_reference}/refunds"
        return WireRequest(self.name, endpoint, self.account, self.livemode, _VERSION, params)

    def refund(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> RefundAnswer:
        """Exactly one HTTP call. Provider and network errors are returned in the answer, never raised."""
        payment = self._payment_in(request)
        if payment is None:
            return RefundAnswer(Signal.NOT_SENT, message=_NOT_OURS)
        try:
            with last_check(may_send):
                response = self._api.refund_captured_payment(
                    dict(request.params), payment, idempotency_key=idempotency_key
                )
            return _read(response.message, request.params, payment)
        except AdyenAPIResponseError as error:
            return _classified(error)
        except Exception as error:  # the SDK does not wrap what the network does
            return network_answer(error, "Adyen")

    def ended_approval(self, request: WireRequest, status: str) -> RefundAnswer | None:
        """Adyen has no approvals."""
        return None

    def find_refund(self, request: WireRequest, refund_id: str) -> RefundAnswer | None:
        """Never None, which would prove that there is no refund: Adyen has no API to look up refunds."""
        return RefundAnswer(Signal.OTHER, message="Adyen has no API to look up a refund.")

    def _payment_in(self, request: WireRequest) -> str | None:
        """The payment, if the request was made for this endpoint, account and mode (I8, I12)."""
        ours = (self.name, self.account, self.livemode, _VERSION)
        if ours != (request.provider, request.account, request.livemode, request.api_version):
            return None
        named = re.fullmatch(rf"{re.escape(self._base)}/payments/({_PSP_REFERENCE.pattern})/refunds", request.endpoint)
        return named[1] if named else None


_NOT_OURS = (
    "Nothing was sent: the refund was prepared for another Adyen account, mode or address than the settings name."
)


def _base(settings: AdyenSettings) -> tuple[str, str]:
    """The address, and the path prefix of all its endpoints."""
    if settings.environment == "live":
        return f"https://{settings.live_endpoint_prefix}-checkout-live.adyenpayments.com", f"/checkout/{_VERSION}"
    return settings.api_base or "https://checkout-test.adyen.com", f"/{_VERSION}"


def _modifications_api(key: str, settings: AdyenSettings, transport: "_Transport", base: str) -> Any:
    sdk = Adyen.Adyen(xapikey=key, platform=settings.environment, live_endpoint_prefix=settings.live_endpoint_prefix)
    transport.user_agent = sdk.client.USER_AGENT_SUFFIX + sdk.client.LIB_VERSION
    sdk.client.http_client = transport
    sdk.client.http_init = True
    api = sdk.checkout.modifications_api
    if settings.api_base:
        api.baseUrl = base
    return api


class _Transport:
    """Replaces the SDK's HTTP client, which would follow redirects and use a proxy."""

    user_agent = ""

    def __init__(self, base: str, timeout: tuple[float, float], pace: Pace | None) -> None:
        self._base = base
        self._timeout = timeout
        self._session = FreshConnections(pace)

    def request(
        self, method: str, url: str, *, json: object, xapikey: str, headers: Mapping[str, str]
    ) -> tuple[str, object, int, Mapping[str, str]]:
        if not url.startswith(f"{self._base}/"):  # the SDK rewrites addresses for test and live
            raise NeverConnected(f"Adyen's SDK chose another address than {self._base}")
        answer = self._session.request(
            method, url, json=json, headers={**headers, "x-api-key": xapikey}, timeout=self._timeout
        )
        return _object_text(answer.content), json, answer.status_code, answer.headers


def _object_text(content: bytes) -> str:
    """The body if it is a JSON object, else an empty one: the SDK fails on anything else."""
    try:
        return content.decode() if isinstance(json_format.loads(content), dict) else "{}"
    except ValueError:
        return "{}"


# --- reading an answer ---


def _read(response: Any, params: Mapping[str, Any], payment: str) -> RefundAnswer:
    """Accepted only if it is the requested refund; a 2xx alone proves nothing."""
    fields: Mapping[str, Any] = response if isinstance(response, Mapping) else {}
    reference, status = text_in(fields.get("pspReference")), text_in(fields.get("status"))
    differs = _what_differs(fields, params, payment)
    if differs:
        message = f"Adyen answered 2xx, but not with the requested refund: {', '.join(differs)}"
        return RefundAnswer(Signal.MALFORMED, None, reference, status, message)
    return RefundAnswer(Signal.ACCEPTED, RefundState.PENDING, reference, status)


def _what_differs(fields: Mapping[str, Any], params: Mapping[str, Any], payment: str) -> list[str]:
    holds = {
        # A refund's reference differs from the payment's own.
        "pspReference": text_in(fields.get("pspReference")) not in ("", payment),
        "status": fields.get("status") == "received",
        "amount": _same_amount(fields.get("amount"), params["amount"]),
        "paymentPspReference": fields.get("paymentPspReference") == payment,
        "reference": fields.get("reference") in (None, params["reference"]),
        "merchantAccount": fields.get("merchantAccount") in (None, params["merchantAccount"]),
    }
    return [name for name, same in holds.items() if not same]


def _same_amount(amount: object, requested: Mapping[str, Any]) -> bool:
    if not isinstance(amount, Mapping) or type(amount.get("value")) is not int:
        return False
    return (amount["value"], amount.get("currency")) == (requested["value"], requested["currency"])


# --- reading an error ---


def _classified(error: Any) -> RefundAnswer:
    """By HTTP status and errorCode: the SDK has one exception for 404 and 500, and none for many others."""
    body: Mapping[str, Any] = error.message if isinstance(error.message, Mapping) else {}
    return RefundAnswer(
        _signal(error.status_code, body),
        message=_message(error.status_code, body),
        retry_after=retry_after(error.headers or {}),
    )


def _signal(status: int, body: Mapping[str, Any]) -> Signal:
    """A refusal must be well-formed, with an errorCode: any other answer may be a 704 and proves nothing (I5)."""
    code = text_in(body.get("errorCode"))
    if code == _IN_PROGRESS:
        return Signal.IN_PROGRESS
    if status >= 500 or code == _STORE_DOWN:
        return Signal.SERVER_ERROR
    if status in STATUS_SIGNALS:
        return STATUS_SIGNALS[status]
    return Signal.DECLINED if code and status in _REFUSED else Signal.OTHER


def _message(status: int, body: Mapping[str, Any]) -> str:
    text, code = text_in(body.get("message")), text_in(body.get("errorCode"))
    marks = ", ".join(filter(None, (f"HTTP {status}", f"errorCode {code}" if code else "")))
    return safe_text(f"Adyen: {text or 'no explanation'} ({marks})")
