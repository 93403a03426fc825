"""Refunds at Stripe, through Stripe's SDK. The SDK's own retries are off: the services decide when to send again."""

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import stripe
from stripe import _util as stripe_logging

from refundcli.domain.provider_units import to_provider_minor
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import WireRequest
from refundcli.domain.statuses import Provider, RefundState
from refundcli.providers import BadCredentials, ProviderUnreachable, UnusableReference
from refundcli.providers.stripe.payments import expires_at, pending_reason
from refundcli.providers.stripe.vocabulary import CODE_SIGNALS
from refundcli.providers.transport import (
    STATUS_SIGNALS,
    FreshConnections,
    last_check,
    network_answer,
    retry_after,
    safe_text,
    text_in,
)
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.rate_limit import Pace
from refundcli.services.ports.providers import MaySend, RefundAnswer, RefundOrder
from refundcli.settings import RefundSettings, StripeSettings

_PATH = "/v1/refunds"
_PAGE_SIZE = 100
_METADATA_LENGTH = 500
_PAYMENT = re.compile(r"(?:(pi)|(?:ch|py))_[A-Za-z0-9_]{1,250}")

STATES = {
    "pending": RefundState.PENDING,
    "requires_action": RefundState.PENDING,
    "succeeded": RefundState.SUCCEEDED,
    "failed": RefundState.FAILED,
    "canceled": RefundState.FAILED,
}

_INVALID = "invalid_request_error"
_REFUSED = (400, 404)
# The id that Stripe returns instead of an object that a second person must approve first.
_APPROVAL = re.compile(r"(?:areq|apreq)_[A-Za-z0-9_]{1,100}")
_APPROVALS = "/v2/core/approval_requests"
# How such a request ends without a refund (https://docs.stripe.com/account/approvals, a preview).
_ENDED_APPROVALS = frozenset({"rejected", "canceled", "expired", "failed"})


class StripeProvider:
    """`PaymentProvider` for one key, which is one account in one mode (I12)."""

    name = Provider.STRIPE

    def __init__(
        self,
        api_key: str,
        settings: StripeSettings,
        refund_settings: RefundSettings,
        account: str,
        pace: Pace | None = None,
    ) -> None:
        self.account = account
        self.livemode = is_live(api_key)
        self.base_url = base_url(settings)
        self._endpoint = self.base_url + _PATH
        self._send_fraudulent = settings.send_fraudulent
        self._client = client_for(api_key, settings, refund_settings, pace)

    def prepare(self, order: RefundOrder) -> WireRequest:
        """The exact request, to be stored before it is sent (I2). Raises UnusableReference, AmountNotExact."""
        params: dict[str, object] = {
            _payment_field(order.payment_reference): order.payment_reference,
            "amount": to_provider_minor(self.name, order.amount),
            "reason": self._reason(order.reason),
            "metadata": {
                "refundcli_refund": order.refund_id,
                "refundcli_reason": order.reason.value,
                "refundcli_invoice": order.invoice_number[:_METADATA_LENGTH],
                # Stripe uses the payment's currency. The answer is compared with this one.
                "refundcli_currency": order.amount.currency.code.lower(),
            },
        }
        return WireRequest(self.name, self._endpoint, self.account, self.livemode, stripe.api_version, params)

    def refund(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> RefundAnswer:
        """Exactly one HTTP call. Provider and network errors are returned in the answer, never raised."""
        if not self._is_ours(request):
            return RefundAnswer(Signal.NOT_SENT, message=_NOT_OURS)
        options: dict[str, Any] = {"idempotency_key": idempotency_key, "stripe_version": request.api_version}
        try:
            # Raw, because building the SDK's objects would slow a run down.
            with last_check(may_send):
                response = self._client.raw_request("post", _PATH, **request.params, **options)
            return _read(response.data, request.params, is_replay=_is_replayed(response.headers))
        except stripe.StripeError as error:
            return classified(error)
        except Exception as error:  # the SDK could not read the answer
            return RefundAnswer(Signal.OTHER, message=f"Stripe's answer could not be read: {safe_text(error)}")

    def find_refund(self, request: WireRequest, refund_id: str) -> RefundAnswer | None:
        """Our refund among those of its payment. None proves that there is none; a failed lookup proves nothing."""
        if not self._is_ours(request):
            return RefundAnswer(Signal.OTHER, message=_NOT_OURS)
        try:
            matches = [refund for refund in self._refunds_of(request) if refund_id_in(refund) == refund_id]
        except _NotAList as error:
            return RefundAnswer(Signal.MALFORMED, message=str(error))
        except stripe.StripeError as error:
            return None if _is_missing(error) else RefundAnswer(Signal.OTHER, message=classified(error).message)
        except Exception as error:  # as in `refund`
            return RefundAnswer(Signal.OTHER, message=f"Stripe's answer could not be read: {safe_text(error)}")
        if len(matches) > 1:
            ids = ", ".join(safe_text(refund.get("id")) for refund in matches)
            return RefundAnswer(Signal.MALFORMED, message=f"Stripe has this refund more than once: {ids}")
        return _read(matches[0], request.params) if matches else None

    def ended_approval(self, request: WireRequest, status: str) -> RefundAnswer | None:
        """`status` names the approval. If it ended without a refund, none was made and none will be."""
        approval_match = _APPROVAL.search(status)
        if approval_match is None or not self._is_ours(request):
            return None
        try:
            response = body(self._client.raw_request("get", f"{_APPROVALS}/{approval_match[0]}"))
        except Exception:  # it proves nothing about the refund, which keeps waiting
            return None
        approval_fields: Mapping[str, Any] = response if isinstance(response, Mapping) else {}
        approval_status = text_in(approval_fields.get("status"))
        if approval_fields.get("id") != approval_match[0] or approval_status not in _ENDED_APPROVALS:
            return None
        message = f"its approval request {approval_match[0]} has the status {approval_status} at Stripe"
        return RefundAnswer(Signal.ACCEPTED, RefundState.FAILED, status=f"approval {approval_status}", message=message)

    def _refunds_of(self, request: WireRequest) -> Iterator[Mapping[str, Any]]:
        """All pages, each checked: an incomplete list would seem to prove that there is no refund."""
        payment_field, payment_reference = _payment_in(request.params)
        filters: dict[str, Any] = {payment_field: payment_reference, "limit": _PAGE_SIZE}
        while True:
            params: Any = dict(filters)
            page = body(self._client.v1.refunds.list(params, {"stripe_version": request.api_version}))
            refunds = _page(page)
            yield from refunds
            if not page["has_more"]:
                return
            filters["starting_after"] = refunds[-1]["id"]

    def _reason(self, reason: RefundReason) -> str:
        if reason is RefundReason.DUPLICATE:
            return "duplicate"
        # "fraudulent" puts the customer's card and address on block lists: only where the settings say so.
        if reason is RefundReason.FRAUDULENT_CHARGE and self._send_fraudulent:
            return "fraudulent"
        return "requested_by_customer"

    def _is_ours(self, request: WireRequest) -> bool:
        """A stored request is sent only to the endpoint, account and mode it was made for (I8, I12)."""
        own_target = (self.name, self._endpoint, self.account, self.livemode)
        return own_target == (request.provider, request.endpoint, request.account, request.livemode)


_NOT_OURS = (
    "Nothing was sent: the refund was prepared for a different Stripe account, mode or address from the one "
    "in the settings."
)


def is_live(api_key: str) -> bool:
    return api_key.startswith(("sk_live_", "rk_live_"))


def fingerprint(api_key: str) -> str:
    """A short hash that distinguishes keys without revealing them."""
    return hashlib.sha256(api_key.encode()).hexdigest()[:12]


def account_of(
    api_key: str, settings: StripeSettings, refund_settings: RefundSettings, pace: Pace | None = None
) -> str:
    """The account of a key, or the key's fingerprint if the key may not read its account.

    Raises BadCredentials or ProviderUnreachable.
    """
    try:
        response = body(client_for(api_key, settings, refund_settings, pace).v1.accounts.retrieve_current())
    except stripe.AuthenticationError:
        raise BadCredentials(Provider.STRIPE, "Stripe rejected it") from None
    except stripe.StripeError as error:
        # A restricted key may lack the permission; a practice server may lack the endpoint, but Stripe never does.
        if error.http_status == 403 or (error.http_status == 404 and settings.api_base):
            return f"key-{fingerprint(api_key)}"
        raise ProviderUnreachable(Provider.STRIPE, classified(error).message) from None
    except Exception:  # the SDK could not read the answer
        response = {}
    account = text_in(response.get("id")) if isinstance(response, Mapping) else ""
    if not account:
        raise ProviderUnreachable(Provider.STRIPE, "its answer names no account.")
    return account


def base_url(settings: StripeSettings) -> str:
    return settings.api_base or stripe.DEFAULT_API_BASE


def client_for(
    api_key: str, settings: StripeSettings, refund_settings: RefundSettings, pace: Pace | None = None
) -> stripe.StripeClient:
    _quieten_sdk()
    timeout = (refund_settings.connect_timeout, refund_settings.read_timeout)
    return stripe.StripeClient(
        api_key,
        base_addresses={"api": base_url(settings)},
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=timeout, session=FreshConnections(pace)),
    )


def _quieten_sdk() -> None:
    """No telemetry, and no customer data on stderr or in logs, whatever STRIPE_LOG says."""
    stripe.enable_telemetry = False
    stripe.log = None
    stripe_logging.STRIPE_LOG = None
    logging.getLogger("stripe").disabled = True


def _payment_field(payment_reference: str) -> str:
    reference_match = _PAYMENT.fullmatch(payment_reference)
    if reference_match is None:
        raise UnusableReference(Provider.STRIPE, payment_reference, "pi_…, ch_… or py_…")
    return "payment_intent" if reference_match[1] else "charge"


def _payment_in(refund_params: Mapping[str, object]) -> tuple[str, object]:
    payment_field = "payment_intent" if "payment_intent" in refund_params else "charge"
    return payment_field, refund_params[payment_field]


# --- reading an answer ---


def body(response: Any) -> Any:
    """The JSON as it came: the SDK's objects turn some of it into other types."""
    return response.data if isinstance(response, stripe.StripeResponse) else response.last_response.data


def _read(response: object, request_params: Mapping[str, object], *, is_replay: bool = False) -> RefundAnswer:
    """Accepted only if it is the requested refund in a known status."""
    refund_fields: Mapping[str, Any] = response if isinstance(response, Mapping) else {}
    reference, status = text_in(refund_fields.get("id")), text_in(refund_fields.get("status"))
    if _APPROVAL.fullmatch(reference):
        return _awaiting_approval(refund_fields, "Stripe: a second person must approve it", is_replay=is_replay)
    differing_fields = _what_differs(refund_fields, request_params)
    refund_state = STATES.get(status)
    if differing_fields:
        message = (
            "Stripe accepted the request, but its answer does not match the requested refund: "
            f"{', '.join(differing_fields)}"
        )
    elif refund_state is None:
        message = f"Stripe reports the refund's status as {safe_text(status)[:60]!a}, which refundcli does not know"
    else:
        return RefundAnswer(
            Signal.ACCEPTED,
            refund_state,
            reference,
            status,
            why_failed(refund_fields) if refund_state is RefundState.FAILED else "",
            replayed=is_replay,
            pending_reason=pending_reason(refund_fields),
            expires_at=expires_at(refund_fields),
        )
    return RefundAnswer(Signal.MALFORMED, None, reference, status, message, replayed=is_replay)


def _awaiting_approval(response: Mapping[str, Any], message: str, *, is_replay: bool) -> RefundAnswer:
    """`status` names the approval request, if Stripe does. Its id is not a refund's, so there is no reference."""
    # Stripe's preview documentation does not say whether the id is in `approval_request` or in the message.
    approval_match = _APPROVAL.search(str(response))
    status = f"approval_required {approval_match[0]}" if approval_match else "approval_required"
    return RefundAnswer(Signal.AWAITING_APPROVAL, status=status, message=message, replayed=is_replay)


def _what_differs(refund_fields: Mapping[str, Any], request_params: Mapping[str, object]) -> list[str]:
    payment_field, payment_reference = _payment_in(request_params)
    metadata = request_params.get("metadata")
    currency = metadata.get("refundcli_currency") if isinstance(metadata, Mapping) else None
    amount = refund_fields.get("amount")
    agrees_by_field = {
        "object": refund_fields.get("object") == "refund",
        "id": bool(text_in(refund_fields.get("id"))),
        "amount": type(amount) is int and amount == request_params["amount"],
        "currency": currency is None or refund_fields.get("currency") == currency,
        payment_field: _id_in(refund_fields.get(payment_field)) == payment_reference,
    }
    return [name for name, agrees in agrees_by_field.items() if not agrees]


def _id_in(expandable: object) -> str:
    """The id of a field that holds an id or the expanded object."""
    return text_in(expandable.get("id")) if isinstance(expandable, Mapping) else text_in(expandable)


def why_failed(fields: Mapping[str, Any]) -> str:
    status, reason = text_in(fields.get("status")), text_in(fields.get("failure_reason"))
    return safe_text(f"Stripe: refund {status} ({reason})" if reason else f"Stripe: refund {status}")


def refund_id_in(stripe_refund: Mapping[str, Any]) -> object:
    metadata = stripe_refund.get("metadata")
    return metadata.get("refundcli_refund") if isinstance(metadata, Mapping) else None


class _NotAList(Exception):
    """The answer is not a page of refunds."""


def _page(page: Any) -> list[Mapping[str, Any]]:
    page_fields = page if isinstance(page, Mapping) else {}
    refunds, has_more = page_fields.get("data"), page_fields.get("has_more")
    is_list_readable = (
        isinstance(refunds, list) and isinstance(has_more, bool) and all(_is_refund(refund) for refund in refunds)
    )
    if page_fields.get("object") != "list" or not is_list_readable or (has_more and not refunds):
        raise _NotAList("Stripe's list of the payment's refunds could not be read")
    assert isinstance(refunds, list)
    return refunds


def _is_refund(resource: object) -> bool:
    return isinstance(resource, Mapping) and resource.get("object") == "refund" and bool(text_in(resource.get("id")))


# --- reading an error ---


def classified(error: stripe.StripeError) -> RefundAnswer:
    """The outcome that an error proves for its request."""
    if isinstance(error, stripe.APIConnectionError):
        return network_answer(error, "Stripe")
    http_status, error_details, headers = error.http_status or 0, _error_details(error), error.headers or {}
    signal, message, is_replay = (
        _signal(http_status, error_details),
        _message(http_status, error_details),
        _is_replayed(headers),
    )
    if signal is Signal.AWAITING_APPROVAL:
        return _awaiting_approval(error_details, message, is_replay=is_replay)
    return RefundAnswer(signal, message=message, retry_after=retry_after(headers), replayed=is_replay)


def _error_details(error: stripe.StripeError) -> Mapping[str, Any]:
    error_body = error.json_body
    error_details = error_body.get("error") if isinstance(error_body, Mapping) else None
    return error_details if isinstance(error_details, Mapping) else {}


def _signal(http_status: int, error_details: Mapping[str, Any]) -> Signal:
    """A refusal must be well-formed: any other answer may come from a proxy, and proves nothing (I5)."""
    error_code, error_type = text_in(error_details.get("code")), text_in(error_details.get("type"))
    if error_type == "idempotency_error":
        return Signal.KEY_REUSED
    if http_status >= 500:
        return Signal.SERVER_ERROR
    if error_code in CODE_SIGNALS:
        return CODE_SIGNALS[error_code]
    if http_status in STATUS_SIGNALS:
        return STATUS_SIGNALS[http_status]
    if 200 <= http_status < 300:
        return Signal.MALFORMED
    return Signal.DECLINED if error_type == _INVALID and http_status in _REFUSED else Signal.OTHER


def _is_missing(error: stripe.StripeError) -> bool:
    """This account has no such payment, and therefore no refund of it."""
    details = _error_details(error)
    return (error.http_status, details.get("code")) == (404, "resource_missing") and details.get("param") in (
        "charge",
        "payment_intent",
    )


def _is_replayed(headers: Mapping[str, str]) -> bool:
    """Is it the stored answer to the first request with this key?"""
    return str(headers.get("Idempotent-Replayed", "")).lower() == "true"


def _message(http_status: int, error_details: Mapping[str, Any]) -> str:
    explanation, error_code = text_in(error_details.get("message")), text_in(error_details.get("code"))
    status_and_code = ", ".join(filter(None, (f"HTTP {http_status}", error_code)))
    return safe_text(f"Stripe: {explanation or 'no explanation'} ({status_and_code})")
