"""What `events listen` does: open a port, and show what is received."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import ip_address
from typing import TypeVar

import typer

from refundcli.cli.context import App
from refundcli.cli.options import PortTaken, ServerMissing
from refundcli.domain.errors import RefundcliError, SettingsProblem, StoreProblem
from refundcli.domain.statuses import Provider
from refundcli.output.findings import rejection_words
from refundcli.output.terminal import DOUBT, GOOD
from refundcli.output.views.events import show_applied
from refundcli.secrets import redact
from refundcli.services.ports.books import Reading
from refundcli.services.ports.provider_updates import NewEvent
from refundcli.services.ports.rejection_reasons import RejectionReason
from refundcli.services.ports.webhooks import DeliveryReader
from refundcli.services.webhooks.apply_events import EventOutcomes, ProviderPause

T = TypeVar("T")

# The invoices of a larger batch are not looked up: its events wait to be stored. Of one event so many are named.
_LOOKED_UP = 10
_NAMED = 3
# How often an unreachable provider is asked again. Its events wait; those of the other provider do not.
_ASK_AGAIN_SECONDS = 30.0


class NoWebhooksConfigured(SettingsProblem):
    code = "no-webhooks-configured"

    def __init__(self) -> None:
        super().__init__(
            "No webhook secret is set up, so no delivery can be verified.",
            hint="Set webhook_secret under [stripe], or hmac_key and merchant_account under [adyen].",
        )


def listen_for_events(app: App, host: str, port: int) -> None:
    """Until SIGINT or SIGTERM. Raises SettingsProblem, PortTaken, ServerMissing."""
    try:
        from refundcli.listener.server import Callbacks, Listener, bind
    except ModuleNotFoundError as missing:
        raise ServerMissing("The listener") from missing
    services, event_progress, delivery_lines = app.services, _Progress(app), _DeliveryLines(app)
    # Create the store, or fail, before the port is open.
    _wait_for_store(app, lambda: services.books.write(lambda tx: None))
    readers = _wait_for_store(app, lambda: _readers(app))
    services.updates.reread_events.all()
    listener = Listener(
        readers,
        books=services.books,
        clock=services.clock,
        apply_events=replace(services.updates.apply_events, pause=ProviderPause(_ASK_AGAIN_SECONDS)),
        callbacks=Callbacks(
            applied=event_progress.show,
            trouble=lambda error: _warn(app, error),
            rejected=lambda words: app.err.say(("! ", DOUBT), words),
            stored=delivery_lines.stored,
            rejection=delivery_lines.rejected,
        ),
    )
    try:
        bound_socket = bind(host, port)
    except OSError as error:
        raise PortTaken(port, error, hint="Use --port 0 for any free port.") from error
    port = bound_socket.getsockname()[1]
    listener.serve(bound_socket, announce=lambda: _announce(app, host, port, readers))
    writer = listener.writer
    app.note(f"Stopped. Events stored: {writer.stored_count}; already known: {writer.duplicate_count}.")


def _wait_for_store(app: App, use_store: Callable[[], T]) -> T:
    """Wait while the store is in use: a listener that gave up would receive nothing."""
    from refundcli.store.errors import StoreBusy

    while True:
        try:
            return use_store()
        except StoreBusy:
            app.note(
                "Another program has been using the store for 30 seconds; waiting for it. Press Ctrl-C to "
                "stop listening."
            )


@dataclass(frozen=True)
class _DeliveryLines:
    """One line for each delivery, or item of one: when, from whom, about what, and whether it was verified."""

    app: App

    def stored(self, events: Sequence[NewEvent]) -> None:
        number_by_reference = self._invoice_numbers(events) if len(events) <= _LOOKED_UP else {}
        for event in events:
            names = (number_by_reference.get(reference, reference) for reference in event.payments[:_NAMED])
            outcome = (
                f"verified, not applied: {rejection_words(event.not_applied)}" if event.not_applied else "verified"
            )
            self._say(event.provider.label, event.kind, " ".join(names) or event.about, outcome)

    def rejected(self, provider: Provider | None, reason: RejectionReason) -> None:
        self._say(provider.label if provider else "unknown sender", "", "", f"rejected: {rejection_words(reason)}")

    def _invoice_numbers(self, events: Sequence[NewEvent]) -> dict[str, str]:
        def read(tx: Reading) -> dict[str, str]:
            return {
                reference: f"{invoice_number} ({reference})"
                for event in events
                for reference, (invoice_number, _) in tx.payments.known_as(
                    event.provider, event.payments[:_NAMED]
                ).items()
            }

        with suppress(StoreProblem):
            return self.app.services.books.read(read)
        return {}

    def _say(self, *facts: str) -> None:
        now = datetime.now(self.app.settings.operator.zone)
        self.app.note("  ".join(filter(None, (f"{now:%Y-%m-%d %H:%M:%S %Z}", *facts))))


@dataclass
class _Progress:
    """Shows what was applied, and once, not repeatedly, that a provider cannot be reached."""

    app: App
    unreachable: set[Provider] = field(default_factory=set)

    def show(self, outcomes: EventOutcomes) -> None:
        for provider, why in outcomes.unreachable.items():
            if provider not in self.unreachable:
                self.app.err.say(
                    ("! ", DOUBT),
                    f"{redact(why).rstrip('.')}. Its events are stored, and will be applied when it responds.",
                )
        self.unreachable |= set(outcomes.unreachable)
        for provider in sorted(self.unreachable & outcomes.answered - set(outcomes.unreachable)):
            self.app.err.say(("✓ ", GOOD), f"{provider.label} is responding again.")
            self.unreachable.discard(provider)
        if outcomes.changed or outcomes.contradictions or outcomes.failed:
            show_applied(outcomes, self.app.err)


def _readers(app: App) -> Mapping[Provider, DeliveryReader]:
    """Readers of the providers whose deliveries can be verified. Raises NoWebhooksConfigured."""
    settings, reader_of = app.settings, app.services.delivery_readers(any_age=False)
    secret_by_provider = {Provider.STRIPE: settings.stripe.webhook_secret, Provider.ADYEN: settings.adyen.hmac_key}
    if not any(secret_by_provider.values()):
        raise NoWebhooksConfigured
    return {provider: reader_of(provider) for provider, secret in secret_by_provider.items() if secret}


def _announce(app: App, host: str, port: int, reader_by_provider: Mapping[Provider, DeliveryReader]) -> None:
    typer.echo(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    sys.stdout.flush()
    if not _is_this_machine(host):
        app.err.say(
            ("! ", DOUBT),
            (
                f"Listening on {host}: anyone who can reach it can send events to it. Put a proxy with TLS in "
                "front of it."
            ),
        )
    app.note(
        f"Receiving deliveries at {' and '.join(f'/{provider}' for provider in reader_by_provider)}. Press "
        "Ctrl-C to stop."
    )
    for provider in Provider:
        if provider not in reader_by_provider:
            app.note(f"{provider.label} has no webhook secret in the settings, so /{provider} is not served.")


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _warn(app: App, error: Exception) -> None:
    words = error.message if isinstance(error, RefundcliError) else f"{type(error).__name__}: {error}"
    app.err.say(("! ", DOUBT), redact(words))
