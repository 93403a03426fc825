"""What the books and the provider hold, as plain rows, for the invariants."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Books:
    """The rows of the store, as they are committed."""

    refunds: list[dict[str, Any]]
    payments: list[dict[str, Any]]
    invoices: list[dict[str, Any]]
    notes: dict[str, dict[str, Any]]
    audit: list[dict[str, Any]]
    events: list[dict[str, Any]]
    closings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def unfinished(self) -> list[dict[str, Any]]:
        """Refunds and closings."""
        return [row for row in (*self.refunds, *self.closings) if row["state"] in ("ready", "submitted")]

    def of_key(self, request_key: str) -> list[dict[str, Any]]:
        return [refund for refund in self.refunds if refund["request_key"] == request_key]

    def newest_of_key(self, request_key: str) -> list[dict[str, Any]]:
        """The newest refund of each payment; a failed one may have been retried."""
        return list({refund["payment_id"]: refund for refund in self.of_key(request_key)}.values())

    def entries_of(self, refund_id: str) -> list[dict[str, Any]]:
        entries = (entry for entry in self.audit if entry["subject"] == refund_id)
        return [entry | {side: json.loads(entry[side]) for side in ("before", "after")} for entry in entries]

    def unlike(self, before: "Books") -> list[dict[str, Any]]:
        """The rows that changed since `before`."""
        names = ("refunds", "payments", "invoices", "audit", "events", "closings")
        new = [row for name in names for row in getattr(self, name) if row not in getattr(before, name)]
        return new + [note for key, note in self.notes.items() if note != before.notes.get(key)]


def read_books(ask: Callable[[str], Iterable[dict[str, Any]]]) -> Books:
    """`ask` returns the rows of a query, on either database."""
    return Books(
        list(ask("SELECT * FROM refund ORDER BY created_at, id")),
        list(ask("SELECT * FROM payment ORDER BY invoice_id, position")),
        list(ask("SELECT * FROM invoice ORDER BY id")),
        {row["refund_id"]: row for row in ask("SELECT * FROM credit_note")},
        list(ask("SELECT * FROM audit_entry ORDER BY seq")),
        list(ask("SELECT * FROM provider_event ORDER BY id")),
        list(ask("SELECT * FROM closing ORDER BY created_at, id")),
    )


@dataclass(frozen=True, slots=True)
class AtProvider:
    """The provider's records and the requests it received."""

    refunds: list[dict[str, Any]]
    requests: list[dict[str, Any]]
    everything: list[dict[str, Any]]
    invoices: list[dict[str, Any]] = field(default_factory=list)
    # How often each key made an invoice void or uncollectible there; "" is the dashboard.
    closed_by: Counter[str] = field(default_factory=Counter)

    @property
    def refund_requests(self) -> list[dict[str, Any]]:
        return [r for r in self.requests if r["method"] == "POST" and r["path"].endswith("/refunds")]

    @property
    def closing_requests(self) -> list[dict[str, Any]]:
        """Those with a key: the dashboard has none."""
        posted = (r for r in self.requests if r["method"] == "POST" and "/invoices/" in r["path"])
        return [request for request in posted if "idempotency-key" in request["headers"]]

    def of_payment(self, reference: str) -> list[dict[str, Any]]:
        return [refund for refund in self.refunds if refund["payment"] == reference]

    def of(self, refund_id: str) -> list[dict[str, Any]]:
        return [refund for refund in self.refunds if name_of(refund) == refund_id]


def name_of(refund: dict[str, Any]) -> str:
    """Our refund id from its metadata; empty for an external refund."""
    name = refund["reference"] if refund["provider"] == "adyen" else refund["metadata"].get("refundcli_refund")
    return str(name) if str(name).startswith("rf_") else ""


def share_of(payment: dict[str, Any]) -> int:
    """The amount captured for its invoice, at most its share of the provider's payment."""
    captured, allocated = payment["captured"], payment["allocated"]
    return int(allocated if captured is None else min(allocated, captured))


def holds_its_amount(refund: dict[str, Any]) -> bool:
    """It is in flight, or it failed and the provider may retry it (R14)."""
    return refund["state"] in ("ready", "submitted", "awaiting-approval", "pending") or bool(refund["holding"])


def gave_money(refund: dict[str, Any]) -> bool:
    """Adyen's accepted refunds count until a failure is reported."""
    return refund["status"] not in ("failed", "canceled")
