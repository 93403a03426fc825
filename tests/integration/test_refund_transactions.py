"""What one `refund` costs at the store: transactions, invoices read, connections."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from desk import MERCHANT, Desk, new_invoice
from refundcli.domain.money import parse_money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.invoices.allocation import ChangedMeanwhile
from refundcli.services.ports.provider_updates import NewEvent
from refundcli.services.ports.records import NewPayment
from refundcli.services.refunds.issue import RefundRequest
from runs import services_of

NOW = datetime(2026, 11, 1, tzinfo=UTC)

# An invoice with its customer; the sums of an invoice are read without. What was written is read back for the audit
# trail, which is no look at the invoice.
_AN_INVOICE = re.compile(r"\s*SELECT (?!').*\bcustomer\b.*\bFROM invoice\b", re.DOTALL)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    counts: Counter[str] = Counter()

    def connect(_connection: Any, _record: Any) -> None:
        counts["connections"] += 1

    def begin(connection: Connection) -> None:
        counts["writes" if connection.get_execution_options().get("writes") else "reads"] += 1

    def execute(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        counts["statements"] += 1
        counts["invoices"] += _AN_INVOICE.match(statement) is not None

    listeners: dict[str, Any] = {"connect": connect, "begin": begin, "before_cursor_execute": execute}
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    try:
        yield counts
    finally:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)


@pytest.mark.parametrize("how_much", ["--full", "--amount 40"])
def test_a_refund_needs_few_transactions_and_one_connection(desk: Desk, how_much: str) -> None:
    desk.paid_by_card("INV-0")
    # The first use of a key stores its mode and its account.
    desk.json("refund INV-0 --full --reason other --yes")
    reference = desk.paid_by_card()
    desk.books.engine.dispose()
    with counted() as counts:
        desk.json(f"refund INV-1 {how_much} --reason other --yes")
    assert desk.refunded_at_provider(reference) == [10_000 if how_much == "--full" else 4_000]
    assert counts["reads"] <= 5, counts
    assert counts["writes"] == 3, counts
    assert counts["invoices"] <= 3, counts
    assert counts["connections"] == 1, counts


def test_what_changes_after_the_check_is_seen_before_anything_is_reserved(desk: Desk) -> None:
    reference = desk.paid_by_card()
    services = services_of(desk.environ)
    request = RefundRequest("INV-1", None, "", RefundReason.OTHER, "a-key", "Ada")
    checked = services.issue_refunds.check(request)
    desk.json("refund INV-1 --amount 30 --reason other --yes")
    with pytest.raises(ChangedMeanwhile):
        services.issue_refunds.issue(checked)
    assert desk.refunded_at_provider(reference) == [3_000]
    assert desk.invoice("INV-1").reserved.minor == 0


def test_the_same_request_made_by_another_process_meanwhile_is_not_made_twice(desk: Desk) -> None:
    reference = desk.paid_by_card()
    services = services_of(desk.environ)
    request = RefundRequest("INV-1", None, "", RefundReason.OTHER, "a-key", "Ada")
    checked = services.issue_refunds.check(request)
    desk.json("refund INV-1 --full --reason other --yes --request-key a-key")
    (refund,) = services.issue_refunds.issue(checked)
    assert refund.state is RefundState.SUCCEEDED
    assert desk.refunded_at_provider(reference) == [10_000]


def test_an_event_stored_after_the_check_stops_it_in_the_claim(desk: Desk) -> None:
    """No audit entry tells of a stored event, so only the claim sees it (R13)."""
    reference = desk.paid_by_card(provider="adyen")
    services = services_of(desk.environ)
    # The first use of a key is audited.
    services.providers.of(Provider.ADYEN)
    request = RefundRequest("INV-1", None, "", RefundReason.OTHER, "a-key", "Ada")
    checked = services.issue_refunds.check(request)
    event_of_payment = NewEvent(
        Provider.ADYEN, "k", "NEVER_HEARD_OF", reference, MERCHANT, False, NOW, "{}", payments=(reference,)
    )
    desk.books.write(lambda tx: tx.events.store([event_of_payment]))
    (refund,) = services.issue_refunds.issue(checked)
    assert (refund.state, desk.refunded_at_provider(reference)) == (RefundState.FAILED, [])
    assert "never sent" in refund.failure


def test_an_event_about_one_of_several_payments_stops_them_all_before_anything_is_reserved(desk: Desk) -> None:
    """What was confirmed is their total, so a part of it is not sent without the rest."""
    desk.paid_by_card("INV-0", provider="adyen")
    first, second = (desk.sandbox.charge("50.00 EUR", provider="adyen").reference for _ in range(2))
    payments = tuple(
        NewPayment(5_000, Provider.ADYEN, method="card", reference=reference, auto_refundable=True)
        for reference in (first, second)
    )
    desk.bring_in(new_invoice("INV-1", parse_money("100.00 EUR"), payments=payments))
    services = services_of(desk.environ)
    services.providers.of(Provider.ADYEN)
    request = RefundRequest("INV-1", None, "", RefundReason.OTHER, "a-key", "Ada")
    checked = services.issue_refunds.check(request)
    event_of_payment = NewEvent(
        Provider.ADYEN, "k", "NEVER_HEARD_OF", first, MERCHANT, False, NOW, "{}", payments=(first,)
    )
    desk.books.write(lambda tx: tx.events.store([event_of_payment]))
    with pytest.raises(ChangedMeanwhile):
        services.issue_refunds.issue(checked)
    assert [desk.refunded_at_provider(reference) for reference in (first, second)] == [[], []]
    assert desk.count("refund") == 0
