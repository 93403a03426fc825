"""A selection of invoices in the place of a file of requests, for `plan make`."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from refundcli.files.bulk.files import FilesOnDisk
from refundcli.services.bulk.ports import BulkRequest, OpenedFile
from refundcli.services.bulk.select_invoices import COLUMNS, SelectedRows


@dataclass(frozen=True, slots=True)
class SelectionAsFile(FilesOnDisk):
    """`words`: what was selected, for the audit trail."""

    selected: SelectedRows
    words: str

    @contextmanager
    def opened(self, request: BulkRequest, *, secret: bytes, today: date) -> Iterator[OpenedFile]:
        yield OpenedFile(
            name="selection",
            source=self.words,
            label=self.words,
            sha256=hashlib.sha256(self.words.encode()).hexdigest(),
            columns=COLUMNS,
            rejected_path=Path(f"{request.plan or 'plan'}.rejected.csv"),
            rows=self.selected.rows,
            allow_duplicate=request.allow_duplicate,
        )
