"""Stripe's itemized balance report and its itemized payout reconciliation: one row per balance transaction."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from refundcli.domain.currencies import CODES, currency
from refundcli.files.adyen_report.columns import Columns, minor_of
from refundcli.files.adyen_report.report import AdyenReport, MeaningOf, StoredRow
from refundcli.files.formats.heading import Heading
from refundcli.files.source import FileProblem, Source
from refundcli.services.ports.vocabulary import Direction, Effect, Meaning

_REQUIRED = ("created_utc", "currency", "gross", "reporting_category", "source_id")
_PAYMENTS = ("payment_intent_id", "charge_id")
_PAYOUT = "automatic_payout_id"
_AMOUNT, _CURRENCY = "customer_facing_amount", "customer_facing_currency"


class NotABalanceReport(FileProblem):
    code = "not-a-balance-report"

    def __init__(self, report_name: str, missing: Sequence[str]) -> None:
        super().__init__(
            report_name,
            f"this balance report lacks the {'columns' if len(missing) > 1 else 'column'} {', '.join(missing)}",
            hint="Download the itemized report from Stripe's Dashboard under Reports, with all columns.",
        )


class StripeBalanceReport(AdyenReport):
    """Implements `services.reconciliation.report_rows.Report`. Raises NotABalanceReport, BadReport.

    `known`: which of these ids of payments are in the books. A payment is named by its intent or by its charge.
    """

    def __init__(
        self,
        source: Source,
        *,
        known: Callable[[Sequence[str]], set[str]],
        meaning_of: MeaningOf,
        advance: Callable[[int], None],
        heading: Heading,
    ) -> None:
        self._known, self._payouts, self._intents = known, set[str](), dict[str, str]()
        super().__init__(source, account="", meaning_of=meaning_of, advance=advance, heading=heading)
        # A payout holds only some of the payments of its days.
        self.covers_payments = self._payouts == {""} or len(self._payouts) > 1

    def _columns(self, report_name: str, header: Sequence[str]) -> Columns:
        names = [name.strip().lower() for name in header]
        missing = [name for name in _REQUIRED if name not in names]
        missing += [] if any(name in names for name in _PAYMENTS) else ["charge_id"]
        if missing:
            raise NotABalanceReport(report_name, missing)
        wanted = {*_REQUIRED, *_PAYMENTS, _PAYOUT, _AMOUNT, _CURRENCY}
        return Columns(list(header), {name: names.index(name) for name in wanted if name in names}, ())

    def _insert(self, connection: sqlite3.Connection, row_batch: list[StoredRow]) -> None:
        """Name each payment as the books know it."""
        intents = {intent for row in row_batch if (intent := self._intents.get(row[2]))}
        known = self._known(sorted(intents)) if intents else set()
        for index, row in enumerate(row_batch):
            if (intent := self._intents.get(row[2], "")) in known:
                row_batch[index] = (*row[:2], intent, *row[3:])
        self._intents.clear()
        super()._insert(connection, row_batch)

    def _row_of_cells(self, line_number: int, cells: list[str], columns: Columns) -> StoredRow | None:
        self.account_rows += 1
        self._payouts.add(columns.cell(cells, _PAYOUT))
        category, source_id = columns.cell(cells, "reporting_category"), columns.cell(cells, "source_id")
        intent, charge = (columns.cell(cells, name) for name in _PAYMENTS)
        meaning = self._meaning_of(category)
        payment = charge or intent
        if not payment or (meaning is not None and meaning.effect is Effect.NONE):
            self.unrelated_rows += 1
            return None
        if intent and charge:
            self._intents[charge] = intent
        booked_at = self._created_at(line_number, cells, columns)
        if booked_at is None:
            return None
        amount_minor, code, problem = _amount(columns, cells, category, meaning)
        if problem:
            self._odd_rows.add(line_number, "reporting_category", category, problem)
        reference = "" if source_id in (charge, intent) else source_id
        return line_number, category, payment, reference, "", amount_minor, code, booked_at, problem

    def _created_at(self, line_number: int, cells: list[str], columns: Columns) -> str | None:
        text = columns.cell(cells, "created_utc")
        try:
            created_at = datetime.fromisoformat(text)
        except ValueError:
            self._damage.add(line_number, "created_utc", text, "This is not a date and time.")
            return None
        created_at = created_at.astimezone(UTC) if created_at.tzinfo else created_at.replace(tzinfo=UTC)
        self.first, self.last = min(self.first or created_at, created_at), max(self.last or created_at, created_at)
        return created_at.isoformat()


def _amount(
    columns: Columns, cells: Sequence[str], category: str, meaning: Meaning | None
) -> tuple[int | None, str, str]:
    """The amount in the payment's currency, without a sign; its currency; and its problem, or ""."""
    is_customers = bool(columns.cell(cells, _AMOUNT) and columns.cell(cells, _CURRENCY))
    amount_cell, code = columns.cell(cells, _AMOUNT if is_customers else "gross"), columns.cell(cells, "currency")
    code = (columns.cell(cells, _CURRENCY) if is_customers else code).upper()
    if code not in CODES:
        return None, code, f"Unknown currency code {code}." if code else "The currency is missing."
    amount_minor = minor_of(amount_cell, currency(code))
    if amount_minor is None:
        return None, code, f"{amount_cell[:40]} is not an amount in {code}."
    is_debit = columns.cell(cells, "gross").startswith("-")
    direction = meaning.direction if meaning else None
    if (
        amount_minor
        and direction in (Direction.DEBIT, Direction.CREDIT)
        and is_debit is not (direction is Direction.DEBIT)
    ):
        way = "going out" if direction is Direction.DEBIT else "coming in"
        return (
            abs(amount_minor),
            code,
            f"{category} is money {way}, but its gross amount is {columns.cell(cells, 'gross')}.",
        )
    return abs(amount_minor), code, ""
