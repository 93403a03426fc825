"""Differences between the books and a provider: a table, the amounts by kind, and what was applied."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any, Self

from refundcli.output.serializers.reconciliation import difference as difference_shape
from refundcli.output.terminal import BAD, DOUBT, GOOD, QUIET, STRONG, Screen
from refundcli.private_files import temporary_folder
from refundcli.services.preflight.difference import Difference
from refundcli.services.reconciliation.against_provider import ComparisonSummary
from refundcli.services.reconciliation.last_comparison import Agreement

DIFFERENCE_COLUMNS = (
    "kind",
    "invoice",
    "reference",
    "object",
    "in_books",
    "at_provider",
    "amount",
    "currency",
    "applied",
    "refund",
    "next",
)
TEXT_COLUMNS = ("invoice", "reference", "in_books", "at_provider")
_HEADINGS = ("What", "Invoice", "At the provider", "Here", "There", "")
_SHOWN = 100
_IN_MEMORY = 1024 * 1024


class DifferenceSpool:
    """Differences in the order they were found, as `-o json` shows them; a long list is kept on disk."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(  # noqa: SIM115 - closed by __exit__
            _IN_MEMORY, mode="w+", encoding="utf-8", dir=temporary_folder()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._file.seek(0)
        return (json.loads(line) for line in self._file)

    def add(self, difference: Difference, is_applied: bool) -> None:
        self._file.write(json.dumps(difference_shape(difference, is_applied)) + "\n")


def difference_row(difference: Mapping[str, Any]) -> tuple[object, ...]:
    amount = difference["amount"] or {}
    return (
        difference["kind"],
        difference["invoice"],
        difference["reference"],
        difference["object"],
        difference["in_books"],
        difference["at_provider"],
        amount.get("amount"),
        amount.get("currency"),
        difference["applied"],
        difference["refund"],
        difference["next"],
    )


def show_differences(differences: DifferenceSpool, count: int, screen: Screen) -> None:
    """The first hundred, and the next command of each; applied differences are dimmed."""
    if not count:
        return
    shown = list(islice(differences, _SHOWN))
    screen.table(_HEADINGS, map(_cells, shown))
    if count > _SHOWN:
        screen.say(f"… and {count - _SHOWN} more: add -o csv to see all", indent=3)
    for command in dict.fromkeys(difference["next"] for difference in shown if difference["next"]):
        screen.command(f"Next: {command}")


def _cells(difference: Mapping[str, Any]) -> tuple[tuple[str, str] | str, ...]:
    # `refund missing-here`, and `dispute` alone.
    object_and_kind = " ".join(dict.fromkeys((difference["object"], difference["kind"])))
    return (
        (object_and_kind, QUIET if difference["applied"] else BAD),
        (difference["invoice"] or "not in the books", "" if difference["invoice"] else DOUBT),
        difference["reference"],
        difference["in_books"] or "—",
        difference["at_provider"] or "—",
        ("applied" if difference["applied"] else "", GOOD),
    )


def show_settled(summary: ComparisonSummary, screen: Screen) -> None:
    """Refunds whose outcome was unknown before this comparison."""
    for refund in summary.settled[:_SHOWN]:
        words = f"Settled {refund.id} of {refund.invoice_number}: {refund.amount} {refund.state}."
        screen.say(("✓ ", GOOD), f"{words}   {refund.provider_reference}".rstrip())
    if len(summary.settled) > _SHOWN:
        screen.say(f"… and {len(summary.settled) - _SHOWN} more settled.", indent=3)


def show_reconciled(provider_or_report: str, summary: ComparisonSummary, screen: Screen, *, why_nothing: str) -> None:
    """One line of result, then the money by kind. `why_nothing` says why there was nothing to compare, where so."""
    compared_words = (
        f"{summary.compared} {'payment' if summary.compared == 1 else 'payments'} compared with {provider_or_report}"
    )
    if summary.result is Agreement.NOTHING:
        screen.say(("✓ ", GOOD), f"Nothing to compare: {why_nothing}.")
        return
    if summary.result is Agreement.AGREES:
        screen.say(("✓ ", GOOD), f"{compared_words}: the books agree.")
        return
    if not summary.differences:
        screen.say(("! ", DOUBT), f"{compared_words}: no differences in what could be compared.")
        return
    differ_words = f"{summary.differences} {'differs' if summary.differences == 1 else 'differ'}"
    applied_words = f", {summary.repaired} applied" if summary.repaired else ""
    screen.say(("! ", DOUBT), f"{compared_words}: ", (differ_words, STRONG), applied_words, ".")
    for (kind, _), amount in sorted(summary.money.items()):
        screen.say(f"{kind:<14} {amount}", indent=3)
