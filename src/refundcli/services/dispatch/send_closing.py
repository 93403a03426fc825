"""What the protocol does for a void or write-off: look-ups, rules, request and settlement."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from refundcli.domain.closing import Closing
from refundcli.domain.errors import NotFound, NotUsable, RefundcliError
from refundcli.domain.statuses import ClosingState, InvoiceStatus, Provider, RefundState
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.protocol import CannotBeChecked, Dispatch, Repository
from refundcli.services.dispatch.settling import settle_closing
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Reading, Writing
from refundcli.services.ports.providers import ClosingAnswer, InvoiceCloser, MaySend, ProviderInvoice
from refundcli.services.preflight.closing import why_not, why_not_closed

# The final statuses of an invoice at the provider.
_FOR_GOOD = frozenset({InvoiceStatus.PAID, InvoiceStatus.VOID})


class ClosingNotFound(NotFound):
    code = "closing-not-found"

    def __init__(self, closing_id: str) -> None:
        super().__init__(
            f"There is no void or write-off {ascii(closing_id[:80])[1:-1]}.",
            hint="refundcli resume --all   settles everything that is not finished",
        )


@dataclass(frozen=True, slots=True)
class InvoiceSnapshot:
    """An invoice as its provider had it at `taken_at`; None if the provider has no such invoice."""

    invoice: ProviderInvoice | None
    taken_at: datetime


@dataclass(frozen=True)
class ClosingDispatch(Dispatch[Closing, ClosingAnswer, InvoiceSnapshot]):
    """Voids and writes off invoices at a provider, which can always be asked about them (R9)."""

    open_states = (ClosingState.READY, ClosingState.SUBMITTED)
    answer_type = ClosingAnswer
    not_found = ClosingNotFound

    def repository(self, tx: Any) -> Repository[Closing]:
        closings: Repository[Closing] = tx.closings
        return closings

    def connection(self, provider: Provider) -> InvoiceCloser:
        return self.providers.closer(provider)

    def look(self, closing: Closing) -> InvoiceSnapshot:
        try:
            return self._snapshot(closing)
        except RefundcliError as error:
            raise CannotBeChecked(closing, error) from error

    def _snapshot(self, closing: Closing) -> InvoiceSnapshot:
        taken_at = self.clock.now()
        return InvoiceSnapshot(self.providers.records(closing.provider).invoice(closing.reference), taken_at)

    def is_listed(self, closing: Closing, snapshot: InvoiceSnapshot | None) -> bool:
        provider_invoice = snapshot.invoice if snapshot else None
        return provider_invoice is not None and provider_invoice.invoice.status is closing.target

    def _proof(self, closing: Closing, state: ClosingState, message: str = "") -> ClosingAnswer:
        return ClosingAnswer(Signal.ACCEPTED, message, state=state, evidence=f"asked {closing.provider.label}")

    def why_not_sent(self, reading: Reading, closing: Closing, snapshot: InvoiceSnapshot | None) -> str:
        """By the rules and the snapshot, as if this closing did not exist."""
        provider_invoice = snapshot.invoice if snapshot else None
        if provider_invoice is None:
            return _how_it_stands(closing, snapshot)
        invoice = replace(invoice_named(reading, closing.invoice_number), closings=())
        refusal = why_not_closed(invoice, closing.target)
        if refusal:
            return refusal.message
        return "; ".join(map(str, why_not(invoice, closing.target, provider_invoice, closing.provider)))

    def request(self, closing: Closing, may_send: MaySend) -> ClosingAnswer:
        sending = closing.sending
        return self.providers.closer(closing.provider).close(sending.request, sending.idempotency_key, may_send)

    def settle(self, tx: Writing, closing: Closing, state: RefundState | ClosingState, answer: ClosingAnswer) -> None:
        settle_closing(tx, closing, ClosingState(state), failure=answer.message, evidence=answer.evidence)

    def with_answer(self, closing: Closing, answer: ClosingAnswer) -> Closing:
        if closing.state.unfinished:
            return replace(closing, failure=closing.failure or answer.message)
        is_failed_by_answer = closing.state is ClosingState.FAILED and closing.failure == answer.message
        return replace(closing, failure_code=answer.signal) if is_failed_by_answer else closing

    # --- resumed ----------------------------------------------------------------------------------------------

    def look_up(self, closing: Closing) -> tuple[ClosingAnswer | None, InvoiceSnapshot | None]:
        try:
            snapshot = self._snapshot(closing)
        except NotUsable as problem:
            return ClosingAnswer(Signal.NO_ANSWER, problem.message), None
        if self.is_listed(closing, snapshot):
            return self._proof(closing, ClosingState.DONE), snapshot
        if snapshot.invoice and snapshot.invoice.invoice.status in _FOR_GOOD:
            # A request that is still in flight cannot change it any more.
            return self._proof(closing, ClosingState.FAILED, _how_it_stands(closing, snapshot)), snapshot
        return None, snapshot

    def forgotten_note(self, closing: Closing, snapshot: InvoiceSnapshot | None) -> str:
        return (
            f"{_how_it_stands(closing, snapshot)}, and the provider no longer remembers this request: nothing will be "
            f"sent again. Next: refundcli resolve {closing.id} …"
        )


def _how_it_stands(closing: Closing, snapshot: InvoiceSnapshot | None) -> str:
    if snapshot is None or snapshot.invoice is None:
        return f"{closing.provider.label} has no invoice {closing.reference}"
    return f"at {closing.provider.label}, the invoice is {snapshot.invoice.invoice.status}"
