"""Undo records that were made in error: they become `reversed`, and their credit notes void."""

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


class RecordNotFound(NotFound):
    """It names no refund or credit note; it may be an invoice, which can have several."""

    code = "refund-not-found"

    def __init__(self, name: str, invoice: Invoice | None) -> None:
        records = [refund.id for refund in invoice.refunds if _stands(refund)] if invoice else []
        quoted = ascii(name[:80])[1:-1]
        hint = "refundcli invoice history NUMBER   shows the ids of an invoice's refunds"
        if records:
            hint = f"{quoted} is an invoice. To undo one of its records: {', '.join(records)}"
        super().__init__(f"There is no refund {quoted}.", hint=hint)


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
    """A provider's own refund was matched with the record and did not fail: the money was returned."""

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

    def __init__(self, run_id: str, unchanged: int) -> None:
        why = "its records were undone, or never made"
        if unchanged:
            why = f"{unchanged:,} of its records are refunds that the provider has made, and no other is left"
        super().__init__(
            f"{run_id} has nothing left to undo: {why}.",
            hint="refundcli credit-notes list   shows what was issued",
            context={"run": run_id, "not_undone": unchanged},
        )


@dataclass(slots=True)
class Undone:
    """What is, or would be, undone; sums by currency. `unchanged`: refunds that the provider made, which stay.

    `invoice`: the record's invoice, if it is a single record.
    """

    records: int = 0
    sums: dict[str, Money] = field(default_factory=dict)
    rows_of: Counter[str] = field(default_factory=Counter)
    unchanged: int = 0
    invoice: str = ""

    def add(self, refund: Refund) -> None:
        code = refund.amount.currency.code
        self.records += 1
        self.invoice = refund.invoice_number if self.records == 1 else ""
        self.rows_of[code] += 1
        self.sums[code] = self.sums.get(code, zero(refund.amount.currency)) + refund.amount


def preview_undo(what: str, *, books: Books) -> Undone:
    """What would be undone. Raises RunNotFound, RecordNotFound, NotARecord, MadeAtProvider, NothingToUndo."""
    preview = Undone()
    if not what.startswith(_RUN):
        preview.add(books.read(partial(_one, what)))
        return preview
    books.read(lambda tx: run_named(tx, what, RunKind.MARK_REFUNDED))
    for chunk in _chunks(what, books):
        provider_made = books.read(partial(_made_at_provider, chunk))
        preview.unchanged += len(provider_made)
        for refund in chunk:
            if refund.id not in provider_made:
                preview.add(refund)
    if not preview.records:
        raise NothingToUndo(what, preview.unchanged)
    return preview


def undo(
    what: str, *, memo: str, books: Books, advance: Callable[[int], None], on_interrupt: Callable[[], None]
) -> Undone:
    """Undo the record, or the records of a run in chunks; after an interruption the same command resumes it."""
    total = Undone()
    if not what.startswith(_RUN):
        with held_until_written(on_interrupt):
            total.add(books.write(partial(_undo_one, what, memo)))
        return total
    # Running the same file again must not resume a run that was a mistake.
    books.write(lambda tx: tx.change_run(what, RunState.FINISHED, note="undone"))
    after = ""
    while True:
        with held_until_written(on_interrupt):
            page, undone, unchanged = books.write(partial(_undo_page, what, after, memo))
        if not page:
            return total
        for refund in undone:
            total.add(refund)
        total.unchanged += unchanged
        advance(len(undone))
        after = page[-1].id


def _undo_one(refund_id: str, memo: str, tx: Writing) -> Refund:
    refund = _one(refund_id, tx)
    _undo_all(tx, [refund], memo)
    return refund


def _undo_page(run_id: str, after: str, memo: str, tx: Writing) -> tuple[list[Refund], list[Refund], int]:
    """The refunds of the page, those that were undone now, and how many stay."""
    page = tx.refunds_of_run(run_id, after=after, limit=_CHUNK)
    standing = list(filter(_stands, page))
    provider_made = _made_at_provider(standing, tx)
    undone = [refund for refund in standing if refund.id not in provider_made]
    _undo_all(tx, undone, memo)
    return page, undone, len(provider_made)


def _undo_all(tx: Writing, refunds: list[Refund], memo: str) -> None:
    tx.undo_recorded(_records(refunds), memo=memo)
    for refund in refunds:
        if refund.provider_reference:
            _acknowledge_failure(tx, refund, memo)


def _acknowledge_failure(tx: Writing, refund: Refund, memo: str) -> None:
    """Undoing the record also acknowledges that the provider's refund failed, which then blocks nothing (R13)."""
    event_filter = EventFilter(state=EventState.UNREVIEWED, about=refund.provider_reference)
    for event in tx.events(event_filter):
        # Other events about the refund, such as another amount or an unlisted code, still wait for a person.
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
    """The ids of the records of a provider's refund that has not failed."""
    return {
        record.id for record in records if record.is_made_at_provider and not _was_reported_as_failed(record, reading)
    }


def _was_reported_as_failed(record: Refund, reading: Reading) -> bool:
    """Was its failure noted only on its event, as earlier releases did? A later success overrides it."""
    failed = f"is recorded as {record.id}, but is "
    failures = (event for event in reading.events(EventFilter(about=record.provider_reference)) if failed in event.note)
    return any(not record.succeeded_at or event.event.occurred_at >= record.succeeded_at for event in failures)


def _named(name: str, reading: Reading) -> Refund:
    """The refund, by its id or its credit note's number. Raises RecordNotFound."""
    note = reading.credit_note(name)
    refund = reading.refund(note.refund_id if note else name)
    if refund is None:
        raise RecordNotFound(name, reading.invoice(name))
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
    """The records, with what each took of a lost dispute, whatever the disputes' state is now (R11)."""
    charged_back = RefundReason.CHARGEBACK
    return [Record(refund, charged_back=refund.reason is charged_back) for refund in refunds]
