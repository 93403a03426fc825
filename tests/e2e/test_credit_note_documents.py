"""The document of a credit note: a page to read, an electronic credit note, or both in one file."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from pypdf import PdfReader

from desk import Desk

FONTS = Path(__file__).parents[1] / "data" / "fonts"
SELLER = {
    "NAME": "Example Club e.V.",
    "ADDRESS": "Sportstrasse 1; 10115 Berlin",
    "COUNTRY": "DE",
    "VAT_ID": "DE123456789",
}
INVOICE = {
    "number": "INV-1",
    "customer": "cus_1",
    "customer_name": "Łukasz #panic() *bold* $x$",
    "currency": "EUR",
    "total": "1190.00",
    "status": "paid",
    "issued_on": "2026-09-01",
    "payment_method": "cash",
    "products": ["Season pass"],
    "customer_address": "Storgatan 1; 111 22 Stockholm",
    "customer_country": "SE",
    "tax_rate": "19",
}


def _import(desk: Desk, *invoices: dict[str, Any]) -> None:
    file = desk.folder / "invoices.jsonl"
    file.write_text("".join(json.dumps(invoice) + "\n" for invoice in invoices))
    desk.json(f"invoice import {file}")


def _with_seller(desk: Desk) -> None:
    desk.environ |= {f"REFUNDCLI_SELLER_{key}": value for key, value in SELLER.items()}


def _record(desk: Desk, options: str) -> Any:
    (refund,) = desk.json(f"mark-refunded {options} --reason returned-goods --yes")["refunds"]
    return refund


def _text(path: Path) -> str:
    return " ".join(page.extract_text() for page in PdfReader(path).pages).replace("\xa0", " ").replace("\u200b", "")


@pytest.mark.both_databases
def test_a_page_shows_the_credit_note_and_text_is_no_markup(desk: Desk) -> None:
    _with_seller(desk)
    _import(desk, INVOICE)
    number = _record(desk, "INV-1 --full")["credit_note"]["number"]
    answer = desk.json(f"credit-notes export {number} --to {desk.folder / 'note.pdf'}")
    assert (answer["documents"], answer["confirmations"]) == (1, 0)
    text = _text(desk.folder / "note.pdf")
    shown = (
        "Credit note",
        number,
        "INV-1",
        "Łukasz #panic() *bold* $x$",
        "1,190.00 EUR",
        "190.00",
        "Sweden",
        "DE123456789",
    )
    assert [words for words in shown if words not in text] == [], text


@pytest.mark.parametrize(
    ("language", "title", "total", "day"),
    [
        ("de", "Rechnungskorrektur", "1.190,00 EUR", "1. September 2026"),
        ("sv", "Kreditfaktura", "1 190,00 EUR", "1 september 2026"),
    ],
)
def test_a_page_is_in_the_language_asked_for(
    sqlite_desk: Desk, language: str, title: str, total: str, day: str
) -> None:
    _with_seller(sqlite_desk)
    _import(sqlite_desk, INVOICE)
    _record(sqlite_desk, "INV-1 --full")
    sqlite_desk.json(f"credit-notes export --since 2000-01-01 --language {language} --to {sqlite_desk.folder}")
    (file,) = sqlite_desk.folder.glob("CN-*.pdf")
    text = _text(file)
    assert [words for words in (title, total, day) if words not in text] == [], text


def test_without_the_data_of_a_credit_note_it_is_a_refund_confirmation(desk: Desk) -> None:
    desk.paid_outside("INV-2")
    number = _record(desk, "INV-2 --full")["credit_note"]["number"]
    file = desk.folder / "note.pdf"
    assert desk.json(f"credit-notes export {number} --to {file}")["confirmations"] == 1
    assert "Refund confirmation" in _text(file)
    for form in ("xml", "facturx"):
        target = desk.folder / form
        error = desk.refused(f"credit-notes export {number} --format {form} --to {target}", "document-incomplete")
        assert len(set(error["context"]["missing"])) == len(error["context"]["missing"])
        assert {"seller.name", "seller.country", "customer_country"} <= set(error["context"]["missing"])
        assert not target.exists()


def test_what_is_missing_is_named_once_for_many(sqlite_desk: Desk) -> None:
    for number in ("INV-2", "INV-3", "INV-4"):
        sqlite_desk.paid_outside(number)
        _record(sqlite_desk, f"{number} --full")
    error = sqlite_desk.refused(
        f"credit-notes export --since 2000-01-01 --format xml --to {sqlite_desk.folder}", "document-incomplete"
    )
    assert error["message"].startswith("3 of 3 credit notes")
    assert error["message"].count("seller.name") == 1


def test_a_void_note_is_marked_in_each_form(desk: Desk) -> None:
    _with_seller(desk)
    _import(desk, INVOICE)
    record = _record(desk, "INV-1 --full")
    desk.json(f"mark-refunded --undo {record['id']} --memo wrong --yes")
    number = record["credit_note"]["number"]
    desk.json(f"credit-notes export {number} --to {desk.folder / 'note.pdf'}")
    desk.json(f"credit-notes export {number} --format xml --to {desk.folder / 'note.xml'}")
    assert "VOID" in _text(desk.folder / "note.pdf")
    assert "VOID" in (desk.folder / "note.xml").read_text()


def test_the_file_with_both_is_an_archivable_pdf_with_its_xml(desk: Desk) -> None:
    """As qpdf reads it: nothing damaged, PDF/A-3 and Factur-X in the metadata, a colour profile, the XML attached."""
    _with_seller(desk)
    _import(desk, INVOICE)
    number = _record(desk, "INV-1 --amount 100")["credit_note"]["number"]
    desk.json(f"credit-notes export {number} --format facturx --to {desk.folder / 'note.pdf'}")
    desk.json(f"credit-notes export {number} --format xml --to {desk.folder / 'note.xml'}")
    with pikepdf.open(desk.folder / "note.pdf") as pdf:
        assert pdf.check_pdf_syntax() == []
        (intent,) = pdf.Root.OutputIntents
        assert intent.S == "/GTS_PDFA1"
        assert intent.DestOutputProfile.read_bytes()
        metadata = pdf.Root.Metadata.read_bytes().decode()
        assert "pdfaid:part>3<" in metadata or 'pdfaid:part="3"' in metadata, metadata
        assert "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#" in metadata
        assert [str(file.AFRelationship) for file in pdf.Root.AF] == ["/Alternative"]
        attached = pdf.attachments["factur-x.xml"].get_file().read_bytes()
    assert attached == (desk.folder / "note.xml").read_bytes()
    assert b"<ram:TypeCode>381</ram:TypeCode>" in attached
    assert b"<ram:IssuerAssignedID>INV-1</ram:IssuerAssignedID>" in attached


def test_a_missing_glyph_names_the_setting_and_a_font_helps(sqlite_desk: Desk) -> None:
    _import(sqlite_desk, INVOICE | {"customer_name": "山田 Ł"})
    number = _record(sqlite_desk, "INV-1 --full")["credit_note"]["number"]
    export = f"credit-notes export {number} --to {sqlite_desk.folder / 'note.pdf'}"
    error = sqlite_desk.refused(export, "glyph-missing", exit_code=4)
    assert "fonts" in error["hint"]
    assert not (sqlite_desk.folder / "note.pdf").exists()
    sqlite_desk.environ["REFUNDCLI_CREDIT_NOTES_FONTS"] = str(FONTS)
    sqlite_desk.json(export)
    assert "山田 Ł" in _text(sqlite_desk.folder / "note.pdf")


@pytest.mark.both_databases
def test_the_notes_of_a_run_go_into_a_folder(desk: Desk) -> None:
    _import(desk, INVOICE, INVOICE | {"number": "INV-2"}, INVOICE | {"number": "INV-3"})
    rows = desk.folder / "rows.csv"
    rows.write_text("invoice,amount,reason\nINV-1,10.00,other\nINV-2,10.00,other\n")
    run = desk.json(f"mark-refunded --from {rows} --yes")["run"]
    _record(desk, "INV-3 --full")
    desk.json(f"credit-notes export --run {run} --to {desk.folder / 'run'}")
    assert len(list((desk.folder / "run").iterdir())) == 2
    desk.refused("credit-notes export --run run_none", "no-credit-notes", exit_code=5)
    desk.refused("credit-notes export", "export-of-what", exit_code=2)


def test_a_kill_leaves_no_half_file(sqlite_desk: Desk) -> None:
    _import(sqlite_desk, *(INVOICE | {"number": f"INV-{number}"} for number in range(40)))
    rows = sqlite_desk.folder / "rows.csv"
    rows.write_text("invoice,amount,reason\n" + "".join(f"INV-{number},10.00,other\n" for number in range(40)))
    sqlite_desk.json(f"mark-refunded --from {rows} --yes")
    folder = sqlite_desk.folder / "documents"
    command = [
        sys.executable,
        "-m",
        "refundcli",
        "credit-notes",
        "export",
        "--since",
        "2000-01-01",
        "--to",
        str(folder),
    ]
    with subprocess.Popen(command, env=os.environ | sqlite_desk.environ, stdout=subprocess.DEVNULL) as process:
        while len(list(folder.glob("*.pdf")) if folder.exists() else ()) < 5 and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    written = list(folder.glob("*.pdf"))
    assert len(written) >= 5
    for file in written:
        with pikepdf.open(io.BytesIO(file.read_bytes())) as pdf:
            assert pdf.check_pdf_syntax() == []


def test_other_commands_load_nothing_of_it(sqlite_desk: Desk) -> None:
    code = (
        "import sys; from refundcli.cli.main import run; run(['credit-notes', 'list']);"
        "print(sorted({'typst', 'facturx', 'lxml', 'babel', 'pypdf'} & set(sys.modules)), file=sys.stderr)"
    )
    sqlite_desk.paid_outside("INV-2")
    environ = os.environ | sqlite_desk.environ
    loaded = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert loaded.stderr.splitlines()[-1] == "[]"
