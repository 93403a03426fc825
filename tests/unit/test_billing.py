"""The tax of credit notes: parts add up to the invoice, and each is what its share of the rate makes."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from refundcli.domain.tax.billing import BilledLine, Billing, TaxCategory, billing_of, credited_lines, tax_in
from refundcli.domain.tax.note_content import InvoiceFacts, content_of

RATES = ("7", "10", "19", "25", "25.5", "0")


def _line(amount: int, rate: str, name: str = "") -> BilledLine:
    category = TaxCategory.EXEMPT if rate == "0" else TaxCategory.STANDARD
    return BilledLine(amount, tax_in(amount, rate), rate, category, "club" if rate == "0" else "", name)


LINES = st.lists(st.builds(_line, st.integers(1, 10**7), st.sampled_from(RATES)), min_size=1, max_size=4).map(tuple)


def _credit(lines: tuple[BilledLine, ...], amounts: list[int], exponent: int = 2) -> list[tuple[BilledLine, ...]]:
    notes: list[tuple[BilledLine, ...]] = []
    for amount in amounts:
        notes.append(credited_lines(lines, tuple(line for note in notes for line in note), amount, exponent=exponent))
    return notes


@given(LINES, st.lists(st.floats(0.001, 1), max_size=8), st.sampled_from([0, 2]))
def test_partial_notes_add_up_to_the_amounts_and_the_tax_of_the_invoice(
    lines: tuple[BilledLine, ...], parts: list[float], exponent: int
) -> None:
    left, amounts = sum(line.amount for line in lines), list[int]()
    for part in parts:
        amount = int(left * part)
        if 0 < amount < left:
            amounts.append(amount)
            left -= amount
    amounts.append(left)
    notes = _credit(lines, amounts, exponent)
    assert [sum(line.amount for line in note) for note in notes] == amounts
    for rate in RATES:
        billed = [line for line in lines if line.rate == rate]
        credited = [line for note in notes for line in note if line.rate == rate]
        assert sum(line.tax for line in credited) == sum(line.tax for line in billed)
        assert sum(line.amount for line in credited) == sum(line.amount for line in billed)
        assert all(0 <= line.tax <= line.amount for line in credited)


@given(st.integers(2, 10**6), st.sampled_from(RATES), st.data())
def test_the_tax_of_a_part_is_within_a_unit_of_its_rate(total: int, rate: str, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, total - 1))
    for note in _credit((_line(total, rate),), [first, total - first]):
        for line in note:
            assert abs(line.tax * (100 + float(rate)) - line.amount * float(rate)) < 100 + float(rate) * 1.01 + 1


def test_no_rounding_difference_is_left_at_the_end() -> None:
    notes = _credit((_line(10000, "19"),), [3333, 3333, 3334])
    assert [line.tax for note in notes for line in note] == [532, 533, 532]
    assert tax_in(10000, "19") == 532 + 533 + 532


def test_all_at_once_keeps_the_lines_of_the_invoice() -> None:
    lines = (_line(8000, "19", "Shoes"), _line(2000, "7", "Book"))
    assert _credit(lines, [10000]) == [lines]


def test_a_part_of_two_rates_takes_of_both_in_proportion() -> None:
    lines = (_line(8000, "19", "Shoes"), _line(2000, "7", "Book"))
    (note,) = _credit(lines, [1000])
    assert [(line.amount, line.rate, line.tax) for line in note] == [(800, "19", 128), (200, "7", 13)]


def test_more_than_the_total_has_the_same_share_of_tax() -> None:
    (note,) = _credit((_line(11900, "19"),), [23800])
    assert [(line.amount, line.tax) for line in note] == [(23800, 3800)]


def test_parts_in_three_decimals_have_two_where_the_invoice_has() -> None:
    notes = _credit((BilledLine(100_000, 9_090, "10", TaxCategory.STANDARD),), [33_330, 66_670], exponent=3)
    assert all(line.tax % 10 == 0 for note in notes for line in note)


def test_nothing_is_stored_where_nothing_is_known() -> None:
    assert Billing().text == ""
    assert billing_of("") == Billing()


@given(LINES)
def test_what_is_stored_is_read_again(lines: tuple[BilledLine, ...]) -> None:
    billing = Billing("Storgatan 1\n111 22 Stockholm", "SE", "SE556677889901", lines)
    assert billing_of(billing.text) == billing


def test_a_void_note_leaves_its_share_to_the_next() -> None:
    facts = InvoiceFacts("Ada", date(2026, 9, 1), 11900, 2, '["Shoes"]', Billing(lines=(_line(11900, "19"),)).text)
    first = facts.content(5000, [])
    rest = facts.content(6900, [first])
    alone = facts.content(11900, [])
    assert sum(line.tax for text in (first, rest) for line in content_of(text).lines) == 1900
    assert content_of(alone).lines == (_line(11900, "19"),)
