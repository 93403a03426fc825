"""Read fields of Stripe's objects without trusting their types."""

from collections.abc import Mapping
from datetime import UTC, datetime

from refundcli.domain.currencies import CODES, Currency, currency
from refundcli.domain.money import Money
from refundcli.domain.provider_units import UnreadableAmount, from_provider_minor
from refundcli.domain.statuses import Provider
from refundcli.providers.answers import Fields, fields_in, safe_text, text_in
from refundcli.services.ports.provider_updates import CannotBeHeld


def has_id(resource: object) -> bool:
    return bool(text_in(fields_in(resource).get("id")))


def id_of(resource: Fields) -> str:
    return text_in(resource.get("id"))


def id_in(expandable: object) -> str:
    """The id of a field that holds an id or the expanded object."""
    return id_of(expandable) if isinstance(expandable, Mapping) else text_in(expandable)


def currency_of(resource: Fields) -> Currency:
    """Raises CannotBeHeld."""
    currency_code = text_in(resource.get("currency")).upper()
    if currency_code not in CODES:
        raise CannotBeHeld(Provider.STRIPE, f"{safe_text(currency_code)!a} is an unknown currency")
    return currency(currency_code)


def amount_of(resource: Fields, field_name: str, amount_currency: Currency) -> Money:
    """In the books' minor units. Raises CannotBeHeld."""
    minor_units = resource.get(field_name)
    try:
        if type(minor_units) is int and minor_units >= 0:
            return from_provider_minor(Provider.STRIPE, minor_units, amount_currency)
    except UnreadableAmount:
        pass
    raise CannotBeHeld(Provider.STRIPE, f"{field_name} of {safe_text(resource.get('id'))} is not a valid amount")


def time_of(timestamp: object) -> datetime | None:
    """None also if the timestamp is out of range."""
    try:
        return datetime.fromtimestamp(timestamp, UTC) if type(timestamp) is int else None
    except (OverflowError, OSError, ValueError):
        return None
