"""The line on which a text first occurred in a file, in 12 bytes per text."""

from array import array
from collections.abc import Sequence
from itertools import compress

_FULL_AT = 0.6


class DuplicateIndex:
    """A hash table of 64-bit hashes and lines.

    Of a million texts two collide once in about thirty million files; then a valid row is rejected, and nothing is
    lost.
    """

    def __init__(self) -> None:
        self._make(1 << 12)

    def line_of(self, text: str, line: int) -> int:
        """The line of the text's first occurrence, or 0 if this is the first."""
        text_hash = hash(text) or 1
        slot = self._slot(text_hash)
        if self._hashes[slot]:
            return self._lines[slot]
        self._hashes[slot], self._lines[slot] = text_hash, line
        self._count += 1
        if self._count > self._max_count:
            self._grow()
        return 0

    def lines_of(self, texts: Sequence[str], lines: Sequence[int]) -> dict[int, int]:
        """By line of each repeated text, the line of its first occurrence."""
        while self._count + len(texts) > self._max_count:
            self._grow()
        hashes, first_lines, slot_mask = self._hashes, self._lines, self._slot_mask
        earlier_lines = {}
        for text_hash, line in zip(map(hash, texts), lines, strict=True):
            text_hash = text_hash or 1
            slot = text_hash & slot_mask
            while (stored_hash := hashes[slot]) and stored_hash != text_hash:
                slot = (slot + 1) & slot_mask
            if stored_hash:
                earlier_lines[line] = first_lines[slot]
            else:
                hashes[slot], first_lines[slot] = text_hash, line
        self._count += len(texts) - len(earlier_lines)
        return earlier_lines

    def _slot(self, text_hash: int) -> int:
        hashes, slot_mask = self._hashes, self._slot_mask
        slot = text_hash & slot_mask
        while (stored_hash := hashes[slot]) and stored_hash != text_hash:
            slot = (slot + 1) & slot_mask
        return slot

    def _make(self, slot_count: int) -> None:
        self._hashes, self._lines = array("q", bytes(8 * slot_count)), array("I", bytes(4 * slot_count))
        self._slot_mask, self._max_count, self._count = slot_count - 1, int(slot_count * _FULL_AT), 0

    def _grow(self) -> None:
        old_hashes, old_lines, text_count = self._hashes, self._lines, self._count
        self._make(2 * len(old_hashes))
        hashes, first_lines, slot_mask = self._hashes, self._lines, self._slot_mask
        for text_hash, line in compress(zip(old_hashes, old_lines, strict=True), old_hashes):
            slot = text_hash & slot_mask
            while hashes[slot]:
                slot = (slot + 1) & slot_mask
            hashes[slot], first_lines[slot] = text_hash, line
        self._count = text_count
