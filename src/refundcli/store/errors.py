"""Errors of the store, each with the next step."""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

from refundcli.domain.errors import OutcomeUnknown, StoreProblem, UsageProblem
from refundcli.services.ports.store_problems import BooksUnavailable


class NoStore(StoreProblem):
    code = "no-store"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"There is no store at {address} yet.",
            hint="refundcli init   creates one;   refundcli invoice import FILE   imports invoices",
        )


class NotAStore(StoreProblem):
    code = "not-a-store"

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"{address} is not a refundcli store: {reason}.",
            hint="Name another place with --store, or set store.url in refundcli.toml.",
        )


class StoreNewer(StoreProblem):
    code = "store-newer"

    def __init__(self, store_schema: str, newest_schema: str) -> None:
        super().__init__(
            (f"The store has schema {store_schema}; this version of refundcli supports schemas up to {newest_schema}."),
            hint="Install a newer version of refundcli. Nothing was written.",
        )


class StoreOlder(StoreProblem):
    code = "store-older"

    def __init__(self, store_schema: str, required_schema: str) -> None:
        super().__init__(
            f"The store has schema {store_schema}; this program needs {required_schema}.",
            hint="refundcli store upgrade   (tell your colleagues first: they need this version too)",
        )


class StoreInUse(StoreProblem):
    """An older program is using a store that is to be upgraded."""

    code = "store-in-use"

    def __init__(self, programs_and_leases: Sequence[str]) -> None:
        super().__init__(
            f"The store is in use and was not upgraded: {'; '.join(programs_and_leases)}.",
            hint="Stop them first. If they are no longer running:   refundcli store upgrade --force",
            context={"users": list(programs_and_leases)},
        )


class NumberTaken(StoreProblem):
    """Raised before anything is sent, so that a provider's answer can always be recorded (I9)."""

    code = "credit-note-number-taken"

    def __init__(self, number: str) -> None:
        super().__init__(
            f"The next credit note would be {number}, but that number is already taken. Nothing was sent.",
            hint="refundcli store check   shows what is wrong with the numbers",
        )


class WrongClock(StoreProblem):
    """Raised before a number, a date or a lease is assigned, never where a provider's answer is recorded."""

    code = "wrong-clock"

    def __init__(self, clock_time: datetime, newest_entry_at: datetime, *, is_database_clock: bool) -> None:
        clock_name = "The database's clock" if is_database_clock else "This machine's clock"
        super().__init__(
            f"{clock_name} says {clock_time:%Y-%m-%d %H:%M} UTC, but the newest entry in the books is from "
            f"{newest_entry_at:%Y-%m-%d %H:%M} UTC. Nothing was sent or changed.",
            hint="Correct the clock. If it is already correct:   refundcli store clock --accept",
            context={"clock": clock_time.isoformat(), "newest_entry": newest_entry_at.isoformat()},
        )


class ZonePinned(UsageProblem):
    """Another zone would change the day, and so the year, of all future credit notes."""

    code = "timezone-pinned"

    def __init__(self, pinned_timezone: str, requested_timezone: str) -> None:
        super().__init__(
            (
                f"The books use the time zone {pinned_timezone}. New credit notes would be dated by the time in "
                f"{requested_timezone}."
            ),
            hint=f"To change it anyway:   refundcli store upgrade --timezone {requested_timezone} --force",
            context={"timezone": pinned_timezone},
        )


class DayTooEarly(UsageProblem):
    """Credit notes are numbered in the order of their days (I9)."""

    code = "day-too-early"

    def __init__(self, timezone: str, newest_issue_date: date) -> None:
        super().__init__(
            (f"The newest credit note is dated {newest_issue_date}, but that day has not started yet in {timezone}."),
            hint="Try again on that day.",
            context={"newest_credit_note": newest_issue_date.isoformat()},
        )


class NoBackupHere(UsageProblem):
    code = "no-backup-here"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address} is a PostgreSQL store: back it up with PostgreSQL's own tools.",
            hint="pg_dump --format=custom DATABASE > FILE",
        )


class BackupExists(UsageProblem):
    code = "backup-exists"

    def __init__(self, backup_path: Path) -> None:
        super().__init__(f"{backup_path} already exists and was not overwritten.", hint="Name another file.")


class BackupFailed(StoreProblem):
    code = "backup-failed"

    def __init__(self, backup_path: Path, reason: str) -> None:
        super().__init__(
            f"The store could not be copied to {backup_path}: {reason}.",
            hint="Name a file in a folder that you can write to, on a disk with enough space.",
        )


class StoreAddress(StoreProblem):
    code = "store-address"

    def __init__(self) -> None:
        super().__init__(
            "The address of the store is not valid.",
            hint="Use sqlite:////home/me/refundcli.db or postgresql://me@host:5432/database.\n"
            "refundcli config   shows where the address comes from",
        )


class StructureNotChecked(OutcomeUnknown):
    """SQLite's own check of the file was not run, because the file could not be copied."""

    code = "store-not-checked"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"SQLite's own check was not run, because it needs a copy of the file: {reason}.",
            hint="All other checks passed. Once the cause is fixed: refundcli store check",
            context={"why": reason},
        )


class StoreBusy(BooksUnavailable):
    code = "store-busy"

    def __init__(self) -> None:
        super().__init__(
            "Another program has been using the store for too long.",
            hint="Try again in a moment; a long import or bulk run may be running.",
        )


class StoreUnusable(StoreProblem):
    code = "store-unusable"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The store could not be used: {reason}.",
            hint="Check the disk or the server that it is on, then:   refundcli store check",
        )
        self.what = reason


class StoreOutOfReach(StoreUnusable):
    code = "store-out-of-reach"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.hint = "You need write access to its folder. Or name another place with --store."


class StoreReadOnly(StoreUnusable):
    code = "store-read-only"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.hint = (
            "Give yourself write access to the store's file and its folder; on PostgreSQL, use the primary server."
        )


class PermissionDenied(StoreUnusable):
    code = "permission-denied"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.message = f"Your database role may not do this: {reason}."
        self.args = (self.message,)
        self.hint = "Connect with a role that may (docs/roles.sql), or ask someone who has one."


class StoreFull(StoreUnusable):
    code = "store-full"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.hint = "Free some space on the store's disk, then:   refundcli status"


class StoreCorrupt(StoreUnusable):
    code = "store-corrupt"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.hint = "Stop using it, keep a copy of the file, and restore the last good backup."


class StoreUnreachable(StoreUnusable, BooksUnavailable):
    code = "store-unreachable"
    # A server that restarts is back by then.
    passes_within = 60.0

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.hint = "Check that the database server is running and that store.url is correct:   refundcli config"


class CommitUnknown(OutcomeUnknown):
    code = "commit-unknown"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The store did not confirm the change ({reason}). It may or may not have been saved.",
            hint="refundcli invoice show NUMBER   shows what was saved. Then: refundcli resume --all",
        )


class DriverMissing(StoreProblem):
    code = "driver-missing"

    def __init__(self) -> None:
        super().__init__(
            "The PostgreSQL driver is not installed.",
            hint="Install the driver: pip install 'refundcli[postgres]'",
        )
