"""What `events listen` does: opens a port, and tells what came through it."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import ParamSpec, TypeVar

import typer

from refundcli.cli.commands.providers.events_apply import apply_with
from refundcli.cli.commands.serving import PortTaken, ServerMissing
from refundcli.cli.context import App
from refundcli.domain.errors import RefundcliError, SettingsProblem
from refundcli.domain.statuses import Provider
from refundcli.output.terminal import DOUBT, GOOD
from refundcli.output.views.events import show_applied
from refundcli.secrets import redact
from refundcli.services.ports.webhooks import DeliveryReader
from refundcli.services.webhooks.apply_events import EventOutcomes, ProviderPause

T = TypeVar("T")
P = ParamSpec("P")

# A provider that cannot be asked is asked again this often; its events wait meanwhile, and the other's do not.
_ASK_AGAIN_SECONDS = 30.0


class NobodyToListenTo(SettingsProblem):
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
    services, progress = app.services, _Progress(app)
    # The store is made, or found to be unusable, before anything is promised.
    _once_free(app, lambda: services.books.write(lambda tx: None))
    readers = _once_free(app, lambda: _readers(app))
    listener = Listener(
        readers,
        books=services.books,
        clock=services.clock,
        apply=apply_with(app, services.event_readers(), ProviderPause(_ASK_AGAIN_SECONDS)),
        callbacks=Callbacks(
            applied=_at_once(progress.tell),
            trouble=_at_once(lambda error: _tell_trouble(app, error)),
            rejected=_at_once(lambda words: app.err.say(("! ", DOUBT), words)),
        ),
    )
    try:
        bound = bind(host, port)
    except OSError as error:
        raise PortTaken(port, (error.strerror or str(error)).lower(), hint="--port 0 takes a free one.") from error
    port = bound.getsockname()[1]
    listener.serve(bound, announce=lambda: _at_once(_announce)(app, host, port, readers))
    writer = listener.writer
    app.note(f"Stopped: {writer.stored_count} events stored, {writer.duplicate_count} known already.")


def _at_once(tell: Callable[P, None]) -> Callable[P, None]:
    """Whoever reads stderr through a file or a journal reads it now, and not when the listener ends."""

    def flushed(*given: P.args, **named: P.kwargs) -> None:
        tell(*given, **named)
        sys.stderr.flush()

    return flushed


def _once_free(app: App, work: Callable[[], T]) -> T:
    """A store that is in use for long is waited for: a listener that gave up would receive nothing afterwards."""
    from refundcli.store.errors import StoreBusy

    while True:
        try:
            return work()
        except StoreBusy:
            _at_once(app.note)(
                "The store has been in use by another program for 30 seconds; waiting for it. Ctrl-C stops."
            )


@dataclass
class _Progress:
    """Tells what was applied; and once, not again and again, that a provider cannot be asked."""

    app: App
    away: set[Provider] = field(default_factory=set)

    def tell(self, done: EventOutcomes) -> None:
        for provider, why in done.unreachable.items():
            if provider not in self.away:
                self.app.err.say(
                    ("! ", DOUBT), f"{redact(why).rstrip('.')}. Its events are stored, and applied once it answers."
                )
        self.away |= set(done.unreachable)
        for provider in sorted(self.away & done.answered - set(done.unreachable)):
            self.app.err.say(("✓ ", GOOD), f"{provider.label} answers again.")
            self.away.discard(provider)
        if done.changed or done.contradictions or done.failed:
            show_applied(done, self.app.err)


def _readers(app: App) -> Mapping[Provider, DeliveryReader]:
    """Of the providers whose deliveries can be verified. Raises NobodyToListenTo."""
    settings, reader = app.settings, app.services.delivery_readers(any_age=False)
    secrets = {Provider.STRIPE: settings.stripe.webhook_secret, Provider.ADYEN: settings.adyen.hmac_key}
    if not any(secrets.values()):
        raise NobodyToListenTo
    return {provider: reader(provider) for provider, secret in secrets.items() if secret}


def _announce(app: App, host: str, port: int, readers: Mapping[Provider, DeliveryReader]) -> None:
    typer.echo(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    sys.stdout.flush()
    if not _is_this_machine(host):
        app.err.say(("! ", DOUBT), f"Listening on {host}: whoever reaches it may send. Put a proxy with TLS before it.")
    app.note(f"Taking deliveries at {' and '.join(f'/{reader}' for reader in readers)}. Ctrl-C stops.")
    for provider in Provider:
        if provider not in readers:
            app.note(f"{provider.label} has no webhook secret in the settings: /{provider} is not there.")


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tell_trouble(app: App, error: Exception) -> None:
    words = error.message if isinstance(error, RefundcliError) else f"{type(error).__name__}: {error}"
    app.err.say(("! ", DOUBT), redact(words))
