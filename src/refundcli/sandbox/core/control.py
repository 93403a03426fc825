"""/_sandbox: look at the state, make payments and invoices, plan faults, move the clock, send webhooks."""

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
    posts = {**_making(state), **_sending(state), **_moving(state)}
    known = [Route(f"/_sandbox/{path}", _posting(work), methods=["POST"]) for path, work in posts.items()]
    named = {
        "refunds": lambda own, given: _settled(state, own, given),
        "payments": lambda own, given: _payment_becomes(state, own, given["status"]),
        "credit_notes": lambda own, given: _end_credit_note(state, own, given["status"]),
        "approvals": lambda own, given: asdict(approvals.end(state, own, given["status"])),
        "stripe/objects": lambda own, given: _patched(state, own, given),
    }
    by_id = [Route(f"/_sandbox/{path}/{{id}}", _posting_to(work), methods=["POST"]) for path, work in named.items()]
    return [
        *known,
        *by_id,
        *_looking(state),
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
        return asdict(billing.make_invoice(state, given))

    def credit_notes(given: Any) -> Any:
        return asdict(billing.make_credit_note(state, given))

    def refunds(given: Any) -> Any:
        wanted = dict(given)
        return {"id": changes.refund_by_hand(state, wanted.pop("payment"), wanted.pop("amount"), **wanted)}

    def disputes(given: Any) -> Any:
        wanted = dict(given)
        return {"id": changes.dispute(state, wanted.pop("charge"), wanted.pop("status"), **wanted)}

    def captures(given: Any) -> Any:
        changes.capture(state, given["payment"], given.get("amount"))
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
    """What is sent word for word."""

    def notifications(given: Any) -> Any:
        notify(state, dict(given))
        return {}

    def adyen_event(given: Any) -> Any:
        wanted = dict(given)
        return effects.event(state, wanted.pop("event_code"), **wanted)

    def adyen_webhook(given: Any) -> Any:
        with state.lock:
            events.send_other(state, given)
        return {}

    def adyen_dispute(given: Any) -> Any:
        wanted = dict(given)
        codes = wanted.pop("codes")
        life = codes if isinstance(codes, str) else tuple(codes)
        return {"id": adyen_disputes.live(state, wanted.pop("payment"), life, **wanted)}

    def stripe_event(given: Any) -> Any:
        wanted = dict(given)
        patch.send_event(
            *(state, wanted.pop("type")), about=wanted.pop("id", None), shape=wanted.pop("object", None), **wanted
        )
        return {}

    return {
        "notifications": notifications,
        "adyen/events": adyen_event,
        "adyen/webhooks": adyen_webhook,
        "adyen/disputes": adyen_dispute,
        "stripe/events": stripe_event,
    }


def notify(state: SandboxState, wanted: dict[str, Any]) -> None:
    """Any of Adyen's items about a payment, as told; nothing else changes."""
    with state.lock:
        payment = state.payments[wanted.pop("payment")]
        events.tell(state, payment, wanted.pop("event_code"), **wanted)


def _settled(state: SandboxState, wanted: str, given: Mapping[str, Any]) -> Any:
    changes.settle(state, wanted, given)
    return {}


def _payment_becomes(state: SandboxState, wanted: str, status: str) -> Any:
    with state.lock:
        payments.becomes(state, state.find_charge(wanted), status)
    return {}


def _end_credit_note(state: SandboxState, wanted: str, status: str) -> Any:
    if status != "void":
        raise ValueError(f"unknown status {status!r}: void")
    return asdict(billing.void_credit_note(state, wanted))


def _patched(state: SandboxState, wanted: str, given: Mapping[str, Any]) -> Any:
    options = {name: given[name] for name in ("remove", "event") if name in given}
    return patch.patch(state, wanted, given.get("fields") or {}, **options)


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

    def forget(given: Any) -> Any:
        return {"forgotten": state.forget_keys(given.get("provider"), given.get("older_than"))}

    def report_line(given: Any) -> Any:
        wanted = dict(given)
        reports.add_line(state, wanted.pop("type"), wanted.pop("payment", ""), **wanted)
        return {}

    return {
        "faults": plan_faults,
        "clock": clock,
        "webhooks": endpoints,
        "keys/forget": forget,
        "reports/lines": report_line,
    }


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


def _posting_to(work: Callable[[str, Any], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return await _answered(request, lambda given: work(request.path_params["id"], given))

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


def _report(state: SandboxState, kind: reports.Kind) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        asked = request.query_params
        try:
            zone = ZoneInfo(asked["zone"]) if "zone" in asked else events.ZONE
        except (ValueError, ZoneInfoNotFoundError):
            return JSONResponse({"error": "zone is one such as America/Los_Angeles"}, 400)
        lines = reports.report(kind, reports.entries(state), zone, without=asked.getlist("without"))
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
