"""Errors of the store, each with the next step."""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

from refundcli.domain.errors import OutcomeUnknown, StoreProblem, UsageProblem
from refundcli.services.ports.books import BooksUnavailable


class NoStore(StoreProblem):
    code = "no-store"

    def __init__(self, where: str) -> None:
        super().__init__(
            f"There is no store at {where} yet.",
            hint="refundcli init   creates one;   refundcli invoice import FILE   imports invoices",
        )


class NotAStore(StoreProblem):
    code = "not-a-store"

    def __init__(self, where: str, what: str) -> None:
        super().__init__(
            f"{where} is not a refundcli store: {what}.",
            hint="Name another place with --store, or set store.url in refundcli.toml.",
        )


class StoreNewer(StoreProblem):
    code = "store-newer"

    def __init__(self, schema: str, supported: str) -> None:
        super().__init__(
            f"The store has schema {schema}; this program knows up to {supported}.",
            hint="Install the newer refundcli. Nothing was written.",
        )


class StoreOlder(StoreProblem):
    code = "store-older"

    def __init__(self, schema: str, required: str) -> None:
        super().__init__(
            f"The store has schema {schema}; this program needs {required}.",
            hint="refundcli store upgrade   (tell your colleagues first: they need this version too)",
        )


class StoreInUse(StoreProblem):
    """An older program is using a store that is to be upgraded."""

    code = "store-in-use"

    def __init__(self, users: Sequence[str]) -> None:
        super().__init__(
            f"The store is in use and was not upgraded: {'; '.join(users)}.",
            hint="Stop them first. If they are gone already:   refundcli store upgrade --force",
            context={"users": list(users)},
        )


class NumberTaken(StoreProblem):
    """Raised before anything is sent, so that a provider's answer can always be recorded (I9)."""

    code = "credit-note-number-taken"

    def __init__(self, number: str) -> None:
        super().__init__(
            f"The next credit note would be {number}, and that number is taken. Nothing was sent.",
            hint="refundcli store check   shows what is wrong with the numbers",
        )


class WrongClock(StoreProblem):
    """Raised before a number, a date or a lease is assigned, never where a provider's answer is recorded."""

    code = "wrong-clock"

    def __init__(self, now: datetime, newest: datetime, *, is_database: bool) -> None:
        whose = "The database's clock" if is_database else "This machine's clock"
        super().__init__(
            f"{whose} says {now:%Y-%m-%d %H:%M} UTC, but the newest entry in the books is from "
            f"{newest:%Y-%m-%d %H:%M} UTC. Nothing was sent or changed.",
            hint="Set the clock right. If it is right:   refundcli store clock --accept",
            context={"clock": now.isoformat(), "newest_entry": newest.isoformat()},
        )


class ZonePinned(UsageProblem):
    """Another zone would change the day, and so the year, of all future credit notes."""

    code = "timezone-pinned"

    def __init__(self, pinned: str, requested: str) -> None:
        super().__init__(
            f"The books use the time zone {pinned}. New credit notes would be dated in {requested}.",
            hint=f"To change it anyway:   refundcli store upgrade --timezone {requested} --force",
            context={"timezone": pinned},
        )


class DayTooEarly(UsageProblem):
    """Credit notes are numbered in the order of their days (I9)."""

    code = "day-too-early"

    def __init__(self, timezone: str, newest: date) -> None:
        super().__init__(
            f"The newest credit note is dated {newest}, and that day has not begun in {timezone}.",
            hint="Try again on that day.",
            context={"newest_credit_note": newest.isoformat()},
        )


class NoBackupHere(UsageProblem):
    code = "no-backup-here"

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where} is a PostgreSQL store: back it up with PostgreSQL's own tools.",
            hint="pg_dump --format=custom DATABASE > FILE",
        )


class BackupExists(UsageProblem):
    code = "backup-exists"

    def __init__(self, target: Path) -> None:
        super().__init__(f"{target} exists already and was not overwritten.", hint="Name another file.")


class BackupFailed(StoreProblem):
    code = "backup-failed"

    def __init__(self, target: Path, what: str) -> None:
        super().__init__(
            f"The store could not be copied to {target}: {what}.",
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

    def __init__(self, why: str) -> None:
        super().__init__(
            f"SQLite's own check was not run, because it needs a copy of the file: {why}.",
            hint="All other checks passed. Once the cause is fixed: refundcli store check",
            context={"why": why},
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

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The store could not be used: {what}.",
            hint="Check the disk or the server that it is on, then:   refundcli store check",
        )
        self.what = what


class StoreOutOfReach(StoreUnusable):
    code = "store-out-of-reach"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.hint = "You need write access to its folder. Or name another place with --store."


class StoreReadOnly(StoreUnusable):
    code = "store-read-only"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.hint = "Make the store's file and its folder writable for you; on PostgreSQL, use the primary server."


class StoreFull(StoreUnusable):
    code = "store-full"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.hint = "Free some space on the store's disk, then:   refundcli status"


class StoreCorrupt(StoreUnusable):
    code = "store-corrupt"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.hint = "Stop using it, keep a copy of the file, and restore the last good backup."


class StoreUnreachable(StoreUnusable, BooksUnavailable):
    code = "store-unreachable"
    # A server that restarts is back by then.
    passes_within = 60.0

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.hint = "Check that the database server is running, and store.url in:   refundcli config"


class CommitUnknown(OutcomeUnknown):
    code = "commit-unknown"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The store did not confirm the change ({what}). It may or may not have been saved.",
            hint="refundcli invoice show NUMBER   shows what was saved. Then: refundcli resume --all",
        )


class DriverMissing(StoreProblem):
    code = "driver-missing"

    def __init__(self) -> None:
        super().__init__(
            "The PostgreSQL driver is not installed.",
            hint="Install refundcli with the extra: refundcli[postgres]",
        )
