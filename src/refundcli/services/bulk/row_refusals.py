"""Why a row of a bulk file is refused, and the rejected row that reports it."""

from refundcli.domain.errors import RefundcliError, Refused
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundKind
from refundcli.services.bulk.rows import BulkRow, Planned
from refundcli.services.ports.bad_rows import BadRow, Problem


class NeedsOwnKey(Refused):
    """The row may be meant: it is done once it has a key of its own, and handed back without one."""


class UndoneSince(NeedsOwnKey):
    """What this very row asked for was done, and then undone or returned: doing it again needs a word."""

    code = "taken-back"

    def __init__(self, refund: Refund) -> None:
        is_record = refund.kind is RefundKind.RECORD
        verb, then = ("recorded", "undone") if is_record else ("refunded", "returned")
        super().__init__(
            f"{refund.invoice_number}: this row was already {verb} as {refund.id}, {then} since.",
            hint="If it is to be done again, give the row a key of its own.",
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class DuplicateKey(Refused):
    code = "duplicate-key"

    def __init__(self, key: str, line: int) -> None:
        super().__init__(
            f"Line {line} has the key {key!a} and asks for something else.",
            hint="Give each row its own key, or leave the key empty.",
        )


_IF_MEANT = "If a second one is meant, give the row a key of its own, or add --allow-duplicate."


class RepeatsEarlierRefund(NeedsOwnKey):
    """Equal to a row of an earlier file, or to a refund made minutes ago: told twice, or meant twice?"""

    code = "possible-duplicate"

    def __init__(self, earlier: Refund) -> None:
        by = earlier.run_id or earlier.operator
        verb = "recorded" if earlier.kind is RefundKind.RECORD else "refunded"
        super().__init__(
            f"{earlier.amount} of the same payment of {earlier.invoice_number} was already {verb} on "
            f"{earlier.created_at:%Y-%m-%d at %H:%M} UTC by {by} ({earlier.id}, {earlier.state}).",
            hint=_IF_MEANT,
            context={"refund": earlier.id, "invoice": earlier.invoice_number},
        )


class EqualRow(NeedsOwnKey):
    """Equal in payment, amount, reason and reference to a row before it in the same file: pasted twice?"""

    code = "possible-duplicate"

    def __init__(self, number: str, amount: Money, line: int) -> None:
        super().__init__(
            f"Line {line} content the same already: {amount} of {number}, with the same payment, reason and reference.",
            hint=_IF_MEANT,
            context={"invoice": number, "line": line},
        )


class ChangedSincePlan(Refused):
    code = "changed-meanwhile"

    def __init__(self, invoice: Invoice, planned: Planned) -> None:
        was = Money(planned.remaining, invoice.currency)
        super().__init__(
            f"{invoice.number} changed since the plan was made: {was} was left then, {invoice.refundable} is left now.",
            hint=f"refundcli invoice show {invoice.number}   and make a new plan",
            context={"invoice": invoice.number},
        )


# Which cell is wrong, where it is not the invoice.
_COLUMNS = {"duplicate-key": "key", "invalid-amount": "amount", "refunded-too-early": "refunded_on"}
# What to do where a file has no column for it.
_HINTS = {"dispute-closed": 'Do it alone, without the file, with --dispute-decision "who decided what, and when".'}


def rejected(row: BulkRow, key: str, refusal: RefundcliError) -> BadRow:
    """The row with why it was refused, fit to be corrected and fed back under the same key.

    Where only a key of its own lets it pass, it comes back without one: fed back as it is, it is not done.
    """
    column = _COLUMNS.get(refusal.code, "invoice")
    value = {"key": row.key, "amount": row.amount_text, "refunded_on": str(row.refunded_on)}.get(column, row.invoice)
    hint = _HINTS.get(refusal.code, refusal.hint)
    problem = Problem(row.line, column, value, refusal.code, refusal.message, hint)
    return BadRow(row.line, (problem,), row.cells, "" if isinstance(refusal, NeedsOwnKey) else key)
