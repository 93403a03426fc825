"""Column types and helpers that all tables share."""

from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from refundcli.store.databases.utc_datetime import UtcDateTime

# SQLite numbers its rows only by a column that is spelt INTEGER.
BigId = BigInteger().with_variant(Integer, "sqlite")


def key() -> Any:
    return Field(default=None, sa_column=Column(BigId, primary_key=True))


def parent(column: str, *, nullable: bool = False, index: bool = True) -> Any:
    return Field(sa_column=Column(ForeignKey(column), nullable=nullable, index=index))


def text_column(*, nullable: bool = False, unique: bool = False, index: bool = False, primary_key: bool = False) -> Any:
    column = Column(Text, nullable=nullable, unique=unique or None, index=index or None, primary_key=primary_key)
    return Field(default=None if nullable else "", sa_column=column)


def is_one_of(column: str, *words: str) -> str:
    """The column is one of these words, the usual ones first. For an IN list, SQLite builds a table for each row."""
    return " OR ".join(f"{column} = '{word}'" for word in words)


def unique_id(column: str) -> Index:
    """A unique index on an id. It leaves out payments without one, which are most."""
    return Index(f"ux_payment_{column}", column, unique=True, sqlite_where=text(f"{column} IS NOT NULL"))


def minor(default: int = 0) -> Any:
    return Field(default=default, sa_column=Column(BigInteger, nullable=False, server_default=str(default)))


def timestamp(*, nullable: bool = False) -> Any:
    return Field(default=None, sa_column=Column(UtcDateTime, nullable=nullable))


class Row(SQLModel):
    """Rows never validate anything, so no validator is built: that would slow every start."""

    model_config = {"defer_build": True}
