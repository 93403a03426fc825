"""Request keys and idempotency keys: the same request has the same key, and one key makes one refund (I4)."""

import hashlib
import hmac
import json
import re
import secrets
import uuid
from collections.abc import Mapping, Sequence

from refundcli.canonical import canonical
from refundcli.domain.errors import Refused, UsageProblem
from refundcli.domain.identifiers import derived_id
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState
from refundcli.services.ports.books import RefundReading

_MAX_KEY = 200
_GENERATED = "cli-"
_DERIVED = re.compile(r"row-[0-9a-f]{40}")


class RequestKeyReused(Refused):
    """The key belongs to a refund with other content (I4)."""

    code = "request-key-reused"

    def __init__(self, key: str, refund: Refund) -> None:
        super().__init__(
            f"The request key {key!a} already belongs to {refund.id}, which has different details.",
            hint=f"refundcli invoice show {refund.invoice_number}   shows it; a new request needs a new key",
            context={"request_key": key, "refund": refund.id, "invoice": refund.invoice_number},
        )


class InvalidRequestKey(UsageProblem):
    code = "invalid-request-key"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key[:40]!a} cannot be a request key.",
            hint=f"Use 1 to {_MAX_KEY} printable ASCII characters without spaces.",
        )


def checked_key(key: str) -> str:
    """The caller's key, if it is valid. Raises InvalidRequestKey."""
    if not 0 < len(key) <= _MAX_KEY or not all("!" <= character <= "~" for character in key):
        raise InvalidRequestKey(key)
    return key


def generated_key() -> str:
    """A key for one request typed at a terminal."""
    return f"{_GENERATED}{secrets.token_hex(12)}"


def is_generated(key: str) -> bool:
    return key.startswith(_GENERATED)


def row_key(fields: Mapping[str, object], nth: int) -> str:
    """A CSV row's key, derived from its parsed fields and its number among the equal rows of its file."""
    return f"row-{digest({**fields, 'nth': nth})[:40]}"


def is_derived(key: str) -> bool:
    """Was it derived from a row's content? A rejected row keeps such a key, which nobody chose."""
    return _DERIVED.fullmatch(key) is not None


def content_of(fields: Mapping[str, object]) -> str:
    """What was requested, as typed, in one canonical text; compared when a key is used again."""
    return canonical({name: content for name, content in fields.items() if content})


def digest(fields: Mapping[str, object]) -> str:
    return hashlib.sha256(content_of(fields).encode()).hexdigest()


def idempotency_key(store_secret: bytes, request_key: str, payment_reference: str, attempt: int) -> str:
    """A UUID that only this store can derive, and derives again after a restored backup (36 characters).

    `payment_reference` is the provider's reference: a row's number could be another payment's after a restore. For a
    closing it is the invoice's, and the request key is its target status and invoice number.
    """
    keyed_digest = _keyed_digest(store_secret, request_key, payment_reference, attempt)
    return str(uuid.UUID(bytes=keyed_digest[:16], version=4))


def refund_id(store_secret: bytes, request_key: str, payment_reference: str, attempt: int) -> str:
    """The id of a provider refund: the same after a backup is restored, another one for each attempt (I4).

    It is part of the request's body, and a provider requires the same body for the same key. It also identifies, at the
    provider, a refund that a restored backup lost.
    """
    return derived_id("rf_", _keyed_digest(store_secret, "refund id", request_key, payment_reference, attempt))


def _keyed_digest(store_secret: bytes, *fields: str | int) -> bytes:
    return hmac.new(store_secret, json.dumps(fields).encode(), hashlib.sha256).digest()


def existing_refunds(reading: RefundReading, request_key: str, content: str) -> list[Refund]:
    """The refunds that this request made before, unless all failed for good (I4).

    `content`: the request in one canonical text. Raises RequestKeyReused if the key was used for another request.
    """
    return existing_among(reading.refunds.by_key(request_key), request_key, content)


def existing_among(refunds: Sequence[Refund], request_key: str, content: str) -> list[Refund]:
    """`existing_refunds`, from all refunds made under the key: the last attempt for each payment.

    One that failed after its success has not failed for good until a person acknowledges it: the provider may retry.
    `content`: the request in one canonical text. Raises RequestKeyReused.
    """
    for refund in refunds:
        if refund.content != content:
            raise RequestKeyReused(request_key, refund)
    last_refunds = last_attempts(refunds)
    has_standing_refund = any(
        refund.state is not RefundState.FAILED or refund.needs_acknowledgement for refund in last_refunds
    )
    return last_refunds if has_standing_refund else []


def last_attempts(refunds: Sequence[Refund]) -> list[Refund]:
    """The last attempt for each payment, by its number, because clocks may differ."""
    refunds_in_order = sorted(refunds, key=lambda refund: refund.attempt)
    return list({refund.payment_id: refund for refund in refunds_in_order}.values())
