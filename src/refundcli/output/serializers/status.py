"""What needs attention, what is pending, and how fresh the books are."""

from collections.abc import Mapping
from typing import Any

from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import Provider
from refundcli.output.findings import Finding, findings
from refundcli.output.next_steps import APPLY_EVENTS, compare_again, next_command
from refundcli.output.serializers.bulk import lease, unfinished_run
from refundcli.output.serializers.events import event
from refundcli.output.serializers.invoices import closing, money, refund
from refundcli.services.ports.reads import Account, FailedCapture
from refundcli.services.queries.freshness import Freshness
from refundcli.services.queries.status import (
    Listed,
    OpenClosing,
    OpenRefund,
    OpenRun,
    PendingAges,
    Status,
    Unapplied,
)
from refundcli.services.reconciliation.last_comparison import LastComparison


def status(overview: Status, store_description: Mapping[str, Any]) -> dict[str, Any]:
    """Lists have their first fifty entries, `counts` all of them. What is not known is null."""
    comparison_by_provider = {
        provider.value: freshness.last_reconcile for provider, freshness in overview.freshness.items()
    }
    return {
        "needs_attention": overview.needs_attention,
        "attention": overview.attention,
        "counts": list_counts(overview),
        "findings": list(map(finding, findings(overview))),
        "unreviewed": [event(stored_event) for stored_event in overview.unreviewed.first],
        "losses": [loss(invoice) for invoice in overview.losses.first],
        "unfinished": [open_refund(entry) for entry in overview.unfinished.first],
        "runs": [open_run(entry) for entry in overview.runs.first],
        "closings": [open_closing(entry) for entry in overview.closings.first],
        "needs_acknowledgement": [late_failure(entry) for entry in overview.came_back.first],
        "external": [open_refund(entry) for entry in overview.elsewhere.first],
        "pending": [open_refund(entry) for entry in overview.pending.first],
        "pending_ages": pending_ages(overview.pending_ages),
        "failed": [open_refund(entry) for entry in overview.failed.first],
        "failed_captures": [failed_capture(capture) for capture in overview.failed_captures.first],
        "disputed": [invoice.number for invoice in overview.disputed.first],
        "processing": [invoice.number for invoice in overview.processing.first],
        "store": described_store(store_description),
        "livemode": overview.livemode,
        "events": overview.events,
        "not_applied": unapplied_events(overview.unapplied),
        "rejected_webhooks": dict(overview.deliveries.rejected),
        "webhooks_not_applied": dict(overview.deliveries.not_applied),
        "last_reconcile": {
            provider: last_comparison.at
            for provider, last_comparison in comparison_by_provider.items()
            if last_comparison
        },
        "providers": {
            provider.value: provider_freshness(freshness, provider)
            for provider, freshness in overview.freshness.items()
        },
        "accounts": list(map(account, overview.accounts)),
    }


def described_store(store_description: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "url": store_description["url"],
        "schema": store_description["schema"],
        "timezone": store_description["timezone"],
        "clock_skew_seconds": store_description.get("clock_skew_seconds"),
    }


def list_counts(overview: Status) -> dict[str, Any]:
    return {
        "unreviewed": list_count(overview.unreviewed),
        "losses": list_count(overview.losses),
        "unfinished": list_count(overview.unfinished),
        "runs": list_count(overview.runs),
        "closings": list_count(overview.closings),
        "needs_acknowledgement": list_count(overview.came_back),
        "external": list_count(overview.elsewhere),
        "pending": list_count(overview.pending),
        "failed": list_count(overview.failed),
        "failed_captures": list_count(overview.failed_captures),
        "disputed": list_count(overview.disputed),
        "processing": list_count(overview.processing),
    }


def finding(found: Finding) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "subject": found.subject,
        "summary": found.summary,
        "count": found.count,
        "command": found.command,
    }


def pending_ages(ages: PendingAges) -> dict[str, Any]:
    """How many refunds are pending for less than a day, for up to the limit, and for longer."""
    limit_seconds = int(ages.limit.total_seconds())
    return {"limit_seconds": limit_seconds, "recent": ages.recent, "older": ages.older, "overdue": ages.overdue}


def list_count(listed: Listed[Any]) -> dict[str, Any]:
    return {"all": listed.count, "need_attention": listed.attention}


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


def unapplied_events(unapplied: Unapplied) -> dict[str, Any]:
    return {
        "waiting": unapplied.waiting,
        "oldest": unapplied.oldest,
        "blocking": unapplied.blocking,
        "read_again": list(unapplied.unread),
        "command": APPLY_EVENTS if unapplied.attention else None,
    }


def provider_freshness(freshness: Freshness, provider: Provider) -> dict[str, Any]:
    last_comparison = freshness.last_reconcile
    return comparison(last_comparison, provider) | {
        "narrower": comparison(last_comparison.narrower, provider)
        if last_comparison and last_comparison.narrower
        else None,
        "unresolved": [comparison(unresolved, provider) for unresolved in last_comparison.unresolved]
        if last_comparison
        else None,
        "last_complete_reconcile": freshness.last_complete,
        "last_webhook": freshness.last_delivery,
        "listener_seen": freshness.listener_seen,
    }


def comparison(last_comparison: LastComparison | None, provider: Provider) -> dict[str, Any]:
    """What was compared is null where an older version stored it. `command`: to compare again what still differs."""
    scope = last_comparison.scope if last_comparison else None
    return {
        "last_reconcile": last_comparison.at if last_comparison else None,
        "result": last_comparison.result if last_comparison else None,
        "differences_left": last_comparison.remaining if last_comparison else None,
        "not_compared": last_comparison.not_compared if last_comparison else None,
        "account": scope.account if scope else None,
        "report": scope.report or None if scope else None,
        "since": scope.since or None if scope else None,
        "compared": scope.compared if scope else None,
        "in_books": scope.in_books if scope else None,
        "complete": scope.is_complete and not last_comparison.not_compared if scope and last_comparison else None,
        "command": compare_again(provider, last_comparison) if last_comparison and last_comparison.remaining else None,
    }


def account(stored_account: Account) -> dict[str, Any]:
    return {"provider": stored_account.provider, "account": stored_account.account, "livemode": stored_account.livemode}
