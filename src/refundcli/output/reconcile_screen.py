"""Where the books and a provider differ: a table by kind, the money it amounts to, and what was taken in."""

from collections.abc import Sequence
from typing import Any

from refundcli.output.shapes import money
from refundcli.output.terminal import BAD, DOUBT, GOOD, QUIET, STRONG, Screen, cell, grid
from refundcli.services.differences import Difference
from refundcli.services.reconcile import Reconciled

DIFFERENCE_COLUMNS = (
    "kind",
    "invoice",
    "reference",
    "what",
    "here",
    "there",
    "amount",
    "currency",
    "taken_in",
    "refund",
)
_TEXT = ("invoice", "reference", "here", "there")
TEXT_COLUMNS = _TEXT
_SHOWN = 100


def difference_row(difference: Difference, taken_in: bool) -> tuple[object, ...]:
    amount = difference.amount
    return (
        difference.kind,
        difference.invoice,
        difference.reference,
        difference.what,
        difference.here,
        difference.there,
        amount.number if amount else "",
        amount.currency.code if amount else "",
        taken_in,
        difference.refund_id,
    )


def difference_shape(difference: Difference, taken_in: bool) -> dict[str, Any]:
    return {
        "kind": difference.kind,
        "provider": difference.provider,
        "invoice": difference.invoice or None,
        "reference": difference.reference,
        "refund": difference.refund_id or None,
        "what": difference.what,
        "here": difference.here or None,
        "there": difference.there or None,
        "amount": money(difference.amount) if difference.amount else None,
        "taken_in": taken_in,
    }


def reconcile_shape(done: Reconciled, told: Sequence[tuple[Difference, bool]]) -> dict[str, Any]:
    return {
        "compared": done.compared,
        "differences": [difference_shape(*each) for each in told],
        "difference_count": done.differences,
        "taken_in": done.repaired,
        "changed": done.changed,
        "by_kind": dict(done.by_kind),
        "money": [{"kind": kind, "amount": money(amount)} for (kind, _), amount in sorted(done.money.items())],
    }


def show_differences(told: Sequence[tuple[Difference, bool]], screen: Screen) -> None:
    """The first hundred; what was taken in is quiet, what stays is not."""
    if not told:
        return
    table = grid(header=True)
    for name in ("What", "Invoice", "At the provider", "Here", "There", ""):
        table.add_column(name, overflow="fold")
    for difference, taken_in in told[:_SHOWN]:
        table.add_row(
            cell(_what(difference), QUIET if taken_in else BAD),
            cell(difference.invoice or "not in the books", "" if difference.invoice else DOUBT),
            cell(difference.reference),
            cell(difference.here or "—"),
            cell(difference.there or "—"),
            cell("taken in" if taken_in else "", GOOD),
        )
    screen.console.print(table)
    if len(told) > _SHOWN:
        screen.say(f"… and {len(told) - _SHOWN} more: the same with -o csv", indent=3)


def _what(difference: Difference) -> str:
    """`refund missing-here`, and `dispute` alone."""
    return " ".join(dict.fromkeys((difference.what, difference.kind.value)))


def show_reconciled(label: str, done: Reconciled, screen: Screen) -> None:
    """One line of result, then the money by kind."""
    things = f"{done.compared} {'payment' if done.compared == 1 else 'payments'} compared with {label}"
    if not done.differences:
        screen.say(("✓ ", GOOD), f"{things}: the books agree.")
        return
    differ = f"{done.differences} {'differs' if done.differences == 1 else 'differ'}"
    taken_in = f", {done.repaired} taken in" if done.repaired else ""
    screen.say(("! ", DOUBT), f"{things}: ", (differ, STRONG), taken_in, ".")
    for (kind, _), amount in sorted(done.money.items()):
        screen.say(f"{kind:<14} {amount}", indent=3)
