"""Alembic runs on the connection, and in the transaction, that it is handed."""

from alembic import context
from sqlmodel import SQLModel

import refundcli.store.schema  # noqa: F401 - the tables enter the metadata by being imported

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    transactional_ddl=True,
)
context.run_migrations()
