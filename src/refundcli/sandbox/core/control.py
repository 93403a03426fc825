"""/_sandbox: show the state, create payments and invoices, plan faults, move the clock, send webhooks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from refundcli.sandbox.adyen import disputes as adyen_disputes
from refundcli.sandbox.adyen import effects, events, reports
from refundcli.sandbox.core import approvals, billing, changes, webhooks
from refundcli.sandbox.core.faults import Fault
from refundcli.sandbox.core.state import LoggedRequest, SandboxState
from refundcli.sandbox.stripe import patch, payments

PROVIDERS = ("stripe", "adyen")


def routes(state: SandboxState) -> list[Route]:
    action_of_path = {**_making(state), **_sending(state), **_moving(state)}
    action_routes = [
        Route(f"/_sandbox/{path}", _posting(action), methods=["POST"]) for path, action in action_of_path.items()
    ]
    object_action_of_path = {
        "refunds": lambda object_id, body: _settled(state, object_id, body),
        "payments": lambda object_id, body: _payment_becomes(state, object_id, body["status"]),
        "credit_notes": lambda object_id, body: _end_credit_note(state, object_id, body["status"]),
        "approvals": lambda object_id, body: asdict(approvals.end(state, object_id, body["status"])),
        "stripe/objects": lambda object_id, body: _patched(state, object_id, body),
    }
    object_routes = [
        Route(f"/_sandbox/{path}/{{id}}", _posting_to(action), methods=["POST"])
        for path, action in object_action_of_path.items()
    ]
    return [
        *action_routes,
        *object_routes,
        *_reading(state),
        Route("/_sandbox/deliver", _delivering(state), methods=["POST"]),
        Route("/_sandbox/deliveries", _deliveries(state), methods=["GET"]),
        Route("/_sandbox/reports/payment-accounting.csv", _report(state, "payment-accounting"), methods=["GET"]),
        Route("/_sandbox/reports/settlement-details.csv", _report(state, "settlement-details"), methods=["GET"]),
        Route("/_sandbox/elsewhere", _elsewhere(state), methods=["GET", "POST"]),
    ]


def _making(state: SandboxState) -> dict[str, Callable[[Any], Any]]:
    def charges(body: Any) -> Any:
        return asdict(changes.make_payment(state, body))

    def invoices(body: Any) -> Any:
        return asdict(billing.make_invoice(state, body))

    def credit_notes(body: Any) -> Any:
        return asdict(billing.make_credit_note(state, body))

    def refunds(body: Any) -> Any:
        options = dict(body)
        return {"id": changes.dashboard_refund(state, options.pop("payment"), options.pop("amount"), **options)}

    def disputes(body: Any) -> Any:
        options = dict(body)
        return {"id": changes.dispute(state, options.pop("charge"), options.pop("status"), **options)}

    def captures(body: Any) -> Any:
        changes.capture(state, body["payment"], body.get("amount"))
        return {}

    return {
        "charges": charges,
        "invoices": invoices,
        "credit_notes": credit_notes,
        "refunds": refunds,
        "disputes": disputes,
        "captures": captures,
    }


def _sending(state: SandboxState) -> dict[str, Callable[[Any], Any]]:
    """Routes that send raw events."""

    def notifications(body: Any) -> Any:
        notify(state, dict(body))
        return {}

    def adyen_event(body: Any) -> Any:
        options = dict(body)
        return effects.event(state, options.pop("event_code"), **options)

    def adyen_webhook(body: Any) -> Any:
        with state.lock:
            events.send_other(state, body)
        return {}

    def adyen_dispute(body: Any) -> Any:
        options = dict(body)
        codes = options.pop("codes")
        codes_or_life = codes if isinstance(codes, str) else tuple(codes)
        return {"id": adyen_disputes.live(state, options.pop("payment"), codes_or_life, **options)}

    def stripe_event(body: Any) -> Any:
        options = dict(body)
        patch.send_event(
            *(state, options.pop("type")), about=options.pop("id", None), shape=options.pop("object", None), **options
        )
        return {}

    return {
        "notifications": notifications,
        "adyen/events": adyen_event,
        "adyen/webhooks": adyen_webhook,
        "adyen/disputes": adyen_dispute,
        "stripe/events": stripe_event,
    }


def notify(state: SandboxState, options: dict[str, Any]) -> None:
    """Sends any of Adyen's items about a payment, as given; nothing else changes."""
    with state.lock:
        payment = state.payments[options.pop("payment")]
        events.notify(state, payment, options.pop("event_code"), **options)


def _settled(state: SandboxState, refund_id: str, body: Mapping[str, Any]) -> Any:
    changes.settle(state, refund_id, body)
    return {}


def _payment_becomes(state: SandboxState, reference: str, status: str) -> Any:
    with state.lock:
        payments.becomes(state, state.find_charge(reference), status)
    return {}


def _end_credit_note(state: SandboxState, note_id: str, status: str) -> Any:
    if status != "void":
        raise ValueError(f"unknown status {status!r}: void")
    return asdict(billing.void_credit_note(state, note_id))


def _patched(state: SandboxState, object_id: str, body: Mapping[str, Any]) -> Any:
    options = {name: body[name] for name in ("remove", "event") if name in body}
    return patch.patch(state, object_id, body.get("fields") or {}, **options)


def _moving(state: SandboxState) -> dict[str, Callable[[Any], Any]]:
    def plan_faults(body: Any) -> Any:
        faults = [Fault.read(fault) for fault in (body if isinstance(body, list) else [body])]
        with state.lock:
            state.faults.add(faults)
            return state.faults.remaining()

    def clock(body: Any) -> Any:
        changes.advance(state, body["advance_seconds"])
        return {"now": state.now()}

    def endpoints(body: Any) -> Any:
        endpoint = webhooks.register(state, body)
        return {"provider": endpoint.provider, "url": endpoint.url, "auto": endpoint.auto}

    def forget(body: Any) -> Any:
        return {"forgotten": state.forget_keys(body.get("provider"), body.get("older_than"))}

    def report_line(body: Any) -> Any:
        options = dict(body)
        reports.add_line(state, options.pop("type"), options.pop("payment", ""), **options)
        return {}

    return {
        "faults": plan_faults,
        "clock": clock,
        "webhooks": endpoints,
        "keys/forget": forget,
        "reports/lines": report_line,
    }


def _reading(state: SandboxState) -> list[Route]:
    async def show_state(request: Request) -> Response:
        return JSONResponse(state.snapshot())

    async def show_faults(request: Request) -> Response:
        with state.lock:
            return JSONResponse(state.faults.remaining())

    async def clear_faults(request: Request) -> Response:
        with state.lock:
            state.faults.clear()
        return Response(status_code=204)

    async def show_keys(request: Request) -> Response:
        return JSONResponse([asdict(record) for record in state.key_records()])

    async def show_object(request: Request) -> Response:
        try:
            with state.lock:
                return JSONResponse(patch.find(state, request.path_params["id"]).shape())
        except ValueError as problem:
            return JSONResponse({"error": str(problem)}, 404)

    return [
        Route("/_sandbox/keys", show_keys, methods=["GET"]),
        Route("/_sandbox/stripe/objects/{id}", show_object, methods=["GET"]),
        Route("/_sandbox/state", show_state, methods=["GET"]),
        Route("/_sandbox/faults", show_faults, methods=["GET"]),
        Route("/_sandbox/faults", clear_faults, methods=["DELETE"]),
    ]


def _posting_to(action: Callable[[str, Any], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return await _answered(request, lambda body: action(request.path_params["id"], body))

    return endpoint


def _delivering(state: SandboxState) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        # In a thread: a receiver may call this server before it answers.
        return await run_in_threadpool(
            _worked, await request.body() or b"{}", lambda body: webhooks.deliver(state, **body)
        )

    return endpoint


def _deliveries(state: SandboxState) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        provider, must_empty_queue = request.query_params.get("provider"), request.query_params.get("drain") == "true"
        if provider not in PROVIDERS:
            return JSONResponse({"error": "provider is stripe or adyen"}, 400)
        queued_deliveries = webhooks.deliveries(
            state, "stripe" if provider == "stripe" else "adyen", drain=must_empty_queue
        )
        return JSONResponse([asdict(delivery) for delivery in queued_deliveries])

    return endpoint


def _report(state: SandboxState, report_kind: reports.Kind) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        query = request.query_params
        try:
            zone = ZoneInfo(query["zone"]) if "zone" in query else events.ZONE
        except (ValueError, ZoneInfoNotFoundError):
            return JSONResponse({"error": "zone is one such as America/Los_Angeles"}, 400)
        lines = reports.report(report_kind, reports.entries(state), zone, without=query.getlist("without"))
        return StreamingResponse(_chunks(lines), media_type="text/csv; charset=utf-8")

    return endpoint


async def _chunks(lines: Iterator[str]) -> AsyncIterator[str]:
    while chunk := "".join(islice(lines, 500)):
        yield chunk


def _posting(action: Callable[[Any], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return await _answered(request, action)

    return endpoint


async def _answered(request: Request, action: Callable[[Any], Any]) -> Response:
    return _worked(await request.body(), action)


def _worked(body: bytes, action: Callable[[Any], Any]) -> Response:
    try:
        return JSONResponse(action(json.loads(body)))
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        return JSONResponse({"error": f"{type(problem).__name__}: {problem}"}, 400)


def _elsewhere(state: SandboxState) -> Callable[[Request], Any]:
    """The target of a redirect: a client that follows one is logged."""

    async def endpoint(request: Request) -> Response:
        body = (await request.body()).decode(errors="replace")
        state.log(LoggedRequest(None, request.method, request.url.path, body, {}, state.now(), status=200))
        return JSONResponse({"id": "re_elsewhere", "object": "refund", "status": "succeeded"})

    return endpoint
