"""One call from request to response: log, credentials, faults, key layer, processing, response."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from refundcli.sandbox.core.exponents import Provider
from refundcli.sandbox.core.faults import BEFORE, STORED_500, Fault
from refundcli.sandbox.core.idempotency import Answer, KeyInUse, KeyName, KeyUsedOtherwise, Refusal
from refundcli.sandbox.core.state import LoggedRequest, SandboxState

LOGGED_HEADERS = (
    "idempotency-key",
    "stripe-version",
    "stripe-account",
    "content-type",
    "user-agent",
)


@dataclass(frozen=True, slots=True)
class Call:
    """A parsed request; `kind` selects the faults that apply to it."""

    method: str
    path: str
    headers: Mapping[str, str]
    params: Any
    path_params: Mapping[str, str] = field(default_factory=dict)
    kind: str = "other"
    payments: frozenset[str] = frozenset()

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key") if self.method == "POST" else None

    @property
    def fingerprint(self) -> str:
        return json.dumps([self.method, self.path, self.params], sort_keys=True)


# Runs under the lock, inside the key layer; a Refusal it raises is stored as the response.
Operation = Callable[[], Answer]
# Checks the call before the key layer; a Refusal it raises is not stored.
Plan = Callable[[SandboxState, Call, Fault | None], Operation]


class Wire(Protocol):
    """What differs between the vendors."""

    provider: Provider
    key_lifetime: float
    stores_failures: bool

    def authenticate(self, call: Call) -> None: ...
    def account(self, call: Call) -> str: ...
    def early(self, fault: Fault) -> Answer: ...
    def server_error(self) -> Answer: ...
    def key_in_use(self, call: Call) -> Answer: ...
    def key_used_otherwise(self, call: Call) -> Answer: ...
    def replayed(self, answer: Answer) -> Answer: ...
    def spoil(self, answer: Answer, behaviour: str) -> Answer: ...
    def headers(self, call: Call) -> Mapping[str, str]: ...


class HangUp(Response):
    """Closes the connection without a response."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = scope.get("state", {}).get("transport")
        if transport is None:
            raise RuntimeError("this server cannot hang up")
        transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass


class Truncated(Response):
    """A response cut off in the middle of its JSON."""

    def __init__(self, body: Any, headers: Mapping[str, str]) -> None:
        body_text = json.dumps(body)
        super().__init__(body_text[: len(body_text) // 2], 200, dict(headers), "application/json")


async def exchange(state: SandboxState, vendor: Wire, call: Call, plan: Plan) -> Response:
    """The response to a call, which is logged; `plan` checks it and returns what carries it out."""
    log_entry = state.log(_log_entry(state, vendor, call))
    fault: Fault | None = None
    try:
        vendor.authenticate(call)
        with state.lock:
            if call.key is not None:
                state.keys.record(_key_name(vendor, call, call.key), call.path, call.params, now=state.now())
            fault = state.faults.take(vendor.provider, call.kind, call.payments)
        log_entry.fault = fault.behaviour if fault else None
        await _pause(fault.delay_before_ms if fault else 0)
        if fault is not None and fault.behaviour in BEFORE:
            return _refused_before(vendor, call, fault, log_entry)
        answer = await _carry_out(state, vendor, call, plan, fault, log_entry)
    except Refusal as refusal:
        answer = refusal.answer
    return _send_back(vendor, call, answer, fault, log_entry)


def _key_name(vendor: Wire, call: Call, key: str) -> KeyName:
    return KeyName(vendor.provider, vendor.account(call), key)


def _refused_before(vendor: Wire, call: Call, fault: Fault, log_entry: LoggedRequest) -> Response:
    if fault.behaviour == "drop_before":
        return HangUp()
    return _response(vendor, call, vendor.early(fault), log_entry)


async def _carry_out(
    state: SandboxState, vendor: Wire, call: Call, plan: Plan, fault: Fault | None, log_entry: LoggedRequest
) -> Answer:
    with state.lock:
        operation = plan(state, call, fault)
    if call.key is None:
        answer = _execute(state, vendor, operation, fault)
        await _pause(fault.delay_ms if fault else 0)
        return answer
    key_name = _key_name(vendor, call, call.key)
    try:
        with state.lock:
            stored_answer = state.keys.begin(
                key_name, call.fingerprint, now=state.now(), lifetime_seconds=vendor.key_lifetime
            )
    except KeyInUse:
        return vendor.key_in_use(call)
    except KeyUsedOtherwise:
        return vendor.key_used_otherwise(call)
    if stored_answer is not None:
        log_entry.replayed = True
        return vendor.replayed(stored_answer)
    return await _execute_once(state, vendor, key_name, operation, fault)


async def _execute_once(
    state: SandboxState, vendor: Wire, key_name: KeyName, operation: Operation, fault: Fault | None
) -> Answer:
    """The key is in use until the response is ready, delays included."""
    real_answer: Answer | None = None
    try:
        real_answer = _execute(state, vendor, operation, fault)
        await _pause(fault.delay_ms if fault else 0)
    finally:
        with state.lock:
            if real_answer is None:
                state.keys.forget(key_name)
            else:
                state.keys.finish(key_name, real_answer)
    return real_answer


def _execute(state: SandboxState, vendor: Wire, operation: Operation, fault: Fault | None) -> Answer:
    if fault is not None and fault.behaviour == "500_stuck":
        return vendor.server_error()
    with state.lock:
        try:
            answer = operation()
        except Refusal as refusal:
            answer = refusal.answer
    if fault is not None and fault.behaviour == "500_after" and vendor.stores_failures:
        return vendor.server_error()
    return answer


def _send_back(vendor: Wire, call: Call, answer: Answer, fault: Fault | None, log_entry: LoggedRequest) -> Response:
    behaviour = fault.behaviour if fault else ""
    if behaviour == "drop_after":
        return HangUp()
    if behaviour in STORED_500 and not log_entry.replayed:
        return _response(vendor, call, vendor.server_error(), log_entry)
    if answer.status >= 300:
        return _response(vendor, call, answer, log_entry)
    if behaviour == "malformed":
        log_entry.status = 200
        return Truncated(answer.body, vendor.headers(call))
    if behaviour == "empty_object":
        return _response(vendor, call, replace(answer, status=200, body={}), log_entry)
    if behaviour.startswith("wrong_"):
        return _response(vendor, call, vendor.spoil(answer, behaviour), log_entry)
    return _response(vendor, call, answer, log_entry)


def _response(vendor: Wire, call: Call, answer: Answer, log_entry: LoggedRequest) -> Response:
    log_entry.status = answer.status
    return JSONResponse(answer.body, answer.status, {**vendor.headers(call), **answer.headers})


def _log_entry(state: SandboxState, vendor: Wire, call: Call) -> LoggedRequest:
    headers = {name: call.headers[name] for name in LOGGED_HEADERS if name in call.headers}
    return LoggedRequest(vendor.provider, call.method, call.path, call.params, headers, state.now())


async def _pause(milliseconds: int) -> None:
    """Waits; a server shutdown ends the wait early, and the call then ends as planned."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(milliseconds / 1000)


def lower_headers(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}
