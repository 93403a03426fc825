"""Undo records that were made in error: they become `reversed`, and their credit notes void."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from refundcli.domain.bulk_run import RunKind, RunState
from refundcli.domain.errors import NotFound, Refused
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money, add_to
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundKind, RefundState
from refundcli.services.bulk.runs import run_named
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.provider_updates import EventState
from refundcli.services.ports.reads import EventFilter
from refundcli.services.ports.records import Record
from refundcli.system.interrupts import held_until_written

_CHUNK = 1000
_RUN = "run_"


class RecordNotFound(NotFound):
    """It names no refund or credit note; it may be an invoice, which can have several."""

    code = "refund-not-found"

    def __init__(self, id_or_number: str, invoice: Invoice | None) -> None:
        record_ids = [refund.id for refund in invoice.refunds if _stands(refund)] if invoice else []
        quoted_name = ascii(id_or_number[:80])[1:-1]
        hint = "refundcli invoice history NUMBER   shows the ids of an invoice's refunds"
        if record_ids:
            hint = (
                f"{quoted_name} is an invoice. To undo one of its records, use --undo with its ID: "
                f"{', '.join(record_ids)}"
            )
        super().__init__(f"There is no refund {quoted_name}.", hint=hint)


class NotARecord(Refused):
    code = "not-a-record"

    def __init__(self, refund: Refund) -> None:
        if refund.kind is RefundKind.RECORD:
            reason = f"already undone (memo: {refund.failure})" if refund.failure else "already undone"
        else:
            reason = f"not a record, but a refund made at the provider ({refund.state})"
        super().__init__(
            f"{refund.id} cannot be undone: it is {reason}.",
            hint=f"refundcli invoice show {refund.invoice_number}",
            context={"refund": refund.id, "invoice": refund.invoice_number, "status": refund.state},
        )


class NotARunOfRecords(Refused):
    code = "not-a-run-of-records"

    def __init__(self, run_id: str) -> None:
        super().__init__(
            (
                f"{run_id} cannot be undone: it was started with refundcli refund, and money refunded at the provider "
                "cannot be taken back."
            ),
            hint=(
                "Only records made with refundcli mark-refunded can be undone.\n"
                "refundcli credit-notes list   shows what was issued"
            ),
            context={"run": run_id},
        )


class MadeAtProvider(Refused):
    """A provider's own refund was matched with the record and did not fail: the money was returned."""

    code = "made-at-provider"

    def __init__(self, refund: Refund) -> None:
        reference = refund.provider_reference
        super().__init__(
            (f"{refund.id} is the record of refund {reference}, which the provider has made: the customer was paid."),
            hint=(
                f"It can be undone once the provider reports that {reference} failed or bounced:\nrefundcli "
                f"reconcile --invoice {refund.invoice_number}   asks Stripe; refundcli events list --about "
                f"{reference}   shows what was reported"
            ),
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class NothingToUndo(Refused):
    code = "nothing-to-undo"

    def __init__(self, run_id: str, unchanged_count: int) -> None:
        reason = "its records were undone, or never made"
        if unchanged_count:
            reason = f"refunds that the provider has made are not undone ({unchanged_count:,})"
        super().__init__(
            f"{run_id} has nothing left to undo: {reason}.",
            hint="refundcli credit-notes list   shows what was issued",
            context={"run": run_id, "not_undone": unchanged_count},
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
        currency_code = refund.amount.currency.code
        self.records += 1
        self.invoice = refund.invoice_number if self.records == 1 else ""
        self.rows_of[currency_code] += 1
        add_to(self.sums, currency_code, refund.amount)

    def add_page(self, page: "_Page") -> None:
        for refund in page.records:
            self.add(refund)
        self.unchanged += page.unchanged


@dataclass(frozen=True, slots=True)
class UndoRecords:
    """Undoes the records of a run, or one record."""

    books: Books

    def preview(self, run_or_record_id: str) -> Undone:
        """What would be undone.

        Raises RunNotFound, NotARunOfRecords, RecordNotFound, NotARecord, MadeAtProvider, NothingToUndo.
        """
        preview = Undone()
        if not run_or_record_id.startswith(_RUN):
            preview.add(self.books.read(partial(_one, run_or_record_id)))
            return preview
        self.books.read(partial(_refuse_other_run, run_or_record_id))
        last_id = ""
        while refund_page := self.books.read(partial(_page, run_or_record_id, last_id)):
            last_id = refund_page.last_id
            preview.add_page(refund_page)
        if not preview.records:
            raise NothingToUndo(run_or_record_id, preview.unchanged)
        return preview

    def undo(
        self,
        run_or_record_id: str,
        *,
        memo: str,
        on_records_undone: Callable[[int], None],
        on_interrupt: Callable[[], None],
    ) -> Undone:
        """Undo the record, or the records of a run in chunks; after an interruption the same command resumes it."""
        summary = Undone()
        if not run_or_record_id.startswith(_RUN):
            with held_until_written(on_interrupt):
                summary.add(self.books.write(partial(_undo_one, run_or_record_id, memo)))
            return summary
        # Running the same file again must not resume a run that was a mistake.
        self.books.write(lambda tx: tx.runs.change(run_or_record_id, RunState.FINISHED, note="undone"))
        last_id = ""
        while True:
            with held_until_written(on_interrupt):
                refund_page = self.books.write(partial(_undo_page, run_or_record_id, last_id, memo))
            if refund_page is None:
                return summary
            last_id = refund_page.last_id
            summary.add_page(refund_page)
            on_records_undone(len(refund_page.records))


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of a run's refunds: the records that can be undone, and how many stay, because the provider made them."""

    last_id: str
    records: Sequence[Refund]
    unchanged: int


def _refuse_other_run(run_id: str, reading: Reading) -> None:
    """Raises RunNotFound, and NotARunOfRecords for a run of refunds."""
    run = reading.runs.get(run_id)
    if run and run.kind is RunKind.REFUND:
        raise NotARunOfRecords(run_id)
    run_named(reading, run_id, RunKind.MARK_REFUNDED, to_resume=False)


def _undo_one(refund_id: str, memo: str, tx: Writing) -> Refund:
    refund = _one(refund_id, tx)
    _undo_all(tx, [refund], memo)
    return refund


def _undo_page(run_id: str, last_id: str, memo: str, tx: Writing) -> _Page | None:
    refund_page = _page(run_id, last_id, tx)
    if refund_page:
        _undo_all(tx, refund_page.records, memo)
    return refund_page


def _undo_all(tx: Writing, refunds: Sequence[Refund], memo: str) -> None:
    tx.records.undo(_records(refunds), memo=memo)
    for refund in refunds:
        if refund.provider_reference:
            _acknowledge_failure(tx, refund, memo)


def _acknowledge_failure(tx: Writing, refund: Refund, memo: str) -> None:
    """Undoing the record also acknowledges that the provider's refund failed, which then blocks nothing (R13)."""
    event_filter = EventFilter(state=EventState.UNREVIEWED, about=refund.provider_reference)
    for stored_event in tx.events.matching(event_filter):
        # Other events about the refund, such as another amount or an unlisted code, still wait for a person.
        if f"is recorded as {refund.id}, but " in stored_event.note:
            tx.events.acknowledge(stored_event, memo=f"{refund.id} undone: {memo}")


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
    failure_note = f"is recorded as {record.id}, but is "
    failure_events = (
        stored_event
        for stored_event in reading.events.matching(EventFilter(about=record.provider_reference))
        if failure_note in stored_event.note
    )
    return any(
        not record.succeeded_at or stored_event.event.occurred_at >= record.succeeded_at
        for stored_event in failure_events
    )


def _named(id_or_number: str, reading: Reading) -> Refund:
    """The refund, by its id or its credit note's number. Raises RecordNotFound."""
    credit_note = reading.credit_notes.get(id_or_number)
    refund = reading.refunds.get(credit_note.refund_id if credit_note else id_or_number)
    if refund is None:
        raise RecordNotFound(id_or_number, reading.invoices.get(id_or_number))
    return refund


def _stands(refund: Refund) -> bool:
    return refund.state is RefundState.RECORDED


def _page(run_id: str, last_id: str, reading: Reading) -> _Page | None:
    """The page after the refund `last_id`; None after the last one."""
    refunds = reading.runs.refunds(run_id, after=last_id, limit=_CHUNK)
    standing_records = list(filter(_stands, refunds))
    provider_made_ids = _made_at_provider(standing_records, reading)
    records = [refund for refund in standing_records if refund.id not in provider_made_ids]
    return _Page(refunds[-1].id, records, len(provider_made_ids)) if refunds else None


def _records(refunds: Sequence[Refund]) -> list[Record]:
    """The records, with what each took of a lost dispute, whatever the disputes' state is now (R11)."""
    chargeback_reason = RefundReason.CHARGEBACK
    return [Record(refund, charged_back=refund.reason is chargeback_reason) for refund in refunds]
