"""The HTTP side: one path for each provider, and a 2xx only for what is in the store."""

import asyncio
from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from refundcli.domain.statuses import Provider
from refundcli.listener.keeper import Keeper, TooManyWaiting
from refundcli.listener.refusals import Refusals
from refundcli.services.deliveries import DeliveryRefused, Flaw
from refundcli.services.events import believed
from refundcli.services.ports import DeliveryReader
from refundcli.services.provider_news import NewEvent

MOST_BYTES = 1024 * 1024
_STORE_SECONDS = 60.0
_STATUS = {Flaw.UNREADABLE: 400, Flaw.OTHER_MODE: 400, Flaw.OTHER_ACCOUNT: 400, Flaw.TOO_LARGE: 413}
_UNPROVEN = 401
# What was not read to its end leaves a connection that nothing can be told on any more.
_CLOSE = {"Connection": "close"}
_LATER = {"Retry-After": "5"}


def create_app(
    readers: Mapping[Provider, DeliveryReader],
    keeper: Keeper,
    refusals: Refusals,
    *,
    body_seconds: float,
    trouble: Callable[[Exception], None],
) -> Starlette:
    async def health(request: Request) -> Response:
        counts = {"kept": keeper.kept, "known": keeper.known, "refused": dict(refusals.counts)}
        return JSONResponse({"ok": keeper.is_well, **counts}, 200 if keeper.is_well else 503)

    def route(provider: Provider, reader: DeliveryReader) -> Route:
        async def deliver(request: Request) -> Response:
            try:
                told = await _proven(request, provider, reader, body_seconds)
            except DeliveryRefused as refusal:
                refusals.add(refusal.flaw)
                return PlainTextResponse(refusal.flaw, _STATUS.get(refusal.flaw, _UNPROVEN), _headers_of(refusal))
            except TimeoutError:
                return PlainTextResponse("too slow", 408, _CLOSE)
            except ClientDisconnect:
                return Response(status_code=400)
            return await _stored(keeper, told)

        return Route(f"/{provider}", deliver, methods=["POST"], name=provider)

    async def broken(request: Request, error: Exception) -> Response:
        trouble(error)
        return PlainTextResponse("not stored", 500)

    routes = [*(route(provider, reader) for provider, reader in readers.items()), Route("/health", health)]
    return Starlette(routes=routes, exception_handlers={Exception: broken})


async def _proven(request: Request, provider: Provider, reader: DeliveryReader, seconds: float) -> list[NewEvent]:
    body = await asyncio.wait_for(_body(request), seconds)
    if body is None:
        raise DeliveryRefused(provider, Flaw.TOO_LARGE, f"it has more than {MOST_BYTES} bytes")
    return believed(provider, reader, body, request.headers)


async def _stored(keeper: Keeper, told: list[NewEvent]) -> Response:
    try:
        await asyncio.wait_for(asyncio.wrap_future(keeper.keep(told)), _STORE_SECONDS)
    except TooManyWaiting:
        return PlainTextResponse("too many are waiting", 503, _LATER)
    except Exception:  # the store could not be written, and the keeper has told why
        return PlainTextResponse("not stored", 503, _LATER)
    # Adyen's older rule wants this very text; Stripe looks at the status alone.
    return PlainTextResponse("[accepted]")


async def _body(request: Request) -> bytes | None:
    """The body, or None as soon as there is too much of it."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > MOST_BYTES:
            return None
        pieces.append(piece)
    return b"".join(pieces)


def _headers_of(refusal: DeliveryRefused) -> dict[str, str]:
    if refusal.flaw is Flaw.TOO_LARGE:
        return _CLOSE
    return {"WWW-Authenticate": 'Basic realm="webhooks"'} if refusal.flaw is Flaw.UNAUTHORIZED else {}
