"""Take in deliveries that were kept: each is proven as one that comes over the wire, stored, and applied after."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from refundcli.domain.statuses import Provider
from refundcli.services.deliveries import DeliveryRefused, Flaw
from refundcli.services.events import Applied, Apply, DeliveryReaders, believed, keep, refuse
from refundcli.services.ports import Books, EventFilter
from refundcli.services.provider_news import EventState, NewEvent

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class KeptDelivery:
    """One delivery of a file. `why_not`: what stands there is none."""

    line: int
    provider: Provider | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class NotTaken:
    line: int
    flaw: Flaw
    why: str


@dataclass(slots=True)
class Ingested:
    """How many events were new or known already, which deliveries were not believed, and what came of the new ones."""

    new: int = 0
    known: int = 0
    refused: list[NotTaken] = field(default_factory=list)
    applied: Applied = field(default_factory=Applied)

    @property
    def flaws(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for each in self.refused:
            counts[each.flaw.value] = counts.get(each.flaw.value, 0) + 1
        return dict(sorted(counts.items()))


def ingest(deliveries: Iterable[KeptDelivery], *, books: Books, readers: DeliveryReaders, apply: Apply) -> Ingested:
    """Nothing of a delivery that is refused is stored. Raises SettingsProblem where no delivery could be proven."""
    done, told = Ingested(), list[NewEvent]()
    newest = books.read(lambda tx: tx.events(EventFilter(limit=1)))
    for delivery in deliveries:
        try:
            told += _proven(delivery, readers)
        except DeliveryRefused as refusal:
            done.refused.append(NotTaken(delivery.line, refusal.flaw, refusal.why))
        if len(told) >= _AT_ONCE:
            _keep(told, done, books)
            told = []
    _keep(told, done, books)
    refuse(done.flaws, books=books)
    # Those that wait from before are applied, too: an earlier run may have been killed after it stored them.
    before = newest[0].id if newest else 0
    done.applied = apply(books=books, wanted=lambda each: each.id > before or each.state is EventState.WAITING)
    return done


def _proven(delivery: KeptDelivery, readers: DeliveryReaders) -> list[NewEvent]:
    # Only Stripe signs in a header; Adyen's items carry their signatures.
    signed = any(name.lower() == "stripe-signature" for name in delivery.headers)
    provider = delivery.provider or (Provider.STRIPE if signed else Provider.ADYEN)
    if delivery.why_not:
        raise DeliveryRefused(provider, Flaw.UNREADABLE, delivery.why_not)
    return believed(provider, readers(provider), delivery.body, delivery.headers)


def _keep(told: list[NewEvent], done: Ingested, books: Books) -> None:
    if told:
        new = keep(told, books=books)
        done.new += new
        done.known += len(told) - new
