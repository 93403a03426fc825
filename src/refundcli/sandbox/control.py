"""/_sandbox: look at the state, make payments and invoices, plan faults, move the clock, send webhooks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from . import adyen_events, adyen_reports, changes, webhooks
from .billing import make_invoice
from .faults import Fault
from .state import LoggedRequest, SandboxState

PROVIDERS = ("stripe", "adyen")


def routes(state: SandboxState) -> list[Route]:
    posts = {**_making(state), **_moving(state)}
    known = [Route(f"/_sandbox/{path}", _posting(work), methods=["POST"]) for path, work in posts.items()]
    return [
        *known,
        *_looking(state),
        Route("/_sandbox/refunds/{id}", _settling(state), methods=["POST"]),
        Route("/_sandbox/deliver", _delivering(state), methods=["POST"]),
        Route("/_sandbox/deliveries", _deliveries(state), methods=["GET"]),
        Route("/_sandbox/reports/payment-accounting.csv", _report(state, "payment-accounting"), methods=["GET"]),
        Route("/_sandbox/reports/settlement-details.csv", _report(state, "settlement-details"), methods=["GET"]),
        Route("/_sandbox/elsewhere", _elsewhere(state), methods=["GET", "POST"]),
    ]


def _making(state: SandboxState) -> dict[str, Callable[[Any], Any]]:
    def charges(given: Any) -> Any:
        return asdict(changes.make_payment(state, given))

    def invoices(given: Any) -> Any:
        return asdict(make_invoice(state, given))

    def refunds(given: Any) -> Any:
        wanted = dict(given)
        return {"id": changes.refund_by_hand(state, wanted.pop("payment"), wanted.pop("amount"), **wanted)}

    def disputes(given: Any) -> Any:
        return {"id": changes.dispute(state, given["charge"], given["status"], given.get("amount"))}

    def captures(given: Any) -> Any:
        changes.capture(state, given["payment"])
        return {}

    def notifications(given: Any) -> Any:
        notify(state, dict(given))
        return {}

    return {
        "charges": charges,
        "invoices": invoices,
        "refunds": refunds,
        "disputes": disputes,
        "captures": captures,
        "notifications": notifications,
    }


def notify(state: SandboxState, wanted: dict[str, Any]) -> None:
    """Any of Adyen's items about a payment, as told; nothing else changes."""
    with state.lock:
        payment = state.payments[wanted.pop("payment")]
        adyen_events.tell(state, payment, wanted.pop("event_code"), **wanted)


def _moving(state: SandboxState) -> dict[str, Callable[[Any], Any]]:
    def plan_faults(given: Any) -> Any:
        faults = [Fault.read(each) for each in (given if isinstance(given, list) else [given])]
        with state.lock:
            state.faults.add(faults)
            return state.faults.remaining()

    def clock(given: Any) -> Any:
        changes.advance(state, given["advance_seconds"])
        return {"now": state.now()}

    def endpoints(given: Any) -> Any:
        made = webhooks.register(state, given)
        return {"provider": made.provider, "url": made.url, "auto": made.auto}

    return {"faults": plan_faults, "clock": clock, "webhooks": endpoints}


def _looking(state: SandboxState) -> list[Route]:
    async def show_state(request: Request) -> Response:
        return JSONResponse(state.snapshot())

    async def show_faults(request: Request) -> Response:
        with state.lock:
            return JSONResponse(state.faults.remaining())

    async def clear_faults(request: Request) -> Response:
        with state.lock:
            state.faults.clear()
        return Response(status_code=204)

    return [
        Route("/_sandbox/state", show_state, methods=["GET"]),
        Route("/_sandbox/faults", show_faults, methods=["GET"]),
        Route("/_sandbox/faults", clear_faults, methods=["DELETE"]),
    ]


def _settling(state: SandboxState) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        def settled(given: Any) -> Any:
            changes.settle(state, request.path_params["id"], given)
            return {}

        return await _answered(request, settled)

    return endpoint


def _delivering(state: SandboxState) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        # Beside the loop: a receiver may ask this very server before it answers.
        return await run_in_threadpool(
            _worked, await request.body() or b"{}", lambda given: webhooks.deliver(state, **given)
        )

    return endpoint


def _deliveries(state: SandboxState) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        provider, drain = request.query_params.get("provider"), request.query_params.get("drain") == "true"
        if provider not in PROVIDERS:
            return JSONResponse({"error": "provider is stripe or adyen"}, 400)
        found = webhooks.deliveries(state, "stripe" if provider == "stripe" else "adyen", drain=drain)
        return JSONResponse([asdict(each) for each in found])

    return endpoint


def _report(state: SandboxState, kind: adyen_reports.Kind) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        lines = adyen_reports.report(kind, adyen_reports.entries(state))
        return StreamingResponse(_chunks(lines), media_type="text/csv; charset=utf-8")

    return endpoint


async def _chunks(lines: Iterator[str]) -> AsyncIterator[str]:
    while chunk := "".join(islice(lines, 500)):
        yield chunk


def _posting(work: Callable[[Any], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return await _answered(request, work)

    return endpoint


async def _answered(request: Request, work: Callable[[Any], Any]) -> Response:
    return _worked(await request.body(), work)


def _worked(body: bytes, work: Callable[[Any], Any]) -> Response:
    try:
        return JSONResponse(work(json.loads(body)))
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        return JSONResponse({"error": f"{type(problem).__name__}: {problem}"}, 400)


def _elsewhere(state: SandboxState) -> Callable[[Request], Any]:
    """Where a redirect leads: a client that follows one leaves a trace in the log."""

    async def endpoint(request: Request) -> Response:
        body = (await request.body()).decode(errors="replace")
        state.log(LoggedRequest(None, request.method, request.url.path, body, {}, state.now(), status=200))
        return JSONResponse({"id": "re_elsewhere", "object": "refund", "status": "succeeded"})

    return endpoint
