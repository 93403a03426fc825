"""Typed rows of the store's interface: new invoices, imports, records, settlements, and lines of a comparison."""

from dataclasses import dataclass, field
from datetime import date, datetime

from refundcli.domain.money import Money
from refundcli.domain.refund import Refund, TraceNumber
from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider, RefundState
from refundcli.services.ports.bad_rows import Problem
from refundcli.services.ports.vocabulary import CaptureChange


@dataclass(frozen=True, slots=True)
class NewPayment:
    """A payment of an import; amounts in ISO 4217 minor units of the invoice's currency.

    `auto_refundable_is_explicit`: the import sets it, so it is not the default. `charge`: the charge of a Stripe
    payment whose `reference` is its intent.
    """

    captured: int
    provider: Provider | None = None
    method: str = ""
    reference: str = ""
    charge: str = ""
    card_last4: str = ""
    card_brand: str = ""
    returned_elsewhere: int = 0
    auto_refundable: bool = False
    auto_refundable_is_explicit: bool = False
    processing: bool = False
    dispute: Dispute = Dispute.NONE
    dispute_amount: int | None = None
    paid_on: date | None = None


@dataclass(frozen=True, slots=True)
class NewInvoice:
    """An invoice of an import; `line` is its line in the file, `original` its text, `billing` as in `Billing.text`."""

    line: int
    number: str
    customer: str
    currency: str
    total: int
    status: InvoiceStatus
    issued_on: date
    customer_name: str = ""
    due_on: date | None = None
    paid_on: date | None = None
    invoice_reference: str = ""
    products: tuple[str, ...] = ()
    subscription: str = ""
    customer_email: str = ""
    billing: str = ""
    payments: tuple[NewPayment, ...] = ()
    original: tuple[str, ...] | str = ()


@dataclass(slots=True)
class ImportCounts:
    """What an import did. `unchanged`: line, invoice number and reason where the store kept its own value."""

    new: int = 0
    changed: int = 0
    same: int = 0
    unchanged: list[tuple[int, str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ImportConflicts:
    """Problems of new invoices beside the books, how many exist already, and as of which audit entry."""

    problems: list[Problem]
    existing: int
    as_of: int


@dataclass(frozen=True, slots=True)
class Record:
    """A refund paid out of band, to be recorded; `charged_back`: a lost dispute took it (R11)."""

    refund: Refund
    charged_back: bool


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of a refund, or its current state; `evidence` is the event, the report or the person behind it.

    `reported_at` is the provider's date. `may_be_retried`: it failed, and the provider may retry it; its amount stays
    reserved until `hold_until`. `failure_code`: the signal of the failure.
    """

    state: RefundState
    reference: str = ""
    status: str = ""
    failure: str = ""
    evidence: str = ""
    may_be_retried: bool = False
    reported_at: datetime | None = None
    hold_until: datetime | None = None
    failure_code: str = ""
    pending_reason: str = ""
    expires_at: datetime | None = None
    trace: TraceNumber | None = None


@dataclass(frozen=True, slots=True)
class RefundLine:
    """A refund with the fields that a comparison needs. `needs_acknowledgement_since`: when a success was revoked.

    `is_record`: recorded by hand; `succeeded_at` and `failed_at` are then those of the provider's matched refund.
    """

    id: str
    provider_reference: str
    amount: Money
    state: RefundState
    needs_acknowledgement_since: datetime | None = None
    is_unadopted: bool = False
    is_record: bool = False
    succeeded_at: datetime | None = None
    failed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PaymentLine:
    """A provider's payment with the few fields that a comparison of a million of them needs."""

    id: int
    invoice: str
    reference: str
    captured: Money
    paid_on: date | None
    refunds: tuple[RefundLine, ...] = ()


@dataclass(frozen=True, slots=True)
class SucceededRefund:
    """A succeeded refund with the fields to find it in a report. `payment`: the payment's reference there."""

    id: str
    provider_reference: str
    amount: Money
    invoice: str
    payment: str


@dataclass(frozen=True, slots=True)
class Capture:
    """The last reported state of one capture of a payment."""

    change: CaptureChange
    amount: Money
    at: datetime
