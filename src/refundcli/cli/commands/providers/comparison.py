"""What `reconcile` does: asks or reads, tells every difference, and ends with how many there were."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import typer

from refundcli.cli.context import App
from refundcli.cli.exit_codes import ExitCode
from refundcli.cli.options import Format
from refundcli.cli.prompts import asked_for
from refundcli.domain.errors import RefundcliError, SettingsProblem, UsageProblem
from refundcli.domain.reasons import RefundReason, parse_reason
from refundcli.domain.statuses import Provider
from refundcli.files.adyen_report.report import AdyenReport
from refundcli.files.source import open_source
from refundcli.output.progress import progress
from refundcli.output.serializers.books import refund
from refundcli.output.serializers.reconciliation import reconciliation
from refundcli.output.terminal import DOUBT
from refundcli.output.views.reconciliation import (
    DIFFERENCE_COLUMNS,
    TEXT_COLUMNS,
    DifferenceSpool,
    difference_row,
    show_differences,
    show_reconciled,
    show_settled,
)
from refundcli.providers.adyen.vocabulary import report_meaning
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.reconciliation.against_provider import Comparison, Reconciled
from refundcli.services.reconciliation.against_report import ReportComparison
from refundcli.services.reconciliation.external_refunds import adopt, match, to_adopt
from refundcli.services.reconciliation.last_comparison import Agreement


class WrongProvider(UsageProblem):
    code = "no-report-needed"

    def __init__(self) -> None:
        super().__init__("Only Adyen's reports are read.", hint="refundcli reconcile --provider stripe   asks Stripe.")


class NoMerchantAccount(SettingsProblem):
    code = "no-merchant-account"

    def __init__(self) -> None:
        super().__init__(
            "Adyen is not set up: adyen.merchant_account says which rows of the report are yours.",
            hint="Set merchant_account under [adyen] in refundcli.toml.",
        )


def with_provider(app: App, provider: Provider | None, invoice: str | None, since: date | None) -> None:
    """Ask the provider; without one, the one that can be asked. Raises SettingsProblem where it cannot be."""
    services = app.services
    records = services.providers.records(provider or _asked(app, invoice))
    with DifferenceSpool() as told:
        with progress(app.err, f"Asking {records.name.label}", enabled=app.wants_progress) as advance:
            comparison = Comparison(
                services.books,
                records,
                services.clock,
                services.policy.number_format,
                tell=told.add,
                advance=advance,
                pending_days=app.settings.refunds.pending_days,
            )
            with _stopped_told(app, comparison.done):
                done = comparison.of_invoice(invoice) if invoice else comparison.of_everything(since=since)
        _show(app, records.name.label, done, told, nothing=_no_payment(records.name.label, invoice, since))


def _no_payment(label: str, invoice: str | None, since: date | None) -> str:
    if invoice:
        return f"{invoice} has no {label} payment"
    return f"the books hold no {label} payment{f' since {since}' if since else ''}"


def with_report(app: App, file: str, provider: Provider) -> None:
    """Read a report through, then compare. Raises FileProblem, BadReport, WrongProvider."""
    if provider is not Provider.ADYEN:
        raise WrongProvider
    account = app.settings.adyen.merchant_account
    if not account:
        raise NoMerchantAccount
    with open_source(file, sys.stdin.buffer) as source:
        with progress(app.err, "Reading", enabled=app.wants_progress) as advance:
            report = AdyenReport(source, account=account, meaning_of=report_meaning, advance=advance)
        with report, DifferenceSpool() as told:
            done = _compare(app, report, provider, account, told)
            _note_rows(app, report, account, not_in_books=done.not_in_books)
            nothing = "the books hold no payment that this report covers"
            _show(app, f"{provider.label}'s {report.name}", done, told, nothing=nothing)


def _note_rows(app: App, report: AdyenReport, account: str, *, not_in_books: int) -> None:
    """What of the report was not compared, and why."""
    if not report.account_rows and not report.other_account_rows:
        app.err.say(("! ", DOUBT), "The report is empty: it has a heading and no rows.")
    elif not report.account_rows:
        app.err.say(("! ", DOUBT), f"No row of it is about {account}, the merchant account in the settings.")
    counts = {
        "of other merchant accounts": report.other_account_rows,
        "that do not concern refunds": report.unrelated_rows,
        "about payments that are not in the books": not_in_books,
    }
    for which, count in counts.items():
        if count:
            app.note(f"1 row {which} was not compared." if count == 1 else f"{count} rows {which} were not compared.")


def _compare(app: App, report: AdyenReport, provider: Provider, account: str, told: DifferenceSpool) -> Reconciled:
    services = app.services
    comparison = ReportComparison(
        services.books,
        report,
        provider,
        account,
        services.clock,
        services.policy.number_format,
        tell=told.add,
        pending_days=app.settings.refunds.pending_days,
    )
    with _stopped_told(app, comparison.done):
        with progress(app.err, "Comparing", total=report.payments, enabled=app.wants_progress) as advance:
            comparison.of_report(advance)
        with progress(app.err, "Looking for what it lacks", enabled=app.wants_progress) as advance:
            return comparison.of_books(advance)


@contextmanager
def _stopped_told(app: App, done: Reconciled) -> Iterator[None]:
    """Where the provider or the store fails in the middle, say what was compared and applied until then."""
    try:
        yield
    except RefundcliError:
        if done.compared or done.changed:
            changes = "1 change was applied" if done.changed == 1 else f"{done.changed} changes were applied"
            payments = "1 payment" if done.compared == 1 else f"{done.compared} payments"
            app.note(f"Stopped: only {payments} compared; {changes} before that.")
        raise


def _asked(app: App, invoice: str | None) -> Provider:
    """Whom to ask about an invoice: the provider that took its money."""
    if invoice:
        found = app.services.books.read(lambda tx: invoice_named(tx, invoice))
        return next((payment.provider for payment in found.payments if payment.provider), Provider.STRIPE)
    return Provider.STRIPE


_ENDINGS = {Agreement.INCOMPLETE: ExitCode.OUTCOME_UNKNOWN, Agreement.DIFFERS: ExitCode.REFUSED}


def _show(app: App, label: str, done: Reconciled, told: DifferenceSpool, *, nothing: str) -> None:
    if app.format is Format.NDJSON:
        app.show_list(told)
    elif app.format is Format.JSON:
        app.show_object(reconciliation(done, told))
    elif app.for_people:
        show_differences(told, done.differences, app.out)
        show_settled(done, app.out)
        show_reconciled(label, done, app.out, nothing=nothing)
    else:
        app.show_rows(DIFFERENCE_COLUMNS, map(difference_row, told), text_columns=TEXT_COLUMNS)
        if not app.quiet:
            show_settled(done, app.err)
            show_reconciled(label, done, app.err, nothing=nothing)
    _tell_not_compared(app, done)
    if code := _ENDINGS.get(done.result):
        raise typer.Exit(code)


def _tell_not_compared(app: App, done: Reconciled) -> None:
    if done.being_sent:
        refunds = "1 refund is" if done.being_sent == 1 else f"{done.being_sent} refunds are"
        app.note(f"{refunds} being sent right now, and so not compared.")
    if done.unreadable:
        payments = "1 payment" if done.unreadable == 1 else f"{done.unreadable} payments"
        app.err.say(("! ", DOUBT), f"{payments} could not be read, and so not compared: look at the provider.")
    if done.unreviewed:
        updates = "1 provider update" if done.unreviewed == 1 else f"{done.unreviewed} provider updates"
        app.err.say(("! ", DOUBT), f"{updates} could not be compared: refundcli events list --state unreviewed")
    if done.unconfirmed:
        refunds = "1 refund has" if done.unconfirmed == 1 else f"{done.unconfirmed} refunds have"
        app.err.say(("! ", DOUBT), f"{refunds} no outcome to compare: refundcli status")
    for what, why in done.unread_lists.items():
        app.err.say(("! ", DOUBT), f"The {what} could not be listed, and so not compared: {why}")


def match_refund(app: App, name: str, record_id: str) -> None:
    """Raises RefundNotFound, NotToAdopt, RecordNotFound, CannotMatch."""
    matched = match(name, record_id, books=app.services.books)
    if app.for_people:
        known = matched.provider_reference
        app.out.say(("✓ ", "green"), f"{known} is recorded as {matched.id}; {matched.amount} is counted once.")
    else:
        app.show_object(refund(matched))


def adopt_refund(app: App, name: str, *, reason: str, memo: str, number: str) -> None:
    """Raises RefundNotFound, NotToAdopt, NoShare, InvoiceNeeded, UnknownReason."""
    services = app.services
    found = services.books.read(lambda tx: to_adopt(tx, name))
    if not reason and app.may_ask:
        app.err.say(f"{found.provider_reference} is an external refund of {found.amount} on {found.invoice_number}.")
        reason = asked_for(f"Reason ({', '.join(RefundReason)}):")
    services.check_number_format()
    adopted = adopt(
        found.id,
        parse_reason(reason),
        memo=memo,
        books=services.books,
        clock=services.clock,
        number_format=services.policy.number_format,
        of_invoice=number,
    )
    if app.for_people:
        note = adopted.credit_note.number if adopted.credit_note else ""
        app.out.say(("✓ ", "green"), f"Adopted {adopted.amount} of {adopted.invoice_number}   credit note {note}")
    else:
        app.show_object(refund(adopted))
