"""Valid rows on disk until the whole file is checked, in an unnamed file that is deleted when closed."""

import tempfile
from collections.abc import Iterator

from refundcli.files.invoices.codec import packed, unpacked
from refundcli.files.source import FileProblem
from refundcli.private_files import temporary_folder
from refundcli.services.ports.bulk_invoices import InvoiceBlock

_LENGTH = 8


class InvoiceSpool:
    """Fits `services.imports.from_file.InvoiceSpool`. Close it when done."""

    def __init__(self) -> None:
        try:
            self._file = tempfile.TemporaryFile(dir=temporary_folder())  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise _no_room(error) from error

    def __enter__(self) -> "InvoiceSpool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def put(self, block: InvoiceBlock) -> None:
        """Raises FileProblem if the disk is full."""
        if not block.size:
            return
        packed_block = packed(block)
        try:
            self._file.write(len(packed_block).to_bytes(_LENGTH, "big") + packed_block)
            self._file.flush()
        except OSError as error:
            raise _no_room(error) from error

    def blocks(self, offset: int) -> Iterator[tuple[int, InvoiceBlock]]:
        while True:
            self._file.seek(offset)
            block_length = int.from_bytes(self._file.read(_LENGTH), "big")
            if not block_length:
                return
            block = unpacked(self._file.read(block_length))
            offset += _LENGTH + block_length
            yield offset, block


def _no_room(error: OSError) -> FileProblem:
    hint = "Make room there, or name another folder with TMPDIR. Nothing was written to the store."
    return FileProblem(tempfile.tempdir or "temporary files", (error.strerror or str(error)).lower(), hint=hint)
