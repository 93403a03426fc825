"""What `mark-refunded` does with one invoice: check, ask, record, tell."""

from refundcli.cli import refunding
from refundcli.cli.context import App
from refundcli.cli.prompts import agreed
from refundcli.services.mark_refunded import MarkPreview, MarkRequest, mark_refunded, preview_mark


def mark_one(app: App, request: MarkRequest, *, dry_run: bool, yes: bool) -> None:
    """Raises the refusal that comes first, or ChangedMeanwhile."""
    services = app.services
    seen = services.books.read(lambda tx: preview_mark(tx, request, today=services.clock.today()))
    if seen.existing:
        refunding.show_answer(app, seen.existing, request.number, replayed=True)
        return
    if dry_run:
        _show_dry_run(app, request, seen)
        return
    if not yes:
        whom = seen.invoice.customer_name or seen.invoice.customer
        app.err.say(f"Record that {seen.total} of {request.number} was returned to {whom}. No money moves.")
        agreed(app, f"Reason: {request.reason.label}. Record it?")
    refunds = mark_refunded(
        request,
        confirmed=seen.total,
        books=services.books,
        clock=services.clock,
        number_format=services.policy.number_format,
    )
    refunding.show_answer(app, refunds, request.number, replayed=False)


def _show_dry_run(app: App, request: MarkRequest, seen: MarkPreview) -> None:
    refunding.show_dry_run(
        app,
        [(share.amount, share.payment) for share in seen.shares],
        seen.invoice,
        reason=request.reason,
        request_key=request.request_key,
        record=True,
    )
