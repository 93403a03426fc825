"""Settings and the store."""

from typing import Any


def setting(name: str, value: object, origin: str) -> dict[str, Any]:
    return {"setting": name, "value": value, "from": origin}


def trusted_file(path: str, settings: list[str]) -> dict[str, Any]:
    return {"trusted": path, "sets": settings}


def new_store(settings: str, store: str, timezone: str) -> dict[str, Any]:
    return {"settings": settings, "store": store, "timezone": timezone}


def file_format(name: str, reads: str, origin: str, recognised_by: str) -> dict[str, Any]:
    return {"name": name, "reads": reads, "from": origin, "recognised_by": recognised_by}


def file_format_details(summary: dict[str, Any], mapping: dict[str, Any]) -> dict[str, Any]:
    return summary | {"mapping": mapping}


def number_format(before: str | None, after: str) -> dict[str, Any]:
    return {"before": before, "after": after}


def upgraded_store(before: str | None, after: str, timezone: str, backup: str | None) -> dict[str, Any]:
    return {"before": before, "after": after, "timezone": timezone, "backup": backup}


def store_clock(now: object, today: object, timezone: str) -> dict[str, Any]:
    return {"now": now, "today": today, "timezone": timezone}


def store_backup(path: str) -> dict[str, Any]:
    return {"backup": path}


def sound_store(entries: int, compared_from: int) -> dict[str, Any]:
    """`compared_from`: the first entry of the upgrade that began to compare rows; 0 if all are compared."""
    return {"sound": True, "entries": entries, "compared_from": compared_from or 1}


def verified_audit(entries: int, compared_from: int, anchors: int) -> dict[str, Any]:
    return {"verified": True, "entries": entries, "compared_from": compared_from or 1, "anchors": anchors}


def exported_audit(file: str, entries: int) -> dict[str, Any]:
    return {"file": file, "entries": entries}


def anchored_audit(file: str, seq: int, entry_hash: str, key: str) -> dict[str, Any]:
    """`key`: the public one."""
    return {"file": file, "seq": seq, "hash": entry_hash, "key": key}
