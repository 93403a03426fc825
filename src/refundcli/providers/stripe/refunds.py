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

# These codes are not a refusal, whatever the HTTP status and type. The other codes of Stripe's list
# (https://docs.stripe.com/error-codes) say what is wrong with the request, and no refund was made.
_CODE_SIGNALS = {
    "approval_required": Signal.AWAITING_APPROVAL,  # https://docs.stripe.com/account/approvals
    "idempotency_key_in_use": Signal.IN_PROGRESS,  # the same request is in progress
    "lock_timeout": Signal.IN_PROGRESS,  # another request has locked the payment
    "rate_limit": Signal.RATE_LIMITED,  # once a 400, now a 429
    "processing_error": Signal.OTHER,  # it stopped at an unknown point
    "payment_method_provider_timeout": Signal.OTHER,
    "terminal_reader_timeout": Signal.OTHER,
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
        self, key: str, settings: StripeSettings, refunds: RefundSettings, account: str, pace: Pace | None = None
    ) -> None:
        self.account = account
        self.livemode = is_live(key)
        self.base_url = base_url(settings)
        self._endpoint = self.base_url + _PATH
        self._send_fraudulent = settings.send_fraudulent
        self._client = client_for(key, settings, refunds, pace)

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
            return _read(response.data, request.params, replayed=_is_replayed(response.headers))
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
        named = _APPROVAL.search(status)
        if named is None or not self._is_ours(request):
            return None
        try:
            response = body(self._client.raw_request("get", f"{_APPROVALS}/{named[0]}"))
        except Exception:  # it proves nothing about the refund, which keeps waiting
            return None
        fields: Mapping[str, Any] = response if isinstance(response, Mapping) else {}
        ended = text_in(fields.get("status"))
        if fields.get("id") != named[0] or ended not in _ENDED_APPROVALS:
            return None
        message = f"its approval request {named[0]} is {ended} at Stripe"
        return RefundAnswer(Signal.ACCEPTED, RefundState.FAILED, status=f"approval {ended}", message=message)

    def _refunds_of(self, request: WireRequest) -> Iterator[Mapping[str, Any]]:
        """All pages, each checked: an incomplete list would seem to prove that there is no refund."""
        field, payment = _payment_in(request.params)
        filters: dict[str, Any] = {field: payment, "limit": _PAGE_SIZE}
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
        ours = (self.name, self._endpoint, self.account, self.livemode)
        return ours == (request.provider, request.endpoint, request.account, request.livemode)


_NOT_OURS = (
    "Nothing was sent: the refund was prepared for another Stripe account, mode or address than the settings name."
)


def is_live(key: str) -> bool:
    return key.startswith(("sk_live_", "rk_live_"))


def fingerprint(key: str) -> str:
    """A short hash that distinguishes keys without revealing them."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def account_of(key: str, settings: StripeSettings, refunds: RefundSettings, pace: Pace | None = None) -> str:
    """The account of a key, or the key's fingerprint if the key may not read its account.

    Raises BadCredentials or ProviderUnreachable.
    """
    try:
        response = body(client_for(key, settings, refunds, pace).v1.accounts.retrieve_current())
    except stripe.AuthenticationError:
        raise BadCredentials(Provider.STRIPE, "Stripe rejected it") from None
    except stripe.StripeError as error:
        # A restricted key may lack the permission; a practice server may lack the endpoint, but Stripe never does.
        if error.http_status == 403 or (error.http_status == 404 and settings.api_base):
            return f"key-{fingerprint(key)}"
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
    key: str, settings: StripeSettings, refunds: RefundSettings, pace: Pace | None = None
) -> stripe.StripeClient:
    _quieten_sdk()
    timeout = (refunds.connect_timeout, refunds.read_timeout)
    return stripe.StripeClient(
        key,
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


def _payment_field(reference: str) -> str:
    match = _PAYMENT.fullmatch(reference)
    if match is None:
        raise UnusableReference(Provider.STRIPE, reference, "pi_…, ch_… or py_…")
    return "payment_intent" if match[1] else "charge"


def _payment_in(params: Mapping[str, object]) -> tuple[str, object]:
    field = "payment_intent" if "payment_intent" in params else "charge"
    return field, params[field]


# --- reading an answer ---


def body(response: Any) -> Any:
    """The JSON as it came: the SDK's objects turn some of it into other types."""
    return response.data if isinstance(response, stripe.StripeResponse) else response.last_response.data


def _read(response: object, params: Mapping[str, object], *, replayed: bool = False) -> RefundAnswer:
    """Accepted only if it is the requested refund in a known status."""
    fields: Mapping[str, Any] = response if isinstance(response, Mapping) else {}
    reference, status = text_in(fields.get("id")), text_in(fields.get("status"))
    if _APPROVAL.fullmatch(reference):
        return _awaiting_approval(fields, "Stripe: a second person must approve it", replayed=replayed)
    differs = _what_differs(fields, params)
    state = STATES.get(status)
    if differs:
        message = f"Stripe answered 2xx, but not with the requested refund: {', '.join(differs)}"
    elif state is None:
        message = f"Stripe calls the refund {safe_text(status)[:60]!a}, which refundcli does not know"
    else:
        return RefundAnswer(
            Signal.ACCEPTED,
            state,
            reference,
            status,
            why_failed(fields) if state is RefundState.FAILED else "",
            replayed=replayed,
            pending_reason=pending_reason(fields),
            expires_at=expires_at(fields),
        )
    return RefundAnswer(Signal.MALFORMED, None, reference, status, message, replayed=replayed)


def _awaiting_approval(response: Mapping[str, Any], message: str, *, replayed: bool) -> RefundAnswer:
    """`status` names the approval request, if Stripe does. Its id is not a refund's, so there is no reference."""
    # Stripe's preview documentation does not say whether the id is in `approval_request` or in the message.
    named = _APPROVAL.search(str(response))
    status = f"approval_required {named[0]}" if named else "approval_required"
    return RefundAnswer(Signal.AWAITING_APPROVAL, status=status, message=message, replayed=replayed)


def _what_differs(fields: Mapping[str, Any], params: Mapping[str, object]) -> list[str]:
    field, payment = _payment_in(params)
    metadata = params.get("metadata")
    currency = metadata.get("refundcli_currency") if isinstance(metadata, Mapping) else None
    amount = fields.get("amount")
    holds = {
        "object": fields.get("object") == "refund",
        "id": bool(text_in(fields.get("id"))),
        "amount": type(amount) is int and amount == params["amount"],
        "currency": currency is None or fields.get("currency") == currency,
        field: _id_in(fields.get(field)) == payment,
    }
    return [name for name, same in holds.items() if not same]


def _id_in(expandable: object) -> str:
    """The id of a field that holds an id or the expanded object."""
    return text_in(expandable.get("id")) if isinstance(expandable, Mapping) else text_in(expandable)


def why_failed(fields: Mapping[str, Any]) -> str:
    status, reason = text_in(fields.get("status")), text_in(fields.get("failure_reason"))
    return safe_text(f"Stripe: the refund {status} ({reason})" if reason else f"Stripe: the refund {status}")


def refund_id_in(refund: Mapping[str, Any]) -> object:
    metadata = refund.get("metadata")
    return metadata.get("refundcli_refund") if isinstance(metadata, Mapping) else None


class _NotAList(Exception):
    """The answer is not a page of refunds."""


def _page(page: Any) -> list[Mapping[str, Any]]:
    fields = page if isinstance(page, Mapping) else {}
    refunds, more = fields.get("data"), fields.get("has_more")
    is_complete = isinstance(refunds, list) and isinstance(more, bool) and all(_is_refund(refund) for refund in refunds)
    if fields.get("object") != "list" or not is_complete or (more and not refunds):
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
    status, details, headers = error.http_status or 0, _error_details(error), error.headers or {}
    signal, message, replayed = _signal(status, details), _message(status, details), _is_replayed(headers)
    if signal is Signal.AWAITING_APPROVAL:
        return _awaiting_approval(details, message, replayed=replayed)
    return RefundAnswer(signal, message=message, retry_after=retry_after(headers), replayed=replayed)


def _error_details(error: stripe.StripeError) -> Mapping[str, Any]:
    body = error.json_body
    details = body.get("error") if isinstance(body, Mapping) else None
    return details if isinstance(details, Mapping) else {}


def _signal(status: int, details: Mapping[str, Any]) -> Signal:
    """A refusal must be well-formed: any other answer may come from a proxy, and proves nothing (I5)."""
    code, kind = text_in(details.get("code")), text_in(details.get("type"))
    if kind == "idempotency_error":
        return Signal.KEY_REUSED
    if status >= 500:
        return Signal.SERVER_ERROR
    if code in _CODE_SIGNALS:
        return _CODE_SIGNALS[code]
    if status in STATUS_SIGNALS:
        return STATUS_SIGNALS[status]
    if 200 <= status < 300:
        return Signal.MALFORMED
    return Signal.DECLINED if kind == _INVALID and status in _REFUSED else Signal.OTHER


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


def _message(status: int, details: Mapping[str, Any]) -> str:
    text, code = text_in(details.get("message")), text_in(details.get("code"))
    marks = ", ".join(filter(None, (f"HTTP {status}", code)))
    return safe_text(f"Stripe: {text or 'no explanation'} ({marks})")
