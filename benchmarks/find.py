"""Find: 200 questions made from the invoices of a large store, how long each takes, and the index of words by itself.

python -m benchmarks.find [--scale small]
"""

import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, timedelta
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Scale, figure, print_figures
from sqlalchemy import Connection, text

from refundcli.domain.search_words import words_in
from refundcli.services.clock import SystemClock
from refundcli.services.ports.reads import InvoiceSearch
from refundcli.store import migrate
from refundcli.store.databases.engine import store_engine
from refundcli.store.imports.search_index import index_all
from refundcli.store.read_only.sqlite import SqliteBooks

Row = tuple[dict[str, Any], dict[str, Any]]

TODAY = date(2026, 11, 30)
QUESTIONS = 200
_FIRST = (
    "Ada", "Kwame", "Zoë", "José", "Łukasz", "Søren", "Mårten", "Anaïs", "Björn", "Chloé", "Dmitri", "Elif",
    "François", "Grete", "Håkon", "Ingrid", "Jürgen", "Kofi",
)  # fmt: skip
_SYLLABLES = (
    "ber", "kow", "son", "ski", "dal", "man", "sen", "vik", "hol", "lund", "ström", "gård", "möl", "ner", "ova",
    "ari", "tan", "gha", "osei", "mens", "ade", "bayo", "lin", "cor",
)  # fmt: skip
_PRODUCTS = ("Season pass", "Training kit", "Summer Cup", "Match ticket", "Club membership", "Camp")
_DOMAINS = ("example.com", "example.org", "mail.example.net")


def invoices(count: int, chance: random.Random) -> Iterator[Row]:
    """Rows of invoices and of their payments. A customer has about four invoices."""
    people = [_person(place, chance) for place in range(max(1, count // 4))]
    for place in range(1, count + 1):
        customer, name, email, last4 = chance.choice(people)
        issued = TODAY - timedelta(days=chance.randrange(900))
        total = chance.choice((chance.randrange(500, 60_000), chance.randrange(5, 400) * 100))
        yield (
            {
                "id": place, "number": f"INV-{place:07}", "customer": customer, "customer_name": name,
                "customer_email": email, "total": total, "issued_on": str(issued),
                "products": f'["{chance.choice(_PRODUCTS)}"]',
            },
            {"invoice_id": place, "allocated": total, "card_last4": last4, "paid_on": str(issued + timedelta(days=2))},
        )  # fmt: skip


def _person(place: int, chance: random.Random) -> tuple[str, str, str, str]:
    last_name = "".join(chance.choices(_SYLLABLES, k=chance.choice((2, 2, 3)))).capitalize()
    first_name = chance.choice(_FIRST)
    local = ".".join(word for text in (first_name, last_name) for word in words_in(text))
    suffix = str(place % 97) if place % 3 else ""
    email = f"{local}{suffix}@{chance.choice(_DOMAINS)}"
    return f"cus_{place}", f"{first_name} {last_name}", email, f"{chance.randrange(10_000):04}"


def question(row: Row, chance: random.Random) -> tuple[list[str], dict[str, str]]:
    """What a clerk may type who knows parts of the invoice, one of them perhaps mistyped; and these parts."""
    invoice, payment = row
    first_name, last_name = invoice["customer_name"].split()
    plain = words_in(last_name)[0]
    amount = f"{invoice['total'] // 100}.{invoice['total'] % 100:02}"
    month = date.fromisoformat(invoice["issued_on"]).strftime("%b").lower()
    typed_name = chance.choice((last_name, plain, mistyped(plain, chance)))
    last4 = payment["card_last4"]
    return chance.choice(
        (
            ([typed_name, amount, month], {"name": plain, "amount": amount, "month": month}),
            ([first_name, typed_name, amount], {"name": plain, "first": first_name, "amount": amount}),
            ([plain[:5], last4, amount], {"name": plain[:5], "last4": last4, "amount": amount}),
            ([invoice["customer_email"], amount], {"email": invoice["customer_email"], "amount": amount}),
            ([last4, amount, month], {"last4": last4, "amount": amount, "month": month}),
            ([typed_name, last4, month], {"name": plain, "last4": last4, "month": month}),
        )
    )


def fits(row: Row, parts: dict[str, str]) -> bool:
    """Does the invoice have all these parts? It reads the rows, not the index."""
    invoice, payment = row
    names = words_in(f"{invoice['customer_name']} {invoice['customer_email']}")
    return (
        ("name" not in parts or any(name.startswith(parts["name"]) for name in names))
        and ("first" not in parts or parts["first"] in invoice["customer_name"])
        and ("email" not in parts or parts["email"] == invoice["customer_email"])
        and ("last4" not in parts or parts["last4"] == payment["card_last4"])
        and ("amount" not in parts or round(float(parts["amount"]) * 100) == invoice["total"])
        and (
            "month" not in parts
            or any(
                date.fromisoformat(day).strftime("%b").lower() == parts["month"]
                for day in (invoice["issued_on"], payment["paid_on"])
            )
        )
    )


def mistyped(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word) - 1)
    letter = chance.choice("abcdefghijklmnopqrstuvwxyz")
    begin, end = word[:place], word[place:]
    return chance.choice(
        (begin + end[1:], begin + letter + end, begin + letter + end[1:], begin + end[1] + end[0] + end[2:])
    )


def fill(connection: Connection, count: int, chance: random.Random) -> list[Row]:
    """Fill an empty store. Returns its rows."""
    moment = "'2026-11-01 10:00:00.000000'"
    rows: list[Row] = []
    chunk: list[Row] = []
    for row in invoices(count, chance):
        chunk.append(row)
        rows.append(row)
        if len(chunk) == 50_000 or row[0]["id"] == count:
            connection.execute(
                text(
                    "INSERT INTO invoice (id, number, customer, customer_name, customer_email, currency, total, paid,"
                    " returned, status, issued_on, products, subscription, source, created_at, updated_at) VALUES (:id,"
                    " :number, :customer, :customer_name, :customer_email, 'EUR', :total, :total, 0, 'paid',"
                    f" :issued_on, :products, '', 'benchmark', {moment}, {moment})"
                ),
                [invoice for invoice, _ in chunk],
            )
            connection.execute(
                text(
                    "INSERT INTO payment (invoice_id, position, provider, method, reference, allocated, paid_on,"
                    " card_last4, card_brand, auto_refundable, processing, dispute, unsupported) VALUES (:invoice_id,"
                    " 0, '', 'card', '', :allocated, :paid_on, :card_last4, 'visa', FALSE, FALSE, '', '')"
                ),
                [payment for _, payment in chunk],
            )
            chunk = []
    return rows


def figures(scale: Scale) -> Iterator[Figure]:
    count = scale.pick(full=1_000_000, small=100_000, tiny=500)
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as folder:
        hits, seconds, index_seconds, index_bytes = measure(Path(folder) / "find.db", count)
    slow = statistics.quantiles(seconds, n=20)[-1]
    yield figure(
        f"`find` of {count:,}: {QUESTIONS} questions, at p95",
        f"{slow * 1e3:.0f} ms",
        "limit: without start-up",
        "150 ms",
        [slow / 0.15],
        at_most=1,
    )
    yield figure(
        f"`find` of {count:,}: the right invoice is in the first three",
        f"{hits:.1%}",
        "limit: of the questions",
        "99%",
        [hits / 0.99],
        at_least=1,
    )
    yield figure(
        f"the index of words of {count:,} invoices: {index_bytes / 1e6:,.0f} MB",
        f"{index_seconds:.1f} s",
        "limit: for each 1,000,000",
        "60 s",
        [index_seconds / 60 * 1_000_000 / count],
    )


def measure(path: Path, count: int) -> tuple[float, list[float], float, int]:
    """The share of questions whose invoice is in the first three, the seconds of each, and of the index its size."""
    chance = random.Random(16)
    engine = store_engine(f"sqlite:///{path}")
    migrate.ensure_schema(engine, at=SystemClock(UTC).now(), writing=True)
    with engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        with connection.begin():
            rows = fill(connection, count, chance)
            size = _size(connection)
            began_at = time.monotonic()
            index_all(connection)
            index_seconds, index_bytes = time.monotonic() - began_at, _size(connection) - size
    engine.dispose()
    by_part: dict[object, list[Row]] = defaultdict(list)
    for row in rows:
        by_part[row[0]["total"]].append(row)
        by_part[row[1]["card_last4"]].append(row)
    books, hits, asked, times = SqliteBooks(path), 0, 0, []
    while asked < QUESTIONS:
        row = chance.choice(rows)
        words, parts = question(row, chance)
        candidates = by_part[row[1]["card_last4"] if "last4" in parts else row[0]["total"]]
        if sum(fits(candidate, parts) for candidate in candidates) > 3:
            continue
        search = InvoiceSearch(today=TODAY, words=tuple(words))
        began_at = time.monotonic()
        found = books.read(lambda tx: tx.search.find(search, 20))  # noqa: B023
        times.append(time.monotonic() - began_at)
        asked += 1
        hits += row[0]["id"] in found.ids[:3]
    return hits / asked, times, index_seconds, index_bytes


def _size(connection: Connection) -> int:
    pages = connection.exec_driver_sql("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    return int(pages.scalar_one())


if __name__ == "__main__":
    print_figures(figures)
