"""What only the double can do: be taken down."""

import pytest

from tests.node.store.rows import account, row
from xcluster.node.store.memory import MemoryStore
from xcluster.node.store.stores import open_store
from xcluster.shared.config import Config
from xcluster.shared.config import Store as Settings
from xcluster.shared.errors import StoreError


def test_store_that_is_down_refuses_and_forgets_nothing() -> None:
    store = MemoryStore()
    store.create_account(account("alice"))
    assert store.healthy
    store.fail_with(StoreError("down"))
    assert not store.healthy
    for operation in (lambda: store.account("alice"), lambda: store.add_offline([row(1)], 10), store.open):
        with pytest.raises(StoreError, match="down"):
            operation()
    store.fail_with(None)
    assert store.account("alice") == account("alice")
    assert store.count_offline("alice") == 0


def test_url_of_the_double() -> None:
    assert isinstance(open_store(Config(store=Settings(url="memory:"))), MemoryStore)
