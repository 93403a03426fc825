"""Where invoices, payments, refunds and credit notes are stored: SQLite or PostgreSQL."""
