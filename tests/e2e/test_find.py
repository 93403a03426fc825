"""An invoice is found by what a clerk knows of it: parts of names, amounts, days, cards, products and ids."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from desk import Desk, new_invoice
from refundcli.domain.money import parse_money
from refundcli.domain.search_words import amounts_between, one_letter_away, typed_month, words_in
from refundcli.domain.statuses import Provider
from refundcli.services.ports.reads import InvoiceSearch
from refundcli.services.ports.records import NewInvoice, NewPayment
from refundcli.store.imports.search_index import SearchIndex


def invoice(number: str, name: str, amount: str, issued_on: date, *, last4: str = "", products: str = "") -> NewInvoice:
    money = parse_money(amount)
    payment = NewPayment(money.minor, Provider.STRIPE, "card", f"pi_{number}", card_last4=last4)
    return replace(
        new_invoice(number, money, payments=(payment,)),
        customer_name=name,
        customer_email=f"{'.'.join(words_in(name))}@example.org",
        issued_on=issued_on,
        paid_on=issued_on,
        products=(products,) if products else (),
    )


@pytest.fixture
def clerk(desk: Desk) -> Desk:
    desk.bring_in(
        invoice("INV-1", "Amara Osei", "120.00 EUR", date(2026, 8, 3), last4="4242", products="Season pass 2026"),
        invoice("INV-2", "Amara Osei", "45.50 EUR", date(2026, 9, 3), last4="4242"),
        invoice("INV-3", "Łukasz Strøm", "1200 JPY", date(2026, 8, 9), last4="0005", products="Summer Cup"),
    )
    return desk


def numbers(desk: Desk, typed: str) -> list[str]:
    return [found["number"] for found in desk.json(f"find {typed}")]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("osei 120 aug", ["INV-1"]),
        ("ose 45.50", ["INV-2"]),
        ("LUKASZ strom", ["INV-3"]),
        ("4242 2026-09", ["INV-2"]),
        ("amara.osei@example.org 2026-08-03", ["INV-1"]),
        ("summer", ["INV-3"]),
        ("pi_INV-2", ["INV-2"]),
        ("inv-3", ["INV-3"]),
        ("--last4 0005", ["INV-3"]),
        ("--name osei --amount 100..150", ["INV-1"]),
        ("--amount 1200", ["INV-3"]),
        ("--product season --since 2026-08-01 --until 2026-08-31", ["INV-1"]),
        ("osei", ["INV-2", "INV-1"]),
        ("osei 999", []),
    ],
)
def test_parts_of_an_invoice_find_it(clerk: Desk, typed: str, found: list[str]) -> None:
    assert numbers(clerk, typed) == found


@pytest.mark.parametrize("typed", ["oseii 120", "oesi 120", "osi 120", "isei 120"])
def test_one_wrong_letter_is_corrected_and_said(clerk: Desk, typed: str) -> None:
    assert numbers(clerk, typed) == ["INV-1"]
    assert "searched for osei" in clerk(f"find {typed}").err


def test_a_miss_says_what_was_searched(clerk: Desk) -> None:
    answer = clerk("find nobody --last4 1111")
    assert answer.exit_code == 0
    assert "No invoice matches. Searched for: nobody, card 1111." in answer.err


def test_an_invoice_imported_again_is_found_by_its_new_words_only(clerk: Desk) -> None:
    clerk.bring_in(invoice("INV-1", "Kofi Boateng", "120.00 EUR", date(2026, 8, 3), last4="4242"))
    assert numbers(clerk, "boateng") == ["INV-1"]
    assert numbers(clerk, "osei") == ["INV-2"]


def test_a_wide_range_of_amounts_leaves_none_out(desk: Desk) -> None:
    count = 20_001

    def found(tx: Any) -> int:
        index = SearchIndex(tx.connection)
        index.add([(n, "", "", "", "EUR", n, "2026-08-03", "") for n in range(1, count + 1)], [])
        index.write()
        return len(tx.search.ids(InvoiceSearch(date(2026, 8, 3), amount="0.01..300")).ids)

    assert desk.books.write(found) == count


def test_nothing_to_find_and_a_wrong_amount_are_refused(clerk: Desk) -> None:
    clerk.refused("find", "nothing-to-find", exit_code=2)
    clerk.refused("find --amount much", "invalid-search-amount", exit_code=2)


def test_what_words_mean() -> None:
    assert words_in("Straße-Øst, ÆSIR") == ("strasse", "ost", "aesir")
    assert amounts_between("120") == amounts_between("€120.00") == amounts_between("120,00")
    assert amounts_between("2026-08") is None
    assert (typed_month("aug"), typed_month("Sept"), typed_month("au")) == ("08", "09", "")
    assert {"osei", "oseii", "ose", "sei"} <= set(one_letter_away("oseii")) | set(one_letter_away("osei")) | {"osei"}
