"""The same tests for every store: memory, sqlite, postgres."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.node.store.rows import NOW, account
from xcluster.node.store.memory import MemoryStore
from xcluster.node.store.protocol import Store
from xcluster.node.store.stores import open_store
from xcluster.shared.config import Config, Offline
from xcluster.shared.config import Store as Settings

_postgres = pytest.param("postgres", marks=pytest.mark.postgres)


@pytest.fixture(params=["sqlite", _postgres])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'xcluster.db'}"
    return request.getfixturevalue("postgres").create_database(f"t{uuid4().hex}")


@pytest.fixture
def opened(url: str) -> Iterator[Callable[..., Store]]:
    """Opens stores on one database, each as another process would have it; closes them at the end."""
    stores: list[Store] = []

    def open_one(**settings: object) -> Store:
        config = Config(store=Settings(url=url, **settings), offline=Offline(dedupe_s=60.0))
        stores.append(open_store(config))
        stores[-1]._clock = lambda: NOW
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture(params=["memory", "sqlite", _postgres])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A fresh store of each kind, at the time NOW, with users alice, bob and carol."""
    if request.param == "memory":
        made: Store = MemoryStore(60.0, lambda: NOW)
    else:
        if request.param == "sqlite":
            url = f"sqlite:{tmp_path / 'xcluster.db'}"
        else:
            url = request.getfixturevalue("postgres").create_database(f"t{uuid4().hex}")
        made = open_store(Config(store=Settings(url=url), offline=Offline(dedupe_s=60.0)))
        made._clock = lambda: NOW
    for user in ("alice", "bob", "carol"):
        made.create_account(account(user))
    yield made
    made.close()
