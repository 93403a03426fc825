"""The files of a bulk use case, as `services.bulk.ports.BulkFiles` asks for them."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from refundcli.files.bulk.file import BulkFile
from refundcli.files.bulk.plan import PlanFile, write_plan
from refundcli.files.bulk.rejected_rows import RejectedFile, path_for_rejected
from refundcli.files.source import open_source
from refundcli.files.spool import DiskSpool
from refundcli.services.bulk.ports import BulkRequest, OpenedFile
from refundcli.services.bulk.rows import CheckedRow


class FilesOnDisk:
    @contextmanager
    def opened(self, request: BulkRequest, *, secret: bytes, today: date) -> Iterator[OpenedFile]:
        # A person may have saved the file from a spreadsheet; a plan is only ever ours.
        with open_source(request.from_ or request.apply, sys.stdin.buffer, any_encoding=not request.apply) as source:
            plan = PlanFile(source, request.kind, secret) if request.apply else None
            file = plan or BulkFile(source, request.kind, default_reason=request.reason, today=today)
            yield OpenedFile(
                name=source.name,
                source=str(source.path.resolve()) if source.is_file else source.name,
                label=source.label,
                sha256=source.sha256,
                columns=file.columns,
                rejected_path=path_for_rejected(source, file.columns),
                rows=file.rows,
                # A plan keeps the --allow-duplicate that it was made with.
                allow_duplicate=bool(plan.header.get("allow_duplicate")) if plan else request.allow_duplicate,
                planned_by=str(plan.header["planned_by"]) if plan else "",
                seal=plan.seal if plan else "",
            )

    def spool(self) -> DiskSpool:
        return DiskSpool()

    def rejected_rows(self, path: Path, columns: tuple[str, ...]) -> RejectedFile:
        return RejectedFile(path, columns, keyed=True)

    def write_plan(
        self, path: str, header: Mapping[str, object], chunks: Iterable[list[CheckedRow]], secret: bytes
    ) -> None:
        write_plan(Path(path), header, chunks, secret)
