"""One call from request to response: log, credentials, faults, key layer, processing, response."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from refundcli.sandbox.core.exponents import Provider
from refundcli.sandbox.core.faults import BEFORE, STORED_500, Fault
from refundcli.sandbox.core.idempotency import Answer, KeyName, Refusal, StoredAnswer
from refundcli.sandbox.core.records import Json
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


class Vendor:
    """What differs between the vendors."""

    provider: Provider
    key_lifetime: float
    # Whether a 500 is stored under the key; else replaying the key returns the outcome of the request.
    stores_failures: bool
    # Added to a stored answer.
    replay_headers: Mapping[str, str] = {}

    def authenticate(self, call: Call) -> None:
        """Raises Refusal."""
        raise NotImplementedError

    def error(self, behaviour: str, call: Call) -> Answer:
        """The response to a call that is not processed: a fault's, or `key_in_use`, `key_used_otherwise`."""
        raise NotImplementedError

    def spoil(self, body: Json, behaviour: str) -> None:
        """Changes the body of a response to a refund."""
        raise NotImplementedError

    def headers(self, call: Call) -> Mapping[str, str]:
        return {"Idempotency-Key": call.key} if call.key else {}


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


async def exchange(state: SandboxState, vendor: Vendor, call: Call, plan: Plan) -> Response:
    """The response to a call, which is logged; `plan` checks it and returns what carries it out."""
    log_entry = state.log(_log_entry(state, vendor, call))
    fault: Fault | None = None
    try:
        vendor.authenticate(call)
        key_name = _key_name(state, vendor, call)
        with state.lock:
            if key_name is not None:
                state.keys.record(key_name, call.path, call.params, now=state.now())
            fault = state.faults.take(vendor.provider, call.kind, call.payments)
        log_entry.fault = fault.behaviour if fault else None
        await _pause(fault.delay_before_ms if fault else 0)
        if fault is not None and fault.behaviour in BEFORE:
            if fault.behaviour == "drop_before":
                return HangUp()
            return _response(vendor, call, _refused_before(vendor, call, fault), log_entry)
        answer = await _carry_out(state, vendor, call, key_name, plan, fault, log_entry)
    except Refusal as refusal:
        answer = refusal.answer
    return _send_back(vendor, call, answer, fault, log_entry)


def _refused_before(vendor: Vendor, call: Call, fault: Fault) -> Answer:
    if fault.behaviour == "redirect":
        return Answer(307, {}, {"Location": fault.location or "/_sandbox/elsewhere"})
    answer = vendor.error(fault.behaviour, call)
    return replace(answer, headers={"Retry-After": str(fault.retry_after)}) if fault.behaviour == "429" else answer


def _key_name(state: SandboxState, vendor: Vendor, call: Call) -> KeyName | None:
    """A key is known within one vendor's account."""
    if call.key is None:
        return None
    return vendor.provider, call.headers.get("stripe-account", state.account_id), call.key


async def _carry_out(
    state: SandboxState,
    vendor: Vendor,
    call: Call,
    key_name: KeyName | None,
    plan: Plan,
    fault: Fault | None,
    log_entry: LoggedRequest,
) -> Answer:
    """The key is in use until the response is ready, delays included."""
    with state.lock:
        operation = plan(state, call, fault)
        stored = (
            state.keys.begin(key_name, call.fingerprint, now=state.now(), lifetime_seconds=vendor.key_lifetime)
            if key_name
            else None
        )
    if stored:
        return _known(vendor, call, stored, log_entry)
    answer: Answer | None = None
    try:
        answer = _execute(state, vendor, call, operation, fault)
        await _pause(fault.delay_ms if fault else 0)
    finally:
        if key_name:
            with state.lock:
                state.keys.finish(key_name, answer)
    return answer


def _known(vendor: Vendor, call: Call, stored: StoredAnswer, log_entry: LoggedRequest) -> Answer:
    """The response to a key that came before."""
    if stored.fingerprint != call.fingerprint:
        return vendor.error("key_used_otherwise", call)
    if stored.answer is None:
        return vendor.error("key_in_use", call)
    log_entry.replayed = True
    return replace(stored.answer, headers={**stored.answer.headers, **vendor.replay_headers})


def _execute(state: SandboxState, vendor: Vendor, call: Call, operation: Operation, fault: Fault | None) -> Answer:
    behaviour = fault.behaviour if fault else ""
    if behaviour == "500_stuck":
        return vendor.error("500_before", call)
    with state.lock:
        try:
            answer = operation()
        except Refusal as refusal:
            answer = refusal.answer
    if behaviour == "500_after" and vendor.stores_failures:
        return vendor.error("500_before", call)
    return answer


def _send_back(vendor: Vendor, call: Call, answer: Answer, fault: Fault | None, log_entry: LoggedRequest) -> Response:
    behaviour = fault.behaviour if fault else ""
    if behaviour == "drop_after":
        return HangUp()
    if behaviour in STORED_500 and not log_entry.replayed:
        answer = vendor.error("500_before", call)
    elif answer.status < 300 and behaviour == "malformed":
        log_entry.status = 200
        return Truncated(answer.body, vendor.headers(call))
    elif answer.status < 300 and behaviour == "empty_object":
        answer = replace(answer, status=200, body={})
    elif answer.status < 300 and behaviour.startswith("wrong_"):
        # The stored answer stays as it is.
        answer = replace(answer, body=dict(answer.body))
        vendor.spoil(answer.body, behaviour)
    return _response(vendor, call, answer, log_entry)


def _response(vendor: Vendor, call: Call, answer: Answer, log_entry: LoggedRequest) -> Response:
    log_entry.status = answer.status
    return JSONResponse(answer.body, answer.status, {**vendor.headers(call), **answer.headers})


def _log_entry(state: SandboxState, vendor: Vendor, call: Call) -> LoggedRequest:
    headers = {name: call.headers[name] for name in LOGGED_HEADERS if name in call.headers}
    return LoggedRequest(vendor.provider, call.method, call.path, call.params, headers, state.now())


async def _pause(milliseconds: int) -> None:
    """Waits; a server shutdown ends the wait early, and the call then ends as planned."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(milliseconds / 1000)
