"""Read the answers and webhooks of providers without trusting their types."""

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from refundcli.domain.statuses import Provider
from refundcli.secrets import redact
from refundcli.services.dispatch.outcomes import Signal

Fields: TypeAlias = Mapping[str, Any]

# What an HTTP status means at any provider (DESIGN: outcome table).
STATUS_SIGNALS = {
    401: Signal.NOT_ALLOWED,
    403: Signal.NOT_ALLOWED,
    409: Signal.IN_PROGRESS,
    429: Signal.RATE_LIMITED,
}
_LONGEST_MESSAGE = 500
_LONGEST_WAIT_SECONDS = 3600
_SECONDS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The requested wait in seconds, at most an hour; None if it is not given in seconds."""
    header = str(headers.get("Retry-After") or "").strip()
    return min(float(header), _LONGEST_WAIT_SECONDS) if _SECONDS.fullmatch(header) else None


def text_in(field: object) -> str:
    """The value if it is a text, else an empty one: fields of an answer may have any type."""
    return field if isinstance(field, str) else ""


def fields_in(field: object) -> Fields:
    """The value if it is an object, else an empty one."""
    return field if isinstance(field, Mapping) else {}


def strict_object(json_text: str | bytes) -> dict[str, Any]:
    """A JSON object. Raises ValueError, also for NaN and for any other JSON; RecursionError if it is too deep."""
    document = json.loads(json_text, parse_constant=_no_number)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is not valid JSON")


def safe_text(text: object) -> str:
    """The text of a provider or the network, shortened and without secrets."""
    return redact(str(text or ""))[:_LONGEST_MESSAGE]


def prepared_elsewhere(provider: Provider, what: str = "refund") -> str:
    """Why a stored request is not sent: only to the endpoint, account and mode it was made for (I8, I12)."""
    return (
        f"Nothing was sent: the {what} was prepared for a different {provider.label} account, mode or address from the "
        "one in the settings."
    )


def difference(provider: Provider, agrees_by_field: Mapping[str, bool]) -> str:
    """How the answer to an accepted request differs from the requested refund; empty if every field agrees."""
    differing_fields = ", ".join(name for name, agrees in agrees_by_field.items() if not agrees)
    return differing_fields and (
        f"{provider.label} accepted the request, but its answer does not match the requested refund: {differing_fields}"
    )


def signal_of(http_status: int, *, refused: bool) -> Signal:
    """What an error proves; `refused`: the answer is a well-formed refusal of the request (I5)."""
    if http_status >= 500:
        return Signal.SERVER_ERROR
    return STATUS_SIGNALS.get(http_status, Signal.DECLINED if refused else Signal.OTHER)


def refusal(provider: Provider, http_status: int, explanation: object, code: str) -> str:
    """What the provider says about an error, for people."""
    status_and_code = ", ".join(filter(None, (f"HTTP {http_status}", code)))
    return safe_text(f"{provider.label}: {text_in(explanation) or 'no explanation'} ({status_and_code})")
