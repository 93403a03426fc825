"""Stripe's API keys. A key belongs to one account in one mode."""

import hashlib
import re

from refundcli.domain.statuses import Provider
from refundcli.providers import BadCredentials

_KEY = re.compile(r"(?:sk|rk)_(?:test|live)_.+")


def check_form(api_key: str) -> None:
    """Raises BadCredentials."""
    if not _KEY.fullmatch(api_key):
        raise BadCredentials(Provider.STRIPE, "it does not start with sk_test_, rk_test_, sk_live_ or rk_live_")


def is_live(api_key: str) -> bool:
    return api_key.startswith(("sk_live_", "rk_live_"))


def fingerprint(api_key: str) -> str:
    """A short hash that distinguishes keys without revealing them."""
    return hashlib.sha256(api_key.encode()).hexdigest()[:12]
