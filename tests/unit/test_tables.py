"""The columns that statements name are those that the models declare."""

from collections.abc import Iterable
from typing import Any

import pytest
from sqlalchemy import Boolean, ColumnElement, Date, Integer, LargeBinary, Text
from sqlmodel import SQLModel

import refundcli.store.schema  # noqa: F401 - importing it fills the metadata
from refundcli.store.databases.utc_datetime import UtcDateTime
from refundcli.store.tables import ALL_TABLES

_KINDS = (Integer, Text, Boolean, Date, UtcDateTime, LargeBinary)


def _kinds(columns: Iterable[ColumnElement[Any]]) -> dict[str, type]:
    return {column.name: next(kind for kind in _KINDS if isinstance(column.type, kind)) for column in columns}


def test_every_model_has_its_table() -> None:
    assert ALL_TABLES.keys() == SQLModel.metadata.tables.keys()


@pytest.mark.parametrize("name", sorted(ALL_TABLES))
def test_a_table_has_the_columns_of_its_model(name: str) -> None:
    assert _kinds(ALL_TABLES[name].columns) == _kinds(SQLModel.metadata.tables[name].columns)
