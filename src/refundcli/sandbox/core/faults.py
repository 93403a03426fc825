"""The fault plan: faults for the next calls, each used by one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from refundcli.sandbox.core.exponents import Provider
from refundcli.sandbox.core.records import Ending

# Not processed: only the response is sent.
BEFORE = frozenset(
    ["drop_before", "400", "401", "403", "409", "429", "500_before", "503", "redirect", "adyen_704", "adyen_703"]
)
# Processed; the response is lost or damaged.
IN_TRANSIT = frozenset(["drop_after", "malformed", "empty_object", "wrong_amount", "wrong_payment", "wrong_currency"])
# Processed with another outcome than "succeeded".
OUTCOMES = frozenset(["pending", "requires_action", "failed", "canceled"])
# The key layer stores the 500: after the refund was made, or although it was not.
STORED_500 = frozenset(["500_after", "500_stuck"])
ADYEN_ONLY = frozenset(["adyen_704", "adyen_703"])

# Made only once a second person at Stripe approves it.
APPROVAL = "approval_required"

BEHAVIOURS = BEFORE | IN_TRANSIT | OUTCOMES | STORED_500 | {"delay_ms", APPROVAL}
LOOKUP_BEHAVIOURS = (BEFORE - ADYEN_ONLY) | {"drop_after", "malformed", "empty_object", "delay_ms"}
INVOICE_BEHAVIOURS = LOOKUP_BEHAVIOURS | STORED_500
CALLS = ("refund", "lookup", "invoice")
ENDS = (None, "succeeded", "failed", "canceled")
PENDING = frozenset(["pending", "requires_action"])


@dataclass(slots=True)
class Fault:
    """`delay_ms` waits between processing and answering, `delay_before_ms` before anything is done.

    `ends` says how a `pending` refund, or one that requires action, ends once `ends_after` seconds have passed on
    the sandbox's clock. `pending_reason` is Stripe's. `http_status` is that of an answer
    `approval_required`, which Stripe does not document (below 300 the request itself is answered), and
    `approval_id` the id of the request: accounts of the preview show areq_ and apreq_.
    """

    provider: Provider
    behaviour: str
    call: str = "refund"
    payment: str | None = None
    times: int = 1
    delay_ms: int = 0
    delay_before_ms: int = 0
    retry_after: int = 1
    failure_reason: str | None = None
    pending_reason: str = "processing"
    http_status: int = 402
    approval_id: str | None = None
    location: str | None = None
    ends: str | None = None
    ends_after: float = 86400

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ValueError(problem)

    def _problems(self) -> list[str]:
        allowed_behaviours = {"lookup": LOOKUP_BEHAVIOURS, "invoice": INVOICE_BEHAVIOURS}.get(self.call, BEHAVIOURS)
        requirements = [
            (self.provider in get_args(Provider), f"unknown provider {self.provider!r}"),
            (self.call in CALLS, f"unknown call {self.call!r}: one of {', '.join(CALLS)}"),
            (
                self.behaviour in allowed_behaviours,
                f"unknown behaviour {self.behaviour!r}: one of {sorted(allowed_behaviours)}",
            ),
            (
                self.behaviour not in ADYEN_ONLY or self.provider == "adyen",
                f"{self.behaviour} is Adyen's alone",
            ),
            (self.provider == "stripe" or self.call == "refund", "Adyen has no look-up and no invoices"),
            (self.behaviour != APPROVAL or self.provider == "stripe", "approvals are Stripe's alone"),
            (self.ends in ENDS, f"unknown end {self.ends!r}: succeeded, failed or canceled"),
            (self.ends is None or self.behaviour in PENDING, "only what is pending has an end to come"),
            (self.times >= 1, "times must be at least 1"),
        ]
        return [problem for is_met, problem in requirements if not is_met]

    def ending(self, now: float) -> Ending | None:
        return Ending(now + self.ends_after, self.ends, self.failure_reason) if self.ends else None

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Fault:
        unknown_fields = set(body) - set(cls.__dataclass_fields__)
        if unknown_fields or not {"provider", "behaviour"} <= set(body):
            raise ValueError(f"a fault needs provider and behaviour and knows {', '.join(cls.__dataclass_fields__)}")
        return cls(**body)


class FaultPlan:
    """Faults in order; guarded by the lock of the state that owns it."""

    def __init__(self) -> None:
        self._remaining_faults: list[Fault] = []

    def add(self, faults: list[Fault]) -> None:
        self._remaining_faults.extend(faults)

    def clear(self) -> None:
        self._remaining_faults.clear()

    def remaining(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._remaining_faults]

    def take(self, provider: Provider, call_kind: str, payment_references: frozenset[str]) -> Fault | None:
        """The first fault planned for such a call; used up after its `times`."""
        for fault in self._remaining_faults:
            if (fault.provider, fault.call) == (provider, call_kind) and fault.payment in (None, *payment_references):
                fault.times -= 1
                if fault.times == 0:
                    self._remaining_faults.remove(fault)
                return fault
        return None
