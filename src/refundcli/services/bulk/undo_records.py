"""Undo records that were made in error: `recorded` becomes `reversed`, and the credit notes void."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from refundcli.domain.bulk_run import RunKind, RunState
from refundcli.domain.errors import NotFound, Refused
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money, zero
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundKind, RefundState
from refundcli.services.bulk.runs import run_named
from refundcli.services.dispatch.interrupts import held_until_written
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.provider_updates import EventState
from refundcli.services.ports.records import EventFilter, Record

_CHUNK = 1000
_RUN = "run_"


class NothingNamedSo(NotFound):
    """Neither a refund nor a credit note; it may be an invoice, which can have several."""

    code = "refund-not-found"

    def __init__(self, name: str, invoice: Invoice | None) -> None:
        records = [refund.id for refund in invoice.refunds if _stands(refund)] if invoice else []
        shown = ascii(name[:80])[1:-1]
        hint = "refundcli invoice history NUMBER   shows the ids of an invoice's refunds"
        if records:
            hint = f"{shown} is an invoice. To undo one of its records: {', '.join(records)}"
        super().__init__(f"There is no refund {shown}.", hint=hint)


class NotARecord(Refused):
    code = "not-a-record"

    def __init__(self, refund: Refund) -> None:
        if refund.kind is RefundKind.RECORD:
            why = f"already undone: {refund.failure}" if refund.failure else "already undone"
        else:
            why = f"not a record, but a refund made at the provider ({refund.state})"
        super().__init__(
            f"{refund.id} cannot be undone: it is {why}.",
            hint=f"refundcli invoice show {refund.invoice_number}",
            context={"refund": refund.id, "invoice": refund.invoice_number, "status": refund.state},
        )


class MadeAtProvider(Refused):
    """A provider's own refund was matched with the record, and stands: the money did go back."""

    code = "made-at-provider"

    def __init__(self, refund: Refund) -> None:
        reference = refund.provider_reference
        super().__init__(
            f"{refund.id} is the record of {reference}, which the provider has made: that money was returned.",
            hint=f"It can be undone once the provider reports that {reference} failed or was returned:\n"
            f"refundcli reconcile --invoice {refund.invoice_number}   asks Stripe; "
            f"refundcli events list --about {reference}   shows what was reported",
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class NothingToUndo(Refused):
    code = "nothing-to-undo"

    def __init__(self, run_id: str, kept: int) -> None:
        why = "its records were undone, or never made"
        if kept:
            why = f"{kept:,} of its records are refunds that the provider has made, and no other is left"
        super().__init__(
            f"{run_id} has nothing left to undo: {why}.",
            hint="refundcli credit-notes list   shows what was issued",
            context={"run": run_id, "not_undone": kept},
        )


@dataclass(slots=True)
class Undone:
    """What is, or would be, undone; sums by currency. `kept` are refunds that the provider has made, and stay.

    `invoice`: whose record it is, where it is one.
    """

    records: int = 0
    sums: dict[str, Money] = field(default_factory=dict)
    rows_of: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    invoice: str = ""

    def add(self, refund: Refund) -> None:
        code = refund.amount.currency.code
        self.records += 1
        self.invoice = refund.invoice_number if self.records == 1 else ""
        self.rows_of[code] += 1
        self.sums[code] = self.sums.get(code, zero(refund.amount.currency)) + refund.amount


def preview_undo(what: str, *, books: Books) -> Undone:
    """What would be undone. Raises RunNotFound, NothingNamedSo, NotARecord, MadeAtProvider, NothingToUndo."""
    preview = Undone()
    if not what.startswith(_RUN):
        preview.add(books.read(partial(_one, what)))
        return preview
    books.read(lambda tx: run_named(tx, what, RunKind.MARK_REFUNDED))
    for chunk in _chunks(what, books):
        made = books.read(partial(_made_at_provider, chunk))
        preview.kept += len(made)
        for refund in chunk:
            if refund.id not in made:
                preview.add(refund)
    if not preview.records:
        raise NothingToUndo(what, preview.kept)
    return preview


def undo(
    what: str, *, memo: str, books: Books, advance: Callable[[int], None], tell_held: Callable[[], None]
) -> Undone:
    """Undo them, chunk by chunk; one that was stopped resumes with the same command."""
    done = Undone()
    if not what.startswith(_RUN):
        with held_until_written(tell_held):
            done.add(books.write(partial(_undo_one, what, memo)))
        return done
    # The same file again must not resume what was a mistake.
    books.write(lambda tx: tx.change_run(what, RunState.FINISHED, note="undone"))
    after = ""
    while True:
        with held_until_written(tell_held):
            found, undone, kept = books.write(partial(_undo_page, what, after, memo))
        if not found:
            return done
        for refund in undone:
            done.add(refund)
        done.kept += kept
        advance(len(undone))
        after = found[-1].id


def _undo_one(refund_id: str, memo: str, tx: Writing) -> Refund:
    refund = _one(refund_id, tx)
    _undo_all(tx, [refund], memo)
    return refund


def _undo_page(run_id: str, after: str, memo: str, tx: Writing) -> tuple[list[Refund], list[Refund], int]:
    """The page's refunds, those of them that were undone now, and how many stay."""
    found = tx.refunds_of_run(run_id, after=after, limit=_CHUNK)
    standing = list(filter(_stands, found))
    made = _made_at_provider(standing, tx)
    undone = [refund for refund in standing if refund.id not in made]
    _undo_all(tx, undone, memo)
    return found, undone, len(made)


def _undo_all(tx: Writing, refunds: list[Refund], memo: str) -> None:
    tx.take_back_records(_records(refunds), memo=memo)
    for refund in refunds:
        if refund.provider_reference:
            _acknowledge_failure(tx, refund, memo)


def _acknowledge_failure(tx: Writing, refund: Refund, memo: str) -> None:
    """Whoever undoes the record knows that the provider's refund failed: that blocks nothing any more (R13)."""
    wanted = EventFilter(state=EventState.UNREVIEWED, about=refund.provider_reference)
    for event in tx.events(wanted):
        # Anything else about the refund, as another amount or an unlisted word, still waits for a person.
        if f"is recorded as {refund.id}, but " in event.note:
            tx.acknowledge_event(event, memo=f"{refund.id} undone: {memo}")


def _one(refund_id: str, reading: Reading) -> Refund:
    refund = _named(refund_id, reading)
    if refund.kind is not RefundKind.RECORD or not _stands(refund):
        raise NotARecord(refund)
    if _made_at_provider([refund], reading):
        raise MadeAtProvider(refund)
    return refund


def _made_at_provider(records: Sequence[Refund], reading: Reading) -> set[str]:
    """The ids of those that are records of a provider's refund, which has not failed."""
    return {
        record.id for record in records if record.is_made_at_provider and not _was_reported_as_failed(record, reading)
    }


def _was_reported_as_failed(record: Refund, reading: Reading) -> bool:
    """Earlier releases noted the failure of a matched refund on its event alone. A later success outweighs it."""
    failed = f"is recorded as {record.id}, but is "
    told = (each for each in reading.events(EventFilter(about=record.provider_reference)) if failed in each.note)
    return any(not record.succeeded_at or each.event.occurred_at >= record.succeeded_at for each in told)


def _named(name: str, reading: Reading) -> Refund:
    """By its id, or by its credit note's number. Raises NothingNamedSo."""
    note = reading.credit_note(name)
    refund = reading.refund(note.refund_id if note else name)
    if refund is None:
        raise NothingNamedSo(name, reading.invoice(name))
    return refund


def _stands(refund: Refund) -> bool:
    return refund.state is RefundState.RECORDED


def _chunks(run_id: str, books: Books) -> Iterator[list[Refund]]:
    after = ""
    while chunk := books.read(partial(_page, run_id, after)):
        after = chunk[-1].id
        yield list(filter(_stands, chunk))


def _page(run_id: str, after: str, reading: Reading) -> list[Refund]:
    return reading.refunds_of_run(run_id, after=after, limit=_CHUNK)


def _records(refunds: list[Refund]) -> list[Record]:
    """With what each took of a lost dispute, however the payment's disputes stand by now (R11)."""
    charged_back = RefundReason.CHARGEBACK
    return [Record(refund, charged_back=refund.reason is charged_back) for refund in refunds]
