"""The seller of credit notes' documents."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from refundcli.domain.tax.countries import COUNTRIES, is_vat_id
from refundcli.settings.checks import Unfit, optional, storable_text
from refundcli.settings.rules import worded

LONGEST_TEXT = 1_000
LARGEST_LOGO = 200_000
# The first bytes of PNG and JPEG.
LOGO_TYPES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def _lines(value: object) -> str:
    """Lines, also written with a semicolon between them."""
    if not isinstance(value, str):
        raise Unfit("must be text in quotation marks")
    text = "\n".join(part.strip() for part in re.split(r"[\n;]", value) if part.strip())
    return _limited(text, LONGEST_TEXT)


def _paragraphs(value: object) -> str:
    if not isinstance(value, str):
        raise Unfit("must be text in quotation marks")
    return _limited(value.strip(), LONGEST_TEXT)


def _limited(text: str, most: int) -> str:
    if len(text) > most:
        raise Unfit(f"must have at most {most:,} characters")
    for line in text.split("\n"):
        storable_text(line)
    return text


def _word(value: object) -> str:
    return _limited(storable_text(value).strip(), 200)


def _country(value: object) -> str:
    country = storable_text(value).upper()
    if country not in COUNTRIES:
        raise Unfit("is not a country's code", hint="Write its two letters, such as SE or DE.")
    return country


def _vat_id(value: object) -> str:
    vat_id = re.sub(r"[ .-]", "", storable_text(value)).upper()
    if not is_vat_id(vat_id):
        raise Unfit("is not a VAT id", hint="Begin with the country: SE556677889901.")
    return vat_id


def _iban(value: object) -> str:
    """Raises Unfit if the check digits are wrong (ISO 13616)."""
    iban = storable_text(value).replace(" ", "").upper()
    digits = "".join(str(int(character, 36)) for character in iban[4:] + iban[:4] if character.isalnum())
    if not re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", iban) or int(digits) % 97 != 1:
        raise Unfit("is not an IBAN", hint="Check its digits.")
    return iban


def _setting(check: Callable[[object], str]) -> Any:
    return field(default=None, metadata=worded(optional(check)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SellerSettings:
    """Who issues credit notes. Copied into each of them when it is issued."""

    name: str | None = _setting(_word)
    address: str | None = _setting(_lines)
    country: str | None = _setting(_country)
    vat_id: str | None = _setting(_vat_id)
    tax_number: str | None = _setting(_word)
    registration: str | None = _setting(_word)
    iban: str | None = _setting(_iban)
    logo: str | None = _setting(_word)
    introduction: str | None = _setting(_paragraphs)
    footer: str | None = _setting(_paragraphs)

    @property
    def text(self) -> str:
        """As it is copied: JSON with the logo itself, empty if nothing is set.

        A logo that cannot be read is left out, because a refund that was made must be recorded; settings that name such
        a logo are refused when they are loaded.
        """
        facts = {name: value for name, value in asdict(self).items() if value}
        if self.logo:
            try:
                facts["logo"] = base64.b64encode(Path(self.logo).read_bytes()).decode()
            except OSError:
                del facts["logo"]
        return json.dumps(facts, ensure_ascii=False, separators=(",", ":"), sort_keys=True) if facts else ""


def why_logo_unfit(logo: str) -> str:
    """Empty if it is an image that documents can show."""
    try:
        with open(logo, "rb") as file:
            beginning = file.read(LARGEST_LOGO + 1)
    except OSError as error:
        return f"cannot be read: {(error.strerror or str(error)).lower()}"
    if not beginning.startswith(LOGO_TYPES):
        return "is neither a PNG nor a JPEG image"
    return f"is larger than {LARGEST_LOGO:,} bytes" if len(beginning) > LARGEST_LOGO else ""
