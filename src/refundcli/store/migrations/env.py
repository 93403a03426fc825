"""Run Alembic on the given connection, in its transaction."""

from alembic import context
from sqlmodel import SQLModel

import refundcli.store.schema  # noqa: F401 - importing it fills the metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    transactional_ddl=True,
)
context.run_migrations()
