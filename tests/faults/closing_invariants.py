"""The invariants of an invoice that is voided or written off here and at Stripe."""

from collections.abc import Iterator, Sequence

from faults.cases import CLOSINGS, Case
from faults.processes import Ended
from faults.rows import AtProvider, Books


def closed_wrong(case: Case, books: Books, provider: AtProvider) -> Iterator[str]:
    """At every instant."""
    by_key = {closing["idempotency_key"]: closing for closing in books.closings}
    for request in provider.closing_requests:
        closing = by_key.get(request["headers"]["idempotency-key"])
        if closing is None:
            yield f"I2: a closing was sent with a key that is not in the store: {request['path']}"
        elif closing["first_sent_at"] is None:
            yield f"I2: {closing['id']} was sent, and the store knows of no sending"
        elif not closing["endpoint"].endswith(request["path"]):
            yield f"I8: {closing['id']} was sent to {request['path']}, and stored for {closing['endpoint']}"
    for key, times in provider.closed_by.items():
        if times > 1:
            yield f"I3: the key {key} closed the invoice {times} times"
        if key in by_key and by_key[key]["state"] == "failed":
            yield f"I5: {by_key[key]['id']} is failed, but the provider closed the invoice for it"
    if sum(closing["state"] != "failed" for closing in books.closings if closing["action"] == case.story) > 1:
        yield f"I4: the invoice is closed more than once: {books.closings}"
    for invoice in books.invoices if case.closes else ():
        (there,) = provider.invoices
        if invoice["status"] in CLOSINGS and there["status"] not in CLOSINGS:
            yield f"I11: the invoice is {invoice['status']} here, and {there['status']} at the provider"


def misreported_closings(ended: Sequence[Ended], books: Books, provider: AtProvider) -> Iterator[str]:
    """Exit 0 and 6 only if true (I11)."""
    written = {entry["action"] for entry in books.audit}
    for command in ended:
        if command.kind in CLOSINGS and command.code == 0:
            if f"invoice {command.kind}" not in written or not provider.closed_by:
                yield f"I11: reported as done, but it is not: {command}"
        elif command.kind in CLOSINGS and command.code == 6 and not any(c["state"] == "failed" for c in books.closings):
            yield f"I11: reported as declined, but it is not: {command}"


def closing_disagrees(books: Books, provider: AtProvider) -> Iterator[str]:
    """In the end (I6)."""
    for here, there in zip(books.invoices, provider.invoices, strict=True):
        if here["status"] != there["status"]:
            yield f"I6: the invoice is {here['status']}, and the provider says {there['status']}"
