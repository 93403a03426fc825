"""Anchor a store's audit trail in a file outside it, and compare a store with its anchors."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from refundcli.files.anchors import (
    Anchor,
    AnchorKeyNotSet,
    NoEntryToAnchor,
    anchor_problems,
    append_anchor,
    newest_anchor,
    read_anchors,
    signed_anchor,
)
from refundcli.secrets import resolve
from refundcli.settings import AuditSettings

if TYPE_CHECKING:
    from refundcli.services.ports.books import BooksToRead
    from refundcli.services.ports.clock import Clock


class Anchoring:
    """The anchors of one store, by the settings."""

    def __init__(
        self, settings: AuditSettings, environ: Mapping[str, str], books: "BooksToRead", clock: "Clock"
    ) -> None:
        self._settings, self._environ, self._books, self._clock = settings, environ, books, clock

    @property
    def _path(self) -> Path | None:
        return Path(self._settings.anchor).expanduser() if self._settings.anchor else None

    def anchor(self, path: Path | None = None) -> Anchor:
        """Append the newest entry to the anchors at `path`, by default that of the settings.

        Raises AnchorKeyNotSet, NoEntryToAnchor, FileProblem and what signing may raise.
        """
        path, reference = path or self._path, self._settings.key
        assert path
        if reference is None:
            raise AnchorKeyNotSet
        head, secret = self._books.read(lambda tx: (tx.audit_lists.head(), tx.store.secret()))
        if head is None:
            raise NoEntryToAnchor
        seq, entry_hash, _ = head
        unsigned = Anchor(seq, entry_hash, self._clock.now().isoformat(timespec="seconds"), _store_id(secret))
        anchor = signed_anchor(unsigned, resolve(reference, environ=self._environ))
        append_anchor(path, anchor)
        return anchor

    def compare(self, path: Path, key: str) -> tuple[int, list[str]]:
        """How many anchors there are, and what they say against the store. `key`: the public key to trust."""
        anchors = read_anchors(path)
        seqs = [anchor.seq for anchor in anchors]
        hashes, secret = self._books.read(lambda tx: (tx.audit_lists.hashes(seqs), tx.store.secret()))
        return len(anchors), list(anchor_problems(anchors, hashes, store=_store_id(secret), key=key))

    def entry_not_in_store(self) -> int | None:
        """The number of the entry that was anchored last, if the store does not have it as it was anchored."""
        anchor = newest_anchor(self._path) if self._path else None
        if anchor is None:
            return None
        hashes = self._books.read(lambda tx: tx.audit_lists.hashes([anchor.seq]))
        return None if hashes.get(anchor.seq) == anchor.hash else anchor.seq


def _store_id(secret: bytes) -> str:
    """Tells stores apart without showing the secret."""
    return hashlib.sha256(b"refundcli store " + secret).hexdigest()[:16]
