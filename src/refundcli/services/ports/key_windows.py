"""What each provider can look up and how long it remembers keys: how unknown outcomes are resolved (I8)."""

from datetime import datetime, timedelta

from refundcli.domain.refund import Sending
from refundcli.domain.statuses import Provider

# Stripe lists the refunds of a payment. Adyen reports them only by webhook and in reports.
CAN_LOOK_UP = frozenset({Provider.STRIPE})

# After this the same request with the same key would be a new one: Stripe forgets a key after 24 h at the earliest,
# Adyen after 7 days. The margin allows for clock differences.
KEY_WINDOWS = {Provider.STRIPE: timedelta(hours=20), Provider.ADYEN: timedelta(days=6)}


def key_is_known(sending: Sending, now: datetime) -> bool:
    """May it be sent again with its key? False also if the first send is in the future: then a clock is wrong."""
    if sending.first_sent_at is None:
        return True
    return timedelta(0) <= now - sending.first_sent_at < KEY_WINDOWS[sending.request.provider]
