"""Adyen's disputes, each with its own pspReference and its own sequence of event codes.

docs.adyen.com/risk-management/disputes-api/dispute-notifications. Any code may follow any other: what is usual
is in `LIVES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from refundcli.sandbox.adyen.events import send
from refundcli.sandbox.core.records import AdyenDispute, AdyenPayment, Json
from refundcli.sandbox.core.state import SandboxState

Stage = Literal["inquiry", "open", "won", "lost"]
# The status set by each code; the others (INFORMATION_SUPPLIED, ISSUER_COMMENTS) leave it unchanged.
STAGES: dict[str, Stage] = {
    "REQUEST_FOR_INFORMATION": "inquiry",
    "NOTIFICATION_OF_CHARGEBACK": "open",
    "DISPUTE_OPENED_WITH_CHARGEBACK": "open",
    "CHARGEBACK": "open",
    "PREARBITRATION_OPEN": "open",
    "PREARBITRATION_DECLINED": "open",
    "SCHEME_ARBITRATION": "open",
    "CHARGEBACK_REVERSED": "won",
    "ISSUER_RESPONSE_TIMEFRAME_EXPIRED": "won",
    "PREARBITRATION_WON": "won",
    "PREARBITRATION_ISSUER_WITHDRAWN": "won",
    "SCHEME_ARBITRATION_WON": "won",
    "DISPUTE_DEFENSE_PERIOD_ENDED": "lost",
    "SECOND_CHARGEBACK": "lost",
    "PREARBITRATION_LOST": "lost",
    "PREARBITRATION_ACCEPTED": "lost",
    "SCHEME_ARBITRATION_LOST": "lost",
}
CODES = STAGES.keys() | {"INFORMATION_SUPPLIED", "ISSUER_COMMENTS"}
# additionalData.disputeStatus where the code alone decides it.
STATUSES = {
    "REQUEST_FOR_INFORMATION": "Unresponded",
    "CHARGEBACK_REVERSED": "Pending",
    "PREARBITRATION_DECLINED": "Pending",
    "PREARBITRATION_ACCEPTED": "Accepted",
    "SCHEME_ARBITRATION": "Pending",
}
OF_STAGE: dict[Stage, str] = {"inquiry": "Responded", "open": "Undefended", "won": "Won", "lost": "Lost"}
_DEFENDED = ("NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK", "INFORMATION_SUPPLIED", "CHARGEBACK_REVERSED")
LIVES: dict[str, tuple[str, ...]] = {
    "inquiry": ("REQUEST_FOR_INFORMATION",),
    "answered inquiry": ("REQUEST_FOR_INFORMATION", "INFORMATION_SUPPLIED"),
    "escalated inquiry": (
        *("REQUEST_FOR_INFORMATION", "INFORMATION_SUPPLIED"),
        *("NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK"),
    ),
    "opened": ("NOTIFICATION_OF_CHARGEBACK",),
    "opened with chargeback": ("DISPUTE_OPENED_WITH_CHARGEBACK",),
    "charged back": ("NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK"),
    "undefended": ("NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK", "DISPUTE_DEFENSE_PERIOD_ENDED"),
    "defence uploaded": _DEFENDED[:3],
    "defended": _DEFENDED,
    "accepted by issuer": (*_DEFENDED[:3], "ISSUER_RESPONSE_TIMEFRAME_EXPIRED"),
    "second chargeback": (*_DEFENDED, "SECOND_CHARGEBACK"),
    "prearbitration": (*_DEFENDED, "PREARBITRATION_OPEN"),
    "prearbitration won": (*_DEFENDED, "PREARBITRATION_OPEN", "INFORMATION_SUPPLIED", "PREARBITRATION_WON"),
    "prearbitration lost": (*_DEFENDED, "PREARBITRATION_OPEN", "INFORMATION_SUPPLIED", "PREARBITRATION_LOST"),
    "arbitration won": (
        *(*_DEFENDED, "PREARBITRATION_OPEN", "PREARBITRATION_DECLINED"),
        *("SCHEME_ARBITRATION", "SCHEME_ARBITRATION_WON"),
    ),
    "arbitration lost": (
        *(*_DEFENDED, "PREARBITRATION_OPEN", "PREARBITRATION_DECLINED"),
        *("SCHEME_ARBITRATION", "SCHEME_ARBITRATION_LOST"),
    ),
}
# The code of a seeded dispute, of which no event was sent.
SEEDED: dict[str, Stage] = {"needs_response": "open", "under_review": "open", "lost": "lost", "won": "won"}


def stage_of(dispute: AdyenDispute) -> Stage | None:
    """Set by the last code with a status; None without one."""
    stages = [STAGES[code] for code, _, _ in dispute.story if code in STAGES]
    return stages[-1] if stages else SEEDED.get(dispute.status or "")


def disputed_amount(state: SandboxState, payment: AdyenPayment) -> int:
    """The amount in open and lost disputes, in minor units; an inquiry counts nothing."""
    disputes = state.adyen_disputes.naming(payment.psp_reference)
    return sum(dispute.amount for dispute in disputes if stage_of(dispute) in ("open", "lost"))


def step(state: SandboxState, dispute: AdyenDispute, event_code: str, amount: int | None = None) -> None:
    """Appends a code to the dispute; sends nothing."""
    if amount is not None:
        dispute.amount = amount
    dispute.story.append((event_code, int(state.now()), dispute.amount))


def details(dispute: AdyenDispute, event_code: str) -> Json:
    """additionalData as Adyen sends it with the newest code."""
    stage = stage_of(dispute) or "open"
    stage_status = "Pending" if event_code == "INFORMATION_SUPPLIED" and stage != "inquiry" else OF_STAGE[stage]
    return {
        "chargebackReasonCode": "10.4",
        "chargebackSchemeCode": "visa",
        "disputeStatus": STATUSES.get(event_code, stage_status),
    }


def live(state: SandboxState, payment_reference: str, codes_or_life: str | Sequence[str], **options: Any) -> str:
    """A dispute that goes through these codes, or one of `LIVES` by name; returns its pspReference.

    `dispute` names the pspReference, of a known one to go on with it; `amount` for a part. The rest as `send`
    takes it: with original_reference=None items are sent without, as the vendor's examples of
    CHARGEBACK_REVERSED, SECOND_CHARGEBACK and PREARBITRATION_… are.
    """
    dispute_id, amount = options.pop("dispute", None), options.pop("amount", None)
    extra_fields = options.pop("additional_data", None) or {}
    with state.lock:
        adyen_payment = state.payments[payment_reference]
        existing_dispute = next(
            (
                known_dispute
                for known_dispute in state.adyen_disputes.naming(payment_reference)
                if known_dispute.id == dispute_id
            ),
            None,
        )
        dispute = existing_dispute or state.new_adyen_dispute(adyen_payment, dispute_id, amount)
        for event_code in LIVES[codes_or_life] if isinstance(codes_or_life, str) else codes_or_life:
            step(state, dispute, event_code, amount)
            item_fields: dict[str, Any] = {
                "reason": "Other Fraud-Card Absent Environment",
                "amount": dispute.amount,
            } | options
            additional_fields = details(dispute, event_code) | extra_fields
            send(
                state,
                event_code,
                payment=adyen_payment,
                psp_reference=dispute.id,
                additional_data=additional_fields,
                **item_fields,
            )
        state.mirror_first_dispute(adyen_payment)
        return dispute.id


def moved(state: SandboxState, dispute: AdyenDispute, status_before: str | None) -> None:
    """The codes that lead from a Stripe status (`status_before`, None at first) to the dispute's."""
    status = dispute.status
    if status is None or status == status_before:
        return
    money_codes = [code for code, _, _ in dispute.story if code in MONEY]
    codes = tuple(_codes(status, status_before, money_codes[-1] if money_codes else None))
    live(state, dispute.payment, codes, dispute=dispute.id)


MONEY = ("CHARGEBACK", "CHARGEBACK_REVERSED", "SECOND_CHARGEBACK")


def _codes(status: str, status_before: str | None, money_code: str | None) -> list[str]:
    """`money_code` is what last moved it: CHARGEBACK took it, CHARGEBACK_REVERSED gave it back."""
    if status == "warning_needs_response":
        return ["REQUEST_FOR_INFORMATION"]
    if status == "needs_response":
        return ["NOTIFICATION_OF_CHARGEBACK"]
    if status == "won":
        is_debited = money_code in ("CHARGEBACK", "SECOND_CHARGEBACK")
        return ["CHARGEBACK_REVERSED" if is_debited else "ISSUER_RESPONSE_TIMEFRAME_EXPIRED"]
    if status not in ("under_review", "lost"):
        return ["INFORMATION_SUPPLIED"]
    if money_code is None:
        return ["CHARGEBACK"] if status_before else ["NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK"]
    if money_code == "CHARGEBACK_REVERSED":
        return ["SECOND_CHARGEBACK"]
    return ["DISPUTE_DEFENSE_PERIOD_ENDED"] if status == "lost" else []
