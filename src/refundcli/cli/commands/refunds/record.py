"""What `mark-refunded` does with one invoice: check, ask, record, tell."""

from dataclasses import replace

from refundcli.cli.commands.refunds import request as refunding
from refundcli.cli.context import App
from refundcli.cli.prompts import agreed
from refundcli.domain.refusals import PossibleDuplicate
from refundcli.services.refunds.record import MarkPreview, MarkRequest, mark_refunded, preview_mark


def mark_one(app: App, request: MarkRequest, *, dry_run: bool, yes: bool) -> None:
    """Raises the refusal that comes first, or ChangedMeanwhile."""
    services = app.services
    request, preview = _look(app, request, may_ask=not (yes or dry_run))
    if preview.existing:
        refunding.show_answer(app, preview.existing, request.number, replayed=True)
        return
    if dry_run:
        _show_dry_run(app, request, preview)
        return
    if not yes:
        whom = preview.invoice.customer_name or preview.invoice.customer
        words = request.out_of_band.words
        way = f" ({words})" if words else ""
        app.err.say(f"Record that {preview.total} of {request.number} was returned to {whom}{way}. No money moves.")
        agreed(app, f"Reason: {request.reason.label}. Record it?", nothing="recorded")
    refunds = mark_refunded(
        request,
        confirmed=preview.total,
        books=services.books,
        clock=services.clock,
        number_format=services.policy.number_format,
    )
    refunding.show_answer(app, refunds, request.number, replayed=False)


def _look(app: App, request: MarkRequest, *, may_ask: bool) -> tuple[MarkRequest, MarkPreview]:
    """Ask every rule. What may be an accidental repeat is asked about, where someone can be asked."""
    books, clock = app.services.books, app.services.clock
    try:
        return request, books.read(lambda tx: preview_mark(tx, request, clock=clock))
    except PossibleDuplicate as doubt:
        question = "Record it again?"
        refunding.ask_about_repeat(app, doubt, may_ask=may_ask, question=question, nothing="recorded")
        repeat = replace(request, repeat_agreed=True)
        return repeat, books.read(lambda tx: preview_mark(tx, repeat, clock=clock))


def _show_dry_run(app: App, request: MarkRequest, preview: MarkPreview) -> None:
    refunding.show_dry_run(
        app,
        [(share.amount, share.payment) for share in preview.shares],
        preview.invoice,
        reason=request.reason,
        request_key=request.request_key,
        record=True,
        refunded_on=request.out_of_band.refunded_on,
    )
