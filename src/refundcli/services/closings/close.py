"""Void an unpaid invoice or write it off as uncollectible. No money moves (R9).

If a provider has the invoice too, it is closed there first, by the same protocol as a refund: stored with its key, sent
once, and closed here only after the provider has confirmed it.
"""

from dataclasses import dataclass
from functools import partial

from refundcli.domain.closing import CLOSING_PREFIX, Closing
from refundcli.domain.errors import Refused, before_sending
from refundcli.domain.identifiers import new_id
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money
from refundcli.domain.refund import Sending
from refundcli.domain.statuses import ClosingState, InvoiceStatus, Provider
from refundcli.services.dispatch.idempotency_keys import idempotency_key
from refundcli.services.dispatch.leases import new_lease
from refundcli.services.dispatch.release_lapsed import apply_due_updates_in
from refundcli.services.dispatch.send_closing import ClosingDispatch, InvoiceSnapshot
from refundcli.services.invoices.lookup import invoice_behind, invoice_named
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.providers import InvoiceCloser, ProviderInvoice, Providers
from refundcli.services.preflight.closing import ask, why_not_closed


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
    """What closing the invoice would do. `at_provider` and `owed_at_provider`: its status and what is unpaid there."""

    invoice: Invoice
    target: InvoiceStatus
    at_provider: InvoiceStatus | None = None
    owed_at_provider: Money | None = None

    @property
    def asks(self) -> Provider | None:
        """The provider that would be asked to close it; None if no provider has it, or it is closed there already."""
        return None if self.at_provider is self.target else self.invoice.managed_by


class OtherReference(Refused):
    """The invoice's id at the provider changed after it was checked; nothing was sent."""

    code = "other-reference"

    def __init__(self, invoice: Invoice) -> None:
        super().__init__(
            f"{invoice.number} was imported again in the meantime, with a different provider ID. Nothing was done.",
            hint=f"refundcli invoice show {invoice.number}   then repeat the command",
            context={"invoice": invoice.number},
        )


def check_closing(reading: Reading, invoice_number: str, target_status: InvoiceStatus) -> Invoice:
    """The invoice, if it may be voided or written off. Raises the first refusal (R9, R10)."""
    invoice = invoice_behind(reading, invoice_number)
    refusal = why_not_closed(invoice, target_status)
    if refusal:
        raise refusal
    return invoice


@dataclass(frozen=True, slots=True)
class CloseInvoices:
    """Voids and writes off, here and at the provider that has the invoice."""

    books: Books
    providers: Providers
    dispatch: ClosingDispatch

    def check(self, invoice_number: str, target: InvoiceStatus) -> Invoice:
        """By the books alone. Raises the first refusal."""
        return self.books.read(lambda tx: check_closing(tx, invoice_number, target))

    def preview(self, invoice: Invoice, target: InvoiceStatus) -> ClosingPreview:
        """Ask the provider that has the checked invoice, change nothing. Raises what `close` raises."""
        provider_invoice = self._ask(invoice, target)
        if provider_invoice is None:
            return ClosingPreview(invoice, target)
        return ClosingPreview(invoice, target, provider_invoice.invoice.status, provider_invoice.owed)

    def _ask(self, invoice: Invoice, target: InvoiceStatus) -> ProviderInvoice | None:
        if invoice.managed_by is None:
            return None
        return ask(invoice, target, self.providers.records(invoice.managed_by))

    def close(self, request: ClosingRequest) -> Closed:
        """Void an invoice or write it off; the rules are checked in the transaction that does it.

        Raises the first refusal, DiffersFromProvider, and SettingsProblem if the provider cannot be asked.
        """
        invoice = self.check(request.number, request.target)
        # Credentials and accounts are looked up before the transaction: nothing inside it may wait for a network.
        with before_sending():
            closer = self.providers.closer(invoice.managed_by) if invoice.managed_by else None
            asked_at = self.dispatch.clock.now()
            provider_invoice = self._ask(invoice, request.target)
        is_closed_there = provider_invoice is not None and provider_invoice.invoice.status is request.target
        if closer is None or is_closed_there:
            closed_invoice = self.books.write(partial(self._close_here, request, invoice))
            return Closed(closed_invoice, found_closed=invoice.managed_by)
        snapshot = InvoiceSnapshot(provider_invoice, asked_at)
        (closing,) = self.dispatch.reserve_and_send(
            partial(self._reserve, request, invoice, closer), lambda closing: snapshot
        )
        return Closed(self.books.read(lambda tx: invoice_named(tx, request.number)), closing)

    def _close_here(self, request: ClosingRequest, checked_invoice: Invoice, tx: Writing) -> Invoice:
        """Close it in the books only: no provider has it, or the provider has closed it already."""
        invoice = self._checked_again(tx, request, checked_invoice)
        evidence = f"already in this status at {invoice.managed_by.label}" if invoice.managed_by else ""
        tx.invoices.change_status(invoice, request.target, memo=request.memo, evidence=evidence)
        return invoice_named(tx, request.number)

    def _reserve(
        self, request: ClosingRequest, checked_invoice: Invoice, closer: InvoiceCloser, tx: Writing
    ) -> list[Closing]:
        """T1: check the rules again and store the exact request with its key, before anything is sent (I2)."""
        invoice, now = self._checked_again(tx, request, checked_invoice), self.dispatch.clock.now()
        lease = new_lease(now, self.dispatch.policy.sending_seconds)
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
        return [closing]

    def _checked_again(self, tx: Writing, request: ClosingRequest, checked_invoice: Invoice) -> Invoice:
        """Apply what is stored about it and check the rules again. Raises OtherReference.

        `checked_invoice`: as it was when it was first checked.
        """
        apply_due_updates_in(tx, request.number, policy=self.dispatch.policy, clock=self.dispatch.clock)
        invoice = check_closing(tx, request.number, request.target)
        if invoice.invoice_reference != checked_invoice.invoice_reference:
            raise OtherReference(invoice)
        return invoice
