"""Plans: what a file would do, checked by one person and applied by another, unchanged in between.

A plan is one JSON document with one row per line, and at its end an HMAC over all of it with the store's secret: an
edited plan, or one of another store, is refused.
"""

import hashlib
import hmac
import json
import os
import shlex
from collections.abc import Generator, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

from refundcli.domain.bulk_run import RunKind
from refundcli.domain.errors import Refused
from refundcli.domain.reasons import RefundReason
from refundcli.files.source import FileProblem, Source
from refundcli.private_files import new_file
from refundcli.services.bulk.rows import BulkRow, CheckedRow, Planned

_VERSION = 1
_BEGIN = '{"refundcli_plan": '
_ROWS = ', "rows": [\n'
_END = '\n], "hmac": "'


class PlanEdited(Refused):
    code = "plan-edited"

    def __init__(self, file_name: str) -> None:
        super().__init__(
            (
                f"{file_name} is not a plan that refundcli wrote for this store: it was edited, cut short, or "
                "made for a different store."
            ),
            hint="Make a new one: refundcli refund --from FILE --plan PLAN   (or mark-refunded)",
            context={"file": file_name},
        )


class PlanForOther(Refused):
    code = "plan-for-other-command"

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(f"{name} is a plan for {kind}.", hint=f"refundcli {kind} --apply {shlex.quote(name)}")


class PlanExists(FileProblem):
    code = "plan-exists"

    def __init__(self, path: Path, *, has_rows: bool = True) -> None:
        """`has_rows`: does the new plan have rows? Without any, the older file would be applied by mistake."""
        message, hint = "a file with that name already exists", "Choose another name, or remove it."
        if not has_rows:
            message = "no plan was written, because there are no valid rows; this file is an older one"
            hint = "Remove it, so that it is not applied by mistake."
        super().__init__(str(path), message, hint=hint)


def write_plan(path: Path, header: Mapping[str, object], chunks: Iterable[list[CheckedRow]], secret: bytes) -> str:
    """Write the plan whole or not at all; nothing where it has no rows. Returns its HMAC, or "".

    Raises PlanExists, FileProblem.
    """
    if os.path.lexists(path):
        raise PlanExists(path, has_rows=bool(header["rows_planned"]))
    if not header["rows_planned"]:
        return ""
    try:
        return _write(path, header, chunks, secret)
    except FileExistsError:
        raise PlanExists(path) from None
    except OSError as os_error:
        message = f"the plan cannot be written: {(os_error.strerror or str(os_error)).lower()}"
        raise FileProblem(str(path), message, hint="Nothing was done.") from os_error


class PlanFile:
    """A plan with a verified seal, of this kind if one is given. Raises PlanEdited, PlanForOther."""

    def __init__(self, source: Source, kind: RunKind | None, secret: bytes) -> None:
        self._source = source
        self.seal = self._checked_seal(secret)
        with source.text() as text_file:
            self.header: dict[str, Any] = json.loads(text_file.readline()[len(_BEGIN) : -len(_ROWS)])
        if kind and self.header["kind"] != kind:
            raise PlanForOther(source.name, str(self.header["kind"]))
        self.columns = tuple(self.header["columns"])

    def rows(self) -> Generator[BulkRow]:
        with self._source.text() as text_file:
            text_file.readline()
            for line in text_file:
                if line.startswith("{"):
                    yield _row_of(json.loads(line.rstrip(",\n")))

    def _checked_seal(self, secret: bytes) -> str:
        digest = hmac.new(secret, digestmod=hashlib.sha256)
        with self._source.text() as text_file:
            first_line = text_file.readline()
            if not (first_line.startswith(_BEGIN) and first_line.endswith(_ROWS)):
                raise PlanEdited(self._source.name)
            digest.update(first_line.encode())
            last_line = ""
            for line in text_file:
                digest.update(last_line.encode())
                last_line = line
        seal = digest.hexdigest()
        if not hmac.compare_digest(last_line.encode(), _last_line(seal).encode()):
            raise PlanEdited(self._source.name)
        return seal


def _write(path: Path, header: Mapping[str, object], row_chunks: Iterable[list[CheckedRow]], secret: bytes) -> str:
    digest = hmac.new(secret, digestmod=hashlib.sha256)
    with new_file(path) as file:
        _put(file, digest, _BEGIN + json.dumps({"version": _VERSION, **header}, default=str) + _ROWS)
        comma = ""
        for row_chunk in row_chunks:
            for row in row_chunk:
                _put(file, digest, comma + json.dumps(_shape(row), ensure_ascii=True, default=str))
                comma = ",\n"
        _put(file, digest, "\n")
        file.write(_last_line(digest.hexdigest()).encode())
    return digest.hexdigest()


def _put(file: BinaryIO, digest: "hmac.HMAC", text: str) -> None:
    file.write(text.encode())
    digest.update(text.encode())


def _last_line(seal: str) -> str:
    return _END.removeprefix("\n") + seal + '"}\n'


def _shape(checked_row: CheckedRow) -> dict[str, object]:
    row = checked_row.row
    plan_fields = {
        "line": row.line,
        "invoice": row.invoice,
        "amount": row.amount_text or "full",
        "takes_minor": checked_row.takes,
        "remaining_minor": checked_row.remaining,
        "currency": checked_row.currency,
        "reason": row.reason,
        "method": row.method,
        "reference": row.reference,
        "refunded_on": row.refunded_on,
        "memo": row.memo,
        "payment": row.payment,
        # Rows without a key of their own keep the derived one.
        "key": checked_row.key,
        "own_key": bool(row.key),
        "cells": row.cells,
    }
    return {name: field for name, field in plan_fields.items() if field not in ("", None, ())}


def _row_of(plan_fields: Mapping[str, Any]) -> BulkRow:
    amount = plan_fields["amount"]
    return BulkRow(
        line=plan_fields["line"],
        invoice=plan_fields["invoice"],
        amount_text="" if amount == "full" else amount,
        reason=RefundReason(plan_fields["reason"]),
        method=plan_fields.get("method", ""),
        reference=plan_fields.get("reference", ""),
        refunded_on=date.fromisoformat(plan_fields["refunded_on"]) if "refunded_on" in plan_fields else None,
        memo=plan_fields.get("memo", ""),
        payment=plan_fields.get("payment", ""),
        key=plan_fields["key"] if plan_fields["own_key"] else "",
        cells=tuple(plan_fields["cells"]),
        planned=Planned(plan_fields["key"], plan_fields["takes_minor"], plan_fields["remaining_minor"]),
    )
