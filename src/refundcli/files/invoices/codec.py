"""Blocks of invoices as bytes, for another process of this program."""

import marshal
from collections.abc import Iterator, Sequence
from typing import Any

from refundcli.services.ports.bulk_invoices import InvoiceBlock


def packed(block: InvoiceBlock) -> bytes:
    columns: list[Any] = [*block.columns(), list(block.payments)]
    return marshal.dumps(columns)


def unpacked(packed_block: bytes) -> InvoiceBlock:
    """The block from bytes that only this program can have written."""
    *columns, payments = marshal.loads(packed_block)  # noqa: S302
    return InvoiceBlock.from_columns(columns, payments)


class PackedRows(Sequence[Sequence[str]]):
    """Rows of cells, unpacked when first used."""

    def __init__(self, size: int, rows: bytes) -> None:
        self._size, self._packed = size, rows
        self._rows: list[list[str]] | None = None

    @classmethod
    def of(cls, rows: Sequence[Sequence[str]]) -> "PackedRows":
        return cls(len(rows), marshal.dumps(list(rows)))

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: Any) -> Any:
        return self._unpacked()[place]

    def __iter__(self) -> Iterator[list[str]]:
        return iter(self._unpacked())

    def _unpacked(self) -> list[list[str]]:
        if self._rows is None:
            self._rows = marshal.loads(self._packed)  # noqa: S302 - as above
        return self._rows

    def __reduce__(self) -> Any:
        return PackedRows, (self._size, self._packed)
