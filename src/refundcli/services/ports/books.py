"""The store as the use cases see it: transactions, each with its repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from refundcli.services.ports.repositories.events import (
        Deliveries,
        DeliveryReads,
        EventReads,
        Events,
        WordReads,
        Words,
    )
    from refundcli.services.ports.repositories.invoices import (
        DisputeReads,
        Disputes,
        InvoiceLookup,
        InvoiceReads,
        Invoices,
        InvoiceSearches,
        PaymentNames,
        PaymentReads,
        Payments,
        Shares,
    )
    from refundcli.services.ports.repositories.refunds import (
        ClosingReads,
        Closings,
        CreditNoteReads,
        CreditNotes,
        ExternalRefundReads,
        ExternalRefunds,
        Records,
        RefundLookup,
        RefundReads,
        Refunds,
        RefundSearches,
    )
    from refundcli.services.ports.repositories.runs import RunReads, Runs, RunSearches
    from refundcli.services.ports.repositories.store import (
        AccountReads,
        Accounts,
        Audit,
        AuditLists,
        AuditReads,
        ImportReads,
        Imports,
        Store,
        StoreReads,
    )

T = TypeVar("T")


class RefundReading(Protocol):
    """The reads that the rules of a refund need."""

    @property
    def invoices(self) -> InvoiceLookup: ...
    @property
    def payments(self) -> PaymentNames: ...
    @property
    def refunds(self) -> RefundLookup: ...


class Reading(Protocol):
    """One consistent view of the books."""

    @property
    def invoices(self) -> InvoiceReads: ...
    @property
    def audit_lists(self) -> AuditLists: ...
    @property
    def search(self) -> InvoiceSearches: ...
    @property
    def payments(self) -> PaymentReads: ...
    @property
    def disputes(self) -> DisputeReads: ...
    @property
    def refunds(self) -> RefundReads: ...
    @property
    def refund_search(self) -> RefundSearches: ...
    @property
    def external_refunds(self) -> ExternalRefundReads: ...
    @property
    def credit_notes(self) -> CreditNoteReads: ...
    @property
    def closings(self) -> ClosingReads: ...
    @property
    def events(self) -> EventReads: ...
    @property
    def deliveries(self) -> DeliveryReads: ...
    @property
    def words(self) -> WordReads: ...
    @property
    def runs(self) -> RunReads: ...
    @property
    def run_search(self) -> RunSearches: ...
    @property
    def imports(self) -> ImportReads: ...
    @property
    def audit(self) -> AuditReads: ...
    @property
    def store(self) -> StoreReads: ...
    @property
    def accounts(self) -> AccountReads: ...


class Writing(Reading, Protocol):
    """One transaction that changes the books and writes an audit entry for each change."""

    @property
    def invoices(self) -> Invoices: ...
    @property
    def payments(self) -> Payments: ...
    @property
    def shares(self) -> Shares: ...
    @property
    def disputes(self) -> Disputes: ...
    @property
    def refunds(self) -> Refunds: ...
    @property
    def external_refunds(self) -> ExternalRefunds: ...
    @property
    def records(self) -> Records: ...
    @property
    def credit_notes(self) -> CreditNotes: ...
    @property
    def closings(self) -> Closings: ...
    @property
    def events(self) -> Events: ...
    @property
    def deliveries(self) -> Deliveries: ...
    @property
    def words(self) -> Words: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def imports(self) -> Imports: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def store(self) -> Store: ...
    @property
    def accounts(self) -> Accounts: ...
    def all_or_nothing(self) -> AbstractContextManager[None]:
        """A savepoint: an exception inside undoes what was changed inside, and nothing else of the transaction."""
        ...


class BooksToRead(Protocol):
    """The store, for reading only."""

    def read(self, work: Callable[[Reading], T]) -> T:
        """Run `work` on one consistent snapshot. Raises StoreProblem."""
        ...


class Books(BooksToRead, Protocol):
    """The store. `work` is a function, because a transaction may have to be retried."""

    def write(self, work: Callable[[Writing], T]) -> T:
        """Run `work` in one transaction as the only writer. It may run again, so it changes nothing but the books.

        Raises StoreProblem if nothing was changed, and OutcomeUnknown if the commit may have succeeded.
        """
        ...
