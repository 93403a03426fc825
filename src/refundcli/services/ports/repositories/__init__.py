"""The repositories of a transaction, a Protocol for each subject: first what it reads, then what it writes."""
