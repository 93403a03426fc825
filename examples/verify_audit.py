#!/usr/bin/env python3
"""Verify an export of refundcli's audit trail, and its anchors, without refundcli.

    refundcli audit export audit.jsonl
    python verify_audit.py audit.jsonl [--anchors FILE] [--key PUBLIC_KEY_IN_HEX]

Checks that every entry's hash covers all of its fields and the hash before, that no number is missing, and that each
anchor is signed and is one of these entries. Prints each problem; ends with 0 if there is none, else with 3.
Anchors need `pip install cryptography`.
"""

import argparse
import base64
import hashlib
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FIELDS = ("seq", "at", "operator", "host", "login", "action", "subject", "before", "after", "previous_hash", "rows")


def seal(entry: dict[str, Any]) -> str:
    """The SHA-256 of the fields as a JSON list. Entries of older releases have no login and no rows."""
    is_old = not entry["login"] and not entry["rows"]
    names = [name for name in FIELDS if not (is_old and name in ("login", "rows"))]
    return hashlib.sha256(json.dumps([entry[name] for name in names]).encode()).hexdigest()


def rows_of(entry: dict[str, Any]) -> Iterator[tuple[str, list[list[Any]]]]:
    """The rows that the entry's transaction wrote: a table, and the guarded columns of its rows."""
    for line in entry["rows"].splitlines():
        text = zlib.decompress(base64.b64decode(line[1:])).decode() if line.startswith("z") else line
        table, _, rows = json.loads(text)
        yield table, rows


def check_entries(path: Path, hashes: dict[int, str], counts: dict[str, int]) -> Iterator[str]:
    """Problems of the chain. Fills `hashes` by number, and counts the rows by table."""
    expected_seq, previous_hash = 1, ""
    with path.open(encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            seq = entry["seq"]
            if seq != expected_seq:
                yield f"entry {expected_seq} is missing"
            if entry["previous_hash"] != previous_hash:
                yield f"entry {seq} does not follow the entry before it"
            if seal(entry) != entry["hash"]:
                yield f"entry {seq} was changed"
            try:
                for table, rows in rows_of(entry):
                    counts[table] = counts.get(table, 0) + len(rows)
            except ValueError:
                yield f"the rows of entry {seq} cannot be read"
            hashes[seq] = previous_hash = entry["hash"]
            expected_seq = seq + 1


def check_anchors(path: Path, hashes: dict[int, str], key: str) -> Iterator[str]:
    """Problems of the anchors. Without a key, that of the first anchor is trusted."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - not needed without anchors
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    store, lines = "", path.read_text(encoding="utf-8").splitlines()
    if not lines:
        yield "there is no anchor to compare with"
    for number, line in enumerate(lines, 1):
        anchor = json.loads(line)
        key, store = key or anchor["key"], store or anchor["store"]
        fields = {name: anchor[name] for name in ("seq", "hash", "at", "store", "key")}
        signed = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(anchor["signature"]), signed)
        except (InvalidSignature, ValueError):
            yield f"anchor {number} is not signed with the key {key[:16]}…"
            continue
        if anchor["store"] != store:
            yield f"anchor {number} is of another store"
        elif anchor["seq"] not in hashes:
            yield f"entry {anchor['seq']} is missing, which anchor {number} has: the chain was cut"
        elif hashes[anchor["seq"]] != anchor["hash"]:
            yield f"entry {anchor['seq']} is not as anchor {number} has it: the chain was written anew"


def main() -> int:
    parser = argparse.ArgumentParser(description="Verify an export of refundcli's audit trail.")
    parser.add_argument("export", type=Path)
    parser.add_argument("--anchors", type=Path)
    parser.add_argument("--key", default="", help="the public key that signs the anchors, in hex")
    options = parser.parse_args()
    hashes: dict[int, str] = {}
    counts: dict[str, int] = {}
    problems = list(check_entries(options.export, hashes, counts))
    if not hashes:
        problems.append("there is no entry to verify")
    if options.anchors:
        problems += check_anchors(options.anchors, hashes, options.key)
    for problem in problems:
        print(problem)
    rows = ", ".join(f"{count} of {table}" for table, count in sorted(counts.items()))
    print(f"{len(hashes)} entries with the rows written ({rows or 'none'}): {len(problems)} problems")
    return 3 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
