"""invoice list: filters, order, columns and totals."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, cast, get_args

from refundcli.domain.errors import UsageProblem, did_you_mean
from refundcli.services.ports.reads import MOST_COUNTED, InvoiceSort

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.domain.invoice import Invoice
    from refundcli.services.ports.reads import InvoiceFilter, InvoiceSearch


class UnknownColumnName(UsageProblem):
    code = "unknown-column-name"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"A list of invoices has no column {name[:40]!a}.",
            hint=did_you_mean(name, known) or f"Columns: {', '.join(known)}.",
        )


class UnknownSort(UsageProblem):
    code = "unknown-sort"

    def __init__(self, name: str) -> None:
        sorts = ", ".join(get_args(InvoiceSort))
        super().__init__(f"Invoices are not sorted by {name[:40]!a}.", hint=f"One of: {sorts}; or -total.")


class ColumnsAreForTables(UsageProblem):
    code = "columns-are-for-tables"

    def __init__(self) -> None:
        super().__init__(
            "--columns chooses columns of a table.", hint="JSON has all of them; use -o csv, or leave it out."
        )


@dataclass(frozen=True, slots=True)
class ListWishes:
    """What a person asked for. `columns`: names with commas between; empty for the usual ones."""

    search: "InvoiceSearch"
    overdue: bool = False
    sort: str = ""
    columns: str = ""
    everything: bool = False


def list_invoices(app: "App", filters: "InvoiceFilter", wishes: ListWishes, *, filter_words: str) -> None:
    """Show the invoices that match. `filter_words`: what the list was limited to, for people."""
    from refundcli.services.invoices.pages import invoice_pages

    columns = _columns(app, wishes.columns)
    filters = _sorted(filters, wishes.sort)
    if wishes.overdue:
        filters = replace(filters, overdue_on=app.day_of_books())
    reader = app.services.reader
    if not wishes.search.is_empty:
        found = reader.read(lambda tx: tx.search.ids(wishes.search))
        for typed, corrected in found.corrected.items():
            app.note(f"No ‘{typed}’ that fits; listed {', '.join(corrected[:3])}.")
        filters = replace(filters, ids=tuple(found.ids))
    if wishes.everything:
        _show(app, invoice_pages(reader, filters), columns, filter_words)
        return
    invoices = reader.read(lambda tx: tx.invoices.matching(filters))
    app.remember_numbers(invoice.number for invoice in invoices)
    _show(app, [invoices] if invoices else [], columns, filter_words)
    if len(invoices) == filters.limit and app.for_people:
        last = invoices[-1].number
        more = reader.read(lambda tx: tx.invoices.count_after(replace(filters, after=last)))
        if more:
            app.note(f"{'At least ' if more >= MOST_COUNTED else ''}{more:,} more: add --after {last}")


def _columns(app: "App", wanted: str) -> tuple[str, ...]:
    from refundcli.output.exported_list import INVOICE_COLUMNS

    names = tuple(name.strip().lower() for name in wanted.split(",") if name.strip())
    for name in names:
        if name not in INVOICE_COLUMNS:
            raise UnknownColumnName(name, INVOICE_COLUMNS)
    if names and app.wants_json:
        raise ColumnsAreForTables
    return names


def _sorted(filters: "InvoiceFilter", wanted: str) -> "InvoiceFilter":
    name = wanted.removeprefix("-").lower() or "number"
    if name not in get_args(InvoiceSort):
        raise UnknownSort(wanted)
    return replace(filters, sort=cast("InvoiceSort", name), descending=wanted.startswith("-"))


def _show(app: "App", pages: "Iterable[list[Invoice]]", columns: tuple[str, ...], filter_words: str) -> None:
    from refundcli.cli.context import while_read
    from refundcli.output.exported_list import INVOICE_COLUMNS, TEXT_COLUMNS, invoice_row
    from refundcli.output.serializers.invoices import invoice_summary

    invoices = chain.from_iterable(pages)
    if app.wants_json:
        app.show_long_list(map(invoice_summary, invoices))
    elif app.for_people:
        _show_to_people(app, pages, columns, filter_words)
    else:
        rows = map(_chosen(columns), map(invoice_row, invoices)) if columns else map(invoice_row, invoices)
        app.show_rows(columns or INVOICE_COLUMNS, while_read(rows), text_columns=TEXT_COLUMNS)


def _show_to_people(app: "App", pages: "Iterable[list[Invoice]]", columns: tuple[str, ...], filter_words: str) -> None:
    from refundcli.cli.context import while_read
    from refundcli.output.exported_list import AMOUNT_COLUMNS, invoice_row
    from refundcli.output.views.invoice import InvoiceTotals, show_list

    totals = InvoiceTotals()
    for page in while_read(pages):
        if columns:
            amounts = [column for column in AMOUNT_COLUMNS if column in columns]
            app.out.table(columns, map(_chosen(columns), map(invoice_row, page)), right=amounts, whole=("number",))
        else:
            show_list(page, app.out)
        totals.add(page)
    if totals.count:
        totals.show(app.out)
        return
    no_invoices_note = "No invoices. To import some: refundcli invoice import FILE"
    app.note(f"No invoice matches. Filters: {filter_words}." if filter_words else no_invoices_note)


def _chosen(columns: tuple[str, ...]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    from refundcli.output.exported_list import INVOICE_COLUMNS

    places = [INVOICE_COLUMNS.index(column) for column in columns]
    return lambda row: tuple(row[place] for place in places)
