"""Refunds at Stripe, through Stripe's SDK. The SDK's own retries are off: the services decide when to send again."""

import re
from collections.abc import Mapping
from functools import partial

from refundcli.domain.provider_units import to_provider_minor
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import WireRequest
from refundcli.domain.statuses import Provider, RefundState
from refundcli.providers import ProviderUnreachable, UnusableReference
from refundcli.providers.answers import Fields, difference, fields_in, prepared_elsewhere, safe_text, text_in
from refundcli.providers.stripe.fields import id_in
from refundcli.providers.stripe.payments import expires_at, pending_reason, trace_number
from refundcli.providers.stripe.sdk import (
    APPROVAL,
    StripeAccount,
    answered,
    awaiting_approval,
    classified,
    is_missing,
    is_replayed,
    pages,
    stripe,
    unreadable,
)
from refundcli.providers.stripe.vocabulary import refund_meaning
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.ports.providers import MaySend, RefundAnswer, RefundOrder

_PATH = "/v1/refunds"
_METADATA_LENGTH = 500
_PAYMENT = re.compile(r"(?:(pi)|(?:ch|py))_[A-Za-z0-9_]{1,250}")
_APPROVALS = "/v2/core/approval_requests"
# How such a request ends without a refund (https://docs.stripe.com/account/approvals, a preview).
_ENDED_APPROVALS = frozenset({"rejected", "canceled", "expired", "failed"})


class StripeProvider(StripeAccount):
    """`PaymentProvider` for one account in one mode."""

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
        return self._wire_request(_PATH, params)

    def refund(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> RefundAnswer:
        """Exactly one HTTP call. Provider and network errors are returned in the answer, never raised."""
        if not self._is_ours(request, _PATH):
            return RefundAnswer(Signal.NOT_SENT, message=prepared_elsewhere(self.name))

        def send() -> RefundAnswer:
            response = self._post(request, idempotency_key, may_send)
            return _read(response.data, request.params, is_replay=is_replayed(response.headers))

        return answered(send)

    def find_refund(self, request: WireRequest, refund_id: str) -> RefundAnswer | None:
        """Our refund among those of its payment. None proves that there is none; a failed lookup proves nothing."""
        if not self._is_ours(request, _PATH):
            return RefundAnswer(Signal.OTHER, message=prepared_elsewhere(self.name))
        payment_field, payment_reference = _payment_in(request.params)
        filters = {payment_field: payment_reference, "stripe_version": request.api_version}
        try:
            refunds = pages(partial(self._get, _PATH), filters, "refund")
            matches = [refund for refund in refunds if refund_id_in(refund) == refund_id]
        except stripe.StripeError as error:
            return None if is_missing(error) else RefundAnswer(Signal.OTHER, message=classified(error).message)
        except ProviderUnreachable as error:
            return RefundAnswer(Signal.OTHER, message=error.message)
        except Exception as error:  # the SDK could not read the answer
            return RefundAnswer(Signal.OTHER, message=unreadable(error))
        if len(matches) > 1:
            ids = ", ".join(safe_text(refund.get("id")) for refund in matches)
            return RefundAnswer(Signal.MALFORMED, message=f"Stripe has this refund more than once: {ids}")
        return _read(matches[0], request.params) if matches else None

    def ended_approval(self, request: WireRequest, status: str) -> RefundAnswer | None:
        """`status` names the approval. If it ended without a refund, none was made and none will be."""
        approval_match = APPROVAL.search(status)
        if approval_match is None or not self._is_ours(request, _PATH):
            return None
        try:
            approval_fields = fields_in(self._get(f"{_APPROVALS}/{approval_match[0]}", {}))
        except Exception:  # it proves nothing about the refund, which keeps waiting
            return None
        approval_status = text_in(approval_fields.get("status"))
        if approval_fields.get("id") != approval_match[0] or approval_status not in _ENDED_APPROVALS:
            return None
        message = f"its approval request {approval_match[0]} has the status {approval_status} at Stripe"
        return RefundAnswer(Signal.ACCEPTED, RefundState.FAILED, status=f"approval {approval_status}", message=message)

    def _reason(self, reason: RefundReason) -> str:
        if reason is RefundReason.DUPLICATE:
            return "duplicate"
        # "fraudulent" puts the customer's card and address on block lists: only where the settings say so.
        if reason is RefundReason.FRAUDULENT_CHARGE and self._settings.send_fraudulent:
            return "fraudulent"
        return "requested_by_customer"


def _payment_field(payment_reference: str) -> str:
    reference_match = _PAYMENT.fullmatch(payment_reference)
    if reference_match is None:
        raise UnusableReference(Provider.STRIPE, payment_reference, "pi_…, ch_… or py_…")
    return "payment_intent" if reference_match[1] else "charge"


def _payment_in(refund_params: Mapping[str, object]) -> tuple[str, object]:
    payment_field = "payment_intent" if "payment_intent" in refund_params else "charge"
    return payment_field, refund_params[payment_field]


# --- reading an answer ---


def _read(response: object, request_params: Mapping[str, object], *, is_replay: bool = False) -> RefundAnswer:
    """Accepted only if it is the requested refund in a known status."""
    refund_fields = fields_in(response)
    reference, status = text_in(refund_fields.get("id")), text_in(refund_fields.get("status"))
    if APPROVAL.fullmatch(reference):
        return awaiting_approval(refund_fields, "Stripe: a second person must approve it", is_replay=is_replay)
    meaning = refund_meaning(status)
    refund_state = meaning.refund if meaning else None
    problem = difference(Provider.STRIPE, _agreement(refund_fields, request_params))
    if not problem and refund_state is None:
        problem = f"Stripe reports the refund's status as {safe_text(status)[:60]!a}, which refundcli does not know"
    if problem:
        return RefundAnswer(Signal.MALFORMED, None, reference, status, problem, replayed=is_replay)
    return RefundAnswer(
        Signal.ACCEPTED,
        refund_state,
        reference,
        status,
        why_failed(refund_fields) if refund_state is RefundState.FAILED else "",
        replayed=is_replay,
        pending_reason=pending_reason(refund_fields),
        expires_at=expires_at(refund_fields),
        trace=trace_number(refund_fields),
    )


def _agreement(refund_fields: Fields, request_params: Mapping[str, object]) -> dict[str, bool]:
    """By field, whether the refund is the requested one."""
    payment_field, payment_reference = _payment_in(request_params)
    currency = fields_in(request_params.get("metadata")).get("refundcli_currency")
    amount = refund_fields.get("amount")
    return {
        "object": refund_fields.get("object") == "refund",
        "id": bool(text_in(refund_fields.get("id"))),
        "amount": type(amount) is int and amount == request_params["amount"],
        "currency": currency is None or refund_fields.get("currency") == currency,
        payment_field: id_in(refund_fields.get(payment_field)) == payment_reference,
    }


def why_failed(refund_fields: Fields) -> str:
    status, reason = text_in(refund_fields.get("status")), text_in(refund_fields.get("failure_reason"))
    return safe_text(f"Stripe: refund {status} ({reason})" if reason else f"Stripe: refund {status}")


def refund_id_in(stripe_refund: Fields) -> object:
    return fields_in(stripe_refund.get("metadata")).get("refundcli_refund")
