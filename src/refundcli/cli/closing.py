"""What `void` and `uncollectible` share: ask, end the invoice, show it."""

from refundcli.cli.context import App
from refundcli.cli.prompts import agreed, require_a_way_to_ask
from refundcli.domain.statuses import InvoiceStatus

_VERBS = {InvoiceStatus.VOID: "Void", InvoiceStatus.UNCOLLECTIBLE: "Write off"}


def close(app: App, number: str, status: InvoiceStatus, *, memo: str, yes: bool) -> None:
    from refundcli.output import shapes
    from refundcli.output.terminal import GOOD, STRONG
    from refundcli.services.close_invoice import check_closing, close_invoice

    require_a_way_to_ask(app, answered=yes, how="Add --yes.")
    books = app.services.books
    invoice = books.read(lambda tx: check_closing(tx, number, status))
    if not yes:
        agreed(app, f"{_VERBS[status]} {number}, {invoice.total}? It cannot be undone.")
    closed = close_invoice(books, number, status, memo=memo)
    if app.for_people:
        app.out.say(("✓ ", GOOD), f"{closed.number} is now ", (closed.status.label, STRONG), ". No money was moved.")
    else:
        app.show_object(shapes.invoice_whole(closed))
