"""The triggers that refuse to change audit entries and the content of issued credit notes."""

from sqlalchemy import Connection, text

_AUDIT = "an audit entry never changes"
_NOTE = "an issued credit note never changes"
# A draft may change; an issued note may only become void, once.
_CONTENT = (
    "id", "refund_id", "invoice_id", "number", "amount", "currency", "reason", "memo", "issued_on", "issued_at",
    "content", "seller_id",
)  # fmt: skip
_LATER = "OLD.status = 'issued' AND NEW.status IN ('issued', 'void') OR OLD.status = 'void' AND NEW.status = 'void'"
_ON_SQLITE = """
    CREATE TRIGGER {name} BEFORE {event} ON {table} WHEN {condition} BEGIN SELECT RAISE(ABORT, '{reason}'); END
"""
_FUNCTION = """
    CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF {condition} THEN RAISE EXCEPTION '{reason}' USING ERRCODE = 'integrity_constraint_violation'; END IF;
        IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
        RETURN NEW;
    END $$
"""
_ON_POSTGRES = "CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH {level} EXECUTE FUNCTION {name}()"

_NAMES_IN_SQLITE = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
_NAMES_IN_POSTGRES = """
    SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
    WHERE NOT tgisinternal AND tgenabled = 'O' AND pg_table_is_visible(tgrelid)
"""


def _triggers(*, is_sqlite: bool) -> dict[str, tuple[str, str, str, str]]:
    """By name: event, table, condition and reason."""
    differs = "IS NOT" if is_sqlite else "IS DISTINCT FROM"
    changes = " OR ".join(f"NEW.{name} {differs} OLD.{name}" for name in _CONTENT)
    true = "1" if is_sqlite else "TRUE"
    triggers = {
        "audit_entry_unchanged": ("UPDATE", "audit_entry", true, _AUDIT),
        "audit_entry_not_deleted": ("DELETE", "audit_entry", true, _AUDIT),
        "credit_note_unchanged": (
            "UPDATE", "credit_note", f"OLD.status <> 'draft' AND ({changes} OR NOT ({_LATER}))", _NOTE,
        ),
        "credit_note_not_deleted": ("DELETE", "credit_note", "OLD.status <> 'draft'", _NOTE),
    }  # fmt: skip
    if not is_sqlite:
        triggers["audit_entry_not_truncated"] = ("TRUNCATE", "audit_entry", true, _AUDIT)
        triggers["credit_note_not_truncated"] = ("TRUNCATE", "credit_note", true, _NOTE)
    return triggers


def drop_triggers(connection: Connection) -> None:
    """Before an upgrade, whose migrations may make these tables anew."""
    is_sqlite = connection.dialect.name == "sqlite"
    for name in _stored_names(connection).intersection(_triggers(is_sqlite=is_sqlite)):
        table = name.split("_")[0] + "_" + name.split("_")[1]
        connection.execute(text(f"DROP TRIGGER {name}" if is_sqlite else f"DROP TRIGGER {name} ON {table}"))
        if not is_sqlite:
            connection.execute(text(f"DROP FUNCTION {name}()"))


def create_triggers(connection: Connection) -> None:
    """After an upgrade, by its schema's columns."""
    is_sqlite = connection.dialect.name == "sqlite"
    for name, (occasion, table, condition, reason) in _triggers(is_sqlite=is_sqlite).items():
        words = {"name": name, "event": occasion, "table": table, "condition": condition, "reason": reason}
        if is_sqlite:
            connection.execute(text(_ON_SQLITE.format(**words)))
            continue
        connection.execute(text(_FUNCTION.format(**words)))
        level = "STATEMENT" if occasion == "TRUNCATE" else "ROW"
        connection.execute(text(_ON_POSTGRES.format(**words, level=level)))


def missing_triggers(connection: Connection) -> list[str]:
    """Those that somebody dropped or disabled."""
    is_sqlite = connection.dialect.name == "sqlite"
    return sorted(set(_triggers(is_sqlite=is_sqlite)) - _stored_names(connection))


def _stored_names(connection: Connection) -> set[str]:
    is_sqlite = connection.dialect.name == "sqlite"
    return set(connection.execute(text(_NAMES_IN_SQLITE if is_sqlite else _NAMES_IN_POSTGRES)).scalars())
