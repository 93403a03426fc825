"""find: an invoice by what a person knows of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.search_options import (
    SearchAmount,
    SearchEmail,
    SearchLast4,
    SearchName,
    SearchProduct,
    SearchSince,
    SearchUntil,
    search_of,
    searched_words,
)
from refundcli.domain.errors import UsageProblem

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.domain.invoice import Invoice
    from refundcli.services.ports.books import Reading
    from refundcli.services.ports.reads import FoundInvoices, InvoiceSearch

group = typer.Typer(rich_markup_mode=None, add_completion=False)


class NothingToFind(UsageProblem):
    code = "nothing-to-find"

    def __init__(self) -> None:
        super().__init__("What should be found?", hint="refundcli find osei 120 aug")


class NotInList(UsageProblem):
    code = "not-in-list"

    def __init__(self, count: int) -> None:
        super().__init__(f"Type a number from 1 to {count}, or press Enter to end.")


@group.command(epilog="Examples:  refundcli find osei 120 aug   ·   refundcli find --last4 4242 --amount 100..150")
def find(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORDS…", help="Parts of a name or e-mail, an amount, a month, a product or an ID."),
    ] = None,
    name: SearchName = "",
    email: SearchEmail = "",
    last4: SearchLast4 = "",
    amount: SearchAmount = "",
    since: SearchSince = None,
    until: SearchUntil = None,
    product: SearchProduct = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000, help="Maximum number to show.")] = 20,
) -> None:
    """Find invoices by what you know of them; all of it must fit. Case, accents and one wrong letter do not matter."""
    from refundcli.cli.context import App
    from refundcli.output.exported_list import INVOICE_COLUMNS, TEXT_COLUMNS, invoice_row
    from refundcli.output.serializers.invoices import invoice_summary

    app: App = ctx.obj
    typed_words = tuple(word for text in words or () for word in text.split())
    search = search_of(
        app, words=typed_words, name=name, email=email, last4=last4, amount=amount, since=since, until=until,
        product=product,
    )  # fmt: skip
    if search.is_empty:
        raise NothingToFind

    def read(tx: "Reading") -> "tuple[FoundInvoices, list[Invoice]]":
        found = tx.search.find(search, limit)
        return found, tx.invoices.by_id(found.ids)

    found, invoices = app.services.reader.read(read)
    _note(app, search, found)
    if app.wants_json:
        app.show_list(map(invoice_summary, invoices))
    elif not app.for_people:
        app.show_rows(INVOICE_COLUMNS, map(invoice_row, invoices), text_columns=TEXT_COLUMNS)
    elif invoices:
        _choose(app, invoices)


def _note(app: "App", search: "InvoiceSearch", found: "FoundInvoices") -> None:
    for typed, corrected in found.corrected.items():
        if found.count:
            others = f" and {len(corrected) - 3} more" if len(corrected) > 3 else ""
            app.note(f"No ‘{typed}’ that fits; searched for {', '.join(corrected[:3])}{others}.")
    if not found.count:
        app.note(f"No invoice matches. Searched for: {searched_words(search)}.")
    elif found.count > len(found.ids):
        app.note(f"{found.count - len(found.ids):,} more: add another word, or --limit {min(1_000, found.count)}")


def _choose(app: "App", invoices: "Sequence[Invoice]") -> None:
    """Show the only invoice in full, and let the operator choose from several by number."""
    from refundcli.cli.prompts import ask
    from refundcli.output.views.invoice import show_choice

    if len(invoices) == 1:
        _show(app, invoices[0].number)
        return
    show_choice(invoices, app.out)
    if not app.may_ask:
        return

    def read(answer: str) -> int:
        if answer and not (answer.isdigit() and 1 <= int(answer) <= len(invoices)):
            raise NotInList(len(invoices))
        return int(answer or 0)

    chosen = ask(app, f"Show which? [1-{len(invoices)}, Enter ends]", read)
    if chosen:
        _show(app, invoices[chosen - 1].number)


def _show(app: "App", number: str) -> None:
    from refundcli.cli.commands.books.invoice import show_one

    show_one(app, number)
