"""The schema. Amounts are ISO 4217 minor units of the row's currency; times are UTC.

Invariants are constraints here, so that no bug in the program can break them (I1, I4, I9). The migrations create the
tables; statements name them by `store/tables.py`. A partial index is declared here for SQLite only; a test checks that
PostgreSQL has the same index.
"""

from refundcli.store.schema import books, events, invoices, refunds, runs, search

__all__ = ["books", "events", "invoices", "refunds", "runs", "search"]
