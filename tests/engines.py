"""One engine per store for a test process, so that its commands compile each statement once and not once each."""

from functools import lru_cache

from sqlalchemy import Engine

from refundcli.store.databases import engine

# Of more, a test process would keep the statements of all its stores.
_MOST_ENGINES = 12


def share_engines() -> None:
    """From now on; a module that imported `store_engine` by name before keeps its own."""
    shared = lru_cache(_MOST_ENGINES)(engine.store_engine)

    def store_engine(url: str, command: str = "") -> Engine:
        # PostgreSQL alone is told which command it is.
        return shared(url) if url.startswith("sqlite:") else shared(url, command)

    engine.store_engine = store_engine
