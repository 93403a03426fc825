"""Blocks of invoices as bytes, for another process of this program."""

import marshal
from typing import Any

from refundcli.services.ports.bulk_invoices import InvoiceBlock


def packed(block: InvoiceBlock) -> bytes:
    columns: list[Any] = [*block.columns(), list(block.payments)]
    return marshal.dumps(columns)


def unpacked(packed_block: bytes) -> InvoiceBlock:
    """The block from bytes that only this program can have written."""
    *columns, payments = marshal.loads(packed_block)  # noqa: S302
    return InvoiceBlock.from_columns(columns, payments)
