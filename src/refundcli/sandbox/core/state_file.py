"""Keeps the sandbox's state in a file between two runs."""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from refundcli.sandbox.core import faults, idempotency, outbox, record_table, records, webhooks
from refundcli.sandbox.core.state import SandboxState

# The only classes a state file may name: a pickle that names another one could run code.
CLASSES: Mapping[tuple[str, str], type] = {
    (value.__module__, name): value
    for module in (faults, idempotency, outbox, record_table, records)
    for name, value in vars(module).items()
    if isinstance(value, type) and value.__module__ == module.__name__
    if is_dataclass(value) or value in (faults.FaultPlan, idempotency.KeyStore, record_table.RecordTable)
}
_LAYOUT = repr(
    sorted(
        (name, [field.name for field in fields(value)]) for (_, name), value in CLASSES.items() if is_dataclass(value)
    )
)
# Changes with the classes, so that a record never lacks a field.
HEADING = f"refundcli sandbox state {crc32(_LAYOUT.encode()):08x}\n".encode()
_NOT_STORED = ("lock", "outbox")


def save(state: SandboxState, path: Path) -> None:
    """Replaces the file whole or not at all; readable by its owner only, because it holds webhook secrets."""
    with state.lock:
        values = {name: value for name, value in vars(state).items() if name not in _NOT_STORED}
        content = HEADING + pickle.dumps((values, state.outbox.endpoints, state.outbox.queued))
    descriptor, draft_name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as draft:
            draft.write(content)
            draft.flush()
            os.fsync(draft.fileno())
        os.replace(draft_name, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft_name)


def load(path: Path) -> SandboxState:
    """OSError where it cannot be read; ValueError where it is no state file of this version."""
    with path.open("rb") as file:
        if file.readline(len(HEADING)) != HEADING:
            raise ValueError("it is not a state file of this version of refundcli")
        try:
            values, endpoints, queued_notices = _Reader(file).load()
        except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, ValueError, IndexError, KeyError) as error:
            raise ValueError("it is damaged") from error
    state = SandboxState()
    vars(state).update(values)
    for notice in queued_notices:
        state.outbox.put(notice)
    for endpoint in endpoints:
        webhooks.register(state, asdict(endpoint))
    return state


class _Reader(pickle.Unpickler):
    def find_class(self, module_name: str, name: str) -> Any:
        if (module_name, name) in CLASSES:
            return CLASSES[module_name, name]
        raise pickle.UnpicklingError(f"{module_name}.{name} is no part of a sandbox")
