"""Idempotency keys: the first response is stored and replayed for as long as the vendor would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """A response."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """Ends the call with this response."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class KeyInUse(Exception):
    """Another call with this key is still in progress."""


class KeyUsedOtherwise(Exception):
    """The key was first used for another request."""


@dataclass(frozen=True, slots=True)
class KeyName:
    """A key is known within one vendor's account."""

    provider: str
    account: str
    key: str


@dataclass(slots=True)
class _StoredAnswer:
    fingerprint: str
    first_used: float
    answer: Answer | None = None


@dataclass(slots=True)
class KeyRecord:
    """Every POST with a key, whatever the vendor still remembers; times by the sandbox's clock."""

    provider: str
    account: str
    key: str
    path: str
    first_seen: float
    last_seen: float
    count: int = 0
    # The distinct params, in order of arrival.
    params: list[Any] = field(default_factory=list)


class KeyStore:
    """Guarded by the lock of the state that owns it."""

    def __init__(self) -> None:
        self._stored: dict[KeyName, _StoredAnswer] = {}
        self.records: dict[KeyName, KeyRecord] = {}

    def record(self, name: KeyName, path: str, params: Any, *, now: float) -> None:
        """Records a POST with this key, whatever its outcome."""
        key_record = self.records.setdefault(name, KeyRecord(name.provider, name.account, name.key, path, now, now))
        key_record.count, key_record.last_seen = key_record.count + 1, now
        if params not in key_record.params:
            key_record.params.append(params)

    def forget_all(self, provider: str | None = None, used_before: float | None = None) -> int:
        """As if the vendor had pruned them: how many it forgot. The records stay."""
        gone = [
            name
            for name, stored in self._stored.items()
            if provider in (None, name.provider) and (used_before is None or stored.first_used <= used_before)
            # A key in use is not pruned.
            if stored.answer is not None
        ]
        for name in gone:
            del self._stored[name]
        return len(gone)

    def begin(self, name: KeyName, fingerprint: str, *, now: float, lifetime: float) -> Answer | None:
        """The stored answer, or None: the caller executes the request and then calls `finish`."""
        stored = self._stored.get(name)
        if stored is not None and stored.answer is not None and now - stored.first_used >= lifetime:
            stored = None
        if stored is None:
            self._stored[name] = _StoredAnswer(fingerprint, now)
            return None
        if stored.fingerprint != fingerprint:
            raise KeyUsedOtherwise
        if stored.answer is None:
            raise KeyInUse
        return stored.answer

    def finish(self, name: KeyName, answer: Answer) -> None:
        self._stored[name].answer = answer

    def forget(self, name: KeyName) -> None:
        self._stored.pop(name, None)
