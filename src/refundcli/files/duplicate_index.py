"""The line on which a text first occurred in a file, in 12 bytes per text."""

from array import array
from collections.abc import Iterable, Sequence
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
        return self.lines_of((text,), (line,)).get(line, 0)

    def lines_of(self, texts: Sequence[str], lines: Sequence[int]) -> dict[int, int]:
        """By line of each repeated text, the line of its first occurrence."""
        while self._count + len(texts) > _FULL_AT * len(self._hashes):
            stored_hashes, stored_lines = self._hashes, self._lines
            self._make(2 * len(stored_hashes))
            self._add(compress(stored_hashes, stored_hashes), compress(stored_lines, stored_hashes))
        return self._add(map(hash, texts), lines)

    def _add(self, text_hashes: Iterable[int], lines: Iterable[int]) -> dict[int, int]:
        hashes, first_lines, slot_mask = self._hashes, self._lines, len(self._hashes) - 1
        earlier_lines, added_count = {}, 0
        for text_hash, line in zip(text_hashes, lines, strict=True):
            text_hash = text_hash or 1
            slot = text_hash & slot_mask
            while (stored_hash := hashes[slot]) and stored_hash != text_hash:
                slot = (slot + 1) & slot_mask
            if stored_hash:
                earlier_lines[line] = first_lines[slot]
            else:
                hashes[slot], first_lines[slot] = text_hash, line
                added_count += 1
        self._count += added_count
        return earlier_lines

    def _make(self, slot_count: int) -> None:
        """`slot_count`: a power of two."""
        self._hashes, self._lines, self._count = array("q", bytes(8 * slot_count)), array("I", bytes(4 * slot_count)), 0
