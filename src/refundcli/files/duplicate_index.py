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
        key = hash(text) or 1
        slot = self._slot(key)
        if self._keys[slot]:
            return self._lines[slot]
        self._keys[slot], self._lines[slot] = key, line
        self._count += 1
        if self._count > self._room:
            self._grow()
        return 0

    def lines_of(self, texts: Sequence[str], lines: Sequence[int]) -> dict[int, int]:
        """By line of each repeated text, the line of its first occurrence."""
        while self._count + len(texts) > self._room:
            self._grow()
        keys, first, mask = self._keys, self._lines, self._mask
        earlier = {}
        for key, line in zip(map(hash, texts), lines, strict=True):
            key = key or 1
            slot = key & mask
            while (there := keys[slot]) and there != key:
                slot = (slot + 1) & mask
            if there:
                earlier[line] = first[slot]
            else:
                keys[slot], first[slot] = key, line
        self._count += len(texts) - len(earlier)
        return earlier

    def _slot(self, key: int) -> int:
        keys, mask = self._keys, self._mask
        slot = key & mask
        while (entry := keys[slot]) and entry != key:
            slot = (slot + 1) & mask
        return slot

    def _make(self, size: int) -> None:
        self._keys, self._lines = array("q", bytes(8 * size)), array("I", bytes(4 * size))
        self._mask, self._room, self._count = size - 1, int(size * _FULL_AT), 0

    def _grow(self) -> None:
        before, lines, count = self._keys, self._lines, self._count
        self._make(2 * len(before))
        keys, first, mask = self._keys, self._lines, self._mask
        for key, line in compress(zip(before, lines, strict=True), before):
            slot = key & mask
            while keys[slot]:
                slot = (slot + 1) & mask
            keys[slot], first[slot] = key, line
        self._count = count
