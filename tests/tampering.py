"""What someone with the database's password does: edits past the program and its triggers."""

from sqlalchemy import Engine, text

from refundcli.store.guarded.triggers import create_triggers, drop_triggers


def tamper(engine: Engine, *statements: str) -> None:
    """Run statements as if there were no triggers; afterwards they are there again."""
    with engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        drop_triggers(connection)
        for statement in statements:
            connection.execute(text(statement))
        create_triggers(connection)
        connection.commit()
