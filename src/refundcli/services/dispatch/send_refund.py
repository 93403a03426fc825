"""What the protocol does for a refund: look-ups, rules, request and settlement."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from refundcli.domain.errors import RefundcliError
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import WITHOUT_OUTCOME, ClosingState, Provider, RefundState
from refundcli.services.dispatch import first_send
from refundcli.services.dispatch.first_send import Snapshot, store_unlisted
from refundcli.services.dispatch.operations import sending_of
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.policy import SendingPolicy
from refundcli.services.dispatch.protocol import (
    NO_LONGER_OURS,
    CannotBeChecked,
    Dispatch,
    Repository,
)
from refundcli.services.dispatch.release_lapsed import up_to_date_in
from refundcli.services.dispatch.retries import Again, ask, last_check
from refundcli.services.dispatch.settling import settle_refund
from refundcli.services.invoices.lookup import RefundNotFound, invoice_named
from refundcli.services.ports.books import RefundReading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.providers import MaySend, PaymentProvider, RefundAnswer


@dataclass(frozen=True)
class RefundDispatch(Dispatch[Refund, RefundAnswer, Snapshot]):
    """Sends refunds: with a snapshot of the payment first, where the provider can be asked (R11, R13)."""

    open_states = WITHOUT_OUTCOME
    answer_type = RefundAnswer
    not_found = RefundNotFound

    def repository(self, tx: Any) -> Repository[Refund]:
        refunds: Repository[Refund] = tx.refunds
        return refunds

    def connection(self, provider: Provider) -> PaymentProvider:
        return self.providers.of(provider)

    def _provider(self, refund: Refund) -> PaymentProvider:
        return self.providers.of(sending_of(refund).request.provider)

    def look(self, refund: Refund) -> Snapshot | None:
        """Raises CannotBeChecked, and AlreadyAtProvider where the provider has it, but of another amount."""
        if sending_of(refund).request.provider not in CAN_LOOK_UP:
            return None
        lookup = self.books.read(lambda tx: first_send.lookup_at_provider(tx, refund))
        assert lookup
        try:
            snapshot = first_send.snapshot_of(lookup, providers=self.providers, clock=self.clock)
        except RefundcliError as error:
            raise CannotBeChecked(refund, error) from error
        first_send.check_listed(refund, snapshot)
        return snapshot

    def is_listed(self, refund: Refund, snapshot: Snapshot | None) -> bool:
        return snapshot is not None and snapshot.lists(refund)

    def sent_at(self, refund: Refund, snapshot: Snapshot | None, now: datetime) -> datetime:
        return snapshot.sent_at(refund, now) if snapshot else now

    def why_not_sent(self, reading: RefundReading, refund: Refund, snapshot: Snapshot | None) -> str:
        refusal = first_send.why_not_sent(reading, refund, snapshot)
        return refusal.message if refusal else ""

    def why_not_claimed(self, tx: Writing, refund: Refund, snapshot: Snapshot | None) -> str:
        """Stored updates are applied first, and what the snapshot has of unlisted words is stored (R13)."""
        invoice = up_to_date_in(tx, refund.invoice_number, policy=self.policy, clock=self.clock)
        if store_unlisted(tx, refund, snapshot):
            invoice = invoice_named(tx, refund.invoice_number)
        refusal = first_send.refusal_of(tx, invoice, refund, snapshot)
        return refusal.message if refusal else ""

    def request(self, refund: Refund, may_send: MaySend) -> RefundAnswer:
        sending = sending_of(refund)
        return self._provider(refund).refund(sending.request, sending.idempotency_key, may_send)

    def settle(self, tx: Writing, refund: Refund, state: RefundState | ClosingState, answer: RefundAnswer) -> None:
        credit_note_format = self.policy.credit_note_format
        settle_refund(tx, refund, RefundState(state), answer, clock=self.clock, credit_note_format=credit_note_format)

    def with_answer(self, refund: Refund, answer: RefundAnswer) -> Refund:
        return with_provider_message(refund, answer)

    # --- resumed ----------------------------------------------------------------------------------------------

    def look_up(self, refund: Refund) -> tuple[RefundAnswer | None, None]:
        """One that awaits approval is looked up only, because it is never sent again from here (I5)."""
        provider = self._provider(refund)
        answer = look_up(refund, provider)
        if answer is None and refund.state is RefundState.AWAITING_APPROVAL:
            answer = provider.ended_approval(sending_of(refund).request, refund.provider_status)
        return answer, None

    def forgotten_note(self, refund: Refund, snapshot: Snapshot | None = None) -> str:
        return forgotten_note(refund)


def look_up(refund: Refund, provider: PaymentProvider) -> RefundAnswer | None:
    """The provider's answer about this refund; None if it has none, or cannot be asked."""
    return provider.find_refund(sending_of(refund).request, refund.id) if provider.name in CAN_LOOK_UP else None


def forgotten_note(refund: Refund) -> str:
    return (
        f"{sending_of(refund).request.provider.label} no longer remembers this request; nothing will be sent again. "
        f"Look it up there, then: refundcli resolve {refund.id} …"
    )


def is_first_send(refund: Refund) -> bool:
    """Was it never sent before? Then an answer is about this request alone."""
    return refund.sending is not None and refund.sending.first_sent_at is None


def with_provider_message(refund: Refund, answer: RefundAnswer) -> Refund:
    """The refund with the provider's message, which is not stored while the outcome is unknown."""
    is_outcome_open = refund.state.unfinished or refund.state is RefundState.AWAITING_APPROVAL
    return replace(refund, failure=refund.failure or answer.message) if is_outcome_open else refund


# --- for bulk runs, whose requests are sent by threads ----------------------------------------------------------


def call(
    refund: Refund,
    provider: PaymentProvider,
    policy: SendingPolicy,
    clock: Clock,
    *,
    patience: Callable[[], float],
    may_retry: Again[RefundAnswer] | None = None,
) -> RefundAnswer:
    """As `Dispatch.call`, in a thread that has no books and its own `patience` (seconds left)."""
    sending = sending_of(refund)
    request, idempotency_key, may_send = sending.request, sending.idempotency_key, last_check(sending, clock)
    answer = ask(
        partial(provider.refund, request, idempotency_key, may_send), policy, patience=patience, may_retry=may_retry
    )
    return answer or RefundAnswer(Signal.NOT_SENT, message=NO_LONGER_OURS)
