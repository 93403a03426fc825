"""Good rows kept aside on disk until the whole file was looked at: a private file that goes when it is closed."""

import marshal
import tempfile
from collections.abc import Iterator

from refundcli.documents.source import FileProblem
from refundcli.services.invoice_block import InvoiceBlock

_LENGTH = 8


class InvoiceShelf:
    """Fits `services.import_invoices.Shelf`. Close it when done."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="refundcli-rows-")  # noqa: SIM115 - closed by close()

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
        packed = marshal.dumps((*map(list, block[:-1]), tuple(map(list, block.payments))))
        try:
            self._file.write(len(packed).to_bytes(_LENGTH, "big") + packed)
            self._file.flush()
        except OSError as error:
            hint = "Make room there, or name another folder with TMPDIR. Nothing was written to the store."
            raise FileProblem(self._file.name, (error.strerror or str(error)).lower(), hint=hint) from error

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
