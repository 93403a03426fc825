"""The vendors' codes in tests/data: the expected effect of each, independent of the program's tables."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refundcli.services.ports.vocabulary import Effect, Meaning

DATA = Path(__file__).parent / "data"

AdyenCode = tuple[str, bool]


def _toml(name: str) -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads((DATA / name).read_text(encoding="utf-8"))


def adyen_events() -> dict[AdyenCode, str]:
    """The expected outcome of each event code, by its success."""
    codes = _toml("adyen_events.toml").items()
    return {(code, success): row[str(success).lower()] for code, row in codes for success in (True, False)}


def adyen_event_examples() -> dict[str, list[dict[str, Any]]]:
    """The vendor's example deliveries of each event code of its specification; some codes have none."""
    examples: dict[str, list[dict[str, Any]]] = json.loads((DATA / "adyen_event_examples.json").read_bytes())[
        "examples"
    ]
    return examples


def adyen_report_types() -> dict[str, tuple[str, str]]:
    """The expected outcome of each record type, and the column of its amount."""
    return {name: (row["expect"], row["amount"]) for name, row in _toml("adyen_report_types.toml").items()}


def stripe_words(kind: str) -> dict[str, str]:
    """The expected outcome of each value of one kind: dispute_status, refund_status, pending_reason, event_type…"""
    return {word: row["expect"] for word, row in _toml("stripe_words.toml")[kind].items()}


def rows_without_meaning_or_source() -> list[str]:
    files = [_toml("adyen_events.toml"), _toml("adyen_report_types.toml"), *_toml("stripe_words.toml").values()]
    return [word for rows in files for word, row in rows.items() if not row["meaning"] or not row["source"]]


def described(meaning: Meaning) -> str:
    """A meaning in the terms of the data files."""
    words: list[str] = [meaning.effect]
    if meaning.effect is Effect.REFUND:
        words += [meaning.refund] if meaning.refund else []
        words += ["retried"] if meaning.may_be_retried else []
    elif meaning.effect is Effect.DISPUTE and meaning.stage:
        words += [meaning.dispute or "same", meaning.stage]
    elif meaning.effect is Effect.CAPTURE:
        words += [meaning.capture or "unchanged"]
    return " ".join(words)
