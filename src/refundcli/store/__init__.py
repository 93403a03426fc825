"""Where invoices, payments, refunds and credit notes are kept: SQLite or PostgreSQL."""
