"""Void Stripe's invoices or write them off, through Stripe's SDK. Neither call takes parameters, so no memo is sent."""

from urllib.parse import quote_plus

from refundcli.domain.refund import WireRequest
from refundcli.domain.statuses import ClosingState, InvoiceStatus
from refundcli.providers.answers import fields_in, prepared_elsewhere, safe_text, text_in
from refundcli.providers.stripe.sdk import StripeAccount, answered
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.ports.providers import ClosingAnswer, MaySend, RefundAnswer

_PATH = "/v1/invoices/"
_VERBS = {InvoiceStatus.VOID: "void", InvoiceStatus.UNCOLLECTIBLE: "mark_uncollectible"}
_STATUSES = {verb: status for status, verb in _VERBS.items()}


class StripeInvoiceCloser(StripeAccount):
    """`InvoiceCloser` for one account in one mode."""

    def prepare(self, reference: str, status: InvoiceStatus) -> WireRequest:
        return self._wire_request(f"{_PATH}{quote_plus(reference)}/{_VERBS[status]}", {})

    def close(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> ClosingAnswer:
        """Exactly one HTTP call. Provider and network errors are returned in the answer, never raised."""
        reference, _, verb = request.endpoint.removeprefix(self.base_url + _PATH).partition("/")
        if verb not in _STATUSES or request.params or not self._is_ours(request, f"{_PATH}{reference}/{verb}"):
            return ClosingAnswer(Signal.NOT_SENT, prepared_elsewhere(self.name, "void or write-off"))
        answer = answered(
            lambda: _read(self._post(request, idempotency_key, may_send).data, reference, _STATUSES[verb])
        )
        state = ClosingState.DONE if answer.signal == Signal.ACCEPTED else None
        return ClosingAnswer(answer.signal, answer.message, answer.retry_after, answer.replayed, state)


def _read(invoice: object, reference: str, requested: InvoiceStatus) -> RefundAnswer:
    """Accepted only if it is the requested invoice in the requested status."""
    fields = fields_in(invoice)
    status = text_in(fields.get("status"))
    if (fields.get("object"), fields.get("id"), status) == ("invoice", reference, requested.value):
        return RefundAnswer(Signal.ACCEPTED)
    difference = f"as {safe_text(status)[:60]!a}" if fields.get("id") == reference else "with another object"
    message = f"Stripe accepted the request, but its answer came back {difference}"
    return RefundAnswer(Signal.MALFORMED, message=message)
