"""What `events` does: listens, takes kept deliveries in, applies."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import typer

from refundcli.cli.context import App
from refundcli.cli.exit_codes import ExitCode
from refundcli.cli.sandbox import PortTaken, ServerMissing
from refundcli.documents.source import open_source
from refundcli.domain.errors import SettingsProblem, UsageProblem
from refundcli.domain.statuses import Provider
from refundcli.output.events_screen import applied_shape, show_applied, show_ingested
from refundcli.services import events
from refundcli.services.deliveries import DeliveryRefused
from refundcli.services.events import Applied
from refundcli.services.ports import EventReader

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_AT_ONCE = 500
_HEADERS = {"stripe-signature": Provider.STRIPE}


class NobodyToListenTo(SettingsProblem):
    code = "no-webhooks-configured"

    def __init__(self) -> None:
        super().__init__(
            "No webhook secret is set up, so no delivery could be believed.",
            hint="Set webhook_secret under [stripe], or hmac_key and merchant_account under [adyen].",
        )


def listen_for_events(app: App, host: str, port: int) -> None:
    """Until SIGINT or SIGTERM. Raises SettingsProblem, PortTaken, ServerMissing."""
    try:
        from refundcli.listener.server import bind, serve
    except ModuleNotFoundError as missing:
        raise ServerMissing from missing
    services = app.services
    # The store is made, or found to be unusable, before anything is promised.
    services.books.write(lambda tx: None)
    readers = _readers(app)
    try:
        listener = bind(host, port)
    except OSError as error:
        raise PortTaken(port, (error.strerror or str(error)).lower()) from error
    if host not in _LOOPBACK:
        app.err.say(("! ", "yellow"), f"Listening on {host}: whoever reaches it may send. Put TLS in front of it.")
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"http://{shown}:{listener.getsockname()[1]}")
    sys.stdout.flush()
    app.note(f"Taking deliveries at {', '.join(f'/{each}' for each in readers)}. Ctrl-C stops.")
    keeper = serve(
        listener,
        readers,
        books=services.books,
        apply=_applying(app, any_age=False),
        told=lambda done: _tell(app, done),
        trouble=lambda why: app.err.say(("! ", "yellow"), why),
    )
    refused = ", ".join(f"{count} {flaw}" for flaw, count in keeper.refused.items())
    app.note(f"Stopped: {keeper.kept} events stored, {keeper.known} known already, refused: {refused or 'none'}.")


def _readers(app: App) -> Mapping[Provider, EventReader]:
    """Of the providers whose deliveries could be proven. Raises NobodyToListenTo."""
    settings, reader = app.settings, app.services.event_readers(any_age=False)
    wanted = {
        Provider.STRIPE: settings.stripe.webhook_secret is not None,
        Provider.ADYEN: settings.adyen.hmac_key is not None,
    }
    if not any(wanted.values()):
        raise NobodyToListenTo
    for provider in (each for each, is_set in wanted.items() if not is_set):
        app.note(f"{provider.label} has no webhook secret in the settings: /{provider} is not served.")
    return {provider: reader(provider) for provider, is_set in wanted.items() if is_set}


def _applying(app: App, *, any_age: bool) -> Callable[[int, Callable[[], bool]], Applied]:
    services, readers = app.services, app.services.event_readers(any_age=any_age)

    def apply(after: int, go_on: Callable[[], bool]) -> Applied:
        return events.apply_stored(
            books=services.books,
            readers=readers,
            clock=services.clock,
            number_format=services.policy.number_format,
            after=after,
            go_on=go_on,
        )

    return apply


def _tell(app: App, done: Applied) -> None:
    if done.changed or done.contradictions:
        with suppress(OSError):
            show_applied(done, app.err)


# --- deliveries that were kept -------------------------------------------------------------------------------


class NoDelivery(UsageProblem):
    code = "no-delivery"

    def __init__(self, name: str, line: int, why: str) -> None:
        super().__init__(
            f"{name}, line {line}: {why}.",
            hint='One delivery a line: {"headers": {"Stripe-Signature": "…"}, "body": "…"}',
        )


def ingest_deliveries(app: App, file: str, provider: Provider | None) -> None:
    """Raises FileProblem, NoDelivery; ends with 3 where a delivery was not believed."""
    books, reader = app.services.books, app.services.event_readers(any_age=True)
    books.write(lambda tx: None)
    refused: dict[int, str] = {}
    flaws: dict[str, int] = {}
    told: list[Any] = []
    new = all_told = 0
    with open_source(file, sys.stdin.buffer) as source, source.text() as text:
        for line, headers, body in _deliveries(source.name, text):
            try:
                told += reader(provider or _provider_of(headers)).events_in(body, headers)
            except DeliveryRefused as refusal:
                refused[line] = refusal.message
                flaws[refusal.flaw] = flaws.get(refusal.flaw, 0) + 1
            if len(told) >= _AT_ONCE:
                new, all_told, told = new + events.keep(told, books=books), all_told + len(told), []
    new, all_told = new + events.keep(told, books=books), all_told + len(told)
    events.refuse(flaws, books=books)
    done = _applying(app, any_age=True)(0, lambda: True)
    if app.for_people:
        show_ingested(new, all_told - new, refused, done, app.out)
    else:
        counts = {"new": new, "known_already": all_told - new, "refused_by_flaw": flaws}
        lines = [{"line": line, "why": why} for line, why in refused.items()]
        app.show_object(counts | {"refused": lines} | applied_shape(done))
    if refused:
        raise typer.Exit(ExitCode.REFUSED)


def _deliveries(name: str, lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, str], bytes]]:
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            raise NoDelivery(name, line, "this is no JSON") from None
        headers = told.get("headers") if isinstance(told, Mapping) else None
        body = told.get("body") if isinstance(told, Mapping) else None
        words = isinstance(headers, Mapping) and all(isinstance(value, str) for value in headers.values())
        if not words or not isinstance(headers, Mapping) or not isinstance(body, str):
            raise NoDelivery(name, line, "it has no headers or no body")
        yield line, headers, body.encode()


def _provider_of(headers: Mapping[str, str]) -> Provider:
    """Only Stripe signs in a header; Adyen's items carry their signatures."""
    return next((_HEADERS[name.lower()] for name in headers if name.lower() in _HEADERS), Provider.ADYEN)


def apply_and_show(app: App) -> None:
    done = _applying(app, any_age=True)(0, lambda: True)
    if app.for_people:
        show_applied(done, app.out)
    else:
        app.show_object(applied_shape(done))
