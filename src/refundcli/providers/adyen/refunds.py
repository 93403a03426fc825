"""Refunds at Adyen, through Adyen's SDK.

Adyen only answers `received` and reports the outcome by webhook or report. It has no API to look up a refund.
"""

import json as json_format
import re
from collections.abc import Mapping
from typing import Any

import certifi

from refundcli.domain.provider_units import to_provider_minor
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import WireRequest
from refundcli.domain.statuses import Provider, RefundState
from refundcli.providers import UnusableReference
from refundcli.providers.answers import (
    Fields,
    difference,
    fields_in,
    prepared_elsewhere,
    refusal,
    retry_after,
    signal_of,
    text_in,
)
from refundcli.providers.sdks import without_http_libraries
from refundcli.providers.transport import FreshConnections, NeverSent, last_check, network_answer
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.rate_limit import Pace
from refundcli.services.ports.providers import MaySend, RefundAnswer, RefundOrder
from refundcli.settings import AdyenSettings, RefundSettings

with without_http_libraries():
    import Adyen
    from Adyen.exceptions import AdyenAPIResponseError

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
        self,
        api_key: str,
        settings: AdyenSettings,
        refund_settings: RefundSettings,
        merchant_account: str,
        pace: Pace | None = None,
    ) -> None:
        self.account = merchant_account
        self.livemode = settings.environment == "live"
        self.base_url, path_prefix = _base(settings)
        self._endpoint_base = self.base_url + path_prefix
        timeout = (refund_settings.connect_timeout, refund_settings.read_timeout)
        http_client = _HTTPClient(self._endpoint_base, FreshConnections(timeout, certifi.where(), pace))
        self._api = _modifications_api(api_key, settings, http_client, self._endpoint_base)

    def prepare(self, order: RefundOrder) -> WireRequest:
        """The exact request, to be stored before it is sent (I2). Raises UnusableReference, AmountNotExact."""
        if not _PSP_REFERENCE.fullmatch(order.payment_reference):
            raise UnusableReference(self.name, order.payment_reference, "16 letters and digits")
        minor_units = to_provider_minor(self.name, order.amount)
        params: dict[str, object] = {
            "merchantAccount": self.account,
            "amount": {"currency": order.amount.currency.code, "value": minor_units},
            "reference": order.refund_id,
            "merchantRefundReason": _REASONS[order.reason],
        }
        endpoint = f"{self._endpoint_base}/payments/{order.payment_reference}/refunds"
        return WireRequest(self.name, endpoint, self.account, self.livemode, _VERSION, params)

    def refund(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> RefundAnswer:
        """Exactly one HTTP call. Provider and network errors are returned in the answer, never raised."""
        payment_reference = self._payment_in(request)
        if payment_reference is None:
            return RefundAnswer(Signal.NOT_SENT, message=prepared_elsewhere(self.name))
        try:
            with last_check(may_send):
                response = self._api.refund_captured_payment(
                    dict(request.params), payment_reference, idempotency_key=idempotency_key
                )
            return _read(response.message, request.params, payment_reference)
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
        own_target = (self.name, self.account, self.livemode, _VERSION)
        if own_target != (request.provider, request.account, request.livemode, request.api_version):
            return None
        endpoint_match = re.fullmatch(
            rf"{re.escape(self._endpoint_base)}/payments/({_PSP_REFERENCE.pattern})/refunds", request.endpoint
        )
        return endpoint_match[1] if endpoint_match else None


def _base(settings: AdyenSettings) -> tuple[str, str]:
    """The address, and the path prefix of all its endpoints."""
    if settings.environment == "live":
        return f"https://{settings.live_endpoint_prefix}-checkout-live.adyenpayments.com", f"/checkout/{_VERSION}"
    return settings.api_base or "https://checkout-test.adyen.com", f"/{_VERSION}"


def _modifications_api(api_key: str, settings: AdyenSettings, http_client: "_HTTPClient", endpoint_base: str) -> Any:
    sdk = Adyen.Adyen(
        xapikey=api_key, platform=settings.environment, live_endpoint_prefix=settings.live_endpoint_prefix
    )
    http_client.user_agent = sdk.client.USER_AGENT_SUFFIX + sdk.client.LIB_VERSION
    sdk.client.http_client = http_client
    sdk.client.http_init = True
    modifications_api = sdk.checkout.modifications_api
    if settings.api_base:
        modifications_api.baseUrl = endpoint_base
    return modifications_api


class _HTTPClient:
    """Sends the SDK's requests."""

    user_agent = ""

    def __init__(self, endpoint_base: str, connections: FreshConnections) -> None:
        self._endpoint_base = endpoint_base
        self._connections = connections

    def request(
        self, method: str, url: str, *, json: object, xapikey: str, headers: Mapping[str, str]
    ) -> tuple[str, object, int, Mapping[str, str]]:
        if not url.startswith(f"{self._endpoint_base}/"):  # the SDK rewrites addresses for test and live
            raise NeverSent(f"Adyen's SDK chose a different address from {self._endpoint_base}")
        own_headers = {"Content-Type": "application/json", "x-api-key": xapikey}
        body = json_format.dumps(json, allow_nan=False).encode()
        answer = self._connections.request(method, url, {**headers, **own_headers}, body)
        return _object_text(answer.body), json, answer.status, answer.headers


def _object_text(answer_body: bytes) -> str:
    """The body if it is a JSON object, else an empty one: the SDK fails on anything else."""
    try:
        return answer_body.decode() if isinstance(json_format.loads(answer_body), dict) else "{}"
    except ValueError:
        return "{}"


# --- reading an answer ---


def _read(answer_body: object, request_params: Mapping[str, Any], payment_reference: str) -> RefundAnswer:
    """Accepted only if it is the requested refund; a 2xx alone proves nothing."""
    refund_fields = fields_in(answer_body)
    reference, status = text_in(refund_fields.get("pspReference")), text_in(refund_fields.get("status"))
    problem = difference(Provider.ADYEN, _agreement(refund_fields, request_params, payment_reference))
    if problem:
        return RefundAnswer(Signal.MALFORMED, None, reference, status, problem)
    return RefundAnswer(Signal.ACCEPTED, RefundState.PENDING, reference, status)


def _agreement(refund_fields: Fields, request_params: Mapping[str, Any], payment_reference: str) -> dict[str, bool]:
    """By field, whether the refund is the requested one."""
    amount, requested_amount = fields_in(refund_fields.get("amount")), request_params["amount"]
    return {
        # A refund's reference differs from the payment's own.
        "pspReference": text_in(refund_fields.get("pspReference")) not in ("", payment_reference),
        "status": refund_fields.get("status") == "received",
        "amount": type(amount.get("value")) is int
        and all(amount.get(name) == requested_amount[name] for name in ("value", "currency")),
        "paymentPspReference": refund_fields.get("paymentPspReference") == payment_reference,
        "reference": refund_fields.get("reference") in (None, request_params["reference"]),
        "merchantAccount": refund_fields.get("merchantAccount") in (None, request_params["merchantAccount"]),
    }


# --- reading an error ---


def _classified(error: Any) -> RefundAnswer:
    """By HTTP status and errorCode: the SDK has one exception for 404 and 500, and none for many others."""
    details = fields_in(error.message)
    error_code = text_in(details.get("errorCode"))
    message = refusal(
        Provider.ADYEN, error.status_code, details.get("message"), error_code and f"errorCode {error_code}"
    )
    signal = _signal(error.status_code, error_code)
    return RefundAnswer(signal, message=message, retry_after=retry_after(error.headers or {}))


def _signal(http_status: int, error_code: str) -> Signal:
    """A refusal must be well-formed, with an errorCode: any other answer may be a 704 and proves nothing (I5)."""
    if error_code == _IN_PROGRESS:
        return Signal.IN_PROGRESS
    if error_code == _STORE_DOWN:
        return Signal.SERVER_ERROR
    return signal_of(http_status, refused=bool(error_code) and http_status in _REFUSED)
