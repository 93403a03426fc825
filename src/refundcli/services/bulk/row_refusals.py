"""Why a row of a bulk file is refused, and the rejected row that reports it."""

from refundcli.domain.errors import RefundcliError, Refused
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money
from refundcli.domain.next_steps import how_to_finish
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import WITHOUT_OUTCOME, RefundKind
from refundcli.services.bulk.rows import BulkRow, Planned
from refundcli.services.ports.bad_rows import BadRow, Problem


class NeedsOwnKey(Refused):
    """The row may be a repeat: it is done once it has its own key, and is rejected without one."""


class UndoneSince(NeedsOwnKey):
    """This row was done before, and then undone or reversed: repeating it needs its own key."""

    code = "taken-back"

    def __init__(self, refund: Refund) -> None:
        is_record = refund.kind is RefundKind.RECORD
        verb, undo_verb = ("recorded", "undone") if is_record else ("refunded", "returned")
        super().__init__(
            f"{refund.invoice_number}: already {verb} as {refund.id}, which has since been {undo_verb}.",
            hint="To repeat it, give the row its own key.",
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class DuplicateKey(Refused):
    code = "duplicate-key"

    def __init__(self, key: str, first_line: int) -> None:
        super().__init__(
            f"Line {first_line} has the same key {key!a} but different content.",
            hint="Give each row its own key, or leave the key empty.",
        )


_TO_REPEAT = "To repeat it, give the row its own key, or add --allow-duplicate."


class RepeatsEarlierRefund(NeedsOwnKey):
    """Equal to a row of an earlier file, or to a refund made minutes ago: a repeat by mistake?"""

    code = "possible-duplicate"

    def __init__(self, earlier_refund: Refund) -> None:
        run_or_operator = earlier_refund.run_id or earlier_refund.operator
        has_outcome = earlier_refund.state not in WITHOUT_OUTCOME
        verb = "recorded" if earlier_refund.kind is RefundKind.RECORD else "refunded" if has_outcome else "requested"
        super().__init__(
            f"{earlier_refund.amount} of the same payment of {earlier_refund.invoice_number} was already {verb} on "
            f"{earlier_refund.created_at:%Y-%m-%d at %H:%M} UTC by {run_or_operator} "
            f"({earlier_refund.id}, {earlier_refund.state}).",
            hint="\n".join(filter(None, [how_to_finish(earlier_refund), _TO_REPEAT])),
            context={"refund": earlier_refund.id, "invoice": earlier_refund.invoice_number},
        )


class EqualRow(NeedsOwnKey):
    """Equal in payment, amount, reason and reference to an earlier row of the file: pasted twice?"""

    code = "possible-duplicate"

    def __init__(self, invoice_number: str, amount: Money, earlier_line: int) -> None:
        super().__init__(
            (
                f"Line {earlier_line} already says the same: {amount} of {invoice_number}, with the same payment, "
                "reason and reference."
            ),
            hint=_TO_REPEAT,
            context={"invoice": invoice_number, "line": earlier_line},
        )


class ChangedSincePlan(Refused):
    code = "changed-meanwhile"

    def __init__(self, invoice: Invoice, planned_row: Planned) -> None:
        planned_remainder = Money(planned_row.remaining, invoice.currency)
        super().__init__(
            (
                f"{invoice.number} has changed since the plan was made: {planned_remainder} was left then, "
                f"{invoice.refundable} is left now."
            ),
            hint=f"refundcli invoice show {invoice.number}   then make a new plan",
            context={"invoice": invoice.number},
        )


# The column at fault, where it is not the invoice.
_COLUMNS = {"duplicate-key": "key", "invalid-amount": "amount", "refunded-too-early": "refunded_on"}
# The next step where a file has no column for it.
_HINTS = {"dispute-closed": 'Refund it without the file, with --dispute-decision "who decided what, and when".'}


def rejected(row: BulkRow, request_key: str, refusal: RefundcliError) -> BadRow:
    """The rejected row with its reason, to be corrected and run again under the same key.

    A row that needs its own key is rejected without one, so running it again unchanged does nothing.
    """
    column = _COLUMNS.get(refusal.code, "invoice")
    cell_text = {"key": row.key, "amount": row.amount_text, "refunded_on": str(row.refunded_on)}.get(
        column, row.invoice
    )
    hint = _HINTS.get(refusal.code, refusal.hint)
    problem = Problem(row.line, column, cell_text, refusal.code, refusal.message, hint)
    return BadRow(row.line, (problem,), row.cells, "" if isinstance(refusal, NeedsOwnKey) else request_key)
