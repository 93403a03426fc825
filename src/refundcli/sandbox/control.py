"""/_sandbox: look at the state, make payments, plan faults, move the clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .faults import Fault
from .state import AdyenRefund, LoggedRequest, Made, SandboxState, StripeRefund

DISPUTE_WORDS = {"open": "needs_response"}


def make_payment(state: SandboxState, given: Mapping[str, Any]) -> Made:
    """A payment as `POST /_sandbox/charges` describes it; amounts are in the provider's minor units."""
    wanted = dict(given)
    provider = wanted.pop("provider", "stripe")
    dispute, dispute_amount = wanted.pop("dispute", None), wanted.pop("dispute_amount", None)
    refunded = wanted.pop("refunded", 0)
    with state.lock:
        made = _add(state, provider, wanted)
        if dispute:
            state.set_dispute(made.reference, DISPUTE_WORDS.get(dispute, dispute), dispute_amount)
        if refunded:
            state.add_dashboard_refund(made.reference, refunded)
        return made


def _add(state: SandboxState, provider: str, wanted: dict[str, Any]) -> Made:
    reference = wanted.pop("reference", None)
    if provider == "adyen":
        return state.add_adyen_payment(psp_reference=wanted.pop("psp_reference", reference), **wanted)
    if provider != "stripe":
        raise ValueError(f"unknown provider {provider!r}: stripe or adyen")
    if reference:
        wanted["payment_intent" if reference.startswith("pi_") else "charge"] = reference
    return state.add_stripe_payment(**wanted)


def settle(state: SandboxState, refund_id: str, given: Mapping[str, Any]) -> None:
    """What becomes of a refund later: Stripe `status` and `failure_reason`, Adyen `success` and `reason`."""
    with state.lock:
        refund = state.refunds.get(refund_id)
        if isinstance(refund, StripeRefund):
            refund.status = given["status"]
            refund.failure_reason = given.get("failure_reason")
        elif isinstance(refund, AdyenRefund):
            refund.success, refund.outcome_reason = given["success"], given.get("reason")
        else:
            raise ValueError(f"no refund {refund_id}")


def routes(state: SandboxState) -> list[Route]:
    def charges(given: Any) -> Any:
        return asdict(make_payment(state, given))

    def disputes(given: Any) -> Any:
        status = DISPUTE_WORDS.get(given["status"], given["status"])
        return {"id": state.set_dispute(given["charge"], status, given.get("amount"))}

    def plan_faults(given: Any) -> Any:
        faults = [Fault.read(each) for each in (given if isinstance(given, list) else [given])]
        with state.lock:
            state.faults.add(faults)
            return state.faults.remaining()

    def clock(given: Any) -> Any:
        state.advance(given["advance_seconds"])
        return {"now": state.now()}

    async def show_state(request: Request) -> Response:
        return JSONResponse(state.snapshot())

    async def show_faults(request: Request) -> Response:
        with state.lock:
            return JSONResponse(state.faults.remaining())

    async def clear_faults(request: Request) -> Response:
        with state.lock:
            state.faults.clear()
        return Response(status_code=204)

    async def settle_refund(request: Request) -> Response:
        def settled(given: Any) -> Any:
            settle(state, request.path_params["id"], given)
            return {}

        return await _answered(request, settled)

    return [
        Route("/_sandbox/state", show_state, methods=["GET"]),
        Route("/_sandbox/charges", _posting(charges), methods=["POST"]),
        Route("/_sandbox/disputes", _posting(disputes), methods=["POST"]),
        Route("/_sandbox/refunds/{id}", settle_refund, methods=["POST"]),
        Route("/_sandbox/faults", show_faults, methods=["GET"]),
        Route("/_sandbox/faults", _posting(plan_faults), methods=["POST"]),
        Route("/_sandbox/faults", clear_faults, methods=["DELETE"]),
        Route("/_sandbox/clock", _posting(clock), methods=["POST"]),
        Route("/_sandbox/elsewhere", _elsewhere(state), methods=["GET", "POST"]),
    ]


def _posting(work: Callable[[Any], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return await _answered(request, work)

    return endpoint


async def _answered(request: Request, work: Callable[[Any], Any]) -> Response:
    try:
        return JSONResponse(work(json.loads(await request.body())))
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        return JSONResponse({"error": f"{type(problem).__name__}: {problem}"}, 400)


def _elsewhere(state: SandboxState) -> Callable[[Request], Any]:
    """Where a redirect leads: a client that follows one leaves a trace in the log."""

    async def endpoint(request: Request) -> Response:
        body = (await request.body()).decode(errors="replace")
        state.log(LoggedRequest(None, request.method, request.url.path, body, {}, state.now(), status=200))
        return JSONResponse({"id": "re_elsewhere", "object": "refund", "status": "succeeded"})

    return endpoint
