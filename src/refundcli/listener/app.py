"""Responses to deliveries: 2xx only for stored ones, 4xx only for unverified ones."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from refundcli.domain.statuses import Provider
from refundcli.listener.event_writer import EventWriter, TooManyWaiting
from refundcli.listener.http import BadRequest, Request, Response
from refundcli.listener.rejection_counter import Rejections
from refundcli.services.ports.rejection_reasons import DeliveryRejected, RejectionReason
from refundcli.services.ports.webhooks import DeliveryReader, VerifiedDelivery
from refundcli.services.webhooks.deliveries import verify

_STORE_SECONDS = 60.0
_UNVERIFIED = 401
_LATER = {"Retry-After": "5"}
_TOO_LARGE = 413
_TOO_SLOW = 408


@dataclass(frozen=True, slots=True)
class App:
    """One path for each provider, and /health."""

    readers: Mapping[Provider, DeliveryReader]
    writer: EventWriter
    rejections: Rejections
    trouble: Callable[[Exception], None]

    async def respond(self, request: Request) -> Response:
        try:
            return await self._respond(request)
        except Exception as error:
            self.trouble(error)
            return Response(500, "not stored")

    def bad_request(self, problem: BadRequest) -> None:
        """Count an unreadable request. A slow one is not counted: its sender may be genuine."""
        status = problem.response.status
        if status != _TOO_SLOW:
            reason = RejectionReason.TOO_LARGE if status == _TOO_LARGE else RejectionReason.UNREADABLE
            self.rejections.add(self._provider_at(problem.path), reason)

    def _provider_at(self, path: str) -> Provider | None:
        return next((provider for provider in self.readers if path == f"/{provider}"), None)

    async def _respond(self, request: Request) -> Response:
        provider = self._provider_at(request.path)
        allowed_methods = ("POST",) if provider else ("GET", "HEAD")
        if provider is None and request.path != "/health":
            return Response(404, "not found")
        if request.method not in allowed_methods:
            return Response(405, "method not allowed", {"Allow": ", ".join(allowed_methods)})
        return await self._deliver(provider, request) if provider else self._health()

    async def _deliver(self, provider: Provider, request: Request) -> Response:
        try:
            verified_delivery = verify(provider, self.readers[provider], request.body, request.headers)
        except DeliveryRejected as rejection:
            for rejected_item in rejection.items:
                self.rejections.add(provider, rejected_item.reason)
            return _rejected(rejection.reason)
        response = await self._stored(verified_delivery)
        if response.status == 200:
            # Otherwise it is redelivered, and counted then.
            for rejected_item in verified_delivery.rejected:
                self.rejections.add(provider, rejected_item.reason)
        return response

    async def _stored(self, verified_delivery: VerifiedDelivery) -> Response:
        try:
            await asyncio.wait_for(asyncio.wrap_future(self.writer.store(verified_delivery.events)), _STORE_SECONDS)
        except TooManyWaiting:
            return Response(503, "too many are waiting", _LATER)
        except Exception:  # the store could not be written; the writer has reported why
            return Response(503, "not stored", _LATER)
        # Adyen's older API requires this text; Stripe only checks the status.
        return Response(200, "[accepted]")

    def _health(self) -> Response:
        is_well = self.writer.is_well
        counts = {
            "stored": self.writer.stored_count,
            "already_stored": self.writer.duplicate_count,
            "rejected": self.rejections.by_reason(),
        }
        body_text = json.dumps({"ok": is_well, **counts})
        return Response(200 if is_well else 503, body_text, content_type="application/json")


def _rejected(reason: RejectionReason) -> Response:
    if reason is RejectionReason.UNREADABLE:
        return Response(400, reason)
    headers = {"WWW-Authenticate": 'Basic realm="webhooks"'} if reason is RejectionReason.UNAUTHORIZED else {}
    return Response(_UNVERIFIED, reason, headers)
