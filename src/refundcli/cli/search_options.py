"""What an invoice is found by, as options of `find` and of `invoice list`."""

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refundcli.cli.options import day_option
from refundcli.domain.errors import UsageProblem

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.services.ports.reads import InvoiceSearch

SearchName = Annotated[str, typer.Option("--name", metavar="TEXT", help="Words of the customer's name.")]
SearchEmail = Annotated[str, typer.Option("--email", metavar="TEXT", help="Parts of the e-mail address.")]
SearchLast4 = Annotated[str, typer.Option("--last4", metavar="DIGITS", help="The last four digits of the card.")]
SearchAmount = Annotated[
    str, typer.Option("--amount", metavar="A[..B]", help="The total or a payment, or a range of it.")
]
SearchSince = Annotated[date | None, day_option("--since", help="Issued or paid on this day or later.")]
SearchUntil = Annotated[date | None, day_option("--until", help="Issued or paid by this day.")]
SearchProduct = Annotated[str, typer.Option("--product", metavar="TEXT", help="Words of a product.")]

_SAID_BESIDES = frozenset(
    ("in", "of", "from", "on", "the", "about", "eur", "euro", "euros", "usd", "dollar", "dollars")
)


class InvalidSearchAmount(UsageProblem):
    code = "invalid-search-amount"

    def __init__(self, text: str) -> None:
        super().__init__(f"--amount {text[:40]!a} is not an amount.", hint="--amount 120   or   --amount 100..150")


def search_of(app: "App", *, words: tuple[str, ...] = (), **options: Any) -> "InvoiceSearch":
    """Raises InvalidSearchAmount."""
    from refundcli.domain.search_words import amounts_between
    from refundcli.services.ports.reads import InvoiceSearch

    texts: dict[str, Any] = {
        name: value.strip() if isinstance(value, str) else value for name, value in options.items()
    }
    # `120 euros in august`: what a person says besides, unless it is all that was said.
    telling = tuple(word for word in words if word.lower() not in _SAID_BESIDES) or words
    # Only a search needs the day: a list without one reads the store once.
    today = app.day_of_books() if telling or any(texts.values()) else date.min
    search = InvoiceSearch(today=today, words=telling, **texts)
    if search.amount and not amounts_between(search.amount):
        raise InvalidSearchAmount(search.amount)
    return search


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
