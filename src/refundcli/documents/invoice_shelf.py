"""Good rows kept aside until the whole file was looked at: on disk, in a file without a name that goes when closed."""

import marshal
import tempfile
from collections.abc import Iterator
from typing import Any

from refundcli.documents.source import FileProblem
from refundcli.services.invoice_block import InvoiceBlock

_LENGTH = 8


class InvoiceShelf:
    """Fits `services.import_invoices.Shelf`. Close it when done."""

    def __init__(self) -> None:
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise _no_room(error) from error

    def __enter__(self) -> "InvoiceShelf":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def put(self, block: InvoiceBlock) -> None:
        """Raises FileProblem when the disk is full."""
        if not block.size:
            return
        columns: list[Any] = [*block[:-1], list(block.payments)]
        packed = marshal.dumps(columns)
        try:
            self._file.write(len(packed).to_bytes(_LENGTH, "big") + packed)
            self._file.flush()
        except OSError as error:
            raise _no_room(error) from error

    def blocks(self, after: int) -> Iterator[tuple[int, InvoiceBlock]]:
        while True:
            self._file.seek(after)
            length = int.from_bytes(self._file.read(_LENGTH), "big")
            if not length:
                return
            # Our own words, from a file that nobody else can open.
            *columns, payments = marshal.loads(self._file.read(length))  # noqa: S302
            after += _LENGTH + length
            yield after, InvoiceBlock.made_of(columns, payments)


def _no_room(error: OSError) -> FileProblem:
    hint = "Make room there, or name another folder with TMPDIR. Nothing was written to the store."
    return FileProblem(tempfile.tempdir or "temporary files", (error.strerror or str(error)).lower(), hint=hint)
