"""The HTTP side: one path for each provider, and a 2xx only for what is in the store."""

import asyncio
from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from refundcli.domain.statuses import Provider
from refundcli.listener.keeper import Keeper, TooManyWaiting
from refundcli.services.deliveries import DeliveryRefused, Flaw
from refundcli.services.ports import EventReader

MOST_BYTES = 1024 * 1024
_BODY_SECONDS = 10.0
_STORE_SECONDS = 60.0
_STATUS = {Flaw.UNREADABLE: 400, Flaw.TOO_LARGE: 413}
_UNPROVEN = 401


def create_app(readers: Mapping[Provider, EventReader], keeper: Keeper) -> Starlette:
    routes = [_route(provider, reader, keeper) for provider, reader in readers.items()]

    async def health(request: Request) -> Response:
        return JSONResponse({"kept": keeper.kept, "known": keeper.known, "refused": dict(keeper.refused)})

    return Starlette(
        routes=[*routes, Route("/health", health, methods=["GET"])],
        exception_handlers={ClientDisconnect: _nobody_there},
    )


def _route(provider: Provider, reader: EventReader, keeper: Keeper) -> Route:
    async def deliver(request: Request) -> Response:
        try:
            body = await asyncio.wait_for(_body(request), _BODY_SECONDS)
            if body is None:
                raise DeliveryRefused(provider, Flaw.TOO_LARGE, f"it has more than {MOST_BYTES} bytes")
            told = reader.events_in(body, request.headers)
        except DeliveryRefused as refusal:
            keeper.refuse(refusal.flaw)
            return PlainTextResponse(refusal.flaw, _STATUS.get(refusal.flaw, _UNPROVEN))
        except TimeoutError:
            return PlainTextResponse("too slow", 408)
        try:
            await asyncio.wait_for(asyncio.wrap_future(keeper.keep(told)), _STORE_SECONDS)
        except TooManyWaiting:
            return PlainTextResponse("too many are waiting", 503)
        except Exception:  # the store could not be written, and the keeper has told why
            return PlainTextResponse("not stored", 503)
        # Adyen's older rule wants this very text; Stripe looks at the status alone.
        return PlainTextResponse("[accepted]")

    return Route(f"/{provider}", deliver, methods=["POST"], name=provider)


async def _body(request: Request) -> bytes | None:
    """The body, or None as soon as there is too much of it."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > MOST_BYTES:
            return None
        pieces.append(piece)
    return b"".join(pieces)


def _nobody_there(request: Request, error: Exception) -> Response:
    return Response(status_code=400)
