"""The services of provider updates, wired as in the program, for tests without a command."""

from datetime import UTC
from functools import partial

from desk import Desk
from refundcli.services.clock import SystemClock
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.provider_updates import Update
from refundcli.services.provider_updates.apply_update import ApplyUpdates
from refundcli.services.provider_updates.outcome import UpdateOutcome
from refundcli.services.provider_updates.sync_payment import SyncPayments

# As in the settings of the desk.
NUMBER_FORMAT = "CN-{year}-{seq:06}"


def sync_payments(clock: Clock | None = None, *, number_format: str = NUMBER_FORMAT) -> SyncPayments:
    return SyncPayments(ApplyUpdates(clock or SystemClock(UTC), number_format))


def apply(desk: Desk, *updates: Update) -> list[UpdateOutcome]:
    """Applies each in a transaction of its own."""
    work = partial(sync_payments().updates.apply, update_source="test")
    return [desk.books.write(lambda tx, update=update: work(tx, update)) for update in updates]  # type: ignore[misc]
