"""Take back records that were made in error: `recorded` becomes `reversed`, and the credit notes void."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from refundcli.domain.bulk_run import RunKind, RunState
from refundcli.domain.errors import Refused
from refundcli.domain.money import Money, zero
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundKind, RefundState
from refundcli.services.bulk_runs import run_named
from refundcli.services.finding import RefundNotFound
from refundcli.services.interrupts import held_until_written
from refundcli.services.ports import Books, Reading, Record, Writing

_CHUNK = 1000
_RUN = "run_"


class NotARecord(Refused):
    code = "not-a-record"

    def __init__(self, refund: Refund) -> None:
        super().__init__(
            f"{refund.id} is no record that stands: it is a {refund.kind} refund, {refund.state}.",
            hint=f"refundcli invoice show {refund.invoice_number}",
            context={"refund": refund.id, "invoice": refund.invoice_number, "status": refund.state},
        )


class MadeAtProvider(Refused):
    """A provider's own refund was matched with the record: the money did go back."""

    code = "made-at-provider"

    def __init__(self, refund: Refund) -> None:
        super().__init__(
            f"{refund.id} is known at the provider as {refund.provider_reference}: that money did go back.",
            hint=f"refundcli invoice show {refund.invoice_number}",
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class NothingToUndo(Refused):
    code = "nothing-to-undo"

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"{run_id} has no record that stands: they were taken back, or never made.",
            hint="refundcli credit-notes list   shows what was issued",
        )


@dataclass(slots=True)
class Undone:
    """What is, or would be, taken back; sums by currency. `kept` were matched at a provider and stay."""

    records: int = 0
    sums: dict[str, Money] = field(default_factory=dict)
    rows_of: Counter[str] = field(default_factory=Counter)
    kept: int = 0

    def add(self, refund: Refund) -> None:
        code = refund.amount.currency.code
        self.records += 1
        self.rows_of[code] += 1
        self.sums[code] = self.sums.get(code, zero(refund.amount.currency)) + refund.amount


def preview_undo(what: str, *, books: Books) -> Undone:
    """What would be taken back. Raises RunNotFound, RefundNotFound, NotARecord, MadeAtProvider, NothingToUndo."""
    told = Undone()
    if not what.startswith(_RUN):
        told.add(books.read(partial(_one, what)))
        return told
    books.read(lambda tx: run_named(tx, what, RunKind.MARK_REFUNDED))
    for chunk in _chunks(what, books):
        for refund in chunk:
            if refund.provider_reference:
                told.kept += 1
            else:
                told.add(refund)
    if not told.records:
        raise NothingToUndo(what)
    return told


def undo(
    what: str, *, memo: str, books: Books, advance: Callable[[int], None], tell_held: Callable[[], None]
) -> Undone:
    """Take them back, chunk by chunk; one that was stopped is gone on with by the same command."""
    told = Undone()
    if not what.startswith(_RUN):
        with held_until_written(tell_held):
            told.add(books.write(partial(_take_back_one, what, memo)))
        return told
    # The same file again must not go on with what was a mistake.
    books.write(lambda tx: tx.change_run(what, RunState.FINISHED, note="taken back"))
    after = ""
    while True:
        with held_until_written(tell_held):
            found, done = books.write(partial(_take_back_page, what, after, memo))
        if not found:
            return told
        for refund in done:
            told.add(refund)
        advance(len(found))
        after = found[-1].id


def _take_back_one(refund_id: str, memo: str, tx: Writing) -> Refund:
    refund = _one(refund_id, tx)
    tx.take_back_records(_records([refund]), memo=memo)
    return refund


def _take_back_page(run_id: str, after: str, memo: str, tx: Writing) -> tuple[list[Refund], list[Refund]]:
    """The page's refunds, and those of them that were taken back now."""
    found = tx.refunds_of_run(run_id, after=after, limit=_CHUNK)
    standing = [r for r in found if r.state is RefundState.RECORDED and not r.provider_reference]
    tx.take_back_records(_records(standing), memo=memo)
    return found, standing


def _one(refund_id: str, reading: Reading) -> Refund:
    refund = reading.refund(refund_id)
    if refund is None:
        raise RefundNotFound(refund_id)
    if refund.kind is not RefundKind.RECORD or refund.state is not RefundState.RECORDED:
        raise NotARecord(refund)
    if refund.provider_reference:
        raise MadeAtProvider(refund)
    return refund


def _chunks(run_id: str, books: Books) -> Iterator[list[Refund]]:
    after = ""
    while chunk := books.read(partial(_page, run_id, after)):
        after = chunk[-1].id
        yield [refund for refund in chunk if refund.state is RefundState.RECORDED]


def _page(run_id: str, after: str, reading: Reading) -> list[Refund]:
    return reading.refunds_of_run(run_id, after=after, limit=_CHUNK)


def _records(refunds: list[Refund]) -> list[Record]:
    """With what each took of a lost dispute, however the payment's disputes stand by now (R11)."""
    charged_back = RefundReason.CHARGEBACK
    return [Record(refund, charged_back=refund.reason is charged_back) for refund in refunds]
