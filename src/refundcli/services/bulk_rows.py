"""Rows of a bulk file that asks for many refunds to be recorded."""

from dataclasses import dataclass
from datetime import date

from refundcli.domain.reasons import RefundReason


@dataclass(frozen=True, slots=True)
class MarkRow:
    """One wish to record a refund made elsewhere (R2).

    `amount_text` is as it was typed, because only the invoice knows its currency; empty means all that remains.
    `cells` are the row's own cells, in the order of the file.
    """

    line: int
    invoice: str
    amount_text: str
    reason: RefundReason
    method: str = ""
    reference: str = ""
    refunded_on: date | None = None
    memo: str = ""
    key: str = ""
    cells: tuple[str, ...] = ()
