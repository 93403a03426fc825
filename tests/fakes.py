"""Fakes of every port the rules of a refund need: books, providers and a clock, in memory.

The sums of a payment are computed anew from its refunds and disputes after each change, so the fake is also a second
opinion on the store's guarded statements. A transaction works on a copy, which becomes the books only if it ends well.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from refundcli.domain.closing import Closing
from refundcli.domain.currencies import currency
from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState, most_severe
from refundcli.domain.identifiers import new_id
from refundcli.domain.invoice import Invoice, Payment, status_after
from refundcli.domain.money import Money, parse_amount, zero
from refundcli.domain.refund import CreditNote, Refund, WireRequest
from refundcli.domain.statuses import (
    ClosingState,
    CreditNoteStatus,
    InvoiceStatus,
    Provider,
    RefundKind,
    RefundState,
    may_become,
)
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.ports.books import Books
from refundcli.services.ports.provider_updates import PaymentSnapshot, RefundUpdate
from refundcli.services.ports.providers import (
    ClosingAnswer,
    MaySend,
    ProviderInvoice,
    Providers,
    RefundAnswer,
    RefundOrder,
)
from refundcli.services.ports.records import NewInvoice, Record, Settlement

T = TypeVar("T")
START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


def money(text: str) -> Money:
    """`12.50 EUR`."""
    number, code = text.split()
    return parse_amount(number, currency(code), allow_zero=True)


@dataclass
class FakeClock:
    """Stands still until it is told to go on."""

    at: datetime = START

    def now(self) -> datetime:
        return self.at

    def today(self) -> date:
        return self.at.date()

    def advance(self, **delta: float) -> None:
        self.at += timedelta(**delta)


# --- the books -------------------------------------------------------------------------------------------------------


@dataclass
class Facts:
    """What the books hold: the invoices with all that belongs to them, credit-note numbers and the audit trail."""

    invoices: dict[str, Invoice] = field(default_factory=dict)
    numbered: int = 0
    audit: list[tuple[str, str]] = field(default_factory=list)
    livemode: bool | None = None

    def copy(self) -> "Facts":
        return Facts(dict(self.invoices), self.numbered, list(self.audit), self.livemode)

    def invoice_of(self, of: "Refund | Closing") -> Invoice:
        return self.invoices[of.invoice_number]

    def put(self, invoice: Invoice) -> None:
        """Store it with the sums and the status that follow from its refunds and disputes (R6)."""
        invoice = replace(invoice, payments=tuple(_with_sums(payment, invoice) for payment in invoice.payments))
        status = status_after(invoice.status, paid=invoice.paid, returned=invoice.refunded)
        if status is not invoice.status:
            self.audit.append((f"invoice {status}", invoice.number))
        self.invoices[invoice.number] = replace(invoice, status=status)

    def put_refund(self, refund: Refund, *, action: str = "") -> Refund:
        invoice = self.invoice_of(refund)
        others = tuple(other for other in invoice.refunds if other.id != refund.id)
        self.put(replace(invoice, refunds=(*others, refund)))
        if action:
            self.audit.append((action, refund.id))
        return refund


def _with_sums(payment: Payment, invoice: Invoice) -> Payment:
    own = [refund for refund in invoice.refunds if refund.payment_id == payment.id and not refund.is_external]
    external = [refund for refund in invoice.refunds if refund.payment_id == payment.id and refund.is_external]
    lost = [dispute for dispute in payment.disputes if dispute.state is DisputeState.LOST]
    recorded = [refund for refund in own if refund.stands_for_dispute]
    return replace(
        payment,
        reserved=_total(invoice, (refund for refund in own if refund.holds_reservation)),
        refunded=_total(invoice, (refund for refund in own if refund.state.counts_as_refunded)),
        refunded_externally=(payment.opening_returned or zero(invoice.currency))
        + _total(invoice, (refund for refund in external if refund.state.is_accepted)),
        dispute=most_severe(payment.disputes),
        lost=max(
            sum((dispute.amount or payment.allocated for dispute in lost), zero(invoice.currency))
            - _total(invoice, recorded),
            zero(invoice.currency),
        ),
        dispute_recorded=_total(invoice, recorded),
    )


def _total(invoice: Invoice, refunds: "Iterator[Refund] | Sequence[Refund]") -> Money:
    return sum((refund.counted for refund in refunds), zero(invoice.currency))


@dataclass
class FakeInvoices:
    facts: Facts

    def get(self, number: str) -> Invoice | None:
        return self.facts.invoices.get(number)

    def by_number(self, numbers: Sequence[str]) -> dict[str, Invoice]:
        return {number: self.facts.invoices[number] for number in numbers if number in self.facts.invoices}

    def numbers_near(self, number: str) -> list[str]:
        return [known for known in self.facts.invoices if known[:3] == number[:3]]

    def change_status(self, invoice: Invoice, status: InvoiceStatus, *, memo: str, evidence: str = "") -> None:
        self.facts.put(replace(self.facts.invoices[invoice.number], status=status))
        self.facts.audit.append((f"invoice {status}", invoice.number))


@dataclass
class FakePayments:
    facts: Facts

    def known_as(self, provider: Provider, references: Sequence[str]) -> dict[str, tuple[str, int]]:
        return {
            reference: (invoice.number, payment.id)
            for invoice in self.facts.invoices.values()
            for payment in invoice.payments
            for reference in references
            if payment.provider is provider and reference in payment.references
        }

    def reserve(self, payment: Payment, amount: Money) -> bool:
        """The amount is reserved by the refund that is added next; here it is only compared (I1)."""
        stored = next(
            stored for invoice in self.facts.invoices.values() for stored in invoice.payments if stored.id == payment.id
        )
        return amount <= stored.refundable

    def note_unsupported(self, payment: Payment, reason: str) -> None:
        for invoice in list(self.facts.invoices.values()):
            payments = tuple(
                replace(stored, unsupported=reason) if stored.id == payment.id else stored
                for stored in invoice.payments
            )
            self.facts.put(replace(invoice, payments=payments))


@dataclass
class FakeRefunds:
    facts: Facts

    def _all(self) -> Iterator[Refund]:
        for invoice in self.facts.invoices.values():
            yield from invoice.refunds

    def get(self, refund_id: str) -> Refund | None:
        return next((refund for refund in self._all() if refund.id == refund_id), None)

    def by_id(self, refund_ids: Sequence[str]) -> dict[str, Refund]:
        return {refund.id: refund for refund in self._all() if refund.id in refund_ids}

    def by_key(self, request_key: str) -> list[Refund]:
        return [refund for refund in self._all() if refund.request_key == request_key]

    def in_states(self, *states: RefundState) -> list[Refund]:
        return [refund for refund in self._all() if refund.state in states]

    def to_acknowledge(self) -> list[Refund]:
        return [refund for refund in self._all() if refund.needs_acknowledgement]

    def add(self, refund: Refund) -> None:
        note = _note(refund, CreditNoteStatus.DRAFT)
        self.facts.put_refund(replace(refund, credit_note=note), action=f"refund {refund.state}")

    def claim(self, refund: Refund, *, owner: str, until: datetime, at: datetime) -> Refund | None:
        stored = self._as_it_was(refund)
        if stored is None or stored.sending is None:
            return None
        sending = replace(
            stored.sending,
            fence=stored.sending.fence + 1,
            lease_owner=owner,
            lease_until=until,
            first_sent_at=stored.sending.first_sent_at or at,
        )
        claimed = replace(stored, state=RefundState.SUBMITTED, sending=sending)
        return self.facts.put_refund(claimed, action="refund submitted")

    def release_lease(self, refund: Refund) -> None:
        stored = self._as_it_was(refund)
        if stored and stored.sending:
            sending = replace(stored.sending, lease_owner="", lease_until=None)
            self.facts.put_refund(replace(stored, sending=sending), action="refund outcome not known")

    def settle(self, refund: Refund, settlement: Settlement) -> Refund | None:
        stored = self._as_it_was(refund)
        if stored is None or not may_become(stored.state, settlement.state):
            return None
        is_failed = settlement.state is RefundState.FAILED
        needs_acknowledgement = stored.needs_acknowledgement_as(settlement.state)
        return self.facts.put_refund(
            replace(
                stored,
                state=settlement.state,
                provider_reference=settlement.reference or stored.provider_reference,
                provider_status=settlement.status,
                failure=settlement.failure,
                failure_code=settlement.failure_code,
                sending=stored.sending and replace(stored.sending, lease_owner="", lease_until=None),
                holding=is_failed and (stored.state is RefundState.SUCCEEDED or settlement.may_be_retried),
                hold_until=settlement.hold_until if is_failed and stored.state is not RefundState.SUCCEEDED else None,
                needs_acknowledgement_since=START if needs_acknowledgement else stored.needs_acknowledgement_since,
            ),
            action=f"refund {settlement.state}",
        )

    def release_lapsed_holds(self, invoice: Invoice) -> bool:
        return False

    def acknowledge(self, refund: Refund, *, memo: str) -> Refund:
        acknowledged = replace(refund, acknowledged_at=START, holding=False, hold_until=None)
        return self.facts.put_refund(acknowledged, action="refund acknowledged")

    def _as_it_was(self, refund: Refund) -> Refund | None:
        """The stored refund, if its state and fence are still those of `refund`."""
        stored = self.get(refund.id)
        return stored if stored and _fence(stored) == _fence(refund) else None


def _fence(refund: Refund) -> tuple[RefundState, int]:
    return refund.state, refund.sending.fence if refund.sending else 0


def _note(refund: Refund, status: CreditNoteStatus) -> CreditNote:
    assert refund.reason
    return CreditNote(
        id=f"cn_of_{refund.id}",
        refund_id=refund.id,
        invoice_number=refund.invoice_number,
        customer="",
        status=status,
        amount=refund.amount,
        reason=refund.reason,
        memo=refund.memo,
    )


@dataclass
class FakeCreditNotes:
    facts: Facts

    def issue(self, refund: Refund, *, at: datetime, on: date, credit_note_format: str) -> None:
        note = refund.credit_note
        if note is None or note.status is not CreditNoteStatus.DRAFT:
            return
        self.facts.numbered += 1
        number = credit_note_format.format(year=on.year, seq=self.facts.numbered)
        issued = replace(note, status=CreditNoteStatus.ISSUED, number=number, issued_on=on, issued_at=at)
        self.facts.put_refund(replace(refund, credit_note=issued), action="credit note issued")

    def void(self, refund: Refund, *, at: datetime) -> None:
        if refund.credit_note and refund.credit_note.status is not CreditNoteStatus.VOID:
            note = replace(refund.credit_note, status=CreditNoteStatus.VOID, voided_at=at)
            self.facts.put_refund(replace(refund, credit_note=note), action="credit note void")

    def number_format(self) -> str:
        return ""


@dataclass
class FakeRecords:
    facts: Facts

    def add(self, records: Sequence[Record], *, on: date, credit_note_format: str) -> None:
        for record in records:
            self.facts.numbered += 1
            number = credit_note_format.format(year=on.year, seq=self.facts.numbered)
            note = replace(_note(record.refund, CreditNoteStatus.ISSUED), number=number, issued_on=on)
            self.facts.put_refund(replace(record.refund, credit_note=note), action="refund recorded")


@dataclass
class FakeClosings:
    facts: Facts

    def get(self, closing_id: str) -> Closing | None:
        return next(
            (
                closing
                for invoice in self.facts.invoices.values()
                for closing in invoice.closings
                if closing.id == closing_id
            ),
            None,
        )

    def in_states(self, *states: ClosingState) -> list[Closing]:
        return [
            closing
            for invoice in self.facts.invoices.values()
            for closing in invoice.closings
            if closing.state in states
        ]

    def add(self, closing: Closing) -> None:
        self._put(closing, f"closing {closing.state}")

    def claim(self, closing: Closing, *, owner: str, until: datetime, at: datetime) -> Closing | None:
        stored = self.get(closing.id)
        if stored is None or (stored.state, stored.sending.fence) != (closing.state, closing.sending.fence):
            return None
        sending = replace(
            stored.sending,
            fence=stored.sending.fence + 1,
            lease_owner=owner,
            lease_until=until,
            first_sent_at=stored.sending.first_sent_at or at,
        )
        return self._put(replace(stored, state=ClosingState.SUBMITTED, sending=sending), "closing submitted")

    def release_lease(self, closing: Closing) -> None:
        sending = replace(closing.sending, lease_owner="", lease_until=None)
        self._put(replace(closing, sending=sending), "closing outcome not known")

    def settle(self, closing: Closing, state: ClosingState, *, failure: str, evidence: str) -> Closing | None:
        if not closing.state.unfinished:
            return None
        return self._put(replace(closing, state=state, failure=failure), f"closing {state}")

    def _put(self, closing: Closing, action: str) -> Closing:
        invoice = self.facts.invoice_of(closing)
        others = tuple(other for other in invoice.closings if other.id != closing.id)
        self.facts.put(replace(invoice, closings=(*others, closing)))
        self.facts.audit.append((action, closing.id))
        return closing


@dataclass
class FakeTransaction:
    """The repositories of one transaction; `store` knows the secret that keys are made from."""

    facts: Facts

    def __post_init__(self) -> None:
        self.invoices, self.payments = FakeInvoices(self.facts), FakePayments(self.facts)
        self.refunds, self.closings = FakeRefunds(self.facts), FakeClosings(self.facts)
        self.credit_notes, self.records = FakeCreditNotes(self.facts), FakeRecords(self.facts)
        self.store = SimpleNamespace(secret=lambda: b"a secret", livemode=lambda: self.facts.livemode)
        self.audit = SimpleNamespace(
            check_clock=lambda: None,
            newest_entry=lambda: len(self.facts.audit),
            changed_since=lambda entry, apart_from: len(self.facts.audit) > entry,
        )


@dataclass
class FakeBooks:
    """Books in memory. `before_write` is called before each write: there another process may come in between."""

    facts: Facts = field(default_factory=Facts)
    reads: int = 0
    writes: int = 0
    before_write: Callable[[int], None] = field(default=lambda number: None)

    def read(self, work: Callable[[Any], T]) -> T:
        self.reads += 1
        return work(FakeTransaction(self.facts))

    def write(self, work: Callable[[Any], T]) -> T:
        self.writes += 1
        self.before_write(self.writes)
        changed = self.facts.copy()
        result = work(FakeTransaction(changed))
        self.facts.__dict__.update(changed.__dict__)
        return result

    @property
    def port(self) -> Books:
        """Typed as the port: the fake leaves out what the rules do not use."""
        return cast(Books, self)

    def invoice(self, number: str = "INV-1") -> Invoice:
        return self.facts.invoices[number]

    def refund(self, number: str = "INV-1") -> Refund:
        """The newest refund of the invoice."""
        return self.invoice(number).refunds[-1]

    def change(self, number: str = "INV-1", **payment_fields: Any) -> None:
        """Change its first payment, as an import or an event would."""
        invoice = self.invoice(number)
        self.facts.put(
            replace(invoice, payments=(replace(invoice.payments[0], **payment_fields), *invoice.payments[1:]))
        )


def paid_invoice(number: str = "INV-1", total: str = "100.00 EUR", **fields: Any) -> Invoice:
    """A paid invoice with one Stripe payment of its total; `fields` of the invoice, `payment` for its payment."""
    payments = fields.pop("payments", None) or (payment(total, **fields.pop("payment", {})),)
    return Invoice(
        id=fields.pop("id", 1),
        number=number,
        customer="cus_1",
        customer_name="Ada",
        total=money(total),
        status=fields.pop("status", InvoiceStatus.PAID),
        issued_on=date(2026, 10, 1),
        payments=payments,
        **fields,
    )


def payment(amount: str = "100.00 EUR", **fields: Any) -> Payment:
    allocated = money(amount)
    nothing = zero(allocated.currency)
    of_provider = {"provider": Provider.STRIPE, "references": ("pi_1",), "method": "card", "auto_refundable": True}
    values: dict[str, Any] = {"id": 1, "allocated": allocated, **of_provider, **fields}
    sums = dict.fromkeys(("reserved", "refunded", "refunded_externally", "lost", "credited"), nothing)
    return Payment(**{**sums, **values})


def dispute(state: DisputeState, amount: str | None = None, **fields: Any) -> DisputeRecord:
    values: dict[str, Any] = {
        "id": 1,
        "payment_id": 1,
        "provider": Provider.STRIPE,
        "account": "acct_1",
        "reference": "dp_1",
        "stage": DisputeStage.CHARGEBACK,
        "status": str(state),
        "reported_at": START,
    }
    return DisputeRecord(state=state, amount=money(amount) if amount else None, **{**values, **fields})


# --- providers -------------------------------------------------------------------------------------------------------


def accepted(state: RefundState = RefundState.SUCCEEDED, reference: str = "re_1") -> RefundAnswer:
    return RefundAnswer(Signal.ACCEPTED, state=state, reference=reference, status=str(state))


@dataclass
class FakeProvider:
    """A provider that answers from a list, the last answer again and again, and keeps what it was sent.

    `listed`: the refunds that a look-up finds, by our refund id. An answer that accepts is listed.
    `captured_of`: by payment, where it is not `captured`. `snapshot_fields` overrule what a snapshot says.
    """

    name: Provider = Provider.STRIPE
    answers: list[RefundAnswer] = field(default_factory=lambda: [accepted()])
    closing_answers: list[ClosingAnswer] = field(
        default_factory=lambda: [ClosingAnswer(Signal.ACCEPTED, state=ClosingState.DONE)]
    )
    listed: dict[str, RefundUpdate] = field(default_factory=dict)
    sent: list[tuple[WireRequest, str]] = field(default_factory=list)
    before_first_byte: Callable[[], None] = field(default=lambda: None)
    snapshot_fields: dict[str, Any] = field(default_factory=dict)
    captured: Money = field(default_factory=lambda: money("100.00 EUR"))
    captured_of: dict[str, Money] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)
    invoice_status: InvoiceStatus = InvoiceStatus.OPEN
    livemode: bool = False
    account: str = "acct_1"
    base_url: str = "http://127.0.0.1:1"

    def prepare(self, order: RefundOrder) -> WireRequest:
        params = {
            "amount": order.amount.minor,
            "payment_intent": order.payment_reference,
            "metadata": {"refund": order.refund_id},
        }
        return WireRequest(self.name, f"{self.base_url}/v1/refunds", self.account, self.livemode, "v1", params)

    def refund(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> RefundAnswer:
        self.before_first_byte()
        if not may_send():
            return RefundAnswer(Signal.NOT_SENT, message="not sent: the lease had ended")
        self.sent.append((request, idempotency_key))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.signal == Signal.ACCEPTED:
            self.list(request, answer)
        return answer

    def list(self, request: WireRequest, answer: RefundAnswer) -> None:
        """Keep the refund, so that a look-up finds it."""
        metadata = cast(Mapping[str, str], request.params["metadata"])
        minor = cast(int, request.params["amount"])
        assert answer.state
        self.listed[metadata["refund"]] = RefundUpdate(
            self.name,
            answer.reference,
            (cast(str, request.params["payment_intent"]),),
            Money(minor, self.captured.currency),
            answer.state,
            answer.status,
            self.account,
            refund_id=metadata["refund"],
            created_at=self.clock.now(),
        )

    def find_refund(self, request: WireRequest, refund_id: str) -> RefundAnswer | None:
        found = self.listed.get(refund_id)
        return RefundAnswer(Signal.ACCEPTED, found.state, found.reference, found.status) if found else None

    def invoice(self, name: str) -> ProviderInvoice | None:
        new = NewInvoice(0, "INV-1", "cus_1", "EUR", self.captured.minor, self.invoice_status, START.date())
        return ProviderInvoice(name, new, (), zero(self.captured.currency))

    def ended_approval(self, request: WireRequest, status: str) -> RefundAnswer | None:
        return None

    def payment(self, reference: str, *, of_invoice: str = "") -> PaymentSnapshot | None:
        refunds = tuple(refund for refund in self.listed.values() if reference in refund.payment_references)
        refunded = sum((refund.amount for refund in refunds), zero(self.captured.currency))
        values: dict[str, Any] = {"processing": False, "disputes": (), "refunds": refunds, "refunded": refunded}
        values |= {"captured": self.captured_of.get(reference, self.captured), "asked_at": self.clock.now()}
        return PaymentSnapshot(self.name, (reference,), **{**values, **self.snapshot_fields})


@dataclass
class FakeProviders:
    """Connects fakes instead of accounts."""

    stripe: FakeProvider = field(default_factory=FakeProvider)
    adyen: FakeProvider = field(default_factory=lambda: FakeProvider(Provider.ADYEN))

    def of(self, provider: Provider) -> FakeProvider:
        return self.stripe if provider is Provider.STRIPE else self.adyen

    def records(self, provider: Provider) -> FakeProvider:
        return self.of(provider)

    def closer(self, provider: Provider) -> "FakeCloser":
        return FakeCloser(self.of(provider))

    def pace(self, provider: Provider) -> Any:
        return SimpleNamespace(pause_left=0.0, time_for=lambda requests: 0.0)

    @property
    def port(self) -> Providers:
        return cast(Providers, self)


@dataclass
class FakeCloser:
    """Closes invoices at the fake provider."""

    provider: FakeProvider

    @property
    def name(self) -> Provider:
        return self.provider.name

    def prepare(self, reference: str, status: InvoiceStatus) -> WireRequest:
        endpoint = f"{self.provider.base_url}/v1/invoices/{reference}/{status}"
        return WireRequest(self.name, endpoint, self.provider.account, self.provider.livemode, "v1", {})

    def close(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> ClosingAnswer:
        self.provider.before_first_byte()
        if not may_send():
            return ClosingAnswer(Signal.NOT_SENT, message="not sent: the lease had ended")
        self.provider.sent.append((request, idempotency_key))
        answers = self.provider.closing_answers
        return answers.pop(0) if len(answers) > 1 else answers[0]


def external_refund(invoice: Invoice, amount: str, **fields: Any) -> Refund:
    """A refund that the provider reported and refundcli did not send."""
    values: dict[str, Any] = {
        "id": new_id("rf_", START),
        "invoice_id": invoice.id,
        "invoice_number": invoice.number,
        "payment_id": invoice.payments[0].id,
        "kind": RefundKind.EXTERNAL,
        "amount": money(amount),
        "reason": None,
        "state": RefundState.SUCCEEDED,
        "request_key": "elsewhere:re_dashboard",
        "content": "",
        "created_at": START,
        "operator": "",
        "provider_reference": "re_dashboard",
        "seen_at": Provider.STRIPE,
    }
    return Refund(**{**values, **fields})
