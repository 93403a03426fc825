"""Makes the stores in dumps/: each written by the last program that had its schema, on a day of its own.

    PYTHONPATH=tests .venv/bin/python -m stores.build [SCHEMA…]

checks that program out beside this repository's history, lets it do everything in scenario.py against its own
sandbox, with a clock and random numbers of the story, and stores three files:

- `SCHEMA.sql`: the store, as `sqlite3 .dump` writes it, rows in the order of their keys. The address of the sandbox is
  `{{SANDBOX}}`: stored requests name it, and loading.py fills it in.
- `SCHEMA.json`: what the old program says about it (`invoice show` of every invoice, `status`, `credit-notes list`),
  and its refunds, closings and runs as they are stored.
- `SCHEMA.sandbox.json`: the payments and refunds at the providers.

A released store never changes. Build one anew only where the story grows, and read the difference.
"""

import json
import os
import random
import secrets
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DUMPS = HERE / "dumps"
# The last commit of each schema.
COMMITS = {
    "0001": "cc1ecb5",
    "0002": "bd378ad",
    "0003": "7b30d6f",
    "0004": "c2409e6",
    "0005": "6d2f26f",
    "0006": "cd27523",
}
BEGAN_AT = datetime(2026, 10, 5, 8, 0, tzinfo=UTC)
PLACEHOLDER = "{{SANDBOX}}"


def main(schemas: list[str]) -> None:
    if schemas and schemas[0] == "--here":
        _play(schemas[1], Path(schemas[2]))
        return
    for schema in schemas or COMMITS:
        with _checked_out(COMMITS[schema]) as tree, tempfile.TemporaryDirectory() as folder:
            # The story's modules come from this folder, everything else from the old program.
            (Path(folder) / "story").mkdir()
            (Path(folder) / "story" / "stores").symlink_to(HERE)
            path = os.pathsep.join(map(str, (Path(folder) / "story", tree / "src", tree / "tests")))
            command = [sys.executable, "-m", "stores.build", "--here", schema, folder]
            subprocess.run(command, env=os.environ | {"PYTHONPATH": path, "NO_PROXY": "127.0.0.1"}, check=True)


@contextmanager
def _checked_out(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, commit], cwd=HERE, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=HERE, check=True)


class StoryTime:
    """A clock that advances at each reading, and reproducible random numbers."""

    def __init__(self) -> None:
        self.at, self.random, self._parted = BEGAN_AT, random.Random(0), 0

    def now(self, zone: Any = UTC) -> datetime:
        self.at += timedelta(milliseconds=20)
        return self.at.astimezone(zone)

    def later(self) -> None:
        """Some seconds pass between commands."""
        self.at += timedelta(seconds=7)

    def part(self) -> None:
        """Called around a fork, so that both processes have different numbers and times."""
        self._parted += 1
        self.random.seed(self._parted)
        self.at += timedelta(minutes=10)


class StoryDatetime:
    """Replaces `datetime` in the modules that read the time from it."""

    def __init__(self, story: StoryTime) -> None:
        self.now = story.now

    def __call__(self, *args: Any, **how: Any) -> datetime:
        return datetime(*args, **how)  # noqa: DTZ001 - the zone is given

    def __getattr__(self, name: str) -> Any:
        return getattr(datetime, name)


# Modules that read the time, by their current and released names.
_DATED = (
    ("services.clock",),
    ("providers.adyen.events", "providers.adyen_events"),
    ("providers.stripe.events", "providers.stripe_events"),
    ("providers.stripe.lookup", "providers.stripe_records"),
)


def first_module(*names: str) -> Any:
    """The first of these modules that the program has, or None."""
    from importlib import import_module

    for name in names:
        with suppress(ModuleNotFoundError):
            return import_module(f"refundcli.{name}")
    return None


def _use(story: StoryTime) -> None:
    """In a process of its own: there is no way back."""
    for names in _DATED:
        if module := first_module(*names):
            vars(module)["datetime"] = StoryDatetime(story)
    state = first_module("sandbox.core.state", "sandbox.state")
    assert state
    sandbox_state = state.SandboxState
    replaced: dict[Any, dict[str, Any]] = {
        sandbox_state: {"now": lambda state: story.now().timestamp() + state._clock_offset},
        socket: {"gethostname": lambda: "desk"},
        secrets: {
            "randbits": story.random.getrandbits,
            "token_bytes": story.random.randbytes,
            "choice": story.random.choice,
            "token_hex": lambda count=32: story.random.randbytes(count).hex(),
        },
    }
    # A run stores its file's path, in the audit trail too.
    resolve = Path.resolve
    replaced[Path] = {
        "resolve": lambda path, strict=False: (
            Path("/books") / path.name if path.suffix == ".csv" else resolve(path, strict)
        )
    }
    for owner, changes in replaced.items():
        for name, change in changes.items():
            setattr(owner, name, change)


def _play(schema: str, folder: Path) -> None:
    """Runs on the old program."""
    from desk import MERCHANT, Desk
    from refundcli.sandbox.testing import RunningSandbox
    from refundcli.store.schema_check import HEAD
    from stores.scenario import Story, tell

    assert schema == HEAD, f"this program's schema is {HEAD}"
    time = StoryTime()
    _use(time)
    os.chdir(folder)
    with RunningSandbox(merchant_account=MERCHANT) as sandbox:
        desk = Desk(f"sqlite:///{folder}/store.db", sandbox, folder)
        desk.environ["REFUNDCLI_OPERATOR_TIMEZONE"] = "UTC"
        story = Story(desk, schema, time)
        tell(story)
        desk.json("store check")
        expectations = _expectations(story)
        snapshot = sandbox.state.snapshot()
    here = f"http://{sandbox.url.partition('//')[2]}"
    _write(DUMPS / f"{schema}.json", expectations, here)
    there = {name: snapshot[name] for name in ("charges", "payments", "refunds", "disputes")}
    there |= {name: snapshot.get(name, []) for name in ("invoices", "invoice_payments")}
    _write(DUMPS / f"{schema}.sandbox.json", {"account": [{"id": sandbox.state.account_id}], **there}, here)
    (DUMPS / f"{schema}.sql").write_text("".join(_dump(folder / "store.db", here)))


def _expectations(story: Any) -> dict[str, Any]:
    desk = story.desk
    numbers = _rows(desk, "SELECT number FROM invoice ORDER BY id")
    return {
        "invoices": [_shown(desk, row["number"]) for row in numbers],
        "status": _status(desk),
        "credit_notes": brief(desk.json("credit-notes list")),
        "audit_head": _rows(desk, "SELECT seq, hash FROM audit_entry ORDER BY seq DESC LIMIT 1"),
        "refunds": _rows(
            desk,
            "SELECT id, state, request_key, idempotency_key, endpoint, api_version, request FROM refund ORDER BY id",
        ),
        "closings": _table(desk, "closing", "id, action, state, idempotency_key, endpoint, api_version"),
        "runs": _table(desk, "bulk_run", "id, kind, state, fingerprint"),
        "run_rows": _table(desk, "bulk_item", "run_id, n, invoice, request_key, state, code"),
        "events": _table(desk, "provider_event", "id, kind, about, state, note"),
        "files": [story.files],
    }


def _shown(desk: Any, number: str) -> dict[str, Any]:
    invoice: dict[str, Any] = desk.json(f"invoice show {number}")
    # Actions are compared; their texts may change with every version.
    invoice["actions"] = {
        action["action"]: action["rule"] if not action["allowed"] else "" for action in invoice["actions"]
    }
    shown_fields: dict[str, Any] = brief(invoice)
    return shown_fields


def brief(answer: Any) -> Any:
    """Money as "12.00 EUR", without empty fields: the format of the expectations."""
    if isinstance(answer, list):
        return [brief(entry) for entry in answer]
    if not isinstance(answer, dict):
        return answer
    if set(answer) == {"amount", "amount_minor", "currency"}:
        return f"{answer['amount']} {answer['currency']}"
    fields = {name: brief(value) for name, value in answer.items()}
    return {name: value for name, value in fields.items() if value not in (None, [], {}, "")}


def _status(desk: Any) -> Any:
    answer = desk("status -o json")
    assert answer.exit_code in (0, 8), answer
    status = brief(json.loads(answer.out))
    # The store's path, and ages at that time.
    status.pop("store", None)
    for part in status.values():
        for entry in part if isinstance(part, list) else []:
            if isinstance(entry, dict):
                entry.pop("age_seconds", None)
    return {"exit_code": answer.exit_code, **status}


def _table(desk: Any, table: str, columns: str) -> list[dict[str, Any]]:
    there = _rows(desk, f"SELECT name FROM sqlite_master WHERE type = 'table' AND name = '{table}'")
    return _rows(desk, f"SELECT {columns} FROM {table} ORDER BY {columns}") if there else []


def _rows(desk: Any, query: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(desk.url.removeprefix("sqlite:///"))) as store:
        store.row_factory = sqlite3.Row
        return [dict(row) for row in store.execute(query)]


def _write(path: Path, expectations: dict[str, Any], here: str) -> None:
    """One block per part, one object per line."""
    parts = []
    for name, part in expectations.items():
        lines = ",\n".join(
            json.dumps(entry, ensure_ascii=False) for entry in (part if isinstance(part, list) else [part])
        )
        parts.append(f"{json.dumps(name)}: [\n{lines}\n]" if lines else f"{json.dumps(name)}: []")
    path.write_text(("{\n" + ",\n".join(parts) + "\n}\n").replace(here, PLACEHOLDER))


def _dump(path: Path, here: str) -> Iterator[str]:
    with closing(sqlite3.connect(path)) as store:
        for (entry,) in store.execute("SELECT before || after FROM audit_entry"):
            assert here not in entry, "an audit entry names the sandbox: its seal would break"
        yield f"PRAGMA application_id={store.execute('PRAGMA application_id').fetchone()[0]};\n"
        for line in store.iterdump():
            yield f"{line.replace(here, PLACEHOLDER)}\n"


if __name__ == "__main__":
    main(sys.argv[1:])
