"""The invariants (DESIGN §4, I1 to I11). Each function yields a sentence for each violation."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from faults.cases import BARRED
from faults.closing_invariants import closed_wrong, closing_disagrees, misreported_closings
from faults.rows import AtProvider, Books, gave_money, holds_its_amount, name_of, share_of
from faults.worlds import CAPTURED, World
from refundcli.domain.statuses import RefundState, may_become

_ACCEPTED = ("pending", "succeeded")
# By Stripe's status; Adyen always says "received".
_STATE_OF = {
    "received": "pending",
    "pending": "pending",
    "requires_action": "pending",
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "failed",
}
_WINDOW_SECONDS = {"stripe": 20 * 3600, "adyen": 6 * 86400}
# Events that are not about refunds or disputes.
_SAYS_NOTHING = ("AUTHORISATION",)
# Done, refused, settings (a store that cannot be used), declined, not sent, unknown, interrupted; 1 would be a bug.
_EXIT_CODES = (0, 3, 4, 6, 7, 8, 130)
# Exit codes caused by the fault itself.
_BY_FORCE = {".kill": -9, ".sigterm": -15, ".exception": 1}


def broken_now(world: World) -> Iterator[str]:
    """What must hold at every instant, while commands are dead, done or under way."""
    books, provider = world.books(), world.at_provider()
    yield from world.broken
    yield from _over_refunded(world, books, provider)
    yield from not_committed_first(books, provider)
    yield from doubled(books, provider)
    yield from released_without_proof(books, provider)
    yield from _misreported(world, books, provider)
    yield from closed_wrong(world.case, books, provider)
    yield from misreported_closings(world.ended, books, provider)
    yield from _out_of_place(world, provider)
    yield from _ended_badly(world)


def broken_in_the_end(world: World) -> Iterator[str]:
    """What must hold once there are no more faults and `resume` has run."""
    yield from broken_now(world)
    books, provider = world.books(), world.at_provider()
    for refund in books.unfinished:
        yield f"I6: {refund['id']} is still {refund['state']}: it never settles"
    if world.case.closes:
        yield from closing_disagrees(books, provider)
    else:
        yield from _disagreeing(world, books, provider)
    yield from _refused_for_nothing(world, books)
    yield from _events_lost(world, books)
    yield from broken_audit_trail(books)
    yield from (f"I9, I10: {sentence}" for sentence in world.unsound())


def _over_refunded(world: World, books: Books, provider: AtProvider) -> Iterator[str]:
    for payment in books.payments:
        if payment["reserved"] + payment["refunded"] > share_of(payment):
            yield f"I1: {payment['reserved']} + {payment['refunded']} of {share_of(payment)} given in the store"
        refunds = (r for r in books.refunds if r["payment_id"] == payment["id"])
        promised = sum(r["amount"] for r in refunds if holds_its_amount(r))
        if payment["reserved"] != promised:
            yield f"I1: {payment['reserved']} is reserved, for refunds of {promised}"
    for reference in world.references:
        provider_refunds = provider.of_payment(reference)
        refunded = sum(r["amount"] for r in provider_refunds if r.get("success") is not False and gave_money(r))
        if refunded > world.in_minor(CAPTURED):
            yield f"I1: the provider gave {refunded} of {world.in_minor(CAPTURED)}"


def not_committed_first(books: Books, provider: AtProvider) -> Iterator[str]:
    """Everything that was sent is in the store: it was committed before sending (I2)."""
    by_key = {refund["idempotency_key"]: refund for refund in books.refunds}
    for request in provider.refund_requests:
        refund = by_key.get(request["headers"]["idempotency-key"])
        if refund is None:
            yield f"I2: a request was sent with a key that is not in the store: {request['params']}"
        elif refund["first_sent_at"] is None:
            yield f"I2: {refund['id']} was sent, and the store knows of no sending"
        elif _flat(json.loads(refund["request"])) != _flat(request["params"]):
            yield f"I2: {refund['id']} was sent as {request['params']}, and stored as {refund['request']}"


def _flat(value: Any) -> Any:
    """Numbers as strings, since form fields are strings."""
    if isinstance(value, dict):
        return {name: _flat(member) for name, member in value.items()}
    return str(value)


def doubled(books: Books, provider: AtProvider) -> Iterator[str]:
    for refund_id, times in Counter(filter(None, map(name_of, provider.refunds))).items():
        if times > 1:
            yield f"I3: the provider made {refund_id} {times} times"
    requests = {refund["id"]: (refund["request_key"], refund["payment_id"]) for refund in books.refunds}
    for (key, _), times in Counter(requests[r["id"]] for r in books.refunds if r["state"] != "failed").items():
        if times > 1:
            yield f"I4: the request key {key} made {times} refunds"
    ours = [refund for refund in provider.refunds if gave_money(refund) and name_of(refund) in requests]
    for (key, _), times in Counter(requests[name_of(refund)] for refund in ours).items():
        if times > 1:
            yield f"I4: the request key {key} moved money {times} times"


def released_without_proof(books: Books, provider: AtProvider) -> Iterator[str]:
    for refund in books.refunds:
        if refund["state"] == "failed" and any(map(gave_money, provider.of(refund["id"]))):
            yield f"I5: {refund['id']} is failed and its amount free, but the provider made it"


def _misreported(world: World, books: Books, provider: AtProvider) -> Iterator[str]:
    """Exit 0 and 6 only if true, now and later (I11)."""
    for ended in world.ended:
        if ended.kind != "refund" or ended.code not in (0, 6, 7):
            continue
        refunds = books.of_key(ended.request_key)
        newest = books.newest_of_key(ended.request_key)
        finished = [r for r in newest if _is_done(r, provider)]
        if ended.code == 0 and (finished != newest or not finished):
            yield f"I11: reported as done, but it is not: {ended}"
        if ended.code == 6 and not any(refund["state"] == "failed" for refund in refunds):
            yield f"I11: reported as declined, but it is not: {ended}"
        if ended.code == 7 and any(provider.of(refund["id"]) for refund in refunds if refund["state"] == "failed"):
            yield f"I11: reported as not sent, but the provider has it: {ended}"
    last = world.ended[-1]
    if last.kind == "resume" and last.code == 0 and books.unfinished:
        yield f"I11: reported as settled, but it is not: {last}"


def _is_done(refund: dict[str, Any], provider: AtProvider) -> bool:
    """The provider made it; a later reversal may not have been reported yet."""
    provider_refunds = provider.of(refund["id"])
    stands = any(
        gave_money(provider_refund) or provider_refund.get("taken_back") for provider_refund in provider_refunds
    )
    return (refund["state"] in _ACCEPTED and stands) or bool(refund["came_back_at"])


def _out_of_place(world: World, provider: AtProvider) -> Iterator[str]:
    if world.case.leftover == BARRED and provider.refund_requests:
        yield "I8: a refund was sent although a dispute bars it"
    sent = defaultdict(list)
    for request in provider.refund_requests:
        sent[request["headers"]["idempotency-key"]].append(request)
    for key, requests in sent.items():
        if len({(r["path"], json.dumps(r["params"], sort_keys=True)) for r in requests}) > 1:
            yield f"I8: the key {key} travelled with two different requests"
        lasted = requests[-1]["time"] - requests[0]["time"]
        if world.case.story != "forgotten" and lasted >= _WINDOW_SECONDS[world.case.provider]:
            yield f"I8: the key {key} was sent again after {lasted / 3600:.0f} hours"
    for request in provider.everything:
        if request["path"].startswith("/_sandbox/elsewhere"):
            yield "I8: a redirect was followed"


def _ended_badly(world: World) -> Iterator[str]:
    for ended in world.ended:
        struck = " ".join(note for note in ended.notes if note.startswith("struck"))
        expected = [code for manner, code in _BY_FORCE.items() if manner in struck]
        if ended.code not in (*_EXIT_CODES, *expected):
            yield f"a command ended with {ended.code}: {ended}"
        yield from (note for note in ended.notes if note.startswith("broken"))


def _disagreeing(world: World, books: Books, provider: AtProvider) -> Iterator[str]:
    """Store and provider agree, both ways, to the minor unit (I6)."""
    for refund in books.refunds:
        yield from _one_disagreeing(refund, provider.of(refund["id"]))
    ids = {refund["id"] for refund in books.refunds}
    for provider_refund in provider.refunds:
        if name_of(provider_refund) not in ids:
            yield f"I6, lost: the provider has {provider_refund['id']}, which the store does not know"
    for payment, reference in zip(books.payments, world.references, strict=True):
        refunded = sum(
            provider_refund["amount"]
            for provider_refund in provider.of_payment(reference)
            if gave_money(provider_refund)
        )
        # Each in its own minor units, and the whole is the same.
        counted = (payment["reserved"] + payment["refunded"]) * world.in_minor(CAPTURED)
        if refunded * share_of(payment) != counted:
            yield f"I6: the provider gave {refunded} of {world.in_minor(CAPTURED)}, the store says otherwise: {payment}"
    whole = all(payment["refunded"] == share_of(payment) for payment in books.payments)
    (invoice,) = books.invoices
    if (invoice["status"] == "refunded") != whole:
        yield f"I6: the invoice is {invoice['status']}, and that is wrong"


def _one_disagreeing(refund: dict[str, Any], provider_refunds: list[dict[str, Any]]) -> Iterator[str]:
    if not provider_refunds:
        if refund["state"] in _ACCEPTED:
            yield f"I6: {refund['id']} is {refund['state']}, and the provider never made it"
        return
    (provider_refund,) = provider_refunds[:1]
    took_back = refund["state"] == "reversed" and bool(refund["came_back_at"]) and provider_refund["status"] == "failed"
    if refund["state"] != _STATE_OF[provider_refund["status"]] and not took_back:
        yield f"I6: {refund['id']} is {refund['state']}, and the provider says {provider_refund['status']}"
    if refund["provider_reference"] != provider_refund["id"]:
        yield f"I6: {refund['id']} has the reference {refund['provider_reference']}, and it is {provider_refund['id']}"


def _refused_for_nothing(world: World, books: Books) -> Iterator[str]:
    """A failure needs a refusal, or a connection that was never made (I5)."""
    if world.case.may_be_refused or world.resolved:
        return
    for row in (*books.refunds, *books.closings):
        if row["state"] == "failed":
            yield f"I5: {row['id']} is failed ({row['failure']}), and nobody said no"


def _events_lost(world: World, books: Books) -> Iterator[str]:
    """Ingested events are stored once, and were processed."""
    ingests = [ended for ended in world.ended if ended.kind == "events" and ended.code == 0]
    if ingests and not books.events:
        yield "I6, lost: events were ingested, and none is stored"
    for event in books.events:
        if (ingests or event["state"] == "unreviewed") and not was_looked_at(event):
            yield f"I7: the event {event['event_key']} is {event['state']}: {event['note']}"
    for key, times in Counter(event["event_key"] for event in books.events).items():
        if times > 1:
            yield f"I7: the event {key} is kept {times} times"


def was_looked_at(event: dict[str, Any]) -> bool:
    """Applied, or noted if it is not about refunds."""
    return event["state"] == "applied" or (event["state"] == "noted" and event["kind"] in _SAYS_NOTHING)


def broken_audit_trail(books: Books) -> Iterator[str]:
    """Exactly one entry for each transition (I10)."""
    for refund in books.refunds:
        entries = books.entries_of(refund["id"])
        actions = Counter(entry["action"] for entry in entries)
        states = [e["after"]["state"] for e in entries if e["action"] == f"refund {e['after'].get('state')}"]
        if states[:1] != ["ready"] or states[-1] != refund["state"] or actions["refund ready"] != 1:
            yield f"I10: the trail of {refund['id']} reads {states}, and it is {refund['state']}"
        if actions["refund submitted"] != refund["fence"]:
            yield f"I10: {refund['id']} was claimed {refund['fence']} times, and the trail says {states}"
        for before, after in pairwise(states):
            claimed_again = before == after == "submitted"
            if not claimed_again and not may_become(RefundState(before), RefundState(after)):
                yield f"I7: {refund['id']} went from {before} to {after}"
        note = books.notes[refund["id"]]
        numbered = int(note["number"] is not None)
        if actions["credit note issued"] != numbered or actions["credit note void"] != (note["status"] == "void"):
            yield f"I10: the trail of {refund['id']} disagrees about its credit note: {dict(actions)}"
