"""Which store a URL means (I/O): sqlite:PATH, postgresql://USER@HOST/DATABASE, memory: (for tests)."""

import time
from collections.abc import Callable
from pathlib import Path

from xcluster.node.store import postgres, schema, sqlite
from xcluster.node.store.connection import Connection
from xcluster.node.store.engine import Engine
from xcluster.node.store.memory import MemoryStore
from xcluster.node.store.protocol import Store
from xcluster.node.store.sql import SqlStore
from xcluster.shared.config import Config
from xcluster.shared.config import Store as Settings
from xcluster.shared.errors import ConfigError


def open_store(config: Config) -> Store:
    """The store of this configuration, opened. Raises StoreError, ConfigError."""
    store = make_store(config)
    store.open()
    return store


def make_store(config: Config) -> Store:
    """The store of this configuration, not yet opened."""
    url = config.store_url
    if url.startswith("memory:"):
        return MemoryStore(config.offline.dedupe_s, time.time)
    connect = _connector(url, config.store)
    if url.startswith("sqlite:"):
        engine = Engine(connect, sqlite.ERRORS, 1, config.store)
    else:
        engine = Engine(connect, postgres.ERRORS, max(1, config.store.reader_threads), config.store)
    return SqlStore(engine, config.offline.dedupe_s)


def migrate(url: str) -> tuple[int, int]:
    """Bring the schema up to date: the versions before and after. Raises StoreError, ConfigError."""
    connection = _connector(url, Settings())(False)
    try:
        return schema.upgrade(connection)
    finally:
        connection.close()


def _connector(url: str, settings: Settings) -> Callable[[bool], Connection]:
    scheme, _, path = url.partition(":")
    if scheme == "sqlite" and path:
        return lambda reads: sqlite.SqliteConnection(Path(path), settings.synchronous, reads)
    if scheme in ("postgresql", "postgres"):
        return lambda reads: postgres.PostgresConnection(url, settings.timeout_s, reads)
    raise ConfigError("store.url", url, "write sqlite:PATH or postgresql://USER@HOST/DATABASE")
