"""The PDF of a credit note (PDF/A-3), with its XML inside where it is asked for."""

import base64
import json
import tempfile
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import facturx
import typst

from refundcli.domain.errors import Refused, SettingsProblem
from refundcli.domain.statuses import CreditNoteStatus
from refundcli.output.documents.contents import Contents
from refundcli.output.documents.electronic import electronic_xml
from refundcli.private_files import temporary_folder
from refundcli.services.ports.documents import DocumentFormat, IssuedNote

_LOGO_TYPES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg"}
_LAYOUT = Path(__file__).with_name("note.typ")
_STANDARDS = ["a-3b"]


class GlyphMissing(SettingsProblem):
    code = "glyph-missing"

    def __init__(self, number: str, why: str) -> None:
        super().__init__(
            f"{number}: {why}.",
            hint="Put a font that has it into a folder, and name the folder as fonts under [credit_notes].",
            context={"credit_note": number},
        )


class DocumentFailed(Refused):
    code = "document-failed"

    def __init__(self, number: str, why: str) -> None:
        super().__init__(
            f"{number}: the document could not be made: {why}.",
            hint=f"refundcli credit-notes show {number}",
            context={"credit_note": number},
        )


class Documents:
    """Makes documents of one format in one language. Its folder for the layout and logos is deleted by `close`."""

    def __init__(self, form: DocumentFormat, language: str, fonts: str = "") -> None:
        self._format, self._fonts, self._contents = form, fonts, Contents(language)
        self._folder = tempfile.TemporaryDirectory(prefix="refundcli-documents-", dir=temporary_folder())
        self._logos: dict[int, str] = {}

    def __enter__(self) -> "Documents":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def document(self, issued: IssuedNote) -> bytes:
        """Raises GlyphMissing and DocumentFailed."""
        if self._format is DocumentFormat.PDF:
            return self._page(issued)
        xml = electronic_xml(issued, self._contents)
        return xml if self._format is DocumentFormat.XML else self._with_xml(issued, xml)

    @cached_property
    def _compiler(self) -> Any:
        folder = Path(self._folder.name)
        layout = folder / _LAYOUT.name
        layout.write_bytes(_LAYOUT.read_bytes())
        # The fonts of this system would make another document on each machine.
        fonts = [self._fonts] if self._fonts else []
        return typst.Compiler(str(layout), root=str(folder), font_paths=fonts, ignore_system_fonts=True)

    def _page(self, issued: IssuedNote) -> bytes:
        shown = self._contents.of(issued)
        at = issued.note.issued_at or datetime.now(UTC)
        inputs = {"note": json.dumps(shown), "logo": self._logo(issued)}
        try:
            pdf: bytes = self._compiler.compile(
                format="pdf", sys_inputs=inputs, pdf_standards=_STANDARDS, timestamp=int(at.timestamp())
            )
        except RuntimeError as error:
            why = str(getattr(error, "message", error)).removeprefix("PDF/A-3b error: ")
            failed = GlyphMissing if "could not be displayed with" in why else DocumentFailed
            raise failed(issued.number, why) from error
        return pdf

    def _logo(self, issued: IssuedNote) -> str:
        """The name of the logo's file beside the layout; empty without one."""
        if issued.seller_id not in self._logos:
            image = base64.b64decode(issued.seller.logo)
            suffix = next((suffix for start, suffix in _LOGO_TYPES.items() if image.startswith(start)), "")
            name = f"logo-{issued.seller_id}.{suffix}" if suffix else ""
            if name:
                Path(self._folder.name, name).write_bytes(image)
            self._logos[issued.seller_id] = name
        return self._logos[issued.seller_id]

    def _with_xml(self, issued: IssuedNote, xml: bytes) -> bytes:
        words = self._contents.words
        title = f"{words.credit_note} {issued.number}"
        is_void = issued.note.status is CreditNoteStatus.VOID
        pdf: bytes = facturx.generate_from_binary(
            self._page(issued),
            xml,
            flavor="factur-x",
            level="en16931",
            check_xsd=False,
            pdf_metadata={
                "author": issued.seller.name,
                "title": f"{title} ({words.void})" if is_void else title,
                "subject": f"{title}, {words.invoice} {issued.note.invoice_number}",
                "keywords": "Factur-X, EN 16931, 381",
            },
            lang=self._contents.language,
            afrelationship="alternative",
            # Archives read the metadata without decompressing it.
            xmp_compression=False,
        )
        return pdf
