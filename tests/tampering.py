"""What someone with the database's password does: edits past the program and its triggers."""

from sqlalchemy import Connection, Engine, text

from refundcli.store.audit import _COLUMNS, _seal, _who
from refundcli.store.databases.rows import moment
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


def rebuild_chain(engine: Engine) -> None:
    """Seal every entry again, as a program that knows the format does after it has changed some."""
    with engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        drop_triggers(connection)
        _seal_again(connection)
        create_triggers(connection)
        connection.commit()


def _seal_again(connection: Connection) -> None:
    columns = ", ".join(f'"{column}"' for column in _COLUMNS)
    previous_seal = ""
    for seq, at, operator, host, login, *fields, _ in connection.execute(
        text(f"SELECT {columns} FROM audit_entry ORDER BY seq")
    ).all():
        fields[-2] = previous_seal
        seal = _seal(seq, _who(moment(at), operator, host, login), fields if login else fields[:-1])
        sealed = {"seq": seq, "previous": previous_seal, "seal": seal}
        connection.execute(
            text("UPDATE audit_entry SET previous_hash = :previous, hash = :seal WHERE seq = :seq"), sealed
        )
        previous_seal = seal
