"""Which updates of one payment its rows in a report stand for, and which of them differ from the books."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from refundcli.domain.currencies import Currency
from refundcli.domain.dispute import DisputeStage
from refundcli.domain.money import Money, zero
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.ports.provider_updates import CaptureUpdate, DisputeUpdate, Doubt, RefundUpdate, Update
from refundcli.services.ports.records import PaymentLine, RefundLine
from refundcli.services.ports.vocabulary import CaptureChange, Effect
from refundcli.services.preflight.difference import Difference, DifferenceKind, apart
from refundcli.services.reconciliation.report_refunds import (
    MADE,
    NOT_MADE,
    RANK,
    by_reference,
    is_expected,
    is_new,
    is_new_for_record,
    newest,
    other_amount,
    refund_amount,
    refund_in_books,
    sent_again,
    sum_of,
)
from refundcli.services.reconciliation.report_rows import ReportRow, RowPart


@dataclass(slots=True)
class RowUpdate:
    """An update that differs from the books, and its difference. `is_expected`: report it only if it is not applied."""

    update: Update
    evidence: str
    difference: Difference
    row: ReportRow
    is_expected: bool = False


@dataclass(frozen=True, slots=True)
class PaymentRows:
    """Reads the rows of one payment. `on_difference` is called for what differs and has no update to apply."""

    provider: Provider
    account: str
    report_name: str
    on_difference: Callable[[Difference], None]

    def updates(self, payment_line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[RowUpdate]:
        for row in rows:
            if row.needs_review:
                yield self._unreviewed(payment_line, row, row.needs_review)
        clear_rows = [row for row in rows if not row.needs_review]
        capture_rows = [row for row in clear_rows if row.effect is Effect.CAPTURE]
        # With an unreadable capture the sum is unknown.
        if capture_rows and not any(row.needs_review and row.effect is Effect.CAPTURE for row in rows):
            self._captured(payment_line, capture_rows)
        if len(capture_rows) < len(clear_rows):
            yield from self._refunds(payment_line, [row for row in clear_rows if row.effect is Effect.REFUND])
            yield from self._disputes(payment_line, [row for row in clear_rows if row.effect is Effect.DISPUTE])
        missing_captures = [row for row in capture_rows if row.capture not in (None, CaptureChange.ADDED)]
        if missing_captures:
            yield from self._captures(
                payment_line, [*missing_captures, *captured_again(capture_rows, missing_captures)]
            )

    def _unreviewed(self, payment_line: PaymentLine, row: ReportRow, why: str) -> RowUpdate:
        """A row of an unlisted type, or a contradictory one, is shown and never applied (R13)."""
        row_text = f"line {row.line}: {why}"
        reference = row.modification_reference or payment_line.reference
        difference_fields = (payment_line.invoice, reference, "report line", "", row_text, row.amount)
        difference = Difference(DifferenceKind.STATUS, self.provider, *difference_fields)
        return RowUpdate(self.doubt(payment_line.reference, row, why), self._evidence(row), difference, row)

    def doubt(self, payment_reference: str, row: ReportRow, why: str) -> Doubt:
        reference = row.modification_reference or payment_reference
        return Doubt(self.provider, (payment_reference,), row.word, reference, why, self.account, row.amount)

    def _evidence(self, row: ReportRow) -> str:
        return f"report {self.report_name} line {row.line}"

    def _captures(self, payment_line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[RowUpdate]:
        """Failed and repeated captures. Applying them shows whether the books have them already."""
        for row in sorted(rows, key=lambda row: (row.booked_at, row.line)):
            change = row.capture
            if row.amount is None or change is None or row.part in (RowPart.WHOLE, RowPart.INSTALMENT):
                continue
            reference = row.modification_reference or payment_line.reference
            update = CaptureUpdate(
                self.provider,
                reference,
                (payment_line.reference,),
                change,
                row.amount,
                row.word,
                row.booked_at,
                self.account,
            )
            difference = self.differs(DifferenceKind.AMOUNT, payment_line, "captured", payment_line.captured, row.word)
            yield RowUpdate(update, self._evidence(row), difference, row)

    def _captured(self, payment_line: PaymentLine, rows: Sequence[ReportRow]) -> None:
        captured, currency = payment_line.captured, payment_line.captured.currency
        foreign_amount = next((row.amount for row in rows if row.amount and row.amount.currency != currency), None)
        if foreign_amount:
            kind = DifferenceKind.CURRENCY
            self.on_difference(self.differs(kind, payment_line, "captured", captured, foreign_amount))
            return
        added_rows = [row for row in rows if row.capture is CaptureChange.ADDED]
        failed_sum = sum_of([row for row in rows if row.capture is CaptureChange.FAILED], currency)
        reported_total = captured_total(added_rows, currency) - failed_sum
        # A failed capture that explains the gap is reported on its own when it is applied.
        if added_rows and reported_total not in (captured, captured - failed_sum):
            kind = DifferenceKind.AMOUNT
            self.on_difference(self.differs(kind, payment_line, "captured", captured, reported_total))

    def _refunds(self, payment_line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[RowUpdate]:
        for reference, refund_rows in by_reference(rows).items():
            odd_row = other_amount(refund_rows)
            if odd_row:
                yield self._unreviewed(payment_line, odd_row, f"the rows of {reference} have different amounts")
                continue
            last_row = max(refund_rows, key=lambda row: RANK.index(row.refund))
            last_row = replace(last_row, amount=refund_amount(last_row, refund_rows))
            refund = refund_in_books(payment_line, reference, last_row.merchant_reference)
            if refund and refund.is_record and refund.amount == last_row.amount:
                yield from self._of_record(payment_line, reference, refund_rows, refund)
                continue
            row_update = self._refund(payment_line, reference, last_row, refund)
            if row_update:
                yield row_update
            later_success = sent_again(refund_rows, refund)
            if later_success and later_success.amount:
                # It follows the failure: the freed amount is reserved until a person decides (R14).
                update = self._refund_update(payment_line, reference, later_success, later_success.amount, refund)
                difference = self.differs(
                    DifferenceKind.STATUS,
                    payment_line,
                    "refund",
                    RefundState.FAILED,
                    RefundState.SUCCEEDED,
                    reference=reference,
                    amount=later_success.amount,
                    refund_id=refund.id if refund else "",
                )
                yield RowUpdate(update, self._evidence(later_success), difference, later_success)
            elif not row_update and refund and refund.is_unadopted and last_row.amount:
                difference = self.differs(
                    DifferenceKind.UNADOPTED,
                    payment_line,
                    "refund",
                    "no credit note",
                    last_row.amount,
                    reference=reference,
                    amount=last_row.amount,
                    refund_id=refund.id,
                )
                self.on_difference(difference)

    def _refund(
        self, payment_line: PaymentLine, reference: str, row: ReportRow, refund: RefundLine | None
    ) -> RowUpdate | None:
        state = row.refund
        if row.amount is None or (refund is not None and refund.amount == row.amount and not is_new(refund, state)):
            return None
        update = self._refund_update(payment_line, reference, row, row.amount, refund)
        difference = self._refund_difference(payment_line, refund, update)
        return RowUpdate(update, self._evidence(row), difference, row, is_expected(refund, state))

    def _of_record(
        self, payment_line: PaymentLine, reference: str, refund_rows: Sequence[ReportRow], record: RefundLine
    ) -> Iterator[RowUpdate]:
        """The outcome of a refund recorded by hand; its success first, because the later of the two wins."""
        success_row, failure_row = (newest(refund_rows, states) for states in (MADE, NOT_MADE))
        for row in (success_row, failure_row):
            amount = row and refund_amount(row, refund_rows)
            if row and amount and is_new_for_record(record, row, success_row):
                update = self._refund_update(payment_line, reference, row, amount, record)
                difference = self._refund_difference(payment_line, record, update)
                # A success of the recorded refund is no difference.
                is_no_difference = row is success_row and record.failed_at is None
                yield RowUpdate(update, self._evidence(row), difference, row, is_no_difference)

    def _refund_update(
        self, payment_line: PaymentLine, reference: str, row: ReportRow, amount: Money, refund: RefundLine | None
    ) -> RefundUpdate:
        state = row.refund
        return RefundUpdate(
            provider=self.provider,
            reference=reference,
            payment_references=(payment_line.reference,),
            amount=amount,
            state=state,
            status=row.word,
            account=self.account,
            refund_id=refund.id if refund else "",
            failure="" if state.is_accepted else f"{self.provider.label}: {row.word} ({self.report_name})",
            may_be_retried=bool(row.meaning and row.meaning.may_be_retried),
            created_at=row.booked_at,
            reported_at=row.booked_at,
        )

    def _refund_difference(
        self, payment_line: PaymentLine, refund: RefundLine | None, update: RefundUpdate
    ) -> Difference:
        kind, in_books, at_provider, amount = DifferenceKind.MISSING_HERE, "", str(update.amount), update.amount
        if refund is not None and refund.amount.currency != update.amount.currency:
            kind, in_books = DifferenceKind.CURRENCY, str(refund.amount)
        elif refund is not None and refund.amount != update.amount:
            kind, in_books, amount = DifferenceKind.AMOUNT, str(refund.amount), apart(refund.amount, update.amount)
        elif refund is not None:
            kind, in_books, at_provider = DifferenceKind.STATUS, refund.state, update.state
        names = (payment_line.invoice, update.reference, "refund", in_books, at_provider)
        return Difference(kind, self.provider, *names, amount, refund.id if refund else "")

    def _disputes(self, payment_line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[RowUpdate]:
        """Each dispute, in the order of its events. Applying them shows whether the books have them already."""
        for row in sorted(rows, key=lambda row: (row.booked_at, row.line)):
            if row.meaning is None:
                continue
            update = DisputeUpdate(
                provider=self.provider,
                reference=row.modification_reference,
                payment_references=(payment_line.reference,),
                state=row.meaning.dispute,
                stage=row.meaning.stage or DisputeStage.CHARGEBACK,
                status=row.word,
                at=row.booked_at,
                amount=row.amount,
                account=self.account,
            )
            difference = self.differs(
                DifferenceKind.DISPUTE, payment_line, "dispute", "none", row.meaning.dispute or row.word
            )
            yield RowUpdate(update, self._evidence(row), difference, row)

    def differs(
        self,
        kind: DifferenceKind,
        payment_line: PaymentLine,
        object_name: str,
        in_books: object,
        at_provider: object,
        *,
        reference: str | None = None,
        amount: Money | None = None,
        refund_id: str = "",
    ) -> Difference:
        """By default about the payment and its captured amount, or the gap between two amounts."""
        captured, reference = payment_line.captured, payment_line.reference if reference is None else reference
        amount = amount or (apart(captured, at_provider) if isinstance(at_provider, Money) else captured)
        texts = (object_name, str(in_books), str(at_provider))
        return Difference(kind, self.provider, payment_line.invoice, reference, *texts, amount, refund_id)


def captured_again(capture_rows: Sequence[ReportRow], failed_rows: Sequence[ReportRow]) -> list[ReportRow]:
    """Captures under the reference of an earlier failed capture."""
    failed_at_by_reference = {
        row.modification_reference: row.booked_at for row in failed_rows if row.modification_reference
    }
    repeated_captures = (
        row
        for row in capture_rows
        if row.capture is CaptureChange.ADDED and row.modification_reference in failed_at_by_reference
    )
    return [row for row in repeated_captures if row.booked_at > failed_at_by_reference[row.modification_reference]]


def captured_total(capture_rows: Sequence[ReportRow], currency: Currency) -> Money:
    """The sum of the captures. A capture reported as sent and as settled counts once."""
    rows_by_capture = by_reference(capture_rows)
    # If only some rows name their capture, the rows cannot be grouped.
    row_groups = [capture_rows] if "" in rows_by_capture else list(rows_by_capture.values())
    return sum((_of_one(rows_of_capture, currency) for rows_of_capture in row_groups), zero(currency))


def _of_one(rows: Sequence[ReportRow], currency: Currency) -> Money:
    sum_by_part = {part: sum_of([row for row in rows if row.part is part], currency) for part in RowPart}
    return max(
        sum_by_part[RowPart.SENT],
        sum_by_part[RowPart.DONE] + max(sum_by_part[RowPart.WHOLE], sum_by_part[RowPart.INSTALMENT]),
    )
