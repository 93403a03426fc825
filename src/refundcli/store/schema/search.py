"""The words that invoices are found by."""

from typing import ClassVar

from sqlalchemy import Column, Integer, LargeBinary, Text
from sqlmodel import Field

from refundcli.store.schema.columns import Row


class SearchWordRow(Row, table=True):
    """The invoices with one word: the lower 16 bits of their ids, in little-endian order; `bucket` has the rest."""

    __tablename__ = "search_word"
    __table_args__: ClassVar = {"sqlite_with_rowid": False}

    # Ranges of words are compared by code points, not by a language's order.
    word: str = Field(sa_column=Column(Text().with_variant(Text(collation="C"), "postgresql"), primary_key=True))
    bucket: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    ids: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
