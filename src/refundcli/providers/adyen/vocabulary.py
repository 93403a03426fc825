"""What each Adyen event code means, with success true and false, and each record type of Adyen's reports (R13).

Sources: "adyen Webhooks-v1" is the vendor's OpenAPI file, "docs: …" a page of docs.adyen.com, "customer area" the
vendor's list of payment statuses, "third party: …" what other programs read from real reports.
"""

from collections.abc import Mapping
from types import MappingProxyType

from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.statuses import RefundState
from refundcli.services.ports.vocabulary import CaptureChange, Direction, Effect, Meaning

_SPEC = "adyen Webhooks-v1"
_DISPUTES = "docs: disputes/dispute-notifications"
_EXPLORER = "docs: api-explorer/Webhooks/1"
_REVERSALS = "docs: online-payments/reversal"
_RETRIES = "docs: capture/failure-reasons"
_SIGNED = "adyen php-webhook-module: codes with a signature"
_LIFECYCLE = "docs: reporting/reports-and-the-payments-lifecycle"
_JOURNALS = "docs: settlement-detail-report/journal-types"
_STATUSES = "customer area: payment statuses"
_AUDITS = "third party: audit parsers for Adyen reports"
_ZUORA = "third party: Zuora status mapping"

_NOT_DOCUMENTED = "Adyen does not document this code being reported as failed"

# --- event codes ---------------------------------------------------------------------------------------------------


def _refund(state: RefundState, *, may_be_retried: bool = False, note: str = "", source: str = _SPEC) -> Meaning:
    return Meaning(Effect.REFUND, source, refund=state, may_be_retried=may_be_retried, note=note)


def _capture(change: CaptureChange, *, note: str = "", source: str = _SPEC) -> Meaning:
    return Meaning(Effect.CAPTURE, source, capture=change, note=note)


def _dispute(
    state: DisputeState | None,
    *,
    stage: DisputeStage = DisputeStage.CHARGEBACK,
    note: str = "",
    source: str = _DISPUTES,
) -> Meaning:
    """`source` says where Adyen documents it."""
    return Meaning(Effect.DISPUTE, source, dispute=state, stage=stage, note=note)


def _note(note: str, source: str = _SPEC) -> Meaning:
    return Meaning(Effect.NOTE, source, note=note)


def _block(note: str, source: str = _SPEC) -> Meaning:
    return Meaning(Effect.BLOCK, source, note=note)


_NOTHING = Meaning(Effect.NONE, _SPEC)
_UNDOCUMENTED = _block(_NOT_DOCUMENTED)
_UNDOCUMENTED_DISPUTE = _block(_NOT_DOCUMENTED, _DISPUTES)

_MONEY: Mapping[tuple[str, bool], Meaning] = {
    ("REFUND", True): _refund(RefundState.SUCCEEDED, note="sent to the scheme, which may still reject it"),
    ("REFUND", False): _refund(RefundState.FAILED),
    ("REFUND_WITH_DATA", True): _refund(RefundState.SUCCEEDED, note="a refund that names no payment"),
    ("REFUND_WITH_DATA", False): _refund(RefundState.FAILED),
    # The next two report a failure with success "true".
    ("REFUND_FAILED", True): _refund(
        RefundState.FAILED, may_be_retried=True, note="Adyen may send it again for 10 days", source=_RETRIES
    ),
    ("REFUND_FAILED", False): _UNDOCUMENTED,
    ("REFUNDED_REVERSED", True): _refund(RefundState.REVERSED, note="of a smaller amount: only that part was returned"),
    ("REFUNDED_REVERSED", False): _UNDOCUMENTED,
    ("POSTPONED_REFUND", True): _refund(RefundState.PENDING, note="waits for the capture"),
    ("POSTPONED_REFUND", False): _UNDOCUMENTED,
    ("VOID_PENDING_REFUND", True): _refund(RefundState.FAILED, note="cancelled before it was sent"),
    ("VOID_PENDING_REFUND", False): _note("the refund was not cancelled and continues"),
    # additionalData says whether it cancelled or refunded: see cancel_or_refund.
    ("CANCEL_OR_REFUND", True): _refund(RefundState.SUCCEEDED, note="by modification.action", source=_REVERSALS),
    ("CANCEL_OR_REFUND", False): _refund(RefundState.FAILED, note="by modification.action", source=_REVERSALS),
    ("CAPTURE", True): _capture(CaptureChange.ADDED),
    ("CAPTURE", False): _capture(CaptureChange.FAILED),
    ("CAPTURE_FAILED", True): _capture(
        CaptureChange.FAILED, note="Adyen may capture it again within 10 days", source=_RETRIES
    ),
    ("CAPTURE_FAILED", False): _UNDOCUMENTED,
    ("CANCELLATION", True): _capture(CaptureChange.CANCELLED),
    ("CANCELLATION", False): _note("the payment was not cancelled"),
    ("TECHNICAL_CANCEL", True): _capture(CaptureChange.CANCELLED),
    ("TECHNICAL_CANCEL", False): _note("the payment was not cancelled"),
    ("EXPIRE", True): _capture(CaptureChange.CANCELLED, note="the amount that was not captured yet"),
    ("EXPIRE", False): _note("the authorisation did not expire"),
}

_AUTHORISATIONS: Mapping[tuple[str, bool], Meaning] = {
    ("AUTHORISATION", True): _NOTHING,
    ("AUTHORISATION", False): _block("the payment was refused: there is nothing to refund"),
    ("AUTHORISATION_ADJUSTMENT", True): _NOTHING,
    ("AUTHORISATION_ADJUSTMENT", False): _NOTHING,
    ("MANUAL_REVIEW_ACCEPT", True): _note("a reviewer accepted the payment"),
    ("MANUAL_REVIEW_ACCEPT", False): _UNDOCUMENTED,
    ("MANUAL_REVIEW_REJECT", True): _block("a reviewer rejected the payment: it is cancelled or refunded"),
    ("MANUAL_REVIEW_REJECT", False): _UNDOCUMENTED,
    ("ORDER_OPENED", True): _NOTHING,
    ("ORDER_OPENED", False): _NOTHING,
    ("ORDER_CLOSED", True): _NOTHING,
    # Each payment of the order is named in additionalData, as order-N-pspReference.
    ("ORDER_CLOSED", False): _block("every payment of the order is cancelled or refunded"),
}

_OPEN, _WON, _LOST = DisputeState.OPEN, DisputeState.WON, DisputeState.LOST
_DISPUTE_CODES: Mapping[str, Meaning] = {
    "REQUEST_FOR_INFORMATION": _dispute(_OPEN, stage=DisputeStage.INQUIRY),
    # It is also sent in the middle of every defended chargeback. The stage applies to an inquiry only.
    "INFORMATION_SUPPLIED": _dispute(
        None, stage=DisputeStage.ANSWERED_INQUIRY, note="the defence was sent; the state of the dispute is unchanged"
    ),
    "NOTIFICATION_OF_CHARGEBACK": _dispute(_OPEN, note="no money moved yet"),
    "DISPUTE_OPENED_WITH_CHARGEBACK": _dispute(_OPEN, note="without a notification before it", source=_EXPLORER),
    "CHARGEBACK": _dispute(_OPEN, note="debited, and may still be defended"),
    "CHARGEBACK_REVERSED": _dispute(_WON, note="not final: a second chargeback may follow"),
    "SECOND_CHARGEBACK": _dispute(_LOST),
    "ISSUER_RESPONSE_TIMEFRAME_EXPIRED": _dispute(_WON),
    "DISPUTE_DEFENSE_PERIOD_ENDED": _dispute(_LOST, note="not defended in time, or accepted"),
    "PREARBITRATION_OPEN": _dispute(_OPEN),
    "PREARBITRATION_DECLINED": _dispute(_OPEN, note="the bank may escalate it to the scheme"),
    "PREARBITRATION_WON": _dispute(_WON),
    "PREARBITRATION_ISSUER_WITHDRAWN": _dispute(_WON),
    "PREARBITRATION_LOST": _dispute(_LOST),
    "PREARBITRATION_ACCEPTED": _dispute(_LOST),
    "SCHEME_ARBITRATION": _dispute(_OPEN),
    "SCHEME_ARBITRATION_WON": _dispute(_WON),
    "SCHEME_ARBITRATION_LOST": _dispute(_LOST),
    "NOTIFICATION_OF_FRAUD": _note("the bank reported fraud; a chargeback may follow", _DISPUTES),
    "ISSUER_COMMENTS": _note("the bank commented on the dispute", _DISPUTES),
}

_NOT_ABOUT_REFUNDS = (
    "ACH_NOTIFICATION_OF_CHANGE",
    "AUTORESCUE",
    "CANCEL_AUTORESCUE",
    "DIRECT_DEBIT_NOTICE_OF_CHANGE_NOTIFICATION",
    "OFFER_CLOSED",
    "PAIDOUT_REVERSED",
    "PAYOUT_DECLINE",
    "PAYOUT_EXPIRE",
    "PAYOUT_THIRDPARTY",
    "RECURRING_CONTRACT",
    "REPORT_AVAILABLE",
)

# Codes of older integrations. The vendor still signs them, and no longer documents them.
_OLDER: Mapping[str, Meaning] = {
    "PENDING": _note("the payment has not been captured yet", "adyen node-api-library: event codes"),
    "AUTHORISATION_PENDING": _note("the payment has not been captured yet", _SIGNED),
    "PROCESS_RETRY": _note("the payment is attempted again", _SIGNED),
    "DEACTIVATE_RECURRING": Meaning(Effect.NONE, _SIGNED),
    "SUBMIT_RECURRING": Meaning(Effect.NONE, _SIGNED),
    "FRAUD_ONLY": Meaning(Effect.NONE, _SIGNED),
    "ADVICE_OF_DEBIT": _block("Adyen does not document it", _SIGNED),
    "AUTHORISE_REFERRAL": _block("Adyen does not document it", _SIGNED),
    "CAPTURE_WITH_EXTERNAL_AUTH": _block("Adyen does not document it", _SIGNED),
    "FUND_TRANSFER": _block("Adyen does not document it", _SIGNED),
    "HANDLED_EXTERNALLY": _block("the payment was captured outside Adyen, if at all", _SIGNED),
}

EVENTS: Mapping[tuple[str, bool], Meaning] = MappingProxyType(
    {
        **_MONEY,
        **_AUTHORISATIONS,
        **{(code, True): meaning for code, meaning in _DISPUTE_CODES.items()},
        **{(code, False): _UNDOCUMENTED_DISPUTE for code in _DISPUTE_CODES},
        **{(code, success): _NOTHING for code in _NOT_ABOUT_REFUNDS for success in (True, False)},
        **{(code, success): meaning for code, meaning in _OLDER.items() for success in (True, False)},
    }
)

# --- record types of the payment accounting report, `Type` of the settlement details report ------------------------


def _captured(source: str, note: str = "") -> Meaning:
    return Meaning(Effect.CAPTURE, source, capture=CaptureChange.ADDED, direction=Direction.CREDIT, note=note)


def _not_captured(
    change: CaptureChange | None, source: str, note: str = "", direction: Direction = Direction.EITHER
) -> Meaning:
    return Meaning(Effect.CAPTURE, source, capture=change, direction=direction, note=note)


def _refunded(
    state: RefundState, source: str, direction: Direction, *, may_be_retried: bool = False, note: str = ""
) -> Meaning:
    return Meaning(Effect.REFUND, source, refund=state, may_be_retried=may_be_retried, direction=direction, note=note)


def _disputed(state: DisputeState, source: str, direction: Direction) -> Meaning:
    return Meaning(Effect.DISPUTE, source, dispute=state, stage=DisputeStage.CHARGEBACK, direction=direction)


def _no_payment(source: str, note: str = "") -> Meaning:
    return Meaning(Effect.NONE, source, direction=Direction.EITHER, note=note)


def _unclear(source: str, note: str) -> Meaning:
    return Meaning(Effect.BLOCK, source, direction=Direction.EITHER, note=note)


_DEBIT, _CREDIT, _EITHER = Direction.DEBIT, Direction.CREDIT, Direction.EITHER
_SUCCEEDED, _PENDING = RefundState.SUCCEEDED, RefundState.PENDING

_CAPTURE_TYPES: Mapping[str, Meaning] = {
    "SentForSettle": _captured(_LIFECYCLE, "the capture was sent; Settled repeats its amount"),
    "Settled": _captured(_JOURNALS),
    "SettledBulk": _captured(_STATUSES),
    "BulkSettlement": _captured(_ZUORA),
    "SettledInstallment": _captured(_STATUSES, "one instalment"),
    "SettledInInstallments": _captured(_STATUSES, "the full amount, reported in addition to its instalments"),
    "SettledInstallmentExternallyWithInfo": _captured(_AUDITS, "one instalment"),
    "SettledExternally": _captured(_STATUSES),
    "SettledExternallyWithInfo": _captured(_STATUSES),
    "SettledReversed": _not_captured(CaptureChange.FAILED, _AUDITS, "in sales day payouts", _DEBIT),
    "CaptureFailed": _not_captured(CaptureChange.FAILED, _STATUSES),
    "Cancelled": _not_captured(CaptureChange.CANCELLED, _LIFECYCLE),
    "Expired": _not_captured(CaptureChange.CANCELLED, _LIFECYCLE),
    "Refused": _not_captured(CaptureChange.CANCELLED, _LIFECYCLE),
    "HandledExternally": _not_captured(CaptureChange.CANCELLED, _STATUSES, "captured outside Adyen, if at all"),
    "AuthorisedPending": _not_captured(None, _STATUSES, "not taken yet; changes no sum"),
}

_REFUND_TYPES: Mapping[str, Meaning] = {
    "SentForRefund": _refunded(_PENDING, _LIFECYCLE, _DEBIT),
    "RefundAuthorised": _refunded(_PENDING, _STATUSES, _EITHER),
    "Refunded": _refunded(_SUCCEEDED, _JOURNALS, _DEBIT),
    "RefundedBulk": _refunded(_SUCCEEDED, _STATUSES, _DEBIT),
    "RefundedInstallment": _refunded(_SUCCEEDED, _STATUSES, _DEBIT, note="one instalment"),
    "RefundedInInstallments": _refunded(
        _SUCCEEDED, _STATUSES, _DEBIT, note="the full amount, reported in addition to its instalments"
    ),
    "RefundedInstallmentExternallyWithInfo": _refunded(_SUCCEEDED, _AUDITS, _DEBIT, note="one instalment"),
    "RefundedExternally": _refunded(_SUCCEEDED, _STATUSES, _DEBIT),
    "RefundedExternallyWithInfo": _refunded(_SUCCEEDED, _STATUSES, _DEBIT),
    "RefundFailed": _refunded(RefundState.FAILED, _STATUSES, _CREDIT, may_be_retried=True),
    "RefundedReversed": _refunded(RefundState.REVERSED, _JOURNALS, _CREDIT),
    "RefundNotCleared": _unclear(_AUDITS, "a refund that did not clear (used with sales day payouts)"),
}

_DISPUTE_TYPES: Mapping[str, Meaning] = {
    "Chargeback": _disputed(_OPEN, _JOURNALS, _DEBIT),
    "ChargebackExternally": _disputed(_OPEN, _STATUSES, _DEBIT),
    "ChargebackExternallyWithInfo": _disputed(_OPEN, _STATUSES, _DEBIT),
    "ChargebackReversed": _disputed(_WON, _JOURNALS, _CREDIT),
    "ChargebackReversedExternally": _disputed(_WON, _STATUSES, _CREDIT),
    "ChargebackReversedExternallyWithInfo": _disputed(_WON, _STATUSES, _CREDIT),
    "SecondChargeback": _disputed(_LOST, _JOURNALS, _DEBIT),
    "SecondChargebackExternally": _disputed(_LOST, _STATUSES, _DEBIT),
    "SecondChargebackExternallyWithInfo": _disputed(_LOST, _STATUSES, _DEBIT),
}

_OTHER_TYPES: Mapping[str, Meaning] = {
    "Received": _no_payment(_LIFECYCLE),
    "Authorised": _no_payment(_LIFECYCLE),
    "Retried": _no_payment(_AUDITS, "the authorisation was attempted again"),
    "Error": Meaning(Effect.NOTE, _LIFECYCLE, direction=_EITHER, note="an attempt failed; another may have followed"),
    "Reversed": _unclear(_AUDITS, "Adyen does not document it"),
    "ManualCorrected": _unclear(_JOURNALS, "Adyen corrected something by hand"),
    "SuspendInstallment": _unclear(_AUDITS, "Adyen does not document it"),
    "AdjustmentExternallyWithInfo": _unclear(_AUDITS, "the acquirer adjusted something"),
    "UnmatchedSettledExternallyWithInfo": _unclear(_AUDITS, "not matched to any payment"),
    "UnmatchedRefundedExternallyWithInfo": _unclear(_AUDITS, "not matched to any payment"),
    "UnmatchedChargebackExternallyWithInfo": _unclear(_AUDITS, "not matched to any payment"),
    "UnmatchedChargebackReversedExternallyWithInfo": _unclear(_AUDITS, "not matched to any payment"),
    **dict.fromkeys(
        ("Fee", "MiscCosts", "MerchantPayout", "DepositCorrection", "InvoiceDeduction", "MatchedStatement"),
        _no_payment(_JOURNALS),
    ),
    **dict.fromkeys(
        ("AuthorisationSchemeFee", "BankInstructionReturned", "InternalCompanyPayout", "PaymentCost", "SettleCost"),
        _no_payment(_JOURNALS),
    ),
    **dict.fromkeys(("EPAPaid", "Balancetransfer", "ReserveAdjustment"), _no_payment(_AUDITS)),
    **dict.fromkeys(("MerchantPayin", "MerchantPayinReversed", "XASTransfer", "AcquirerPayout"), _no_payment(_AUDITS)),
    **dict.fromkeys(
        ("AdvancementCommissionExternallyWithInfo", "UnmatchedBatchExternallyWithInfo"), _no_payment(_AUDITS)
    ),
    # Money sent to others than the shopper of the payment.
    **dict.fromkeys(("PaidOut", "PaidOutExternally", "PaidOutExternallyWithInfo"), _no_payment(_STATUSES)),
    **dict.fromkeys(("PaidOutReversed", "SentForPayout", "ReceivedPayout", "RefusedPayout"), _no_payment(_STATUSES)),
    **dict.fromkeys(("PayoutAuthorised", "PayoutError", "PayoutFailed"), _no_payment(_STATUSES)),
}

REPORT_TYPES: Mapping[str, Meaning] = MappingProxyType(
    {**_CAPTURE_TYPES, **_REFUND_TYPES, **_DISPUTE_TYPES, **_OTHER_TYPES}
)
# The dispute report names its records as the events are named: NotificationOfChargeback.
_DISPUTE_RECORDS = {
    code.replace("_", "").casefold(): meaning
    for (code, is_success), meaning in EVENTS.items()
    if is_success and (meaning.effect is Effect.DISPUTE or code == "NOTIFICATION_OF_FRAUD")
}
_BY_FOLDED_NAME = {name.casefold(): meaning for name, meaning in REPORT_TYPES.items()}


def event_meaning(event_code: str, is_success: bool) -> Meaning | None:
    """What the event code means with this success; None where it is not listed, which blocks the payment (R13)."""
    return EVENTS.get((event_code, is_success))


def cancel_or_refund(action: str, is_success: bool) -> Meaning:
    """What a reversal did, by `modification.action` in additionalData; without one it blocks until reviewed (R13)."""
    if action == "refund":
        return EVENTS["CANCEL_OR_REFUND", is_success]
    if action == "cancel":
        return EVENTS["CANCELLATION", is_success]
    return _block(f"its modification.action is neither cancel nor refund, but {action!r}", _REVERSALS)


def report_meaning(record_type: str) -> Meaning | None:
    """What a record type means, upper or lower case; None where it is not listed, which blocks the payment (R13)."""
    folded_name = record_type.strip().casefold()
    return _BY_FOLDED_NAME.get(folded_name) or _DISPUTE_RECORDS.get(folded_name)
