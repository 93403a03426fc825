"""What needs attention, what is pending, and how fresh the books are."""

from collections.abc import Mapping
from typing import Any

from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import Provider
from refundcli.output.next_steps import APPLY_EVENTS, compare_again, next_command
from refundcli.output.serializers.bulk import lease, unfinished_run
from refundcli.output.serializers.events import event
from refundcli.output.serializers.invoices import closing, money, refund
from refundcli.services.ports.records import Account, FailedCapture
from refundcli.services.queries.status import (
    Freshness,
    Listed,
    OpenClosing,
    OpenRefund,
    OpenRun,
    Status,
    Unapplied,
)
from refundcli.services.reconciliation.last_comparison import LastComparison


def status(of: Status, store: Mapping[str, Any]) -> dict[str, Any]:
    """Lists have their first fifty entries, `counts` all of them. What is not known is null."""
    reconciled = {provider.value: freshness.last_reconcile for provider, freshness in of.freshness.items()}
    return {
        "needs_attention": of.needs_attention,
        "attention": of.attention,
        "counts": list_counts(of),
        "unfinished": [open_refund(entry) for entry in of.unfinished.first],
        "runs": [open_run(entry) for entry in of.runs.first],
        "closings": [open_closing(entry) for entry in of.closings.first],
        "needs_acknowledgement": [late_failure(entry) for entry in of.came_back.first],
        "pending": [open_refund(entry) for entry in of.pending.first],
        "external": [open_refund(entry) for entry in of.elsewhere.first],
        "unreviewed": [event(stored) for stored in of.unreviewed.first],
        "losses": [loss(invoice) for invoice in of.losses.first],
        "failed_captures": [failed_capture(capture) for capture in of.failed_captures.first],
        "disputed": [invoice.number for invoice in of.disputed.first],
        "processing": [invoice.number for invoice in of.processing.first],
        "store": described_store(store),
        "livemode": of.livemode,
        "events": of.events,
        "not_applied": unapplied_events(of.unapplied),
        "rejected_webhooks": dict(of.deliveries.rejected),
        "webhooks_not_applied": dict(of.deliveries.not_applied),
        "last_reconcile": {provider: last.at for provider, last in reconciled.items() if last},
        "providers": {
            provider.value: provider_freshness(freshness, provider) for provider, freshness in of.freshness.items()
        },
        "accounts": list(map(account, of.accounts)),
    }


def described_store(of: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "url": of["url"],
        "schema": of["schema"],
        "timezone": of["timezone"],
        "clock_skew_seconds": of.get("clock_skew_seconds"),
    }


def list_counts(of: Status) -> dict[str, Any]:
    return {
        "unfinished": list_count(of.unfinished),
        "runs": list_count(of.runs),
        "closings": list_count(of.closings),
        "needs_acknowledgement": list_count(of.came_back),
        "pending": list_count(of.pending),
        "external": list_count(of.elsewhere),
        "unreviewed": list_count(of.unreviewed),
        "losses": list_count(of.losses),
        "failed_captures": list_count(of.failed_captures),
        "disputed": list_count(of.disputed),
        "processing": list_count(of.processing),
    }


def list_count(of: Listed[Any]) -> dict[str, Any]:
    return {"all": of.count, "need_attention": of.attention}


def open_refund(entry: OpenRefund) -> dict[str, Any]:
    return refund(entry.refund) | open_entry(entry) | {"leased_by": lease(entry.holder) if entry.holder else None}


def late_failure(entry: OpenRefund) -> dict[str, Any]:
    """`still_reserved` as it is now: the time until which an amount is reserved may have passed."""
    return open_refund(entry) | {"still_reserved": entry.is_held}


def open_closing(entry: OpenClosing) -> dict[str, Any]:
    return closing(entry.closing) | open_entry(entry) | {"leased_by": lease(entry.holder) if entry.holder else None}


def open_run(entry: OpenRun) -> dict[str, Any]:
    return unfinished_run(entry.run) | open_entry(entry)


def open_entry(entry: OpenRefund | OpenClosing | OpenRun) -> dict[str, Any]:
    return {"age_seconds": int(entry.age.total_seconds()), "next": entry.next, "command": next_command(entry)}


def loss(invoice: Invoice) -> dict[str, Any]:
    return {"invoice": invoice.number, "amount": money(invoice.loss)}


def failed_capture(capture: FailedCapture) -> dict[str, Any]:
    return {
        "provider": capture.provider,
        "invoice": capture.invoice,
        "reference": capture.reference,
        "amount": money(capture.amount),
        "failed_at": capture.at,
    }


def unapplied_events(of: Unapplied) -> dict[str, Any]:
    return {
        "waiting": of.waiting,
        "oldest": of.oldest,
        "blocking": of.blocking,
        "read_again": list(of.unread),
        "command": APPLY_EVENTS if of.attention else None,
    }


def provider_freshness(of: Freshness, provider: Provider) -> dict[str, Any]:
    last = of.last_reconcile
    return comparison(last, provider) | {
        "narrower": comparison(last.narrower, provider) if last and last.narrower else None,
        "unresolved": [comparison(unresolved, provider) for unresolved in last.unresolved] if last else None,
        "last_webhook": of.last_delivery,
    }


def comparison(last: LastComparison | None, provider: Provider) -> dict[str, Any]:
    """What was compared is null where an older version stored it. `command`: to compare again what still differs."""
    scope = last.scope if last else None
    return {
        "last_reconcile": last.at if last else None,
        "result": last.result if last else None,
        "differences_left": last.remaining if last else None,
        "not_compared": last.not_compared if last else None,
        "account": scope.account if scope else None,
        "report": scope.report or None if scope else None,
        "since": scope.since or None if scope else None,
        "compared": scope.compared if scope else None,
        "in_books": scope.in_books if scope else None,
        "complete": scope.is_complete and not last.not_compared if scope and last else None,
        "command": compare_again(provider, last) if last and last.remaining else None,
    }


def account(of: Account) -> dict[str, Any]:
    return {"provider": of.provider, "account": of.account, "livemode": of.livemode}
