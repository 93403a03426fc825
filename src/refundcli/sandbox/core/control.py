"""/_sandbox: show the state, create payments and invoices, plan faults, move the clock, send webhooks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from functools import partial
from typing import Any, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from refundcli.sandbox.adyen import disputes as adyen_disputes
from refundcli.sandbox.adyen import effects, events, reports
from refundcli.sandbox.core import approvals, billing, changes, webhooks
from refundcli.sandbox.core.exponents import Provider
from refundcli.sandbox.core.faults import Fault
from refundcli.sandbox.core.state import LoggedRequest, SandboxState
from refundcli.sandbox.stripe import patch, payments

# What a POST does: with the body, and the id in the path if it has one.
Action = Callable[..., Any]


def routes(state: SandboxState) -> list[Route]:
    actions = {**_making(state), **_sending(state), **_moving(state), **_of_object(state)}
    return [
        *(Route(f"/_sandbox/{path}", _posting(action), methods=["POST"]) for path, action in actions.items()),
        *(Route(f"/_sandbox/{path}", read, methods=["GET"]) for path, read in _reading(state).items()),
        Route("/_sandbox/faults", _clear_faults(state), methods=["DELETE"]),
        Route("/_sandbox/elsewhere", _elsewhere(state), methods=["GET", "POST"]),
    ]


def _making(state: SandboxState) -> dict[str, Action]:
    return {
        "charges": lambda body: changes.make_payment(state, body),
        "invoices": lambda body: billing.make_invoice(state, body),
        "credit_notes": lambda body: billing.make_credit_note(state, body),
        "refunds": lambda body: changes.dashboard_refund(state, body.pop("payment"), body.pop("amount"), **body),
        "disputes": lambda body: changes.dispute(state, body.pop("charge"), body.pop("status"), **body),
        "captures": lambda body: changes.capture(state, body["payment"], body.get("amount")),
    }


def _sending(state: SandboxState) -> dict[str, Action]:
    """Routes that send raw events."""
    return {
        "notifications": lambda body: notify(state, body),
        "adyen/events": lambda body: effects.event(state, body.pop("event_code"), **body),
        "adyen/webhooks": lambda body: events.send_other(state, body),
        "adyen/disputes": lambda body: adyen_disputes.live(state, body.pop("payment"), body.pop("codes"), **body),
        "stripe/events": lambda body: patch.send_event(
            *(state, body.pop("type")), about=body.pop("id", None), shape=body.pop("object", None), **body
        ),
        "deliver": lambda body: webhooks.deliver(state, **body),
    }


def notify(state: SandboxState, options: dict[str, Any]) -> None:
    """Sends any of Adyen's items about a payment, as given; nothing else changes."""
    with state.lock:
        events.send(
            *(state, options.pop("event_code")),
            payment=state.payments[options.pop("payment")],
            merchant_reference=options.pop("reference", None),
            additional_data=options.pop("data", None),
            **options,
        )


def _moving(state: SandboxState) -> dict[str, Action]:
    def plan_faults(body: Any) -> Any:
        faults = [Fault.read(fault) for fault in (body if isinstance(body, list) else [body])]
        with state.lock:
            state.faults.add(faults)
            return state.faults.remaining()

    def endpoints(body: Any) -> Any:
        endpoint = webhooks.register(state, body)
        return {"provider": endpoint.provider, "url": endpoint.url, "auto": endpoint.auto}

    return {
        "faults": plan_faults,
        "clock": lambda body: {"now": changes.advance(state, body["advance_seconds"])},
        "webhooks": endpoints,
        "keys/forget": lambda body: {"forgotten": state.forget_keys(body.get("provider"), body.get("older_than"))},
        "reports/lines": lambda body: reports.add_line(state, body.pop("type"), body.pop("payment", ""), **body),
    }


def _of_object(state: SandboxState) -> dict[str, Action]:
    def end_credit_note(body: Any, note_id: str) -> Any:
        if body["status"] != "void":
            raise ValueError(f"unknown status {body['status']!r}: void")
        return billing.void_credit_note(state, note_id)

    return {
        "refunds/{id}": lambda body, refund_id: changes.settle(state, refund_id, body),
        "payments/{id}": lambda body, reference: payments.becomes(state, state.find_charge(reference), body["status"]),
        "credit_notes/{id}": end_credit_note,
        "approvals/{id}": lambda body, approval_id: approvals.end(state, approval_id, body["status"]),
        "stripe/objects/{id}": lambda body, object_id: patch.patch(
            state, object_id, body.pop("fields", None) or {}, **body
        ),
    }


def _posting(action: Action) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        # In a thread: the receiver of a webhook may call this server before it answers.
        return await run_in_threadpool(_worked, action, await request.body(), *request.path_params.values())

    return endpoint


def _worked(action: Action, body: bytes, *path_ids: str) -> Response:
    try:
        return JSONResponse(_shown(action(json.loads(body or b"{}"), *path_ids)))
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        return JSONResponse({"error": f"{type(problem).__name__}: {problem}"}, 400)


def _shown(outcome: Any) -> Any:
    """What an action returned, as JSON."""
    if outcome is None or isinstance(outcome, str):
        return {"id": outcome} if outcome else {}
    return asdict(outcome) if is_dataclass(outcome) and not isinstance(outcome, type) else outcome


def _reading(state: SandboxState) -> dict[str, Callable[[Request], Response]]:
    def show_object(request: Request) -> Response:
        try:
            with state.lock:
                return JSONResponse(patch.find(state, request.path_params["id"]).shape())
        except ValueError as problem:
            return JSONResponse({"error": str(problem)}, 404)

    def show_faults(request: Request) -> Response:
        with state.lock:
            return JSONResponse(state.faults.remaining())

    def deliveries(request: Request) -> Response:
        provider: Any = request.query_params.get("provider")
        if provider not in get_args(Provider):
            return JSONResponse({"error": "provider is stripe or adyen"}, 400)
        must_empty_queue = request.query_params.get("drain") == "true"
        return JSONResponse(
            [asdict(delivery) for delivery in webhooks.deliveries(state, provider, drain=must_empty_queue)]
        )

    return {
        "keys": lambda request: JSONResponse([asdict(record) for record in state.key_records()]),
        "stripe/objects/{id}": show_object,
        "state": lambda request: JSONResponse(state.snapshot()),
        "faults": show_faults,
        "deliveries": deliveries,
        **{f"reports/{kind}.csv": partial(_report, state, kind) for kind in get_args(reports.Kind)},
    }


def _report(state: SandboxState, report_kind: reports.Kind, request: Request) -> Response:
    query = request.query_params
    try:
        zone = ZoneInfo(query["zone"]) if "zone" in query else events.ZONE
    except (ValueError, ZoneInfoNotFoundError):
        return JSONResponse({"error": "zone is one such as America/Los_Angeles"}, 400)
    lines = reports.report(report_kind, reports.entries(state), zone, without=query.getlist("without"))
    return Response("".join(lines), media_type="text/csv; charset=utf-8")


def _clear_faults(state: SandboxState) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        with state.lock:
            state.faults.clear()
        return Response(status_code=204)

    return endpoint


def _elsewhere(state: SandboxState) -> Callable[[Request], Any]:
    """The target of a redirect: a client that follows one is logged."""

    async def endpoint(request: Request) -> Response:
        body = (await request.body()).decode(errors="replace")
        state.log(LoggedRequest(None, request.method, request.url.path, body, {}, state.now(), status=200))
        return JSONResponse({"id": "re_elsewhere", "object": "refund", "status": "succeeded"})

    return endpoint
