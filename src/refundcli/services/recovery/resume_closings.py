"""Finish closings whose outcome is unknown, or resolve them by hand, in the same way as refunds (§4)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from refundcli.domain.closing import CLOSING_PREFIX, Closing
from refundcli.domain.errors import NotFound, NotUsable, RefundcliError, Refused, UsageProblem
from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import ClosingState, InvoiceStatus
from refundcli.services.closings.close import why_not_closed
from refundcli.services.dispatch import leases
from refundcli.services.dispatch.send_closing import send_closing, settle_closing
from refundcli.services.dispatch.send_refund import SendingPolicy
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.key_windows import key_is_known
from refundcli.services.ports.providers import InvoiceCloser, ProviderInvoice, Providers
from refundcli.services.preflight.closing import why_not
from refundcli.services.recovery.resolve import NoEvidence, NotUnresolved, Resolution, ResumeFirst
from refundcli.services.recovery.resume_refunds import Step, same_account, step_of, wait_until_free
from refundcli.system.interrupts import raise_if_interrupted

# The final statuses of an invoice at the provider.
_FOR_GOOD = frozenset({InvoiceStatus.PAID, InvoiceStatus.VOID})


class ClosingNotFound(NotFound):
    code = "closing-not-found"

    def __init__(self, closing_id: str) -> None:
        super().__init__(
            f"There is no void or write-off {ascii(closing_id[:80])[1:-1]}.",
            hint="refundcli resume --all   settles everything that is not finished",
        )


class ProviderSaysOtherwise(Refused):
    """The provider was just asked, and its answer overrides any evidence."""

    code = "provider-says-otherwise"

    def __init__(self, closing: Closing, reason: str) -> None:
        super().__init__(
            f"{closing.invoice_number} is not {closing.past_tense} at {closing.provider.label}: {reason}",
            hint=f"refundcli resolve {closing.id} --not-executed --evidence TEXT",
            context={"closing": closing.id, "invoice": closing.invoice_number},
        )


class AnotherInvoice(UsageProblem):
    code = "another-invoice"

    def __init__(self, closing: Closing, reference: str) -> None:
        super().__init__(
            f"{closing.id} is about {closing.reference}, not about {reference[:60]!a}.",
            hint=f"If it is {closing.past_tense} there: --provider-reference {closing.reference}",
        )


@dataclass(frozen=True, slots=True)
class ResumedClosing:
    closing: Closing
    step: Step
    note: str = ""
    problem: RefundcliError | None = None


def is_closing(operation_id: str) -> bool:
    return operation_id.startswith(CLOSING_PREFIX)


def unfinished_closings(books: Books, closing_id: str | None) -> list[Closing]:
    """The closings to finish. Raises ClosingNotFound."""
    if closing_id is None:
        return books.read(lambda tx: tx.closings.in_states(ClosingState.READY, ClosingState.SUBMITTED))
    return [books.read(lambda tx: _closing_named(tx, closing_id))]


def _closing_named(reading: Reading, closing_id: str) -> Closing:
    closing = reading.closings.get(closing_id)
    if closing is None:
        raise ClosingNotFound(closing_id)
    return closing


def resume_closings(
    closings: Sequence[Closing],
    *,
    books: Books,
    providers: Providers,
    clock: Clock,
    policy: SendingPolicy,
    outcomes: list[ResumedClosing],
) -> list[ResumedClosing]:
    """Settle each. One that cannot be settled now stays as it is, with its invoice, and does not stop the others.

    `outcomes` is filled as they are settled, for a caller that may be interrupted.
    """
    for closing in closings:
        raise_if_interrupted()
        try:
            outcomes.append(resume_closing(closing, books=books, providers=providers, clock=clock, policy=policy))
        except RefundcliError as problem:
            outcomes.append(ResumedClosing(closing, step_of(problem), problem.message, problem))
    return outcomes


def closings_as_interrupted(closings: Sequence[Closing], *, books: Books) -> list[ResumedClosing]:
    """The closings after Ctrl-C: the current one may be settled, the others were not checked."""
    current_closings = books.read(lambda tx: [tx.closings.get(closing.id) or closing for closing in closings])
    return [
        ResumedClosing(closing, Step.NOT_ASKED, "interrupted")
        if closing.state.unfinished
        else ResumedClosing(closing, Step.SETTLED, closing.failure)
        for closing in current_closings
    ]


def resume_closing(
    closing: Closing, *, books: Books, providers: Providers, clock: Clock, policy: SendingPolicy
) -> ResumedClosing:
    """Look up the invoice's status; send again with the same key only if it may still be closed (I8)."""
    closing = wait_until_free(closing, lambda tx: tx.closings.get(closing.id), books=books, clock=clock, policy=policy)
    if not closing.state.unfinished:
        return ResumedClosing(closing, Step.FINISHED)
    try:
        closer, provider_records = providers.closer(closing.provider), providers.records(closing.provider)
    except NotUsable as problem:
        return ResumedClosing(closing, Step.NOT_ASKED, problem.message)
    if not same_account(closing.sending, closer):
        return ResumedClosing(closing, Step.OTHER_ACCOUNT, "use the same settings as when it was made")
    try:
        provider_invoice = provider_records.invoice(closing.reference)
    except NotUsable as problem:
        return ResumedClosing(closing, Step.STILL_UNKNOWN, problem.message)
    return _Resuming(closing, provider_invoice, closer, books, clock, policy).settled()


@dataclass(frozen=True, slots=True)
class _Resuming:
    """One closing, with its invoice as the provider has it now."""

    closing: Closing
    provider_invoice: ProviderInvoice | None
    closer: InvoiceCloser
    books: Books
    clock: Clock
    policy: SendingPolicy

    def settled(self) -> ResumedClosing:
        if self.provider_invoice and self.provider_invoice.invoice.status is self.closing.target:
            return self._end(ClosingState.DONE)
        refusal_text = self.books.read(self._why_not_now)
        if self.closing.state is ClosingState.READY:
            return self._end(ClosingState.FAILED, f"never sent: {refusal_text}") if refusal_text else self._send()
        if self.provider_invoice and self.provider_invoice.invoice.status in _FOR_GOOD:
            # A request that is still in flight cannot change it any more.
            return self._end(ClosingState.FAILED, self._how_it_stands())
        if not key_is_known(self.closing.sending, self.clock.now()):
            note = (
                f"{self._how_it_stands()}, and the provider no longer remembers this request: nothing will be "
                "sent again"
            )
            return self._stays(Step.NEEDS_ATTENTION, f"{note}. Next: refundcli resolve {self.closing.id} …")
        return self._stays(Step.STILL_UNKNOWN, f"not sent again: {refusal_text}") if refusal_text else self._send()

    def _send(self) -> ResumedClosing:
        sent_closing = send_closing(
            self.closing, books=self.books, closer=self.closer, clock=self.clock, policy=self.policy
        )
        step = Step.STILL_UNKNOWN if sent_closing.state.unfinished else Step.SETTLED
        return ResumedClosing(sent_closing, step, sent_closing.failure)

    def _end(self, state: ClosingState, failure: str = "") -> ResumedClosing:
        evidence = f"asked {self.closing.provider.label}"

        def write(tx: Writing) -> Closing:
            settle_closing(tx, self.closing, state, failure=failure, evidence=evidence)
            return tx.closings.get(self.closing.id) or self.closing

        stored_closing = self.books.write(write)
        step = Step.STILL_UNKNOWN if stored_closing.state.unfinished else Step.SETTLED
        return ResumedClosing(stored_closing, step, stored_closing.failure)

    def _stays(self, step: Step, note: str) -> ResumedClosing:
        return ResumedClosing(self.closing, step, note)

    def _how_it_stands(self) -> str:
        provider_label = self.closing.provider.label
        if self.provider_invoice is None:
            return f"{provider_label} has no invoice {self.closing.reference}"
        return f"at {provider_label}, the invoice is {self.provider_invoice.invoice.status}"

    def _why_not_now(self, reading: Reading) -> str:
        """Why it may not be closed now, by the rules and the provider's snapshot, as if this closing did not exist."""
        if self.provider_invoice is None:
            return self._how_it_stands()
        invoice = invoice_named(reading, self.closing.invoice_number)
        without_closings = replace(invoice, closings=())
        refusal = why_not_closed(without_closings, self.closing.target)
        return refusal.message if refusal else self._differences(without_closings)

    def _differences(self, invoice: Invoice) -> str:
        assert self.provider_invoice
        return "; ".join(map(str, why_not(invoice, self.closing.target, self.provider_invoice, self.closing.provider)))


# --- resolved by hand ---------------------------------------------------------------------------------------


def check_resolution(reading: Reading, resolution: Resolution, *, clock: Clock) -> Closing:
    """The closing, if it may be resolved by hand. Raises the first refusal."""
    closing = _closing_named(reading, resolution.operation_id)
    if not resolution.evidence.strip():
        raise NoEvidence
    if not closing.state.unfinished:
        raise NotUnresolved(closing)
    is_never_sent = closing.state is ClosingState.READY and not resolution.provider_reference
    if leases.is_live(closing.sending, clock.now()):
        raise ResumeFirst(closing)
    if not is_never_sent and key_is_known(closing.sending, clock.now()):
        raise ResumeFirst(closing)
    if resolution.provider_reference not in ("", closing.reference):
        raise AnotherInvoice(closing, resolution.provider_reference)
    return closing


def ask_first(
    closing: Closing,
    resolution: Resolution,
    *,
    books: Books,
    providers: Providers,
    clock: Clock,
    policy: SendingPolicy,
) -> Closing:
    """The outcome according to the provider, if it can be asked. Nothing is sent, because the key has expired.

    Raises ResumeFirst if it cannot be asked now, and ProviderSaysOtherwise.
    """
    if closing.state is ClosingState.READY:
        return closing
    resume_outcome = resume_closing(closing, books=books, providers=providers, clock=clock, policy=policy)
    if resume_outcome.step is Step.NEEDS_ATTENTION and resolution.provider_reference:
        raise ProviderSaysOtherwise(closing, resume_outcome.note)
    # Without credentials the provider cannot be asked, and only the evidence remains.
    if resume_outcome.step in (Step.NEEDS_ATTENTION, Step.NOT_ASKED, Step.OTHER_ACCOUNT):
        return closing
    if resume_outcome.closing.state.unfinished:
        raise ResumeFirst(closing)
    return resume_outcome.closing


def resolve_closing(resolution: Resolution, *, books: Books, clock: Clock) -> Closing:
    """Store the outcome with its evidence: the invoice is closed at the provider, or it never was."""

    def end(tx: Writing) -> Closing:
        closing = check_resolution(tx, resolution, clock=clock)
        state = ClosingState.DONE if resolution.provider_reference else ClosingState.FAILED
        failure = f"resolved by hand: {resolution.evidence}"
        settle_closing(tx, closing, state, failure=failure, evidence=resolution.evidence)
        return tx.closings.get(closing.id) or closing

    return books.write(end)
