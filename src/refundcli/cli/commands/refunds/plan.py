"""plan: what a run of refunds would do, for a second person to read and to apply."""

import shlex
from datetime import date
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from refundcli.cli.options import DryRun, Memo, Reason, day_option
from refundcli.domain.bulk_run import RunKind
from refundcli.domain.errors import UsageProblem
from refundcli.domain.reasons import parse_reason
from refundcli.domain.statuses import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from refundcli.cli.context import App
    from refundcli.services.bulk.check_file import CheckedFile
    from refundcli.services.bulk.row_rules import RowRequests
    from refundcli.services.bulk.select_invoices import AmountRule, SelectionReport

group = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True, help="Plan refunds in bulk.")


class PlanFileNeeded(UsageProblem):
    code = "plan-file-needed"

    def __init__(self) -> None:
        super().__init__(
            "Name the plan to write.", hint="Add --out plan.json; or add --dry-run to see what it would do."
        )


@group.callback()
def _plan() -> None:
    """Plan refunds in bulk."""


@group.command(
    epilog="Examples:  refundcli plan make --product 'Cup*' --keep 10% --reason other --out plan.json   ·   "
    "refundcli plan make --paid-since 2026-08-01 --full --reason other --dry-run"
)
def make(
    ctx: typer.Context,
    product: Annotated[
        str, typer.Option("--product", metavar="PATTERN", help="Only invoices for this product; * fits any text.")
    ] = "",
    paid_since: Annotated[date | None, day_option("--paid-since", help="Paid on this day or later.")] = None,
    paid_until: Annotated[date | None, day_option("--paid-until", help="Paid on this day or before.")] = None,
    provider: Annotated[Provider | None, typer.Option("--provider", help="Only those paid through it.")] = None,
    customer: Annotated[str, typer.Option("--customer", metavar="ID", help="Only this customer's.")] = "",
    full: Annotated[bool, typer.Option("--full", help="Return everything that is left.")] = False,
    percent: Annotated[
        str, typer.Option("--percent", metavar="PERCENT", help="Return this part of what was paid.")
    ] = "",
    keep: Annotated[
        str, typer.Option("--keep", metavar="PERCENT", help="Return all but this part of what was paid, such as 10%.")
    ] = "",
    keep_amount: Annotated[
        str, typer.Option("--keep-amount", metavar="AMOUNT", help="Return all but this amount of each invoice.")
    ] = "",
    with_other_products: Annotated[
        bool, typer.Option("--with-other-products", help="Include invoices that have other products too.")
    ] = False,
    action: Annotated[
        RunKind, typer.Option("--action", help="refund, or mark-refunded for invoices paid outside.")
    ] = RunKind.REFUND,
    reason: Reason = "",
    memo: Memo = "",
    out: Annotated[str, typer.Option("--out", metavar="PLAN", help="The plan to write.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Select invoices, compute how much of each is returned, and save that as a plan. Nothing is sent or recorded.

    A percentage is of what was paid, and rounded half up to the smallest unit of the currency. What was returned
    before counts, so that the same plan made again returns nothing twice.
    """
    from refundcli.cli.commands.refunds.file_run import TerminalPresenter, show_checked
    from refundcli.services.bulk.ports import BulkRequest
    from refundcli.services.bulk.select_invoices import SelectedRows, Selection, SelectionNeeded
    from refundcli.services.invoices.pages import invoice_pages
    from refundcli.services.ports.reads import InvoiceFilter

    app: App = ctx.obj
    parsed_reason = parse_reason(reason)
    amount_rule = _amount_rule(full=full, percent=percent, keep=keep, keep_amount=keep_amount)
    if not (product or paid_since or paid_until or provider or customer):
        raise SelectionNeeded
    if not out and not dry_run:
        raise PlanFileNeeded
    selection = Selection(
        action, amount_rule, parsed_reason, memo, product, with_other_products, paid_since, paid_until
    )
    invoice_filter = InvoiceFilter(provider=provider, customer=customer, refundable=True)
    selected = SelectedRows(selection, lambda: invoice_pages(app.services.reader, invoice_filter))
    request = BulkRequest(action, reason=parsed_reason, plan="" if dry_run else out, dry_run=dry_run)
    options = {
        "product": product, "paid-since": paid_since, "paid-until": paid_until, "provider": provider,
        "customer": customer, "full": full, "percent": percent, "keep": keep, "keep-amount": keep_amount,
        "with-other-products": with_other_products, "action": action, "reason": parsed_reason,
    }  # fmt: skip
    checked = app.services.check_of(selected, _label(options)).then(
        request,
        _row_requests(app, action),
        TerminalPresenter(app, yes=False, confirm_text="", is_answered=True),
        _nothing_more,
    )
    _note_selection(app, selected.report)
    show_checked(app, checked)


@group.command(epilog="Examples:  refundcli plan show plan.json   ·   refundcli plan show plan.json -o json")
def show(ctx: typer.Context, file: Annotated[str, typer.Argument(metavar="PLAN", help="The plan's file.")]) -> None:
    """Show what a plan holds, who made it and when, and whether it may still be applied. Nothing is sent."""
    import sys

    from refundcli.files.bulk.plan import PlanFile
    from refundcli.files.source import open_source
    from refundcli.output.serializers import runs as serializers
    from refundcli.output.views.plan import show_plan
    from refundcli.services.bulk.plan_contents import plan_contents

    app: App = ctx.obj
    reader = app.services.reader
    with open_source(file, sys.stdin.buffer) as source:
        plan = PlanFile(source, None, reader.read(lambda tx: tx.store.secret()))
        contents = plan_contents(reader, source.name, plan.header, plan.rows(), plan.seal)
    app.show(serializers.plan(contents), lambda screen: show_plan(contents, screen, zone=app.settings.operator.zone))


def _label(options: "Mapping[str, object]") -> str:
    """The command as it was typed, without the names of files and the memo."""
    words = [
        f"--{name}" if value is True else f"--{name} {shlex.quote(str(value))}"
        for name, value in options.items()
        if value
    ]
    return " ".join(("plan make", *words))


def _row_requests(app: "App", action: RunKind) -> "RowRequests":
    operator = app.settings.operator.name
    if action is RunKind.REFUND:
        from refundcli.services.bulk.refund_rows import RefundRowRequests

        return RefundRowRequests(operator)
    from refundcli.services.bulk.record_run import RecordRowRequests

    return RecordRowRequests(app.services.clock, operator)


def _nothing_more(file: "CheckedFile") -> NoReturn:
    raise AssertionError(f"{file.name}: a plan ends with its check")


def _amount_rule(*, full: bool, percent: str, keep: str, keep_amount: str) -> "AmountRule":
    """Raises OneAmountRule, InvalidPercentage and InvalidAmount."""
    from refundcli.domain.money import check_amount
    from refundcli.services.bulk.select_invoices import AmountRule, OneAmountRule, parse_percentage

    if sum(map(bool, (full, percent, keep, keep_amount))) != 1:
        raise OneAmountRule
    if keep_amount:
        check_amount(keep_amount)
    return AmountRule(
        returned_percent=parse_percentage("--percent", percent) if percent else None,
        kept_percent=parse_percentage("--keep", keep) if keep else None,
        kept_amount=keep_amount,
    )


def _note_selection(app: "App", report: "SelectionReport") -> None:
    """Which invoices were left out and why, and how amounts were rounded."""
    invoice_words = "1 invoice" if report.selected == 1 else f"{report.selected:,} invoices"
    app.note(f"Selected {invoice_words}.")
    for cause, count in report.left_out.items():
        numbers = report.numbers[cause]
        more_words = " …" if count > len(numbers) else ""
        app.note(f"  · Left out {count:,} {cause}: {', '.join(numbers)}{more_words}")
    if report.rounded:
        sums = ", ".join(
            f"{minor.normalize():+f} minor units of {code}" for code, minor in sorted(report.roundings.items())
        )
        app.note(f"  · Amounts rounded: {report.rounded:,}; together {sums} in the customers' favour.")
