"""The columns that statements name are those that the models declare."""

import pytest
from sqlalchemy import BigInteger, Boolean, Date, Integer, Text
from sqlalchemy.types import TypeEngine
from sqlmodel import SQLModel

import refundcli.store.schema  # noqa: F401 - importing it fills the metadata
from refundcli.store.databases.utc_datetime import UtcDateTime
from refundcli.store.tables import ALL_TABLES

_KINDS = (BigInteger, Text, Boolean, Date, UtcDateTime)


def _kind(column_type: TypeEngine[object]) -> type:
    """Every whole number is sent as a large one."""
    return next(kind for kind in _KINDS if isinstance(column_type, kind)) if not _is_small(column_type) else BigInteger


def _is_small(column_type: TypeEngine[object]) -> bool:
    return isinstance(column_type, Integer)


def test_every_model_has_its_table() -> None:
    assert ALL_TABLES.keys() == SQLModel.metadata.tables.keys()


@pytest.mark.parametrize("name", sorted(ALL_TABLES))
def test_a_table_has_the_columns_of_its_model(name: str) -> None:
    declared = {column.name: _kind(column.type) for column in SQLModel.metadata.tables[name].columns}
    assert {column.name: _kind(column.type) for column in ALL_TABLES[name].columns} == declared
