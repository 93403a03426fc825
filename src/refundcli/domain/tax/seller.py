"""The seller that a credit note copied when it was issued."""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seller:
    """`logo`: the image in base64. `address`, `introduction` and `footer` may have several lines."""

    name: str = ""
    address: str = ""
    country: str = ""
    vat_id: str = ""
    tax_number: str = ""
    registration: str = ""
    iban: str = ""
    logo: str = ""
    introduction: str = ""
    footer: str = ""


def seller_of(text: str) -> Seller:
    return Seller(**json.loads(text)) if text else Seller()
