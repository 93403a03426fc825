"""Void Stripe's invoices or write them off, through Stripe's SDK. Neither call takes parameters, so no memo is sent."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus

import stripe

from refundcli.domain.refund import WireRequest
from refundcli.domain.statuses import ClosingState, InvoiceStatus, Provider
from refundcli.providers.stripe import refunds as refunding
from refundcli.providers.transport import last_check, safe_text, text_in
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.rate_limit import Pace
from refundcli.services.ports.providers import ClosingAnswer, MaySend
from refundcli.settings import RefundSettings, StripeSettings

_PATH = "/v1/invoices/"
_VERBS = {InvoiceStatus.VOID: "void", InvoiceStatus.UNCOLLECTIBLE: "mark_uncollectible"}
_STATUSES = {verb: status for status, verb in _VERBS.items()}

_NOT_OURS = (
    "Nothing was sent: the void or write-off was prepared for a different Stripe account, mode or address "
    "from the one in the settings."
)


class StripeInvoiceCloser:
    """`InvoiceCloser` for one key, which is one account in one mode (I12)."""

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
        self.livemode = refunding.is_live(api_key)
        self.base_url = refunding.base_url(settings)
        self._client = refunding.client_for(api_key, settings, refund_settings, pace)

    def prepare(self, reference: str, status: InvoiceStatus) -> WireRequest:
        endpoint = f"{self.base_url}{_PATH}{quote_plus(reference)}/{_VERBS[status]}"
        return WireRequest(self.name, endpoint, self.account, self.livemode, stripe.api_version, {})

    def close(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> ClosingAnswer:
        """Exactly one HTTP call. Provider and network errors are returned in the answer, never raised."""
        reference, _, verb = request.endpoint.removeprefix(self.base_url + _PATH).partition("/")
        if not self._is_ours(request, reference, verb):
            return ClosingAnswer(Signal.NOT_SENT, _NOT_OURS)
        invoices: Any = self._client.v1.invoices
        close_invoice: Callable[..., Any] = invoices.void_invoice if verb == "void" else invoices.mark_uncollectible
        try:
            with last_check(may_send):
                response = close_invoice(
                    reference, {}, {"idempotency_key": idempotency_key, "stripe_version": request.api_version}
                )
            return _read(refunding.body(response), reference, _STATUSES[verb])
        except stripe.StripeError as error:
            answer = refunding.classified(error)
            return ClosingAnswer(answer.signal, answer.message, answer.retry_after, answer.replayed)
        except Exception as error:  # the SDK could not read the answer
            return ClosingAnswer(Signal.OTHER, f"Stripe's answer could not be read: {safe_text(error)}")

    def _is_ours(self, request: WireRequest, reference: str, verb: str) -> bool:
        """A stored request is sent only to the endpoint, account and mode it was made for (I8, I12).

        `reference` is the invoice's id in its endpoint, `verb` void or mark_uncollectible.
        """
        if verb not in _STATUSES or request.params:
            return False
        own_target = (self.name, self.base_url + _PATH + f"{reference}/{verb}", self.account, self.livemode)
        return own_target == (request.provider, request.endpoint, request.account, request.livemode)


def _read(invoice: object, reference: str, requested: InvoiceStatus) -> ClosingAnswer:
    """Accepted only if it is the requested invoice in the requested status."""
    fields: Mapping[str, Any] = invoice if isinstance(invoice, Mapping) else {}
    status = text_in(fields.get("status"))
    if (fields.get("object"), fields.get("id"), status) == ("invoice", reference, requested.value):
        return ClosingAnswer(Signal.ACCEPTED, state=ClosingState.DONE)
    difference = f"as {safe_text(status)[:60]!a}" if fields.get("id") == reference else "with another object"
    return ClosingAnswer(Signal.MALFORMED, f"Stripe accepted the request, but its answer came back {difference}")
