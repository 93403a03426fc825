"""Loads the whole program where it is imported: in the process that the others are forked from."""

from importlib import import_module
from pkgutil import walk_packages

import refundcli

for module in walk_packages(refundcli.__path__, "refundcli."):
    if "__main__" not in module.name and "migrations" not in module.name:
        import_module(module.name)
for name in ("psycopg", "sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite"):
    import_module(name)
