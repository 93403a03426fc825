"""Services built from ports, as `bootstrap.Services` builds them."""

from typing import Any

from refundcli.services.closings.close import CloseInvoices
from refundcli.services.dispatch.send_closing import ClosingDispatch
from refundcli.services.dispatch.send_refund import RefundDispatch
from refundcli.services.recovery.resolve import Resolve
from refundcli.services.recovery.resume import Resume
from refundcli.services.refunds.issue import IssueRefunds


def issue_refunds(books: Any, providers: Any, clock: Any, policy: Any) -> IssueRefunds:
    return IssueRefunds(books, providers, RefundDispatch(books, providers, clock, policy))


def close_invoices(books: Any, providers: Any, clock: Any, policy: Any) -> CloseInvoices:
    return CloseInvoices(books, providers, ClosingDispatch(books, providers, clock, policy))


def resume(books: Any, providers: Any, clock: Any, policy: Any) -> Resume:
    dispatches = RefundDispatch(books, providers, clock, policy), ClosingDispatch(books, providers, clock, policy)
    return Resume(*dispatches)


def resolve(books: Any, providers: Any, clock: Any, policy: Any) -> Resolve:
    return Resolve(resume(books, providers, clock, policy))
