"""reconcile: compare the books with a provider; adopt external refunds, or match them with records."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.exit_codes import ExitCode
from refundcli.cli.options import Format, Memo, Reason, day_option
from refundcli.domain.errors import RefundcliError, SettingsProblem, UsageProblem
from refundcli.domain.statuses import Provider
from refundcli.output.progress import progress
from refundcli.output.serializers.invoices import refund as refund_shape
from refundcli.output.serializers.reconciliation import reconciliation
from refundcli.output.terminal import DOUBT
from refundcli.output.views import reconciliation as view
from refundcli.services.invoices.lookup import invoice_behind, invoice_named
from refundcli.services.reconciliation.against_provider import ComparisonSummary
from refundcli.services.reconciliation.last_comparison import Agreement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from refundcli.cli.context import App
    from refundcli.files.adyen_report.report import AdyenReport
    from refundcli.files.formats.heading import Heading
    from refundcli.files.source import Source

group = typer.Typer(rich_markup_mode=None, add_completion=False)


class OneAtATime(UsageProblem):
    code = "one-at-a-time"

    def __init__(self) -> None:
        super().__init__(
            (
                "Use only one of --adopt, --match, --report, --invoice and --since, except that --adopt can "
                "be combined with --invoice. --adopt also takes --reason and --memo; --match needs --record."
            ),
            hint="refundcli reconcile --help   shows an example of each",
        )


class WrongProvider(UsageProblem):
    code = "no-report-needed"

    def __init__(self, reporter: Provider) -> None:
        super().__init__(
            f"This report is {reporter.label}'s.", hint="Leave out --provider: the report says whose it is."
        )


class NoMerchantAccount(SettingsProblem):
    code = "no-merchant-account"

    def __init__(self) -> None:
        super().__init__(
            ("Adyen is not set up: adyen.merchant_account is missing. It says which rows of the report are yours."),
            hint="Set merchant_account under [adyen] in refundcli.toml.",
        )


@group.command(
    epilog="Examples:  refundcli reconcile   ·   refundcli reconcile --report payments_accounting_report.csv   ·   "
    "refundcli reconcile --adopt re_1Q… --reason duplicate   ·   "
    "refundcli reconcile --match re_1Q… --record rf_01K2…"
)
def reconcile(
    ctx: typer.Context,
    provider: Annotated[
        Provider | None, typer.Option("--provider", help="Stripe is asked directly; Adyen needs --report.")
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="A report as CSV: Adyen's accounting, settlement or dispute report, Stripe's itemized balance.",
        ),
    ] = None,
    invoice: Annotated[
        str | None,
        typer.Option("--invoice", metavar="NUMBER", help="Only this invoice; with --adopt, the invoice it belongs to."),
    ] = None,
    since: Annotated[date | None, day_option("--since", help="Only payments made on or after this day.")] = None,
    adopt: Annotated[
        str | None,
        typer.Option("--adopt", metavar="REFUND", help="Give an external refund a reason and a credit note."),
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(
            "--match", metavar="REFUND", help="Match an external refund with the record someone made of it by hand."
        ),
    ] = None,
    record: Annotated[
        str, typer.Option("--record", metavar="REFUND", help="With --match: the ID of the record, rf_…")
    ] = "",
    reason: Reason = "",
    memo: Memo = "",
) -> None:
    """Compare the books with the provider: apply changes the provider confirms, and show every difference.

    A refund made in the provider's dashboard is an external refund: adopt it, or match it with the record if
    someone has recorded it by hand. The exit code is 0 when everything was compared and agrees, or the books have
    nothing to compare; 3 when something differs, including when a report has no rows for this merchant account; 8
    when something could not be compared: a payment that cannot be read, an unreviewed update, a refund whose
    outcome is not known.
    """
    app: App = ctx.obj
    scopes = [option for option in (adopt, match, report, None if adopt else invoice, since) if option is not None]
    if len(scopes) > 1 or (adopt is None and (reason or memo)) or (match is None) != (not record):
        raise OneAtATime
    number = app.services.books.read(lambda tx: invoice_behind(tx, invoice)).number if invoice else ""
    if adopt is not None:
        _adopt_refund(app, adopt, reason=reason, memo=memo, invoice_number=number)
    elif match is not None:
        _match_refund(app, match, record)
    elif report is not None:
        _compare_with_report(app, report, provider)
    else:
        _compare_with_provider(app, provider, number or None, since)


def _compare_with_provider(app: "App", provider: Provider | None, invoice: str | None, since: date | None) -> None:
    """Compare with what the provider's API reports; by default Stripe's. Raises SettingsProblem where it has none."""
    reconcile_provider, asked = app.services.updates.reconcile_provider, provider or _provider_of(app, invoice)
    with view.DifferenceSpool() as differences:
        summary = ComparisonSummary(differences.add)
        with (
            progress(app.err, f"Asking {asked.label}", enabled=app.wants_progress) as advance,
            _noting_if_stopped(app, summary),
        ):
            if invoice:
                reconcile_provider.invoice(asked, invoice, summary)
            else:
                reconcile_provider.everything(asked, summary, since=since, advance=advance)
        if provider is None:
            summary.not_asked = reconcile_provider.not_asked(asked, invoice)
        _show(app, asked.label, summary, differences, why_nothing=_no_payment(asked.label, invoice, since))


def _no_payment(provider_label: str, invoice: str | None, since: date | None) -> str:
    if invoice:
        return f"{invoice} has no {provider_label} payment"
    return f"the books have no {provider_label} payments{f' since {since}' if since else ''}"


def _compare_with_report(app: "App", file: str, provider: Provider | None) -> None:
    """Read the whole report, then compare. Raises FileProblem, BadReport, WrongProvider, NoMerchantAccount."""
    from refundcli.files.report_heading import ReportKind, report_heading
    from refundcli.files.source import open_source
    from refundcli.services.reconciliation.against_report import ReportComparison

    ports = app.services.updates.reconcile_provider
    with open_source(file, sys.stdin.buffer, any_encoding=True) as source:
        kind, heading = report_heading(source)
        reporter = Provider.STRIPE if kind is ReportKind.STRIPE_BALANCE else Provider.ADYEN
        if provider not in (None, reporter):
            raise WrongProvider(reporter)
        account = app.settings.adyen.merchant_account if reporter is Provider.ADYEN else ""
        if account is None:
            raise NoMerchantAccount
        with progress(app.err, "Reading", enabled=app.wants_progress) as advance:
            report = _opened_report(app, source, reporter, heading, account, advance)
        with report, view.DifferenceSpool() as differences:
            summary = ComparisonSummary(differences.add)
            comparison = ReportComparison(ports, report, reporter, account, summary)
            with _noting_if_stopped(app, summary):
                with progress(app.err, "Comparing", total=report.payments, enabled=app.wants_progress) as advance:
                    comparison.of_report(advance)
                with progress(app.err, "Looking for missing rows", enabled=app.wants_progress) as advance:
                    comparison.of_books(advance)
            _note_rows(app, report, account, not_in_books=summary.not_in_books)
            why_nothing = "the books have no payments that this report covers"
            _show(app, f"{reporter.label}'s {report.name}", summary, differences, why_nothing=why_nothing)


def _opened_report(
    app: "App",
    source: "Source",
    reporter: Provider,
    heading: "Heading",
    account: str,
    advance: "Callable[[int], None]",
) -> "AdyenReport":
    if reporter is Provider.STRIPE:
        from refundcli.files.stripe_report import StripeBalanceReport
        from refundcli.providers.stripe.vocabulary import report_meaning as stripe_meaning

        def known(references: "Sequence[str]") -> set[str]:
            return {*app.services.books.read(lambda tx: tx.payments.lines(Provider.STRIPE, references))}

        return StripeBalanceReport(source, known=known, meaning_of=stripe_meaning, advance=advance, heading=heading)
    from refundcli.files.adyen_report.report import AdyenReport
    from refundcli.providers.adyen.vocabulary import report_meaning

    return AdyenReport(source, account=account, meaning_of=report_meaning, advance=advance, heading=heading)


def _note_rows(app: "App", report: "AdyenReport", merchant_account: str, *, not_in_books: int) -> None:
    """Note which rows of the report were not compared, and why."""
    if not report.account_rows and not report.other_account_rows:
        app.err.say(("! ", DOUBT), "The report is empty: it has a header row but no data rows.")
    elif not report.account_rows:
        app.err.say(
            ("! ", DOUBT),
            f"None of the report's rows are for {merchant_account}, the merchant account in the settings.",
        )
    count_by_row_kind = {
        "for other merchant accounts": report.other_account_rows,
        "not concerning refunds": report.unrelated_rows,
        "about payments that are not in the books": not_in_books,
    }
    for row_kind, count in count_by_row_kind.items():
        if count:
            app.note(
                f"1 row {row_kind} was not compared." if count == 1 else f"{count} rows {row_kind} were not compared."
            )


@contextmanager
def _noting_if_stopped(app: "App", summary: ComparisonSummary) -> Iterator[None]:
    """Where the provider or the store fails halfway, note what was compared and applied by then."""
    try:
        yield
    except RefundcliError:
        if summary.compared or summary.changed:
            payments = _counted(summary.compared, "payment", "payments")
            changes = _counted(summary.changed, "change was applied", "changes were applied")
            app.note(f"Stopped. Compared before that: {payments}; {changes}.")
        raise


def _provider_of(app: "App", invoice_number: str | None) -> Provider:
    """The provider that took the invoice's money; Stripe where there is no invoice or no provider."""
    if not invoice_number:
        return Provider.STRIPE
    invoice = app.services.books.read(lambda tx: invoice_named(tx, invoice_number))
    return next((payment.provider for payment in invoice.payments if payment.provider), Provider.STRIPE)


def _show(
    app: "App",
    provider_or_report: str,
    summary: ComparisonSummary,
    differences: view.DifferenceSpool,
    *,
    why_nothing: str,
) -> None:
    screen = app.out if app.for_people else app.err
    if app.format is Format.NDJSON:
        app.show_list(differences)
    elif app.format is Format.JSON:
        app.show_object(reconciliation(summary, differences))
    elif app.for_people:
        view.show_differences(differences, summary.differences, app.out)
    else:
        app.show_rows(view.DIFFERENCE_COLUMNS, map(view.difference_row, differences), text_columns=view.TEXT_COLUMNS)
    if app.for_people or not (app.wants_json or app.quiet):
        view.show_settled(summary, screen)
        view.show_reconciled(provider_or_report, summary, screen, why_nothing=why_nothing)
    _note_not_compared(app, summary)
    if summary.result is Agreement.INCOMPLETE:
        raise typer.Exit(ExitCode.OUTCOME_UNKNOWN)
    if summary.result is Agreement.DIFFERS:
        raise typer.Exit(ExitCode.REFUSED)


def _note_not_compared(app: "App", summary: ComparisonSummary) -> None:
    for provider, count in summary.not_asked.items():
        needing = "its 1 payment needs" if count == 1 else f"its {count:,} payments need"
        app.note(
            ("! ", DOUBT),
            f"{provider.label} was not compared: {needing} a report: refundcli reconcile --report FILE",
        )
    if count := summary.being_sent:
        app.note(f"{_counted(count, 'refund is', 'refunds are')} being sent right now, so not compared.")
    for count, objects, why in (
        (
            summary.unreadable,
            _counted(summary.unreadable, "payment", "payments"),
            "could not be read or compared: look in the provider's dashboard.",
        ),
        (
            summary.unreviewed,
            _counted(summary.unreviewed, "provider update", "provider updates"),
            "could not be compared: refundcli events list --state unreviewed",
        ),
        (
            summary.unconfirmed,
            _counted(summary.unconfirmed, "refund has", "refunds have"),
            "no outcome to compare: refundcli status",
        ),
    ):
        if count:
            app.err.say(("! ", DOUBT), f"{objects} {why}")
    for list_name, why in summary.unread_lists.items():
        app.err.say(("! ", DOUBT), f"The {list_name} could not be listed, so they were not compared: {why}")


def _counted(count: int, singular: str, plural: str) -> str:
    return f"1 {singular}" if count == 1 else f"{count} {plural}"


def _match_refund(app: "App", external_id: str, record_id: str) -> None:
    """Raises RefundNotFound, NotToAdopt, RecordNotFound, CannotMatch."""
    record = app.services.updates.external_refunds.match(external_id, record_id)
    words = f"Matched {record.provider_reference} with record {record.id}; {record.amount} is counted only once."
    app.show_done(words, refund_shape(record))


def _adopt_refund(app: "App", external_id: str, *, reason: str, memo: str, invoice_number: str) -> None:
    """Raises RefundNotFound, NotToAdopt, NoShare, InvoiceNeeded, UnknownReason."""
    from refundcli.cli.commands.refunds.questions import ask_reason
    from refundcli.domain.reasons import parse_reason

    external_refunds = app.services.updates.external_refunds
    refund = external_refunds.find(external_id)
    if not reason and app.may_ask:
        app.err.say(f"{refund.provider_reference} is an external refund of {refund.amount} on {refund.invoice_number}.")
        reason = ask_reason(app, undone_action="recorded")
    app.services.check_number_format()
    adopted = external_refunds.adopt(refund.id, parse_reason(reason), memo=memo, of_invoice=invoice_number)
    note_number = adopted.credit_note.number if adopted.credit_note else ""
    words = f"Adopted {adopted.amount} of {adopted.invoice_number}   credit note {note_number}"
    app.show_done(words, refund_shape(adopted))
