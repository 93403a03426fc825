"""What `void` and `uncollectible` share: ask, close the invoice at its provider and here, show it."""

from contextlib import suppress

import typer

from refundcli.cli.commands.refunds.questions import ask_number
from refundcli.cli.context import App
from refundcli.cli.prompts import ask_yes_no, require_a_way_to_ask
from refundcli.domain.eligibility import is_voidable
from refundcli.domain.errors import RefundcliError, UsageProblem, before_sending
from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.services.closings.close import Closed, ClosingPreview, ClosingRequest
from refundcli.services.invoices.lookup import invoice_behind, invoice_named
from refundcli.system.interrupts import Interrupted

_VERBS = {InvoiceStatus.VOID: "Void", InvoiceStatus.UNCOLLECTIBLE: "Write off"}


def close(app: App, number: str, target: InvoiceStatus, *, memo: str, yes: bool, dry_run: bool) -> None:
    require_a_way_to_ask(app, is_answered=yes or dry_run, how_to_answer="Add --yes.")
    service = app.services.close_invoices
    invoice = service.check(number or _ask_number(app, target), target)
    number = invoice.number
    with before_sending():
        connect(app, invoice.managed_by, dry_run=dry_run)
        if dry_run:
            _show_dry_run(app, service.preview(invoice, target))
            return
    if not yes:
        from refundcli.output.views.closing import owed_words

        where_words = f", here and at {invoice.managed_by.label}" if invoice.managed_by else ""
        undone_action = "sent" if invoice.managed_by else "changed"
        question = f"{_VERBS[target]} {number}, {owed_words(invoice)}{where_words}? {_consequence(invoice, target)}"
        ask_yes_no(app, question, undone_action=undone_action)
    try:
        closed = service.close(ClosingRequest(number, target, memo, app.settings.operator.name))
    except Interrupted:
        _show_interrupted(app, number)
        raise
    show_closed(app, closed)


class NumberMissing(UsageProblem):
    code = "number-missing"

    def __init__(self, command: str) -> None:
        super().__init__("The invoice's number is missing.", hint=f"refundcli {command} NUMBER")


def _ask_number(app: App, target: InvoiceStatus) -> str:
    if not app.may_ask:
        raise NumberMissing(target)
    books = app.services.books
    invoice = ask_number(app, lambda typed: books.read(lambda tx: invoice_behind(tx, typed)), undone_action="changed")
    return invoice.number


def _consequence(invoice: Invoice, target: InvoiceStatus) -> str:
    if target is InvoiceStatus.VOID:
        return "This cannot be undone."
    return f"It can still be {'voided, or ' if is_voidable(invoice) else ''}paid later."


def connect(app: App, provider: Provider | None, *, dry_run: bool) -> None:
    """Connect the provider that has the invoice before any question, and announce a live one."""
    if provider is None:
        return
    closer = app.services.providers.closer(provider)
    if app.verbose:
        app.note(f"{closer.name.label} account {closer.account} at {closer.base_url}")
    if closer.livemode and not dry_run:
        app.err.say(("LIVE ", "bold red"), f"{closer.name.label} {closer.account}: this changes a real invoice.")


def _show_dry_run(app: App, preview: ClosingPreview) -> None:
    from refundcli.output.serializers.refunds import closing_preview
    from refundcli.output.views.closing import show_closing_preview

    if app.for_people:
        show_closing_preview(preview, app.out)
    else:
        app.show_object(closing_preview(preview))


def show_closed(app: App, closed: Closed, *, is_expected: bool = False) -> None:
    """Show the invoice as it is now, and the closing at its provider, which decides the exit code.

    `is_expected`: the outcome is what the operator asked for, whatever it is, so it is no failure.
    """
    from refundcli.cli.commands.refunds.request import exit_code_of, warn
    from refundcli.output.serializers.refunds import closing_answer
    from refundcli.output.views.closing import show_closing

    closing = None if is_expected else closed.closing
    if closing and app.for_people:
        # On a terminal the error comes before the invoice.
        warn(app, closing)
    if app.for_people:
        show_closing(closed, app.out)
    else:
        app.show_object(closing_answer(closed.invoice))
    if closing is None:
        return
    if not app.for_people:
        warn(app, closing)
    exit_code = exit_code_of([closing])
    if exit_code:
        raise typer.Exit(exit_code)


def _show_interrupted(app: App, number: str) -> None:
    """After Ctrl-C: the stored state of the closing (exit 130)."""
    with suppress(typer.Exit, RefundcliError):
        invoice = app.services.books.read(lambda tx: invoice_named(tx, number))
        show_closed(app, Closed(invoice, invoice.closings[-1] if invoice.closings else None))
