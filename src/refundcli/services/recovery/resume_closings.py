"""Finish closings whose outcome is unknown, or resolve them by hand, in the same way as refunds (§4)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from refundcli.domain.closing import CLOSING_PREFIX, Closing
from refundcli.domain.errors import NotFound, NotUsable, RefundcliError, Refused, UsageProblem
from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import ClosingState, InvoiceStatus
from refundcli.services.closings.close import why_not_closed
from refundcli.services.dispatch import leases
from refundcli.services.dispatch.interrupts import raise_if_interrupted
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

# The final statuses of an invoice at the provider.
_FOR_GOOD = frozenset({InvoiceStatus.PAID, InvoiceStatus.VOID})


class ClosingNotFound(NotFound):
    code = "closing-not-found"

    def __init__(self, closing_id: str) -> None:
        super().__init__(
            f"There is no closing {ascii(closing_id[:80])[1:-1]}.",
            hint="refundcli resume --all   settles everything that is not finished",
        )


class ProviderSaysOtherwise(Refused):
    """The provider was just asked, and its answer overrides any evidence."""

    code = "provider-says-otherwise"

    def __init__(self, closing: Closing, why: str) -> None:
        super().__init__(
            f"{closing.invoice_number} is not {closing.past_tense} at {closing.provider.label}: {why}",
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


def is_closing(name: str) -> bool:
    return name.startswith(CLOSING_PREFIX)


def unfinished_closings(books: Books, closing_id: str | None) -> list[Closing]:
    """The closings to finish. Raises ClosingNotFound."""
    if closing_id is None:
        return books.read(lambda tx: tx.closings_in(ClosingState.READY, ClosingState.SUBMITTED))
    return [books.read(lambda tx: _closing_named(tx, closing_id))]


def _closing_named(reading: Reading, closing_id: str) -> Closing:
    closing = reading.closing(closing_id)
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
    current = books.read(lambda tx: [tx.closing(closing.id) or closing for closing in closings])
    return [
        ResumedClosing(closing, Step.NOT_ASKED, "interrupted")
        if closing.state.unfinished
        else ResumedClosing(closing, Step.SETTLED, closing.failure)
        for closing in current
    ]


def resume_closing(
    closing: Closing, *, books: Books, providers: Providers, clock: Clock, policy: SendingPolicy
) -> ResumedClosing:
    """Look up the invoice's status; send again with the same key only if it may still be closed (I8)."""
    closing = wait_until_free(closing, lambda tx: tx.closing(closing.id), books=books, clock=clock, policy=policy)
    if not closing.state.unfinished:
        return ResumedClosing(closing, Step.FINISHED)
    try:
        closer, records = providers.closer(closing.provider), providers.records(closing.provider)
    except NotUsable as problem:
        return ResumedClosing(closing, Step.NOT_ASKED, problem.message)
    if not same_account(closing.sending, closer):
        return ResumedClosing(closing, Step.OTHER_ACCOUNT, "use the settings with which it was made")
    try:
        reported = records.invoice(closing.reference)
    except NotUsable as problem:
        return ResumedClosing(closing, Step.STILL_UNKNOWN, problem.message)
    return _Resuming(closing, reported, closer, books, clock, policy).settled()


@dataclass(frozen=True, slots=True)
class _Resuming:
    """One closing, with its invoice as the provider has it now."""

    closing: Closing
    reported: ProviderInvoice | None
    closer: InvoiceCloser
    books: Books
    clock: Clock
    policy: SendingPolicy

    def settled(self) -> ResumedClosing:
        if self.reported and self.reported.invoice.status is self.closing.target:
            return self._end(ClosingState.DONE)
        why_not_now = self.books.read(self._why_not_now)
        if self.closing.state is ClosingState.READY:
            return self._end(ClosingState.FAILED, f"never sent: {why_not_now}") if why_not_now else self._send()
        if self.reported and self.reported.invoice.status in _FOR_GOOD:
            # A request that is still in flight cannot change it any more.
            return self._end(ClosingState.FAILED, self._how_it_stands())
        if not key_is_known(self.closing.sending, self.clock.now()):
            why = f"{self._how_it_stands()}, and no longer knows the key: nothing will be sent again"
            return self._stays(Step.NEEDS_ATTENTION, f"{why}. Next: refundcli resolve {self.closing.id} …")
        return self._stays(Step.STILL_UNKNOWN, f"not sent again: {why_not_now}") if why_not_now else self._send()

    def _send(self) -> ResumedClosing:
        sent = send_closing(self.closing, books=self.books, closer=self.closer, clock=self.clock, policy=self.policy)
        step = Step.STILL_UNKNOWN if sent.state.unfinished else Step.SETTLED
        return ResumedClosing(sent, step, sent.failure)

    def _end(self, state: ClosingState, failure: str = "") -> ResumedClosing:
        evidence = f"asked {self.closing.provider.label}"

        def write(tx: Writing) -> Closing:
            settle_closing(tx, self.closing, state, failure=failure, evidence=evidence)
            return tx.closing(self.closing.id) or self.closing

        ended = self.books.write(write)
        return ResumedClosing(ended, Step.STILL_UNKNOWN if ended.state.unfinished else Step.SETTLED, ended.failure)

    def _stays(self, step: Step, note: str) -> ResumedClosing:
        return ResumedClosing(self.closing, step, note)

    def _how_it_stands(self) -> str:
        who = self.closing.provider.label
        if self.reported is None:
            return f"{who} has no invoice {self.closing.reference}"
        return f"{who} has the invoice as {self.reported.invoice.status}"

    def _why_not_now(self, reading: Reading) -> str:
        """Why it may not be closed now, by the rules and the provider's snapshot, as if this closing did not exist."""
        if self.reported is None:
            return self._how_it_stands()
        invoice = invoice_named(reading, self.closing.invoice_number)
        alone = replace(invoice, closings=())
        refusal = why_not_closed(alone, self.closing.target)
        return refusal.message if refusal else self._differences(alone)

    def _differences(self, invoice: Invoice) -> str:
        assert self.reported
        return "; ".join(map(str, why_not(invoice, self.closing.target, self.reported, self.closing.provider)))


# --- resolved by hand ---------------------------------------------------------------------------------------


def check_resolution(reading: Reading, resolution: Resolution, *, clock: Clock) -> Closing:
    """The closing, if it may be resolved by hand. Raises the first refusal."""
    closing = _closing_named(reading, resolution.operation_id)
    if not resolution.evidence.strip():
        raise NoEvidence
    if not closing.state.unfinished:
        raise NotUnresolved(closing)
    never_sent = closing.state is ClosingState.READY and not resolution.provider_reference
    if leases.is_live(closing.sending, clock.now()):
        raise ResumeFirst(closing)
    if not never_sent and key_is_known(closing.sending, clock.now()):
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
    resumed = resume_closing(closing, books=books, providers=providers, clock=clock, policy=policy)
    if resumed.step is Step.NEEDS_ATTENTION and resolution.provider_reference:
        raise ProviderSaysOtherwise(closing, resumed.note)
    # Without credentials the provider cannot be asked, and only the evidence remains.
    if resumed.step in (Step.NEEDS_ATTENTION, Step.NOT_ASKED, Step.OTHER_ACCOUNT):
        return closing
    if resumed.closing.state.unfinished:
        raise ResumeFirst(closing)
    return resumed.closing


def resolve_closing(resolution: Resolution, *, books: Books, clock: Clock) -> Closing:
    """Store the outcome with its evidence: the invoice is closed at the provider, or it never was."""

    def end(tx: Writing) -> Closing:
        closing = check_resolution(tx, resolution, clock=clock)
        state = ClosingState.DONE if resolution.provider_reference else ClosingState.FAILED
        failure = f"resolved by hand: {resolution.evidence}"
        settle_closing(tx, closing, state, failure=failure, evidence=resolution.evidence)
        return tx.closing(closing.id) or closing

    return books.write(end)
