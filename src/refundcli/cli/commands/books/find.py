"""find: an invoice by what a person knows of it."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import Output, day_of
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


class InvalidSearchAmount(UsageProblem):
    code = "invalid-search-amount"

    def __init__(self, text: str) -> None:
        super().__init__(f"--amount {text[:40]!a} is not an amount.", hint="--amount 120   or   --amount 100..150")


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
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="Words of the customer's name.")] = "",
    email: Annotated[str, typer.Option("--email", metavar="TEXT", help="Parts of the e-mail address.")] = "",
    last4: Annotated[str, typer.Option("--last4", metavar="DIGITS", help="The last four digits of the card.")] = "",
    amount: Annotated[
        str, typer.Option("--amount", metavar="A[..B]", help="The total or a payment, or a range of it.")
    ] = "",
    since: Annotated[
        date | None,
        typer.Option("--since", parser=day_of("--since"), metavar="DATE", help="Issued or paid on this day or later."),
    ] = None,
    until: Annotated[
        date | None,
        typer.Option("--until", parser=day_of("--until"), metavar="DATE", help="Issued or paid by this day."),
    ] = None,
    product: Annotated[str, typer.Option("--product", metavar="TEXT", help="Words of a product.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000, help="Maximum number to show.")] = 20,
    output_format: Output = None,
) -> None:
    """Find invoices by what you know of them; all of it must fit. Case, accents and one wrong letter do not matter."""
    from refundcli.cli.context import App
    from refundcli.domain.search_words import amounts_between
    from refundcli.output.exported_list import INVOICE_COLUMNS, TEXT_COLUMNS, invoice_row
    from refundcli.output.serializers.invoices import invoice_summary
    from refundcli.services.ports.reads import InvoiceSearch

    app: App = ctx.obj
    search = InvoiceSearch(
        today=app.day_of_books(),
        words=tuple(word for text in words or () for word in text.split()),
        name=name,
        email=email,
        last4=last4.strip(),
        amount=amount.strip(),
        product=product,
        since=since,
        until=until,
    )
    if search.is_empty:
        raise NothingToFind
    if search.amount and not amounts_between(search.amount):
        raise InvalidSearchAmount(search.amount)

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


def searched_words(search: "InvoiceSearch") -> str:
    """What a search asked for, for people: `osei, amount 120`."""
    options = {
        "name": search.name,
        "e-mail": search.email,
        "card": search.last4,
        "amount": search.amount,
        "product": search.product,
        "since": search.since,
        "until": search.until,
    }
    return ", ".join([*search.words, *(f"{name} {value}" for name, value in options.items() if value)])


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
