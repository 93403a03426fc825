"""Compiles each SQL statement once for all engines of a test process: every command opens an engine."""

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.default import DefaultDialect

_kept: dict[type, Any] = {}


def share_compiled_statements() -> None:
    """Makes dialects of one kind equal, since compiled statements are cached by dialect."""
    event.listen(Engine, "engine_connect", _use_cached_statements)
    dialect: Any = DefaultDialect
    dialect.__eq__ = lambda left_dialect, right_dialect: type(left_dialect) is type(right_dialect)
    dialect.__hash__ = lambda left_dialect: hash(type(left_dialect))


def _use_cached_statements(connection: Connection) -> None:
    engine: Any = connection.engine
    engine._compiled_cache = _kept.setdefault(type(connection.dialect), engine._compiled_cache)
