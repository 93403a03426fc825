"""Documents of credit notes against typst and factur-x by themselves, for the same pages and the same XML.

python -m benchmarks.documents [--notes 1000]
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import REFUNDCLI, Figure, Measured, Scale, environ, figure, run, spread

NOTES = 1_000
# What the goals of the project ask for.
MOST_OF_RIVAL, MOST_MEMORY_MB = 1.3, 250
_SELLER = (
    '[seller]\nname = "Example Club e.V."\naddress = "Sportstrasse 1; 10115 Berlin"\ncountry = "DE"\n'
    'vat_id = "DE123456788"\n'
)
_HEADING = "number,customer,customer_name,currency,total,status,issued_on,customer_address,customer_country,tax_rate"
_BARE = """
import json, sys, typst, facturx
folder, layout = sys.argv[1:]
compiler = typst.Compiler(layout, root=folder, ignore_system_fonts=True)
for line in open(f"{folder}/pages.jsonl", encoding="utf-8"):
    number, page, xml = json.loads(line)
    pdf = compiler.compile(format="pdf", sys_inputs={"note": page, "logo": ""}, pdf_standards=["a-3b"], timestamp=0)
    whole = facturx.generate_from_binary(
        pdf, xml.encode(), flavor="factur-x", level="en16931", check_xsd=False,
        pdf_metadata={"author": "a", "title": number, "subject": number, "keywords": "k"}, lang="en",
        afrelationship="alternative", xmp_compression=False,
    )
    open(f"{folder}/bare/{number}.pdf", "wb").write(whole)
"""


def measure(notes: int) -> Measured:
    """Seconds of processor time."""
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        folder = Path(name)
        variables = _with_notes(folder, notes)
        layout = _pages(folder, notes)
        bare = run([sys.executable, "-c", _BARE, str(folder), str(layout)], variables, folder)
        export = ["credit-notes", "export", "--since", "2020-01-01", "--format", "facturx", "--to", "out"]
        ours = run([REFUNDCLI, "--quiet", *export], variables, folder)
        written = len(list((folder / "out").glob("*.pdf")))
        if written != notes:
            raise RuntimeError(f"{written} of {notes} documents were written")
        return Measured(notes, ours.cpu_seconds, bare.cpu_seconds, ours.memory_mb)


def _with_notes(folder: Path, notes: int) -> dict[str, str]:
    """A store with so many credit notes, each of an invoice of its own."""
    settings = folder / "settings.toml"
    settings.write_text(_SELLER, encoding="utf-8")
    variables = environ(folder, REFUNDCLI_CONFIG=str(settings))
    with (folder / "invoices.csv").open("w", encoding="utf-8") as file:
        file.write(_HEADING + "\n")
        file.writelines(
            f"INV-{n},cus_{n},Ørsted & Søn {n},EUR,{n}.19,paid,2026-09-01,Weg {n}; 10115 Berlin,DE,19\n"
            for n in range(1, notes + 1)
        )
    with (folder / "refunds.csv").open("w", encoding="utf-8") as file:
        file.write("invoice,reason\n")
        file.writelines(f"INV-{n},returned-goods\n" for n in range(1, notes + 1))
    run([REFUNDCLI, "--quiet", "invoice", "import", "invoices.csv"], variables, folder)
    run([REFUNDCLI, "--quiet", "mark-refunded", "--from", "refunds.csv", "--yes"], variables, folder)
    return variables


def _pages(folder: Path, notes: int) -> Path:
    """Write what the rival prints, and the layout; returns the layout's path."""
    import refundcli.output.documents as package
    from refundcli.output.documents.contents import Contents
    from refundcli.output.documents.electronic import electronic_xml
    from refundcli.services.ports.reads import CreditNoteFilter
    from refundcli.store.read_only.sqlite import SqliteBooks

    (folder / "bare").mkdir()
    layout = folder / "note.typ"
    layout.write_bytes(Path(next(iter(package.__path__)), "note.typ").read_bytes())
    contents, books = Contents("en"), SqliteBooks(folder / "books.db")
    issued_notes = books.read(lambda tx: tx.credit_notes.with_content(CreditNoteFilter(limit=notes)))
    with (folder / "pages.jsonl").open("w", encoding="utf-8") as file:
        for issued in issued_notes:
            xml = electronic_xml(issued, contents).decode()
            file.write(json.dumps([issued.number, json.dumps(contents.of(issued)), xml]) + "\n")
    return layout


def figures(scale: Scale) -> Iterator[Figure]:
    count = scale.pick(full=NOTES, small=200, tiny=3)
    few = [measure(max(count // 10, 1)) for _ in range(scale.rounds)]
    many = [measure(count) for _ in range(scale.rounds)]
    yield figure(
        f"`credit-notes export --format facturx` of {count:,} credit notes, CPU",
        spread([each.ours for each in many], "s", digits=1),
        "rival: typst and factur-x by themselves, for the same pages",
        spread([each.rival for each in many], "s", digits=1),
        [each.ratio for each in many],
        at_most=MOST_OF_RIVAL,
    )
    yield figure(
        f"its memory, against {max(count // 10, 1):,} credit notes",
        spread([each.memory_mb for each in many], "MB"),
        "rival: a tenth of the credit notes",
        spread([each.memory_mb for each in few], "MB"),
        [each.memory_mb / less.memory_mb for each, less in zip(many, few, strict=True)],
        at_most=1.3,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", type=int, default=NOTES)
    found = measure(parser.parse_args().notes)
    print(f"{found.ours:.1f} s against {found.rival:.1f} s of CPU, ratio {found.ratio:.2f}; {found.memory_mb:.0f} MB")
