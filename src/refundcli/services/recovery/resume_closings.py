"""Settle closings that a kill or a timeout left behind, or by hand what no machine can: as for refunds (§4)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from refundcli.domain.closing import CLOSING_PREFIX, Closing
from refundcli.domain.errors import NotFound, RefundcliError, Refused, SettingsProblem, UsageProblem
from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import ClosingState, InvoiceStatus
from refundcli.services.closings.close import why_not_closed
from refundcli.services.dispatch import leases
from refundcli.services.dispatch.interrupts import stop_if_asked
from refundcli.services.dispatch.send_closing import send_closing, settle_closing
from refundcli.services.dispatch.send_refund import SendingPolicy
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.key_windows import key_is_known
from refundcli.services.ports.providers import InvoiceCloser, ProviderInvoice, Providers
from refundcli.services.preflight.closing import why_not
from refundcli.services.recovery.resolve import NoEvidence, NotUnresolved, Resolution, ResumeFirst
from refundcli.services.recovery.resume_refunds import Step, same_place, step_of, when_free

# What an invoice at the provider never leaves again.
_FOR_GOOD = frozenset({InvoiceStatus.PAID, InvoiceStatus.VOID})


class ClosingNotFound(NotFound):
    code = "closing-not-found"

    def __init__(self, closing_id: str) -> None:
        super().__init__(
            f"There is no closing {ascii(closing_id[:80])[1:-1]}.",
            hint="refundcli resume --all   settles everything that is not finished",
        )


class ProviderSaysOtherwise(Refused):
    """The provider was asked just now, and its word outweighs any evidence."""

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
    """The closings to settle. Raises ClosingNotFound."""
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
    done: list[ResumedClosing],
) -> list[ResumedClosing]:
    """Settle each. One that cannot be settled now stays as it is, and so does its invoice; it stops no other.

    `done` is filled as they are settled, for a caller that may be interrupted.
    """
    for closing in closings:
        stop_if_asked()
        try:
            done.append(resume_closing(closing, books=books, providers=providers, clock=clock, policy=policy))
        except RefundcliError as problem:
            done.append(ResumedClosing(closing, step_of(problem), problem.message, problem))
    return done


def closings_as_interrupted(closings: Sequence[Closing], *, books: Books) -> list[ResumedClosing]:
    """Closings as they stand after Ctrl-C: the one in hand may be settled, the others were not asked about."""
    found = books.read(lambda tx: [tx.closing(closing.id) or closing for closing in closings])
    return [
        ResumedClosing(each, Step.NOT_ASKED, "interrupted")
        if each.state.unfinished
        else ResumedClosing(each, Step.SETTLED, each.failure)
        for each in found
    ]


def resume_closing(
    closing: Closing, *, books: Books, providers: Providers, clock: Clock, policy: SendingPolicy
) -> ResumedClosing:
    """Ask how the invoice stands; send again with the same key only where it still may be closed (I8)."""
    closing = when_free(closing, lambda tx: tx.closing(closing.id), books=books, clock=clock, policy=policy)
    if not closing.state.unfinished:
        return ResumedClosing(closing, Step.FINISHED)
    try:
        closer, records = providers.closer(closing.provider), providers.records(closing.provider)
    except SettingsProblem as problem:
        return ResumedClosing(closing, Step.NOT_ASKED, problem.message)
    if not same_place(closing.sending, closer):
        return ResumedClosing(closing, Step.ELSEWHERE, "use the settings with which it was made")
    try:
        told = records.invoice(closing.reference)
    except SettingsProblem as problem:
        return ResumedClosing(closing, Step.STILL_UNKNOWN, problem.message)
    return _Resuming(closing, told, closer, books, clock, policy).settled()


@dataclass(frozen=True, slots=True)
class _Resuming:
    """One closing, how its invoice stands at the provider now, and with what to go on."""

    closing: Closing
    told: ProviderInvoice | None
    closer: InvoiceCloser
    books: Books
    clock: Clock
    policy: SendingPolicy

    def settled(self) -> ResumedClosing:
        if self.told and self.told.invoice.status is self.closing.wanted:
            return self._end(ClosingState.DONE)
        why_not_now = self.books.read(self._why_not_now)
        if self.closing.state is ClosingState.READY:
            return self._end(ClosingState.FAILED, f"never sent: {why_not_now}") if why_not_now else self._send()
        if self.told and self.told.invoice.status in _FOR_GOOD:
            # Whatever may still be on its way cannot change it.
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
        if self.told is None:
            return f"{who} has no invoice {self.closing.reference}"
        return f"{who} has the invoice as {self.told.invoice.status}"

    def _why_not_now(self, reading: Reading) -> str:
        """The rules and the provider's truth as they would be asked if this closing were not there."""
        if self.told is None:
            return self._how_it_stands()
        invoice = invoice_named(reading, self.closing.invoice_number)
        alone = replace(invoice, closings=())
        refusal = why_not_closed(alone, self.closing.wanted)
        return refusal.message if refusal else self._differences(alone)

    def _differences(self, invoice: Invoice) -> str:
        assert self.told
        return "; ".join(map(str, why_not(invoice, self.closing.wanted, self.told, self.closing.provider)))


# --- by hand ------------------------------------------------------------------------------------------------


def check_resolution(reading: Reading, wanted: Resolution, *, clock: Clock) -> Closing:
    """The closing, if it may be ended by hand. Raises the refusal that comes first."""
    closing = _closing_named(reading, wanted.asked_id)
    if not wanted.evidence.strip():
        raise NoEvidence
    if not closing.state.unfinished:
        raise NotUnresolved(closing)
    never_sent = closing.state is ClosingState.READY and not wanted.provider_reference
    if leases.is_live(closing.sending, clock.now()):
        raise ResumeFirst(closing)
    if not never_sent and key_is_known(closing.sending, clock.now()):
        raise ResumeFirst(closing)
    if wanted.provider_reference not in ("", closing.reference):
        raise AnotherInvoice(closing, wanted.provider_reference)
    return closing


def ask_first(
    closing: Closing,
    wanted: Resolution,
    *,
    books: Books,
    providers: Providers,
    clock: Clock,
    policy: SendingPolicy,
) -> Closing:
    """What the provider itself tells, where it can be asked. Nothing is sent: the key window is past.

    Raises ResumeFirst where it could not be asked now, and ProviderSaysOtherwise.
    """
    if closing.state is ClosingState.READY:
        return closing
    asked = resume_closing(closing, books=books, providers=providers, clock=clock, policy=policy)
    if asked.step is Step.NEEDS_ATTENTION and wanted.provider_reference:
        raise ProviderSaysOtherwise(closing, asked.note)
    # Without credentials nobody can ask any more, and the evidence stands alone.
    if asked.step in (Step.NEEDS_ATTENTION, Step.NOT_ASKED, Step.ELSEWHERE):
        return closing
    if asked.closing.state.unfinished:
        raise ResumeFirst(closing)
    return asked.closing


def resolve_closing(wanted: Resolution, *, books: Books, clock: Clock) -> Closing:
    """Write the end with its evidence: the invoice is closed there, or it never was."""

    def end(tx: Writing) -> Closing:
        closing = check_resolution(tx, wanted, clock=clock)
        state = ClosingState.DONE if wanted.provider_reference else ClosingState.FAILED
        failure = f"resolved by hand: {wanted.evidence}"
        settle_closing(tx, closing, state, failure=failure, evidence=wanted.evidence)
        return tx.closing(closing.id) or closing

    return books.write(end)
