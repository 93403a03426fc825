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


# The vendor, its account and the key.
KeyName = tuple[str, str, str]


@dataclass(slots=True)
class StoredAnswer:
    """`answer` is None while the first call is still in progress."""

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
        self._stored_answers: dict[KeyName, StoredAnswer] = {}
        self.records: dict[KeyName, KeyRecord] = {}

    def record(self, key_name: KeyName, path: str, params: Any, *, now: float) -> None:
        """Records a POST with this key, whatever its outcome."""
        key_record = self.records.setdefault(key_name, KeyRecord(*key_name, path, now, now))
        key_record.count, key_record.last_seen = key_record.count + 1, now
        if params not in key_record.params:
            key_record.params.append(params)

    def forget_all(self, provider: str | None = None, used_before: float | None = None) -> int:
        """As if the vendor had pruned them: how many it forgot. The records stay."""
        forgotten_names = [
            key_name
            for key_name, stored_answer in self._stored_answers.items()
            if provider in (None, key_name[0]) and (used_before is None or stored_answer.first_used <= used_before)
            # A key in use is not pruned.
            if stored_answer.answer is not None
        ]
        for key_name in forgotten_names:
            del self._stored_answers[key_name]
        return len(forgotten_names)

    def begin(
        self, key_name: KeyName, request_fingerprint: str, *, now: float, lifetime_seconds: float
    ) -> StoredAnswer | None:
        """What is stored of an earlier call; or None: the caller executes the request and then calls `finish`."""
        stored = self._stored_answers.get(key_name)
        if stored and (stored.answer is None or now - stored.first_used < lifetime_seconds):
            return stored
        self._stored_answers[key_name] = StoredAnswer(request_fingerprint, now)
        return None

    def finish(self, key_name: KeyName, answer: Answer | None) -> None:
        """None forgets the key: nothing was executed."""
        if answer is None:
            del self._stored_answers[key_name]
        else:
            self._stored_answers[key_name].answer = answer
