"""Stripe's form bodies: bracket notation, and the checks that come before a request is executed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from refundcli.sandbox.core.idempotency import Answer, Refusal

Params = dict[str, Any]
METADATA_KEYS, METADATA_KEY_LENGTH, METADATA_VALUE_LENGTH = 50, 40, 500


def refuse(message: str, *, status: int = 400, code: str | None = None, param: str | None = None) -> Refusal:
    error_fields = {"type": "invalid_request_error", "message": message, "code": code, "param": param}
    return Refusal(Answer(status, {"error": {name: text for name, text in error_fields.items() if text}}))


def decode(encoded: str) -> Params:
    """`metadata[refund]=x` becomes {"metadata": {"refund": "x"}}; `expand[]` and `expand[0]` become lists."""
    params: Params = {}
    for name, text in parse_qsl(encoded, keep_blank_values=True):
        _place(params, _path(name), text)
    return {name: _lists(node) for name, node in params.items()}


def _path(name: str) -> list[str]:
    base_name, bracket, bracketed_names = name.partition("[")
    if not bracket or not bracketed_names.endswith("]"):
        return [name]
    return [base_name, *bracketed_names[:-1].split("][")]


def _place(params: Params, path: list[str], text: str) -> None:
    node = params
    for step in path[:-1]:
        child = node.setdefault(step, {})
        if not isinstance(child, dict):
            raise refuse("Invalid request: a parameter is both a value and a hash", param=path[0])
        node = child
    last_step = path[-1] or str(len(node))
    node[last_step] = text


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    members = {name: _lists(member) for name, member in node.items()}
    if members and all(re.fullmatch(r"[0-9]+", name) for name in members):
        return [members[name] for name in sorted(members, key=int)]
    return members


# Checks: each takes a parameter's name and raw value, and returns the parsed value.
Check = Callable[[str, Any], Any]


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise refuse(f"Invalid string: {value}", param=name)
    if not value:
        raise refuse(
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a"
            f" parameter; however '{name}' cannot be unset.",
            code="parameter_invalid_empty",
            param=name,
        )
    return value


def integer(name: str, value: Any) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise refuse(f"Invalid integer: {value}", code="parameter_invalid_integer", param=name)
    return int(value)


def positive(name: str, value: Any) -> int:
    number = integer(name, value)
    if number < 1:
        raise refuse("This value must be greater than or equal to 1.", code="parameter_invalid_integer", param=name)
    return number


def page_size(name: str, value: Any) -> int:
    number = integer(name, value)
    if not 1 <= number <= 100:
        raise refuse("Limit must be between 1 and 100.", code="parameter_invalid_integer", param=name)
    return number


def boolean(name: str, value: Any) -> bool:
    if value not in ("true", "false"):
        raise refuse(f"Invalid boolean: {value}", param=name)
    return bool(value == "true")


def one_of(*allowed_words: str) -> Check:
    def check(name: str, value: Any) -> str:
        if value not in allowed_words:
            raise refuse(f"Invalid {name}: must be one of {', '.join(allowed_words)}", param=name)
        return str(value)

    return check


def texts(name: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise refuse("Invalid array", param=name)
    return [text(name, element) for element in value]


def metadata(name: str, value: Any) -> dict[str, str]:
    """An empty string for the whole clears it, an empty value removes one key."""
    if value == "":
        return {}
    if isinstance(value, list):  # Keys that are all digits.
        value = {str(index): text for index, text in enumerate(value)}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise refuse("Invalid hash", param=name)
    if len(value) > METADATA_KEYS:
        raise refuse("Metadata can have up to 50 keys.", param=name)
    for key, entry in value.items():
        if len(key) > METADATA_KEY_LENGTH or len(entry) > METADATA_VALUE_LENGTH:
            raise refuse("Metadata keys take 40 characters, values 500.", param=f"{name}[{key}]")
    return value


def time_range(name: str, value: Any) -> dict[str, int]:
    if isinstance(value, str):
        exact_time = integer(name, value)
        return {"gte": exact_time, "lte": exact_time}
    if not isinstance(value, dict):
        raise refuse("Invalid object", param=name)
    return {bound: integer(f"{name}[{bound}]", moment) for bound, moment in _known(value, RANGE, name)}


RANGE = frozenset(["gt", "gte", "lt", "lte"])


def _known(fields: Mapping[str, Any], known_names: Iterable[str], parent_name: str = "") -> Iterable[tuple[str, Any]]:
    for name in fields:
        if name not in known_names:
            full_name = f"{parent_name}[{name}]" if parent_name else name
            raise refuse(f"Received unknown parameter: {full_name}", code="parameter_unknown", param=full_name)
    return fields.items()


def checked(params: Params, checks: Mapping[str, Check]) -> Params:
    """The parsed parameters. Raises Refusal for the first that the vendor's schema rejects."""
    return {name: checks[name](name, value) for name, value in _known(params, checks)}
