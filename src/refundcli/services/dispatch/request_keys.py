"""Request keys and idempotency keys: the same wish is the same key, and the same key one refund (I4)."""

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
            f"The request key {key!a} already belongs to {refund.id}, which asked for something else.",
            hint=f"refundcli invoice show {refund.invoice_number}   shows it; a new wish needs a new key",
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
    """The caller's key. Raises InvalidRequestKey."""
    if not 0 < len(key) <= _MAX_KEY or not all("!" <= character <= "~" for character in key):
        raise InvalidRequestKey(key)
    return key


def generated_key() -> str:
    """A key for one wish typed at a terminal."""
    return f"{_GENERATED}{secrets.token_hex(12)}"


def is_generated(key: str) -> bool:
    return key.startswith(_GENERATED)


def row_key(fields: Mapping[str, object], nth: int) -> str:
    """A CSV row's key, made from its own parsed fields and which of the equal rows of its file it is."""
    return f"row-{digest({**fields, 'nth': nth})[:40]}"


def is_derived(key: str) -> bool:
    """Was it made from what a row says? A rejected row brings it back to be the same wish still; nobody chose it."""
    return _DERIVED.fullmatch(key) is not None


def content_of(fields: Mapping[str, object]) -> str:
    """What was wished, as it was typed, in one canonical text: compared when a key comes again."""
    return canonical({name: value for name, value in fields.items() if value})


def digest(fields: Mapping[str, object]) -> str:
    return hashlib.sha256(content_of(fields).encode()).hexdigest()


def idempotency_key(store_secret: bytes, request_key: str, payment: str, try_number: int) -> str:
    """A UUID that only this store can make, the same again after a backup is restored (36 characters).

    `payment` is the provider's reference: a row's number could be another payment's after a restore. For a
    closing it is the invoice's, and what is wanted of which invoice is the request key.
    """
    mac = _keyed_digest(store_secret, request_key, payment, try_number)
    return str(uuid.UUID(bytes=mac[:16], version=4))


def refund_id(store_secret: bytes, request_key: str, payment: str, attempt: int) -> str:
    """The id of a provider refund: the same after a backup is restored, another one for each attempt (I4).

    It is part of the request's body, and a provider requires the same body for the same key. It also identifies, at the
    provider, a refund that a restored backup lost.
    """
    return derived_id("rf_", _keyed_digest(store_secret, "refund id", request_key, payment, attempt))


def _keyed_digest(store_secret: bytes, *fields: str | int) -> bytes:
    return hmac.new(store_secret, json.dumps(fields).encode(), hashlib.sha256).digest()


def existing_refunds(reading: RefundReading, request_key: str, content: str) -> list[Refund]:
    """The refunds this very request made before, if it was not refused for good (I4).

    Raises RequestKeyReused when the key was used for something else.
    """
    return existing_among(reading.refunds_by_key(request_key), request_key, content)


def existing_among(refunds: Sequence[Refund], request_key: str, content: str) -> list[Refund]:
    """The same of all the refunds that were ever made under the key: of each payment the last try.

    One that failed after it had succeeded is not refused for good until a person knows: the provider may yet try again.
    Raises RequestKeyReused.
    """
    for refund in refunds:
        if refund.content != content:
            raise RequestKeyReused(request_key, refund)
    last = last_attempts(refunds)
    stands = any(refund.state is not RefundState.FAILED or refund.needs_acknowledgement for refund in last)
    return last if stands else []


def last_attempts(refunds: Sequence[Refund]) -> list[Refund]:
    """Of each payment; a try is counted, for clocks may differ."""
    in_turn = sorted(refunds, key=lambda refund: refund.try_number)
    return list({refund.payment_id: refund for refund in in_turn}.values())
