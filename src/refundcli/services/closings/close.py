"""Void an unpaid invoice or write it off as uncollectible. No money moves (R9).

If a provider has the invoice too, it is closed there first, by the same protocol as a refund: stored with its key, sent
once, and closed here only after the provider has confirmed it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from refundcli.domain.closing import CLOSING_PREFIX, Closing
from refundcli.domain.eligibility import uncollectible_blockers, void_blockers
from refundcli.domain.errors import Refused, before_sending
from refundcli.domain.identifiers import new_id
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Sending
from refundcli.domain.refusals import RuleRefusal, most_important
from refundcli.domain.statuses import ClosingState, InvoiceStatus, Provider
from refundcli.services.dispatch.idempotency_keys import idempotency_key
from refundcli.services.dispatch.leases import new_lease
from refundcli.services.dispatch.send_closing import send_closing, settle_closing
from refundcli.services.dispatch.send_refund import SendingPolicy
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.providers import InvoiceCloser, Providers
from refundcli.services.preflight.closing import ask
from refundcli.system.interrupts import Interrupted

_BLOCKERS: dict[InvoiceStatus, Callable[[Invoice], Iterator[RuleRefusal]]] = {
    InvoiceStatus.VOID: void_blockers,
    InvoiceStatus.UNCOLLECTIBLE: uncollectible_blockers,
}


@dataclass(frozen=True, slots=True)
class ClosingRequest:
    """What the operator requested; `target` is the invoice's new status."""

    number: str
    target: InvoiceStatus
    memo: str
    operator: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The outcome. No `closing` if no provider was asked; `found_closed`: the provider that had closed it already."""

    invoice: Invoice
    closing: Closing | None = None
    found_closed: Provider | None = None


@dataclass(frozen=True, slots=True)
class ClosingPreview:
    """What closing the invoice would do. `at_provider`: its status at the provider, if one has it."""

    invoice: Invoice
    target: InvoiceStatus
    at_provider: InvoiceStatus | None = None

    @property
    def asks(self) -> Provider | None:
        """The provider that would be asked to close it; None if no provider has it, or it is closed there already."""
        return None if self.at_provider is self.target else self.invoice.managed_by


class OtherReference(Refused):
    """The invoice's id at the provider changed after it was checked; nothing was sent."""

    code = "other-reference"

    def __init__(self, invoice: Invoice) -> None:
        super().__init__(
            (f"{invoice.number} was imported again in the meantime, with a different provider ID. Nothing was done."),
            hint=f"refundcli invoice show {invoice.number}   then repeat the command",
            context={"invoice": invoice.number},
        )


def check_closing(reading: Reading, invoice_number: str, target_status: InvoiceStatus) -> Invoice:
    """The invoice, if it may be voided or written off. Raises the first refusal (R9, R10)."""
    invoice = invoice_named(reading, invoice_number)
    refusal = why_not_closed(invoice, target_status)
    if refusal:
        raise refusal
    return invoice


def why_not_closed(invoice: Invoice, target_status: InvoiceStatus) -> RuleRefusal | None:
    return most_important(_BLOCKERS[target_status](invoice))


def preview_closing(
    invoice_number: str, target_status: InvoiceStatus, *, books: Books, providers: Providers
) -> ClosingPreview:
    """Check every rule, ask the provider that has the invoice, change nothing. Raises what `close_invoice` raises."""
    invoice = books.read(lambda tx: check_closing(tx, invoice_number, target_status))
    if invoice.managed_by is None:
        return ClosingPreview(invoice, target_status)
    return ClosingPreview(invoice, target_status, ask(invoice, target_status, providers.records(invoice.managed_by)))


def close_invoice(
    request: ClosingRequest, *, books: Books, providers: Providers, clock: Clock, policy: SendingPolicy
) -> Closed:
    """Void an invoice or write it off; the rules are checked in the transaction that does it.

    Raises the first refusal, DiffersFromProvider, and SettingsProblem if the provider cannot be asked.
    """
    invoice = books.read(lambda tx: check_closing(tx, request.number, request.target))
    if invoice.managed_by is None:
        return Closed(books.write(partial(_close_here, request, invoice)))
    # Credentials and accounts are looked up before the transaction, because nothing inside it may wait for a network.
    with before_sending():
        closer = providers.closer(invoice.managed_by)
        provider_status = ask(invoice, request.target, providers.records(invoice.managed_by))
    if provider_status is request.target:
        closed_invoice = books.write(partial(_close_here, request, invoice))
        return Closed(closed_invoice, found_closed=invoice.managed_by)
    closing = books.write(partial(_reserve_closing, request, invoice, closer=closer, clock=clock, policy=policy))
    try:
        closing = send_closing(closing, books=books, closer=closer, clock=clock, policy=policy)
    except (KeyboardInterrupt, Interrupted):
        books.write(partial(_drop_unsent_closing, closing))
        raise
    return Closed(books.read(lambda tx: invoice_named(tx, request.number)), closing)


def _close_here(request: ClosingRequest, checked_invoice: Invoice, tx: Writing) -> Invoice:
    """Close it in the books only: no provider has it, or the provider has closed it already."""
    invoice = _recheck(tx, request, checked_invoice)
    evidence = f"already in this status at {invoice.managed_by.label}" if invoice.managed_by else ""
    tx.invoices.change_status(invoice, request.target, memo=request.memo, evidence=evidence)
    return invoice_named(tx, request.number)


def _reserve_closing(
    request: ClosingRequest,
    checked_invoice: Invoice,
    tx: Writing,
    *,
    closer: InvoiceCloser,
    clock: Clock,
    policy: SendingPolicy,
) -> Closing:
    """T1: check the rules again and store the exact request with its key, before anything is sent (I2)."""
    invoice, now = _recheck(tx, request, checked_invoice), clock.now()
    lease = new_lease(now, policy.sending_seconds)
    attempt = 1 + sum(closing.target is request.target for closing in invoice.closings)
    # The key includes the number, because two invoices may share a reference by mistake.
    closing_key = idempotency_key(
        tx.store.secret(), f"{request.target} {invoice.number}", invoice.invoice_reference, attempt
    )
    provider_request = closer.prepare(invoice.invoice_reference, request.target)
    closing = Closing(
        id=new_id(CLOSING_PREFIX, now),
        invoice_id=invoice.id,
        invoice_number=invoice.number,
        target=request.target,
        state=ClosingState.READY,
        created_at=now,
        operator=request.operator,
        # Leased from the start, so that no other process takes it for an abandoned closing.
        sending=Sending(closing_key, provider_request, lease_owner=lease.owner, lease_until=lease.until),
        memo=request.memo,
    )
    tx.closings.add(closing)
    return closing


def _recheck(tx: Writing, request: ClosingRequest, checked_invoice: Invoice) -> Invoice:
    """Check the rules again. `checked_invoice`: as it was when it was first checked. Raises OtherReference."""
    invoice = check_closing(tx, request.number, request.target)
    if invoice.invoice_reference != checked_invoice.invoice_reference:
        raise OtherReference(invoice)
    return invoice


def _drop_unsent_closing(closing: Closing, tx: Writing) -> None:
    """The operator interrupted: a closing that was not sent fails."""
    stored_closing = tx.closings.get(closing.id)
    if stored_closing and stored_closing.state is ClosingState.READY:
        settle_closing(tx, stored_closing, ClosingState.FAILED, failure="never sent: interrupted")
