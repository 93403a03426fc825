"""What can be wrong with a store, each with its way out."""

from pathlib import Path

from refundcli.domain.errors import OutcomeUnknown, SettingsProblem, UsageProblem


class NoStore(SettingsProblem):
    code = "no-store"

    def __init__(self, where: str) -> None:
        super().__init__(
            f"There is no store at {where} yet.",
            hint="refundcli init   makes one;   refundcli invoice import FILE   fills it",
        )


class NotAStore(SettingsProblem):
    code = "not-a-store"

    def __init__(self, where: str, what: str) -> None:
        super().__init__(
            f"{where} is not a refundcli store: {what}.",
            hint="Name another place with --store, or set store.url in refundcli.toml.",
        )


class StoreNewer(SettingsProblem):
    code = "store-newer"

    def __init__(self, found: str, known: str) -> None:
        super().__init__(
            f"The store has schema {found}; this program knows up to {known}.",
            hint="Install the newer refundcli. Nothing was written.",
        )


class StoreOlder(SettingsProblem):
    code = "store-older"

    def __init__(self, found: str, known: str) -> None:
        super().__init__(
            f"The store has schema {found}; this program needs {known}.",
            hint="refundcli store upgrade   (tell your colleagues first: they need this version too)",
        )


class NumberTaken(SettingsProblem):
    """Found before anything is sent: an answer of a provider must never be lost for want of a number."""

    code = "credit-note-number-taken"

    def __init__(self, number: str) -> None:
        super().__init__(
            f"The next credit note would be {number}, and there is one of that number already. Nothing was sent.",
            hint="refundcli store check   says what is wrong with the series",
        )


class NoBackupHere(UsageProblem):
    code = "no-backup-here"

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where} is a PostgreSQL store; its own tools copy it.", hint="pg_dump --format=custom DATABASE > FILE"
        )


class BackupExists(UsageProblem):
    code = "backup-exists"

    def __init__(self, target: Path) -> None:
        super().__init__(f"{target} exists already and was left as it is.", hint="Name another file.")


class BackupFailed(SettingsProblem):
    code = "backup-failed"

    def __init__(self, target: Path, what: str) -> None:
        super().__init__(
            f"The store could not be copied to {target}: {what}.",
            hint="Name a file in a folder that you may write to, on a disk with room.",
        )


class StoreAddress(SettingsProblem):
    code = "store-address"

    def __init__(self) -> None:
        super().__init__(
            "The store's address cannot be read.",
            hint="Say sqlite:////home/me/refundcli.db or postgresql://me@host:5432/database; "
            "where it comes from:\nrefundcli config",
        )


class StoreBusy(SettingsProblem):
    code = "store-busy"

    def __init__(self) -> None:
        super().__init__(
            "Another program has held the store for too long. Nothing was changed.",
            hint="Try again in a moment; a long import or bulk run may be under way.",
        )


class StoreUnusable(SettingsProblem):
    code = "store-unusable"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The store could not be used: {what}. Nothing was changed.",
            hint="Look after the disk or the server that it is on, then:   refundcli store check",
        )
        self.what = what


class StoreOutOfReach(StoreUnusable):
    code = "store-out-of-reach"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.hint = "Its folder must be one that you may enter and write to. Or name another place with --store."


class StoreReadOnly(StoreUnusable):
    code = "store-read-only"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.hint = "Make the store's file and its folder writable for you; on PostgreSQL, use the primary server."


class StoreFull(StoreUnusable):
    code = "store-full"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.hint = "Make room on the store's disk, then:   refundcli status"


class StoreCorrupt(StoreUnusable):
    code = "store-corrupt"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.hint = "Stop, keep a copy of the file as it is, and bring back the last sound backup: see `store backup`."


class StoreUnreachable(StoreUnusable):
    code = "store-unreachable"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.hint = "Check that the database server runs, and store.url in:   refundcli config"


class CommitUnknown(OutcomeUnknown):
    code = "commit-unknown"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The store did not say whether the change was kept ({what}).",
            hint="refundcli invoice show NUMBER   tells what was kept; then   refundcli resume --all",
        )


class DriverMissing(SettingsProblem):
    code = "driver-missing"

    def __init__(self) -> None:
        super().__init__(
            "PostgreSQL needs its driver, which is not installed.",
            hint="Install refundcli with the extra: refundcli[postgres]",
        )
