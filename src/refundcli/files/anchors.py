"""Anchors: signed lines outside the store that say what the newest audit entry was at a time.

Whoever can write the store can write its audit chain anew, and a restored backup has a sound but shorter one. A line
that was written before, to a file that they cannot change, shows both. The lines are appended and never rewritten.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from refundcli.canonical import canonical
from refundcli.domain.errors import SettingsProblem, UsageProblem
from refundcli.files.source import EmptyFile, FileNotThere, FileProblem
from refundcli.secrets import Secret

# A line has about 350 bytes.
_TAIL_BYTES = 8_192


class AnchorsNotInstalled(SettingsProblem):
    code = "anchors-not-installed"

    def __init__(self) -> None:
        super().__init__("Signing needs a library that is not installed.", hint="pip install 'refundcli[audit]'")


class AnchorKeyNotSet(SettingsProblem):
    code = "anchor-key-not-set"

    def __init__(self) -> None:
        super().__init__(
            "No key for signing is set.",
            hint="Write 64 hex digits to a file of your own (openssl rand -hex 32 > audit.key; chmod 600 audit.key)"
            ' and set under [audit]:   key = "file:PATH"',
        )


class AnchorKeyMalformed(SettingsProblem):
    code = "anchor-key-malformed"

    def __init__(self) -> None:
        super().__init__("The key under audit.key is not 64 hex digits.", hint="Make one: openssl rand -hex 32")


class NoEntryToAnchor(UsageProblem):
    code = "no-entry-to-anchor"

    def __init__(self) -> None:
        super().__init__("The store has no audit entry yet.", hint="Import invoices first.")


@dataclass(frozen=True, slots=True)
class Anchor:
    """The newest entry of a store at a time: its number and hash."""

    seq: int
    hash: str
    at: str
    store: str
    key: str = ""
    signature: str = ""

    def signed(self) -> bytes:
        """What the signature covers: everything but itself."""
        return canonical({name: value for name, value in asdict(self).items() if name != "signature"}).encode()


def signed_anchor(anchor: Anchor, seed: Secret) -> Anchor:
    """Raises AnchorKeyMalformed and AnchorsNotInstalled."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - an extra
    except ImportError:
        raise AnchorsNotInstalled from None
    try:
        seed_bytes = bytes.fromhex(seed.reveal())
        private_key = Ed25519PrivateKey.from_private_bytes(seed_bytes)
    except ValueError:
        raise AnchorKeyMalformed from None
    key = private_key.public_key().public_bytes_raw().hex()
    unsigned = Anchor(anchor.seq, anchor.hash, anchor.at, anchor.store, key)
    return Anchor(anchor.seq, anchor.hash, anchor.at, anchor.store, key, private_key.sign(unsigned.signed()).hex())


def append_anchor(path: Path, anchor: Anchor) -> None:
    """Raises FileProblem. One write of one line, so that lines of several programs do not mix."""
    line = json.dumps({"schema": "1", **asdict(anchor)}) + "\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "ab", buffering=0) as file:
            file.write(line.encode())
            os.fsync(file.fileno())
    except OSError as error:
        raise FileProblem(str(path), (error.strerror or str(error)).lower()) from error


def read_anchors(path: Path) -> list[Anchor]:
    """All lines, not verified. Raises FileNotThere, EmptyFile if there is none, and FileProblem."""
    with _opened(path) as file:
        anchors = [_anchor_in(line, path, number) for number, line in enumerate(file, 1) if line.strip()]
    if not anchors:
        raise EmptyFile(str(path), expected="Nothing was compared. To begin: refundcli audit anchor --to FILE")
    return anchors


def newest_anchor(path: Path) -> Anchor | None:
    """The last line, if the file is there and has one; the signature is not verified."""
    try:
        with _opened(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().splitlines()
    except FileNotThere:
        return None
    last_line = next(filter(bytes.strip, reversed(lines)), b"")
    return _anchor_in(last_line, path) if last_line else None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise FileNotThere(str(path), "there is no such file") from None
    except OSError as error:
        raise FileProblem(str(path), (error.strerror or str(error)).lower()) from error


def _anchor_in(line: bytes, path: Path, number: int = 0) -> Anchor:
    try:
        fields = json.loads(line)
        return Anchor(int(fields["seq"]), *(str(fields[name]) for name in ("hash", "at", "store", "key", "signature")))
    except (ValueError, LookupError, TypeError):
        raise FileProblem(str(path), "this line is not an anchor", line=number) from None


def anchor_problems(anchors: Iterable[Anchor], hashes: Mapping[int, str], *, store: str, key: str) -> Iterator[str]:
    """What the anchors say against a store. `hashes`: of its entries, by number; `key`: the public key to trust.

    Without a `key`, that of the first line is trusted. Raises AnchorsNotInstalled.
    """
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    except ImportError:
        raise AnchorsNotInstalled from None
    for anchor in anchors:
        name = f"the anchor of {anchor.at} (entry {anchor.seq})"
        key = key or anchor.key
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
                bytes.fromhex(anchor.signature), anchor.signed()
            )
        except (InvalidSignature, ValueError):
            yield f"{name} is not signed with the key {key[:16]}…"
            continue
        if anchor.key != key or anchor.store != store:
            yield f"{name} is of another {'key' if anchor.key != key else 'store'}"
        elif anchor.seq not in hashes:
            yield f"audit entry {anchor.seq} is missing, which {name} has: the chain was cut, or a backup was restored"
        elif hashes[anchor.seq] != anchor.hash:
            yield f"audit entry {anchor.seq} is not as {name} has it: the chain was written anew"
